"""The house keeps its measures; the site shows what a chapter shows; refusals have the signature of what they guard."""
import ast
import importlib
import importlib.util
import inspect
import re
from collections import Counter
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("measure", ROOT/"tools"/"measure.py")
measure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure)
each_chapter = pytest.mark.parametrize("name", list(measure.CHAPTERS))


def test_every_room_keeps_its_measures():
    found = list(measure.faults())
    assert not found, "\n".join(["python tools/measure.py says:", *found])


def test_a_fault_would_be_seen(tmp_path, monkeypatch):
    "Planted faults of every kind: a large room, a long line, a check, a private name, a name defined twice, an import for a check"
    module = tmp_path/"cnn.py"
    module.write_text("from .rnn import _private, check_this\n"+"def attention(x):\n    check_this(x)\n"+"    check_int('x', x)\n"*10+"    return '"+"x"*130+"'\n"+"x = 1\n"*400)
    monkeypatch.setitem(measure.MODULES, "cnn", module)
    found = "\n".join(measure.faults())
    for word in ("lines in its module", "a line of 1", "check arguments", "private _private", "attention is defined in", "rnn.check_this for a check only"): assert word in found, word


def page(path):
    "The cells of a notebook as nbdev hands them to the site; what runs code for it is left out"
    process, processors = (pytest.importorskip(f"nbdev.{name}", reason="needs nbdev") for name in ("process", "processors"))
    procs = [proc for proc in processors.FilterDefaults().procs() if proc is not processors.exec_show_docs]
    notebook = process.NBProcessor(path, procs=procs, rm_directives="quarto")
    notebook.process()
    return [cell for cell in notebook.nb.cells if cell.get("source")]


def hidden(text): return re.search(r"^#\|\s*(hide|default_exp)\b", text, re.MULTILINE)


@each_chapter
def test_the_site_shows_every_line_that_the_notebook_shows(name):
    path = measure.CHAPTERS[name]
    written = Counter(line.strip() for text in measure.cells(path, "code") if not hidden(text) for line in measure.code_lines(text))
    shown = Counter(line.strip() for cell in page(path) if cell.cell_type == "code" for line in measure.code_lines(cell.source))
    missing = written-shown
    assert sum(missing.values()) <= 0.02*sum(written.values()), list(missing)[:10]
    twice = [line for line, count in shown.items() if re.match(r"(def|class) ", line) and count > max(1, written[line])]
    assert not twice, f"shown twice: {twice}"


GUARDED = [(name, place) for name in measure.MODULES if not name.startswith("guards/") for place in [ROOT/"genesis_course"/"guards"/f"{name}.py"] if place.exists()]


@pytest.mark.parametrize("name", [name for name, _ in GUARDED])
def test_a_guard_has_the_parameters_of_what_it_guards(name):
    "What is passed by position or by name reaches both alike; a default of a guard may stand for one that it cannot import"
    module, guards = (importlib.import_module(f"genesis_course.{part}{name}") for part in ("", "guards."))
    tree, checked = ast.parse((ROOT/"genesis_course"/f"{name}.py").read_text(encoding="utf-8")), []
    for node in tree.body:
        for each, owner in [(node, None), *((inside, node.name) for inside in getattr(node, "body", []) if isinstance(node, ast.ClassDef))]:
            if any(getattr(mark, "id", None) == "checked" for mark in getattr(each, "decorator_list", [])): checked.append((owner, each.name))
    assert checked, f"{name} has guards, but calls none"
    for owner, function in checked:
        ours = getattr(getattr(module, owner), function) if owner else getattr(module, function)
        guard = vars(vars(guards)[owner])[function] if owner else vars(guards)[function]
        pairs = [[(parameter.name, parameter.kind, parameter.default is inspect.Parameter.empty) for parameter in inspect.signature(each).parameters.values()] for each in (ours, guard)]
        assert pairs[0] == pairs[1], f"{name}: {owner or ''}.{function}"
        used = set(vars(guards)) | set(vars(module))
        assert "checked" in used
