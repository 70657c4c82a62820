"""Several processes: what two learn equals what one learns; they stop together, resume together, and end with a sentence when one dies."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
import pytest
import torch
from helpers import message_of
from genesis_course.data import Batches
from genesis_course.processes import processes, tree_map
from genesis_course.state import read_state

HERE = Path(__file__).parent
TOGETHER = ["same", "clipped", "list", "loader", "methods", "gan", "stable", "vaegan", "norm", "stops", "resumed", "refused", "thawed"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.distributed.is_available() or sys.platform == "win32", reason="needs torch.distributed with gloo")]


def start(folder, cases, *, launcher=()):
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"): quiet.pop(name, None)
    return subprocess.Popen([sys.executable, *launcher, str(HERE/"two.py"), str(folder), *cases], env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def finish(process, seconds=300):
    "What it printed; everything it started is ended when it takes too long"
    try: return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "All quiet cases, by one process and by two"
    folder = tmp_path_factory.mktemp("two")
    for launcher, cases in (((), ["same", "clipped", "list", "loader", "methods"]), (TORCHRUN, TOGETHER)):
        process = start(folder, cases, launcher=launcher)
        printed = finish(process)
        assert process.returncode == 0, printed
    def read(name): return json.loads((folder/f"{name}.json").read_text())
    read.printed = printed
    return read


def apart(a, b): return max((torch.tensor(a["weights"][name])-torch.tensor(b["weights"][name])).abs().max().item() for name in a["weights"])


@pytest.mark.parametrize("case", ["same", "clipped", "list", "loader", "methods"])
def test_two_processes_learn_what_one_learns(runs, case):
    "20 steps with the same global batches: Adam with a schedule, with clipping, from a list, from a shuffling DataLoader, with a loss that calls methods"
    one, two, other = runs(f"{case}-1-0"), runs(f"{case}-2-0"), runs(f"{case}-2-1")
    assert one["step"] == two["step"] == other["step"] == 20
    assert apart(one, two) < 1e-5 and apart(two, other) == 0


@pytest.mark.parametrize("case", ["gan", "stable", "vaegan", "norm", "stops"])
def test_processes_end_with_equal_weights_and_statistics(runs, case):
    "Players whose losses call each other's networks, batch norm, spectral norm, penalties by each one's own dice"
    two, other = runs(f"{case}-2-0"), runs(f"{case}-2-1")
    assert apart(two, other) == 0 and two["step"] == other["step"] >= 20
    averaged = [name for name in two["statistics"] if case != "stable" or name == "generator"]      # spectral norm's vectors follow from the weights
    for name in averaged: assert two["statistics"][name] == pytest.approx(other["statistics"][name], abs=1e-9)


def test_noise_differs_between_processes_and_the_first_rolls_as_one_alone_would(runs):
    one, two, other = (runs(f"same-{who}")["rolls"] for who in ("1-0", "2-0", "2-1"))
    assert one == two and not set(two) & set(other)


def test_curves_are_those_of_the_first_process_rows(runs):
    one, two, other = (runs(f"same-{who}")["history"]["loss"] for who in ("1-0", "2-0", "2-1"))
    halves = [(a+b)/2 for a, b in zip(two, other)]
    assert two != other and halves == pytest.approx(one, abs=1e-4)


def test_all_stop_after_the_same_step(runs):
    "A stop that only one process wants, and early stopping on a noisy loss"
    two, other = runs("stops-2-0"), runs("stops-2-1")
    assert two["asked"] == other["asked"] == 7
    assert two["valid"] == other["valid"] and two["step"] == other["step"] < 400


def test_a_resumed_run_of_two_equals_one_that_was_not_stopped(runs):
    for rank in (0, 1):
        run = runs(f"resumed-2-{rank}")
        assert run["weights"]["model"] == run["whole"] and run["step"] == 30


def test_only_the_first_process_speaks(runs): assert runs.printed.count("Stopped after step 15") == 1


def test_batches_that_cannot_be_shared_get_a_sentence(runs):
    for rank in (0, 1):
        uneven, last, listed = runs(f"refused-{rank}")
        assert "33 row" in uneven and "multiple of 2" in uneven
        assert "1 row" in last and "drop_last=True" in last
        assert "33 row" in listed and "2 processes" in listed


def test_layers_that_thaw_on_the_way_are_noticed(runs): assert "build a new one for each stage" in runs("thawed-0") and "'model'" in runs("thawed-1")


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_dies_the_other_says_so_and_the_checkpoint_is_whole(tmp_path, victim):
    process = start(tmp_path, [f"dies-{victim}"], launcher=TORCHRUN)
    printed = finish(process, 120)
    assert process.returncode != 0
    assert f"CourseError: Process {1-victim} of 2 ends after step" in printed and "last.safetensors held before is whole" in printed
    assert read_state(tmp_path/"last.safetensors")["step"] == 10


def test_ctrl_c_stops_both_after_the_same_step_and_saves(tmp_path):
    process = start(tmp_path, ["waits"], launcher=TORCHRUN)
    deadline = time.time()+120
    while not (tmp_path/"begun-1").exists() and time.time() < deadline and process.poll() is None: time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)                  # as a terminal does: to everything in the foreground
    printed = finish(process, 120)
    kept = read_state(tmp_path/"waits.safetensors")
    assert 5 <= kept["step"] < 4900, printed
    assert printed.count("Stopped after step") == 1
    ends = [json.loads((tmp_path/f"waits-2-{rank}.json").read_text()) for rank in (0, 1)]
    assert ends[0]["step"] == ends[1]["step"] == kept["step"] and apart(*ends) == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")
def test_no_thread_of_the_connections_outlives_the_training(tmp_path):
    "One that is still there when Python takes itself apart can abort the process"
    script = tmp_path/"leave.py"
    script.write_text("""import atexit
from pathlib import Path
atexit.register(lambda: print("left:", *sorted((task/"comm").read_text().strip() for task in Path("/proc/self/task").iterdir() if "gloo" in (task/"comm").read_text()), "end"))
from genesis_course.command import train
train("gan", steps=2, device="cpu", bar=False)
""")
    process = subprocess.Popen([sys.executable, *TORCHRUN, str(script)], env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=tmp_path)
    printed = finish(process)
    assert process.returncode == 0 and printed.count("left: end") == 2, printed


def test_parts_of_a_batch_are_the_batch():
    rows = Batches(torch.arange(40), torch.arange(40)*2, batch_size=12, drop_last=True)
    whole = list(rows)
    parts = []
    for k in range(3):
        rows.set_epoch(0, part=(k, 3))
        parts.append(list(rows))
    for number, (x, y) in enumerate(whole):
        assert sorted(torch.cat([part[number][0] for part in parts]).tolist()) == sorted(x.tolist())
        assert all(torch.equal(part[number][1], 2*part[number][0]) and len(part[number][0]) == 4 for part in parts)
    rows.set_epoch(0)
    assert len(next(iter(rows))[0]) == 12, "the part is forgotten after one epoch"


def test_parts_that_are_not_equal_are_refused():
    message_of(lambda: Batches(torch.arange(40), batch_size=10).set_epoch(0, part=(0, 3)), "10 row", "3 equal parts", "multiple of 3")
    message_of(lambda: Batches(torch.arange(41), batch_size=10).set_epoch(0, part=(0, 2)), "1 row", "drop_last=True")
    Batches(torch.arange(41), batch_size=10, drop_last=True).set_epoch(0, part=(1, 2))


def test_alone_there_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"): monkeypatch.delenv(name, raising=False)
    assert processes() == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert processes() == (3, 8)


def test_every_tensor_of_a_batch_is_changed():
    batch = {"x": (torch.ones(4), [torch.zeros(4), "text"]), "n": 3}
    halved = tree_map(batch, lambda tensor: tensor[::2])
    assert len(halved["x"][0]) == len(halved["x"][1][0]) == 2 and halved["x"][1][1] == "text" and halved["n"] == 3
