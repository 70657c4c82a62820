# make course · make test · make docs · make outputs
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP   = $(VENV)/.installed-$(1)
ifdef GENESIS_DATA
export GENESIS_DATA := $(abspath $(GENESIS_DATA))
endif

# Two files at a time (more with WORKERS=8), the longest first; then, with nothing beside them, the tests that watch the clock.
# 5 is pytest's word for "nothing to run here", which ARGS may bring about.
WORKERS  ?= 2
PYTEST    = $(BIN)/python -m pytest
TOGETHER  = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
NOTEBOOKS = --nbval-lax --nbval-current-env --nbval-cell-timeout=120
both      = $(PYTEST) $(TOGETHER) $(1) -m "not alone$(3)" $(ARGS); first=$$?; \
            $(PYTEST) $(2) -m "alone$(3)" $(ARGS); second=$$?; \
            case $$first$$second in 00|05|50|55) ;; *) exit 1;; esac

.PHONY: course test check data shuffle mutants docs outputs demos readme export benchmarks clean

course: $(call STAMP,lab)  ## install once, then open JupyterLab at the first chapter, in your own copy
	@$(BIN)/genesis lab my-course

test: $(call STAMP,dev)  ## everything that the continuous integration runs
	@echo "Testing: every chapter is run and every check is made (about half an hour on two cores)."
	@$(call both,$(NOTEBOOKS),,)

check: $(call STAMP,dev)  ## for who is at work: no notebooks, no long tests
	@$(PYTEST) $(TOGETHER) -m "not alone and not slow and not data" tests $(ARGS)

data: $(call STAMP,dev)  ## what real data sets change; GENESIS_DATA names their folder
	@$(PYTEST) $(TOGETHER) $(NOTEBOOKS) -m data $(ARGS)

shuffle: $(call STAMP,dev)  ## the tests in random order: none may lean on another
	@export GENESIS_THOROUGH=1; $(call both,-p randomly --randomly-dont-reset-seed tests,-p randomly --randomly-dont-reset-seed tests, and not data)

mutants: $(call STAMP,dev)  ## every mutant of every right answer is tried, and right answers under twenty seeds (about half an hour)
	@$(BIN)/python tools/mutants.py --workers $(WORKERS) && GENESIS_SEEDS=20 $(PYTEST) -n $(WORKERS) tests/test_answers.py $(ARGS)

docs: $(call STAMP,dev)  ## the site, in _docs/
	@if command -v quarto >/dev/null || test -x $(BIN)/quarto; then PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/nbdev-docs; \
	else echo "The site needs Quarto. Get it with: $(BIN)/pip install quarto-cli   (or from quarto.org), then run make docs again."; fi

outputs: $(call STAMP,dev)  ## run all notebooks and store their outputs, pictures and the README
	@$(BIN)/python tools/outputs.py $(NB)

demos: $(call STAMP,dev)  ## build the live models, nbs/demos/*.html
	@$(BIN)/python tools/demos.py

export: $(call STAMP,dev)  ## write genesis_course/ from the notebooks
	@$(BIN)/nbdev-export && $(BIN)/nbdev-clean

benchmarks: $(call STAMP,dev)  ## measure speed against the usual libraries (on a quiet machine)
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	@for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python $$script || exit 1; done

clean:  ## remove the environment and everything built (your copy in my-course/ stays)
	rm -rf $(VENV) build dist _docs _proc *.egg-info

$(VENV)/.installed-%: settings.ini setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed; this is $$($(PYTHON) --version). Name another with: make $(or $(MAKECMDGOALS),course) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Making a Python environment in $(VENV)/ …"; $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }; }
	@echo "Installing the course: two to ten minutes, most of it PyTorch. This happens once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@$(BIN)/jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" >/dev/null 2>&1 || true
	@touch $@
