"""Chapter 21b: three ways of fine-tuning two networks, what moves and what a task keeps, runs that go on, the stored table, and what is said of bad input."""
import argparse
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
import pytest
import torch
from helpers import message_of
from genesis_course import command
from genesis_course.command import train
from genesis_course.finetune import task_state
from genesis_course.imagenet import imagenet_efficientnet
from genesis_course.processes import Steps
from genesis_course.recipes import RECIPES
from genesis_course.state import load_weights, read_state
from genesis_course.training import Trainer
from genesis_course.transfer import merge

ROOT, SOURCE = Path(__file__).parent.parent, argparse.__file__
WAYS = "full", "last", "lora"


def made(how, data=SOURCE, **more):
    torch.manual_seed(0)
    return RECIPES["finetune"](data=data, how=how, **{"size": 32} if data == "digits" else {}, **more)


def moved(experiment, steps=2):
    "Names of what differs after some steps"
    before = copy.deepcopy(experiment.module.state_dict())
    Trainer(experiment.players, device="cpu").fit(Steps(experiment.batches, steps))
    return [name for name, value in experiment.module.state_dict().items() if not torch.equal(value, before[name])], before


@pytest.mark.parametrize("data", [pytest.param(SOURCE, id="text"), pytest.param("digits", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", WAYS)
def test_what_may_move_moves_and_nothing_else(how, data):
    experiment = made(how, data)
    names, before = moved(experiment)
    if how == "full": assert names == [*before]
    last = ("blocks.1", "norm", "head") if data == SOURCE else ("body.7", "body.8", "head")
    if how == "last": assert names and all(name.startswith(last) for name in names)
    if how == "lora":
        assert not [name for name in names if name.endswith("original")] and any(name.endswith(".0.B") for name in names)
        assert any(name.startswith("head") for name in names) == (data == "digits"), "a new head learns, an old one does not"


@pytest.mark.parametrize("how", WAYS)
def test_every_way_begins_as_the_pretrained_network(how):
    ids = torch.arange(40)[None]
    weights, about = load_weights("transformer")
    fresh = made("full").module.eval()
    for name, value in fresh.state_dict().items(): assert torch.equal(value, weights[name].to(value)), name
    assert torch.equal(made(how).module.eval()(ids)[0], fresh(ids)[0])


@pytest.mark.parametrize("how", WAYS)
def test_what_a_task_keeps_is_all_that_it_needs(how):
    experiment, ids = made(how), torch.arange(40)[None]
    before = copy.deepcopy(made("full").module.state_dict())
    moved(experiment)
    kept = task_state(experiment.module, before)
    again = made(how).module
    missing, unknown = again.load_state_dict(kept, strict=False)
    assert not unknown and len(missing) + len(kept) == len(again.state_dict())
    # the random factor A of an adapter is drawn anew, so it has to be in the file
    assert torch.equal(again.eval()(ids)[0], experiment.module.eval()(ids)[0])
    if how == "lora": assert not [name for name in kept if name.endswith("original")]


def test_a_task_that_changed_nothing_keeps_nothing():
    network = made("full").module
    assert task_state(network, copy.deepcopy(network.state_dict())) == {}
    smaller = {name: value for name, value in network.state_dict().items() if name != "head.weight"}
    assert [*task_state(network, smaller)] == ["head.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(how, tmp_path, monkeypatch, capsys):
    quick = dict(data=SOURCE, how=how, steps=6, bar=False, device="cpu")
    train("finetune", out=tmp_path/"whole", **quick)
    class Press(command.RunConfig):
        def after_step(self, trainer):
            if trainer.step == 4: signal.raise_signal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(command, "RunConfig", type("RunConfig", (Press,), {}))
        assert train("finetune", out=tmp_path/"cut", **quick) is None
    assert "Stopped after step 4 of 6" in capsys.readouterr().out
    train("finetune", out=tmp_path/"cut", resume=True, **quick)
    ends = [read_state(tmp_path/folder/"checkpoint.safetensors")["players"]["model"] for folder in ("whole", "cut")]
    assert all(torch.equal(value, ends[1]["module"][name]) for name, value in ends[0]["module"].items())
    kept, about = load_weights(tmp_path/"cut"/"weights.safetensors")
    assert about["how"] == how and not [name for name in kept if "parametrizations" in name], "adapters are merged at the end"
    message_of(lambda: train("finetune", out=tmp_path/"cut", resume=True, **{**quick, "how": "last"}), f"how '{how}', not 'last'")


def test_merging_at_the_end_computes_the_same():
    experiment, ids = made("lora"), torch.arange(40)[None]
    moved(experiment)
    module = experiment.module.eval()
    beside = module(ids)[0]
    torch.testing.assert_close(merge(module)(ids)[0], beside, rtol=1e-4, atol=1e-4)


def test_batch_norms_of_the_photo_network_follow_a_few_steps():
    "Its own momentum, 0.01, would leave the running means where ImageNet had them"
    assert {layer.momentum for layer in made("full", "digits").module.modules() if hasattr(layer, "momentum")} == {0.1}
    assert {layer.momentum for layer in imagenet_efficientnet().modules() if hasattr(layer, "momentum")} == {0.01}


def test_unknown_characters_are_left_out_and_a_foreign_text_is_refused(tmp_path):
    text = "The quick brown fox. "*60
    (tmp_path/"some.txt").write_text(text+"中文", encoding="utf-8")
    assert "中" not in made("lora", str(tmp_path/"some.txt")).settings["vocabulary"]
    (tmp_path/"other.txt").write_text("学而时习之不亦说乎"*200, encoding="utf-8")
    message_of(lambda: made("lora", str(tmp_path/"other.txt")), "knows only 0 of the", "genesis train gpt")


@pytest.mark.parametrize("call, words", [
    (lambda: made("lorra"), ["lorra", "full, last, lora"]), (lambda: made("lora", rank=0), ["rank"]), (lambda: made("lora", rank=500), ["rank of 500"]),
    (lambda: train("cnn", how="lora", bar=False, out="nowhere"), ["cnn has no option 'how'"]),
    (lambda: task_state(3, {}), ["torch.nn.Module"]), (lambda: task_state(made("full").module, [1]), ["state dict"])])
def test_bad_input_gets_a_sentence(call, words): message_of(call, *words)


# The benchmarks

@pytest.mark.slow
def test_the_benchmark_of_a_card_runs_in_miniature(tmp_path):
    words = ["--only", "finetune", "--dry", "--out", str(tmp_path/"gpu.json")]
    room = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT/"benchmarks")]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(ROOT/"benchmarks"/"gpu.py"), *words], capture_output=True, text=True, timeout=300, env=room)
    assert done.returncode == 0, done.stdout+done.stderr
    result = json.loads((tmp_path/"gpu.json").read_text())
    assert result["did_not_run"] == {} and [row["what"] for row in result["table"]] == [f"{network}, {how}, float32" for network in ("photos", "text") for how in WAYS]
    assert all("weights learn" in row["reached"] and row["samples a second"] > 0 for row in result["table"])


def test_bf16_changes_products_and_no_weights(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/"benchmarks"))
    import finetune
    seen = {name: finetune.one_run({"data": SOURCE}, 2, "lora", 0, torch.device("cpu"), name, batch=4) for name in ("float32", "bf16")}
    assert seen["bf16"]["precision"] == "bf16" and seen["bf16"]["reached"] == pytest.approx(seen["float32"]["reached"], rel=0.02)
    assert [*seen["bf16"]] == [*seen["float32"]]


def test_the_page_shows_what_was_measured(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT/"benchmarks"))
    import finetune
    (tmp_path/"benchmarks").mkdir(), (tmp_path/"nbs").mkdir(), shutil.copytree(ROOT/"benchmarks"/"results", tmp_path/"benchmarks"/"results")
    monkeypatch.setattr(finetune, "RESULTS", tmp_path/"benchmarks"/"results")
    finetune.write_table()
    assert (tmp_path/"nbs"/"finetune.csv").read_text() == (ROOT/"nbs"/"finetune.csv").read_text()
