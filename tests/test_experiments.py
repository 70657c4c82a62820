"""Chapter 22: intervals, tests and searches against SciPy and their laws; a search that is killed, shared, refused; records of runs."""
import csv
import itertools
import json
import math
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
import numpy as np
import pytest
import torch
from torch import nn
from helpers import message_of
from genesis_course import experiments, recipes
from genesis_course.data import Batches, load_images
from genesis_course.experiments import best_of, bootstrap_interval, digits_trial, fingerprint, power, random_search, run_record, sign_flip_test, three_parts
from genesis_course.pages import table_of
from genesis_course.recipes import Experiment
from genesis_course.training import Player
stats = pytest.importorskip("scipy.stats")
ROOT = Path(__file__).parent.parent
ROWS = [[3.1, 2.9, 3.7], [0., 0., 9.], [1.5, 2.25, 0.5, 3., 2., 1.75, 9.]]


# Intervals

@pytest.mark.parametrize("values", [*ROWS, torch.randn(30, generator=torch.Generator().manual_seed(1)).tolist()])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_bootstrap_agrees_with_scipy(values, level):
    mine = bootstrap_interval(values, level, count=40_000)
    theirs = stats.bootstrap((values,), np.mean, confidence_level=level, n_resamples=40_000, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    assert mine == pytest.approx(tuple(theirs), abs=0.03*max(1e-3, float(np.std(values))))


def test_a_bootstrap_interval_moves_and_stretches_with_its_numbers():
    values = torch.tensor(ROWS[2], dtype=torch.float64)
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(3*values+1) == pytest.approx((3*low+1, 3*high+1)) and values.min() <= low < values.mean() < high <= values.max()
    narrow = bootstrap_interval(values, 0.5)
    assert low <= narrow[0] <= narrow[1] <= high and bootstrap_interval(values) == (low, high), "the same seed, the same interval"


# Tests

@pytest.mark.parametrize("differences", [[1., 2., 3.], [2., 0.5, -1., 4.], [-3., -1., 0.25, -2., 1., -5.], [0.5]*8])
def test_flipping_signs_agrees_with_scipy(differences):
    theirs = stats.permutation_test((np.array(differences),), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_test(differences) == pytest.approx(theirs)
    assert sign_flip_test([-each for each in differences]) == pytest.approx(theirs), "both directions count alike"


def test_no_test_of_n_pairs_goes_below_its_smallest_p():
    for n in range(1, 10): assert sign_flip_test(torch.rand(n)+1) == pytest.approx(2/2**n)
    assert sign_flip_test([0., 0.]) == 1


def test_random_patterns_come_near_all_patterns_and_never_reach_0():
    values = torch.randn(12, generator=torch.Generator().manual_seed(0))+0.5
    assert sign_flip_test(values, count=2000) == pytest.approx(sign_flip_test(values), abs=0.03)
    assert sign_flip_test([1.]*40, count=100) >= 1/100


def test_without_an_effect_the_test_is_wrong_as_often_as_it_says():
    rng = torch.Generator().manual_seed(0)
    found = [sign_flip_test(torch.randn(8, generator=rng)) <= 0.05 for _ in range(600)]
    assert 0.02 < sum(found)/600 < 0.08


@pytest.mark.parametrize("effect, seeds", [(0.5, 3), (1., 5), (2., 3), (0.3, 20), (0., 4)])
def test_power_agrees_with_the_noncentral_t(effect, seeds):
    bar, centre = stats.t.ppf(0.975, seeds-1), effect*seeds**0.5
    exact = stats.nct.sf(bar, seeds-1, centre) + stats.nct.cdf(-bar, seeds-1, centre) if effect else 0.05
    assert power(3*effect, 3., seeds, plays=20_000) == pytest.approx(exact, abs=0.015)


# Searches

def test_the_best_of_n_is_the_mean_over_all_draws():
    values = [5., 3., 4., 3., 8.]
    for n in (1, 2, 3): assert best_of(values, n) == pytest.approx(np.mean([min(draw) for draw in itertools.product(values, repeat=n)]))
    assert best_of(values, 1) == pytest.approx(np.mean(values)) and best_of(values, 500) == pytest.approx(3.)


def test_random_search_draws_evenly_in_logarithms_and_sorts():
    tried = random_search(lambda rate, width: abs(math.log(rate/0.01))+width, {"rate": (1e-4, 1.), "width": (2., 8.)}, 400)
    scores = [score for score, _ in tried]
    assert scores == sorted(scores) and len(tried) == 400
    for name, (low, high) in {"rate": (1e-4, 1.), "width": (2., 8.)}.items():
        places = [math.log(settings[name]/low)/math.log(high/low) for _, settings in tried]
        assert stats.kstest(places, "uniform").pvalue > 0.01
    few = random_search(lambda rate: rate, {"rate": (1., 2.)}, 5, seed=3)
    assert few == random_search(lambda rate: rate, {"rate": (1., 2.)}, 5, seed=3) != random_search(lambda rate: rate, {"rate": (1., 2.)}, 5, seed=4)


# Trials and their table

@pytest.mark.slow
def test_a_tiny_change_of_the_first_weights_moves_the_result_like_a_seed(monkeypatch):
    "What the chapter says of other processors"
    class Nudged(experiments.Generator):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            with torch.no_grad():
                for weights in self.parameters(): weights.mul_(1+1e-7)
    usual = [digits_trial(0.01, seed=seed)[0] for seed in range(3)]
    monkeypatch.setattr(experiments, "Generator", Nudged)
    assert max(abs(digits_trial(0.01, seed=seed)[0]-value) for seed, value in enumerate(usual)) > 0.1


def test_the_parts_share_no_digit_and_hold_all():
    parts = [{image.numpy().tobytes() for image in part.images} for part in three_parts()]
    assert [len(part) for part in three_parts()] == [1197, 300, 300]
    everything = {image.numpy().tobytes() for image in load_images("digits", "all").images}
    assert parts[0] | parts[1] | parts[2] == everything
    assert len(parts[0] & parts[2]) <= 2 and len(parts[1] & parts[2]) <= 2, "but for twins in the data"


@pytest.mark.slow
def test_a_trial_repeats_and_looking_changes_nothing():
    seen = []
    first = digits_trial(0.01, 1., seed=3, epochs=4, look=lambda epoch, fid: seen.append(epoch))
    assert first == digits_trial(0.01, 1., seed=3, epochs=4) != digits_trial(0.01, 1., seed=4, epochs=4) and seen == [2]


def stored(): return list(csv.DictReader((ROOT/"nbs"/"experiments.csv").open(encoding="utf-8")))


def test_the_stored_runs_are_those_of_the_benchmark():
    runs, kept = stored(), json.loads((ROOT/"benchmarks"/"results"/"experiments.json").read_text(encoding="utf-8"))
    assert runs == table_of("experiments.csv")
    for row in kept["table"]:
        mine = [float(run["test"]) for run in runs if (run["stage"], run["side"]) == (row["stage"], row["side"])]
        assert len(mine) == row["runs"] and round(float(np.mean(mine)), 2) == row["FID to the test part, mean"] and min(mine) == row["best"]
    for stage in ("first", "winner"):
        sides = [[run["seed"] for run in runs if (run["stage"], run["side"]) == (stage, side)] for side in ("plain", "R1")]
        assert sides[0] == sides[1] and len(set(sides[0])) == len(sides[0]) == 40, "the same seeds on both sides, each once"
    for side in ("plain", "R1"):
        searched = [run for run in runs if (run["stage"], run["side"]) == ("search", side)]
        best, winner = min(searched, key=lambda run: float(run["valid"])), next(run for run in runs if (run["stage"], run["side"]) == ("winner", side))
        assert len(searched) == 60 and (best["rate"], best["gamma"]) == (winner["rate"], winner["gamma"]), "validation has chosen"


@pytest.mark.slow
def test_a_stored_run_can_be_made_again():
    "On other processors rounding differs, and a game amplifies it; so the bar is what another seed may do"
    run = next(run for run in stored() if run["stage"] == "winner")
    assert digits_trial(float(run["rate"]), float(run["gamma"]), int(run["seed"]))[1] == pytest.approx(float(run["test"]), abs=2.)


# Records

def test_a_fingerprint_changes_with_everything():
    x = torch.arange(6)
    seen = [fingerprint(value) for value in (x, x.view(2, 3), x.float(), x.flip(0), b"abc", b"abd", load_images("digits"), load_images("digits", "test"))]
    assert len(set(seen)) == len(seen) and fingerprint(x.clone()) == seen[0] and fingerprint(x.view(3, 2).T.contiguous().T) == fingerprint(x.view(3, 2))


def test_a_record_says_what_made_the_result(tmp_path, monkeypatch):
    record = run_record({"lr": 0.1}, torch.ones(2), range(3), {"FID": [3.]}, tmp_path/"run.json")
    assert json.loads((tmp_path/"run.json").read_text()) == record and record["seeds"] == [0, 1, 2]
    if (ROOT/".git").exists() and shutil.which("git"):
        monkeypatch.chdir(ROOT)
        assert len(run_record({})["code"]["commit"]) == 40 and run_record({})["code"]["changed since"] in (True, False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_record({})["code"]["commit"] is None, "a machine without git still gets a record"


@pytest.mark.parametrize("call, words", [
    (lambda: bootstrap_interval([1.]), "2 numbers"), (lambda: bootstrap_interval([1., math.nan]), "how many failed"), (lambda: bootstrap_interval([1., 2.], level=1.), "below 1"),
    (lambda: bootstrap_interval("12"), "a row"), (lambda: bootstrap_interval([[1., 2.]]), "a row"), (lambda: bootstrap_interval([1., 2.], count=0), "count"),
    (lambda: sign_flip_test([]), "one number"), (lambda: sign_flip_test(None), "a row"), (lambda: power(1., 0., 3), "spread"), (lambda: power(1., 1., 1), "seeds"), (lambda: power("1", 1., 3), "effect"),
    (lambda: best_of([], 1), "one number"), (lambda: best_of([1.], 0), "n:"), (lambda: random_search(3, {"a": (1, 2)}, 1), "score"), (lambda: random_search(abs, {}, 1), "space"),
    (lambda: random_search(abs, {"a": (2, 1)}, 1), "smaller end"), (lambda: random_search(abs, {"a": (0, 1)}, 1), "above 0"), (lambda: random_search(abs, {"a": 3}, 1), "pair"),
    (lambda: digits_trial(0.), "rate"), (lambda: digits_trial(0.1, -1.), "gamma"), (lambda: digits_trial(0.1, look=3), "look"), (lambda: digits_trial(0.1, seed=-1), "seed"),
    (lambda: fingerprint("text"), "fingerprint"), (lambda: run_record([1]), "settings"), (lambda: run_record({"x": torch.ones(1)}), "tolist"), (lambda: run_record({}, path=""), ""),
])
def test_what_is_refused_is_refused_in_a_sentence(call, words): message_of(call, words)


# `genesis search`

optuna = pytest.importorskip("optuna", reason="needs the extra: pip install genesis_course[search]")
from genesis_course import search as room  # noqa: E402
from genesis_course.search import open_study, rows_of, search  # noqa: E402

TOY = """
import math, os, time, torch
from torch import nn
from genesis_course.data import Batches
from genesis_course.recipes import RECIPES, Experiment
from genesis_course.support import CourseError
from genesis_course.training import Player
calls = []
def toy(data="digits", seed=0, batch=8, lr=0.01, size=None, device=None):
    "A recipe whose measure is known: how far the rate lies from 0.02"
    calls.append(lr)
    time.sleep(60 if len(calls) == int(os.environ.get("TOY_HANGS_AT", 0)) else float(os.environ.get("TOY_SECONDS", 0)))
    if 0 < lr < float(os.environ.get("TOY_FAILS_BELOW", 0)): raise CourseError("too small for this toy")
    model = nn.Linear(1, 1)
    player = Player(model, lambda module, rows: module(rows[0]).square().mean(), lr=lr)
    return Experiment([player], Batches(torch.ones(16, 1), batch_size=batch, device=device), model, {}, lambda: {"distance": abs(math.log(lr/0.02)) + 0.001*batch})
RECIPES["toy"] = toy
"""


@pytest.fixture
def toy(monkeypatch):
    names = {}
    monkeypatch.setattr(recipes, "RECIPES", recipes.RECIPES)
    exec(TOY, names)
    yield names["toy"]
    recipes.RECIPES.pop("toy", None)


def quiet(**settings): return search("toy", **{"steps": 2, "trials": 4, "repeats": 1, "device": "cpu", "say": lambda line: None, **settings})


def shell(*words, **environment):
    "`genesis search toy …` in a process of its own"
    return subprocess.Popen([sys.executable, "-c", TOY+"\nfrom genesis_course.cli import main\nmain()", "search", "toy", "--steps", "2", "--device", "cpu", *words],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200", **environment})


def states(folder, name="toy"): return [trial.state.name for trial in optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/search.db").trials]


def test_a_search_leaves_a_table_a_plot_and_a_record(tmp_path, toy):
    lines = []
    found = quiet(out=tmp_path/"run", trials=6, repeats=2, say=lines.append)
    rows = list(csv.DictReader((tmp_path/"run"/"trials.csv").open()))
    assert [row["state"] for row in rows] == ["done"]*6 and float(rows[0]["lr"]) == 0.01 and rows[0]["batch"] == "8", "the recipe as it is comes first"
    assert (tmp_path/"run"/"search.png").read_bytes().startswith(b"\x89PNG") and (tmp_path/"run"/"trials.md").read_text().count("\n") == 8
    best = min(rows, key=lambda row: float(row["measure"]))
    assert found["best"]["trial"] == int(best["trial"]) and len(found["fresh"]["best of the search"]) == 2
    record = json.loads((tmp_path/"run"/"search.json").read_text())
    assert record["results"] == found and record["seeds"] == found["fresh seeds"] and not set(found["fresh seeds"]) & set(range(6)), "fresh seeds are no seeds of the search"
    assert "6 of 6" in "\n".join(lines)


def test_a_search_in_pieces_is_the_search_in_one(tmp_path, toy):
    for trials in (2, 3, 5): quiet(out=tmp_path/"pieces", trials=trials, resume=trials > 2)
    quiet(out=tmp_path/"whole", trials=5)
    pieces, whole = ([(trial.params, trial.value) for trial in optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path/name}/search.db").trials] for name in ("pieces", "whole"))
    assert pieces == whole


def test_a_trial_that_fails_is_kept_with_its_sentence_and_the_search_goes_on(tmp_path, toy, monkeypatch):
    monkeypatch.setenv("TOY_FAILS_BELOW", "0.009")
    quiet(out=tmp_path, trials=8)
    rows = list(csv.DictReader((tmp_path/"trials.csv").open()))
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed and all(row["why"] == "too small for this toy" for row in failed) and len(rows) == 8


def test_a_study_that_exists_is_not_touched(tmp_path, toy):
    quiet(out=tmp_path, trials=2)
    before = [(trial.number, trial.value) for trial in optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/search.db").trials]
    message_of(lambda: quiet(out=tmp_path), "already", "--resume", "--study")
    message_of(lambda: quiet(out=tmp_path, resume=True, steps=3), "steps 2, not 3")
    message_of(lambda: quiet(out=tmp_path, resume=True, study="other"), "no study 'other'", "toy")
    after = [(trial.number, trial.value) for trial in optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/search.db").trials]
    assert before == after
    quiet(out=tmp_path, study="other", trials=1)
    assert states(tmp_path, "other") == ["COMPLETE"] and len(states(tmp_path)) == 2, "two studies in one database"


@pytest.mark.parametrize("content", [b"this is no database"*100, b"SQLite format 3\0"+b"\1"*3000])
def test_a_broken_database_is_named_and_left_as_it_is(tmp_path, toy, content):
    (tmp_path/"search.db").write_bytes(content)
    for resume in (False, True): message_of(lambda: quiet(out=tmp_path, resume=resume), "cannot be used", "left as it is")
    assert (tmp_path/"search.db").read_bytes() == content


@pytest.mark.parametrize("settings, words", [(dict(resume=True), "could be resumed"), (dict(storage="nonsense://host/x"), "cannot be used"), (dict(trials=0), "trials"), (dict(steps=-1), "steps"),
                                             (dict(repeats=-1), "repeats"), (dict(seed=-1), "seed"), (dict(device="cuda:99"), "")])
def test_what_a_search_refuses_leaves_nothing_behind(tmp_path, toy, settings, words):
    message_of(lambda: quiet(out=tmp_path/"new", **settings), words)
    assert not (tmp_path/"new"/"search.db").exists()


def test_a_search_by_nothing_and_without_optuna_is_refused(tmp_path, toy, monkeypatch):
    message_of(lambda: search("gna", out=tmp_path/"new"), "gan")
    recipes.RECIPES["mute"] = lambda data="digits", seed=0, batch=8, lr=0.01, size=None, device=None: Experiment(**{**vars(toy()), "measure": dict})
    try: message_of(lambda: search("mute", out=tmp_path/"new", device="cpu"), "measures nothing")
    finally: recipes.RECIPES.pop("mute")
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    message_of(lambda: quiet(out=tmp_path/"new"), "genesis_course[search]")
    assert not (tmp_path/"new").exists()


def test_a_password_is_not_told(tmp_path, toy):
    message = message_of(lambda: quiet(out=tmp_path/"new", storage="postgresql://me:secret@nowhere.invalid/x"))
    assert "secret" not in message and "nowhere.invalid" in message


@pytest.mark.parametrize("recipe", ["cnn", "vae", "gan", "flow", "genesis"])
def test_a_search_never_sees_the_test_part(recipe):
    "The images set aside for it come from the training part"
    learn, aside = recipes._two_parts("digits", None, 0, valid=True)
    whole, test = recipes._two_parts("digits", None, 0)
    assert len(learn)+len(aside) == len(whole) == 1437 and len(test) == 360
    def those(images): return {image.numpy().tobytes() for image in images.images}
    assert those(learn) | those(aside) == those(whole) and len(those(aside) & those(test)) <= 2
    assert "valid" in recipes.RECIPES[recipe].__code__.co_varnames


@pytest.mark.slow
def test_a_search_killed_in_the_middle_of_a_trial_goes_on(tmp_path):
    first = shell("--trials", "50", "--out", str(tmp_path), TOY_HANGS_AT="5")           # one call finds out what it measures, three trials end
    deadline = time.monotonic()+120
    while time.monotonic() < deadline and not ((tmp_path/"trials.csv").exists() and states(tmp_path) == ["COMPLETE"]*3+["RUNNING"]): time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = states(tmp_path)
    assert before == ["COMPLETE"]*3+["RUNNING"]
    again = shell("--trials", "50", "--out", str(tmp_path))
    assert "already" in again.communicate()[0] and again.returncode == 1 and states(tmp_path) == before
    ended = before.count("COMPLETE")+3
    second = shell("--trials", str(ended), "--out", str(tmp_path), "--resume", "--repeats", "1")
    told = second.communicate()[0]
    assert second.returncode == 0 and states(tmp_path)[:len(before)] == before and states(tmp_path).count("COMPLETE") == ended, told
    rows = list(csv.DictReader((tmp_path/"trials.csv").open()))
    assert [row["state"] for row in rows].count("not ended") == 1 and "fresh seeds" in told


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path, toy):
    quiet(trials=1, out=tmp_path, repeats=0)
    two = [shell("--trials", "12", "--out", str(tmp_path), "--resume", "--repeats", "0", TOY_SECONDS="0.05") for _ in range(2)]
    told = [each.communicate()[0] for each in two]
    assert [each.returncode for each in two] == [0, 0], told
    trials = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/search.db").trials
    assert [trial.number for trial in trials] == list(range(len(trials))) and 12 <= len(trials) <= 13 and {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len({trial.params["lr"] for trial in trials}) == len(trials), "no setting was tried twice"
    assert all(" of 12" in each for each in told), "both have worked"


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def postgres():
    "The address of a server of PostgreSQL that lives as long as the test; skipped where there is none, or no driver for it"
    pytest.importorskip("psycopg2", reason="needs a driver: pip install psycopg2-binary")
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None) or (Path(found).parent if (found := shutil.which("initdb")) else None)
    if programs is None or not (programs/"initdb").exists(): pytest.skip("needs PostgreSQL")
    import tempfile
    folder, user = Path(tempfile.mkdtemp(prefix="pg")), {}
    if os.geteuid() == 0:                    # it refuses to run as root
        try: other = pwd.getpwnam("postgres")
        except KeyError: pytest.skip("needs a user besides root")
        os.chown(folder, other.pw_uid, other.pw_gid)
        user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    def call(*words): return subprocess.run([str(programs/words[0]), *map(str, words[1:])], cwd=folder, capture_output=True, text=True, timeout=120, check=True, **user)
    port = unused_port()
    call("initdb", "-D", folder/"data", "-U", "course", "-A", "trust", "--no-sync")
    server = subprocess.Popen([str(programs/"postgres"), "-D", str(folder/"data"), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                              cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
    try:
        deadline = time.monotonic()+60
        while subprocess.run([str(programs/"pg_isready"), "-h", "127.0.0.1", "-p", str(port)], capture_output=True).returncode and time.monotonic() < deadline: time.sleep(0.2)
        yield f"postgresql+psycopg2://course@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)          # at once, whoever is still connected
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_two_machines_share_a_study_through_a_server(tmp_path, toy, postgres):
    "Two processes with folders of their own stand for two machines; all they share is the address"
    quiet(trials=1, out=tmp_path/"one", storage=postgres, repeats=0)
    two = [shell("--trials", "8", "--out", str(tmp_path/name), "--storage", postgres, "--resume", "--repeats", "0") for name in ("one", "two")]
    told = [each.communicate()[0] for each in two]
    assert [each.returncode for each in two] == [0, 0], told
    study = open_study("toy", postgres, {}, resume=True)
    assert [row["state"] for row in rows_of(study)].count("done") >= 8 and not (tmp_path/"one"/"search.db").exists()
    assert all((tmp_path/name/"trials.csv").exists() for name in ("one", "two"))
