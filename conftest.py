"""What every test run shares: a home of its own, no windows, and notebooks whose execution counts were cleaned away."""
import os
import re
import signal
import tempfile
import matplotlib
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

SKIPPED = re.compile(r"^#\|\s*(eval:\s*false|slow|gpu)\s*$", re.MULTILINE)


def pytest_collection_modifyitems(items):
    "nbval takes a cell without an execution count for one that was never run; nbdev cleans the counts away, so they are put back in memory"
    for item in items:
        if type(item).__name__ != "IPyNbCell": continue
        item.cell.execution_count = item.cell.execution_count or 1
        if SKIPPED.search(item.cell.source): item.options["skip"] = True


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"home"))


@pytest.fixture
def real_data():
    "The folder of real data sets; a test that needs it is skipped where there is none"
    folder = os.environ.get("GENESIS_DATA")
    if not folder or not os.path.isdir(folder): pytest.skip("needs real data sets: set GENESIS_DATA to a folder that holds them")
    return folder
