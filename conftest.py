"""What every test run shares: a home and random numbers of its own, no windows, and notebooks whose execution counts were cleaned away."""
import functools
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import tempfile
from pathlib import Path
import matplotlib
import numpy as np
import pytest
import torch

# A run in the background of a shell is started with Ctrl-C switched off; the tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing that a test does reaches the reader's own progress or downloads; the notebooks' kernels inherit this.
_home = tempfile.TemporaryDirectory(prefix="genesis-test-")
os.environ["GENESIS_HOME"] = _home.name
os.environ.pop("GENESIS_DATASET", None)
if os.environ.get("GENESIS_DATA"): os.environ["GENESIS_DATA"] = os.path.abspath(os.environ["GENESIS_DATA"])      # notebooks run in their own folder

torch.set_num_threads(1)       # as the chapters do: with small networks a second thread mostly waits, and on a busy machine it waits long
matplotlib.use("agg")          # in this process only: a notebook's kernel draws as it does for a reader

# Every test begins at the same place of the random numbers, wherever it stands in the run. GENESIS_TEST_SEED=7 moves that place,
# and every seed that a test sets by torch.manual_seed: what is true under one seed only fails there.
SEED = int(os.environ.get("GENESIS_TEST_SEED", 0))
if SEED:
    torch_seed = torch.manual_seed
    torch.manual_seed = lambda seed: torch_seed(seed if seed < 0 else (int(seed)+1_000_003*SEED) % 2**63)


if importlib.util.find_spec("hypothesis"):          # not on every machine that runs chapters
    import hypothesis
    class TorchDice: seed, getstate, setstate = map(staticmethod, (torch.manual_seed, torch.get_rng_state, torch.set_rng_state))
    torch_dice = TorchDice()                                                    # must stay alive
    hypothesis.register_random(torch_dice)                                      # each of its examples begins at the same place, too
    hypothesis.settings.register_profile("repeats", derandomize=not SEED)       # the same examples in every run
    hypothesis.settings.load_profile("repeats")


def roll_from(seed):
    for begin in (random.seed, np.random.seed, torch.manual_seed): begin(seed+SEED)


def pytest_collectstart(): roll_from(0)          # some files make tensors as they are read


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(): roll_from(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(): roll_from(2)


SKIPPED = re.compile(r"^#\|\s*(eval:\s*false|slow|gpu)\s*$", re.MULTILINE)

# Tests that take longer than a chapter, the longest first; then the chapters, then the rest. Workers that share the files end together when the last are short.
LONGEST = ["test_answers.py", "test_exercises.py", "test_training.py", "test_gpu.py", "test_inputs.py", "test_processes.py"]


def length(item):
    name = item.path.name
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)+(not re.match(r"\d\d\w*_", name))


@functools.cache
def looks_for_data(path): return "data_folder(" in path.read_text(encoding="utf-8")


LIBRARY = re.compile(r"^#\|\s*(exports?|default_exp)\b|nbdev_export\(\)|\A\s*\Z", re.MULTILINE)


@functools.cache
def only_exports(path):
    "Whether each code cell of a notebook is in the library already: then the tests that import it have run it"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return all(LIBRARY.search("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code")


def pytest_collection_modifyitems(config, items):
    "Leaves out notebooks that would only define the library again, marks what real data change, gives the order of files"
    items[:] = [item for item in items if type(item).__name__ != "IPyNbCell" or not only_exports(item.path)]
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()): item.add_marker("data")
        if type(item).__name__ != "IPyNbCell": continue
        # nbdev cleans the counts away, and nbval takes a cell without one for a cell that was never run
        item.cell.execution_count = item.cell.execution_count or 1
        if looks_for_data(item.path): item.add_marker("data")
        if SKIPPED.search(item.cell.source): item.options["skip"] = True
    if not config.pluginmanager.hasplugin("randomly"): items.sort(key=length)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"home"))


@pytest.fixture
def real_data():
    "The folder of real data sets; a test that needs it is skipped where there is none"
    folder = os.environ.get("GENESIS_DATA")
    if not folder or not os.path.isdir(folder): pytest.skip("needs real data sets: set GENESIS_DATA to a folder that holds them")
    return folder


@pytest.fixture(scope="module")
def browser():
    "A headless Chromium; tests that need it are skipped where there is none"
    playwright = pytest.importorskip("playwright.sync_api", reason="needs a browser: pip install playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium: pytest.skip("needs Chromium on the PATH")
    with playwright.sync_playwright() as engine:
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe():
    "The script of axe-core, which finds what a page lacks for readers with a screen reader or a keyboard"
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
    return (Path(package.__file__).parent/"axe.min.js").read_text(encoding="utf-8")
