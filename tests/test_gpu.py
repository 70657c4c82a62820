"""Chapter 21: memory against a count, microbatches and recomputing against the whole batch, the ring against a simulation, recipes that resume, and what is said of bad input."""
import json
import math
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import message_of
from genesis_course import command, gan, recipes, terminal, vae
from genesis_course.muon import Muon
from genesis_course.command import Progress, TensorBoard, train
from genesis_course.data import Batches, digits_set
from genesis_course.gpu import (AccumulatingTrainer, ActivationCheckpoint, activation_bytes, compiled, find_device, find_precision, matrix_rate,
                                memory_needed, memory_used, microbatch_losses, profile_operations, ring_bytes, seconds_of, states_per_weight,
                                step_seconds, synchronize)
from genesis_course.optim import Momentum
from genesis_course.recipes import RECIPES
from genesis_course.processes import Steps
from genesis_course.state import load_weights, read_state, write_state
from genesis_course.terminal import enough_cards, launch, quiet_stderr
from genesis_course.training import Player, Trainer

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
DIGITS = digits_set("train")


def reader(width=32): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.GELU(), nn.Linear(width, 10))
def loss(module, batch): return F.cross_entropy(module(batch[0]), batch[1])
def batches(**settings): return Batches(DIGITS[:200], **{"batch_size": 50, **settings})
def player(seed=0, **settings):
    torch.manual_seed(seed)
    return Player(reader(), **{"loss": loss, **settings})
def weights(trainer): return torch.cat([p.detach().flatten() for player in trainer.players for p in player.module.parameters()])
def first_batch(rows=64): return next(iter(Batches(DIGITS, batch_size=rows, shuffle=False)))


# Stopwatch and rates

@pytest.mark.alone
def test_seconds_count_the_work_and_not_the_waiting():
    short, long = (seconds_of(lambda: sum(range(count)), CPU, 0.01) for count in (20_000, 200_000))
    assert 4 < long/short < 25
    assert seconds_of(lambda: time.sleep(0.02), CPU, 0.0005) < 0.01, "sleeping is not computing"

def test_waiting_is_for_the_device_that_computes(monkeypatch):
    "Of several cards the one that is asked for, not the current one; a processor needs no waiting"
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cuda:1", "cpu", "mps"): synchronize(torch.device(name))
    assert waited == [torch.device("cuda", 1), "mps"]

def test_rate_of_a_product():
    assert matrix_rate(64, device="cpu") > 1e7 and matrix_rate(32, torch.bfloat16, "cpu") > 1e5
    message_of(lambda: matrix_rate(0), "side")
    message_of(lambda: matrix_rate("8"), "side", "quotation marks")


# Devices and precisions

def test_devices_that_are_not_there():
    assert find_device("cpu") == CPU and find_device("auto").type in ("cpu", "cuda", "mps")
    message_of(lambda: find_device("cuda:7"), "'cuda:7'", "cpu", "auto")
    message_of(lambda: find_device("gpu"), "'gpu'")

def test_precisions_that_a_device_lacks(monkeypatch):
    assert (find_precision("fp32", CPU), find_precision("bf16", CPU)) == (None, "bf16-mixed")
    message_of(lambda: find_precision("fp16", CPU), "graphics cards", "bf16")
    message_of(lambda: find_precision("fp16", torch.device("mps")), "on mps take bf16")
    message_of(lambda: find_precision("tf32", CPU), "2020", "bf16 or fp32")
    message_of(lambda: find_precision("bf61", CPU), "Did you mean 'bf16'?", "fp32, tf32, bf16, fp16")
    card = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    message_of(lambda: find_precision("bf16", card), "compute capability 8", "fp16 or fp32")
    assert find_precision("fp16", card) == "16-mixed"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert find_precision("bf16", card) == "bf16-mixed" and find_precision("tf32", card) is None and torch.get_float32_matmul_precision() == "high"
    find_precision("fp32", card)
    assert torch.get_float32_matmul_precision() == "highest"

def test_without_a_compiler_the_function_comes_back(monkeypatch):
    def refuse(function):
        def run(*arguments): raise RuntimeError("No working C++ compiler found\nand a page more")
        return run
    monkeypatch.setattr(torch, "compile", refuse)
    function, bill = compiled(torch.sin, torch.ones(3))
    assert function is torch.sin and bill == {"why": "No working C++ compiler found"}


# Memory

def test_activations_of_a_stack_are_what_one_counts_by_hand():
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    square = Player(model, lambda module, batch: module(batch[0]).square().sum())
    assert activation_bytes(square, (torch.randn(8, 10),)) == 4*8*(20+5)      # what ReLU returns and the last layer reads, and what is squared
    assert activation_bytes(square, (torch.randn(24, 10),)) == 3*4*8*(20+5)

@pytest.mark.parametrize("optimizer, extra, states", [(torch.optim.SGD, {}, 0), (torch.optim.SGD, {"momentum": 0.9}, 1), (torch.optim.Adam, {}, 2), (torch.optim.AdamW, {}, 2),
                                                     (Momentum, {}, 1), (Muon, {}, 1)])
def test_estimated_memory_is_what_a_step_takes(optimizer, extra, states):
    one, batch = player(optimizer=optimizer, **extra), first_batch()
    before = [value.clone() for value in one.module.state_dict().values()]
    needed, used = memory_needed(one, batch), memory_used(one, batch)
    assert needed == used and states_per_weight(one.optimizer) == states and needed["optimiser"] == states*needed["weights"]
    assert all(torch.equal(a, b) for a, b in zip(before, one.module.state_dict().values())) and not one.optimizer.state and all(p.grad is None for p in one.module.parameters())

def test_frozen_layers_need_no_gradient():
    one = player()
    one.module[1].requires_grad_(False)
    needed, used = memory_needed(one, first_batch()), memory_used(one, first_batch())
    assert needed == used and needed["gradients"] == 4*(32*10+10) < needed["weights"]

def gradient(microbatches, seed=0, rows=50):
    one = player(seed)
    for part in microbatch_losses(Trainer(one, device="cpu"), one, first_batch(rows), microbatches): part.backward()
    return torch.cat([p.grad.flatten() for p in one.module.parameters()])

@given(microbatches=st.integers(2, 60), seed=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_microbatches_have_the_gradient_of_the_whole_batch(microbatches, seed): assert (gradient(microbatches, seed)-gradient(1, seed)).abs().max() < 1e-6

def test_microbatches_log_what_the_whole_batch_would():
    def both(module, batch): return {"loss": loss(module, batch), "share": (module(batch[0]).argmax(1) == batch[1]).float().mean()}
    whole, cut = (AccumulatingTrainer(player(loss=both), device="cpu", microbatches=microbatches).fit(batches(batch_size=60), 2) for microbatches in (1, 7))
    for name in ("loss", "share"): assert [v for _, v in whole.history[name]] == pytest.approx([v for _, v in cut.history[name]], abs=1e-4)
    assert [s for s, _ in whole.history["loss"]] == [s for s, _ in cut.history["loss"]]

def test_each_player_of_a_gan_takes_its_turn_in_microbatches():
    torch.manual_seed(0)
    trainer = AccumulatingTrainer(gan.gan_players(gan.Generator(4, 8, 16), gan.Discriminator(8, 16), 4), device="cpu", microbatches=3).fit(batches())
    assert trainer.step == 4 and set(trainer.history) == {"discriminator loss", "discriminator real logit", "discriminator fake logit", "generator loss"}

def full_at(rows, asked=None):
    def small(module, batch):
        if asked is not None: asked.append(len(batch[0]))
        if len(batch[0]) > rows: raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loss(module, batch)
    return small

@pytest.mark.parametrize("rows, microbatches", [(30, 2), (13, 4), (1, 64)])
def test_memory_that_runs_out_leads_to_more_microbatches_and_the_same_weights(rows, microbatches, capsys):
    asked = []
    fitted = AccumulatingTrainer(player(loss=full_at(rows, asked), optimizer=torch.optim.SGD, lr=0.1), device="cpu", fit_memory=True).fit(batches(), 2)
    whole = Trainer(player(optimizer=torch.optim.SGD, lr=0.1), device="cpu").fit(batches(), 2)
    assert (weights(fitted)-weights(whole)).abs().max() < 1e-6 and fitted.microbatches == microbatches and asked[0] == 50
    assert f"computed in {microbatches} microbatches from step 1 on" in capsys.readouterr().out

def test_memory_that_runs_out_in_the_middle_of_a_gradient_is_no_harm():
    "The second piece fails after the first has left its gradient"
    calls = []
    def second_fails(module, batch):
        calls.append(len(batch[0]))
        if len(calls) == 3: raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        if len(batch[0]) == 50: raise MemoryError()
        return loss(module, batch)
    fitted = AccumulatingTrainer(player(loss=second_fails, optimizer=torch.optim.SGD, lr=0.1), device="cpu", fit_memory=True).fit(batches(), 1)
    whole = Trainer(player(optimizer=torch.optim.SGD, lr=0.1), device="cpu").fit(batches(), 1)
    assert fitted.microbatches == 4 and (weights(fitted)-weights(whole)).abs().max() < 1e-6

def test_no_memory_gets_a_sentence_with_the_knob():
    message_of(lambda: Trainer(player(loss=full_at(10)), device="cpu").fit(batches()), "not enough memory on cpu for step 1", "Halve the batch size", "bf16-mixed")
    message_of(lambda: AccumulatingTrainer(player(loss=full_at(10)), device="cpu", microbatches=2).fit(batches()), "Halve the batch size")
    message_of(lambda: AccumulatingTrainer(player(loss=full_at(0)), device="cpu", fit_memory=True).fit(batches()), "Halve the batch size")
    with pytest.raises(RuntimeError, match="something else"):
        def fails(module, batch): raise RuntimeError("something else")
        AccumulatingTrainer(player(loss=fails), device="cpu", fit_memory=True).fit(batches())

def test_microbatches_that_are_none():
    message_of(lambda: AccumulatingTrainer(player(), microbatches=0), "microbatches")
    message_of(lambda: AccumulatingTrainer(player(), microbatches="2"), "microbatches", "quotation marks")

def test_several_processes_do_not_cut_each_for_itself(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message_of(lambda: AccumulatingTrainer(player(), fit_memory=True), "microbatches yourself")

def test_recomputing_changes_nothing_but_memory():
    "Also with dropout, whose dice are thrown a second time alike"
    def deep(recompute):
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.GELU()) for _ in range(5)]
        return Player(nn.Sequential(nn.Flatten(), *(map(ActivationCheckpoint, blocks) if recompute else blocks), nn.Linear(64, 10)), loss)
    runs, sizes = [], []
    for recompute in (False, True):
        one = deep(recompute)
        sizes.append(activation_bytes(one, first_batch()))
        torch.manual_seed(1)
        runs.append(weights(Trainer(one, device="cpu").fit(batches(), 2)))
    assert torch.equal(*runs) and sizes[0] > 2.5*sizes[1]

def test_a_profile_names_the_work():
    a = torch.randn(400, 400)
    spots = profile_operations(lambda: [a @ a for _ in range(3)], CPU)
    assert spots[0][:2] == ("aten::mm", 3) and spots[0][2] > 0.5 and sum(share for *_, share in spots) <= 1.0001

def test_a_profile_holds_operations_only():
    "On a machine with a card also a wait for it is a row, and everywhere a note that an optimiser is at work"
    one, batch = player(), first_batch()
    spots = profile_operations(lambda: one.step(loss(one.module, batch)), CPU, top=100)
    assert {"aten::addmm", "aten::mm"} <= {name for name, *_ in spots} and all(name.startswith("aten::") for name, *_ in spots)
    assert sum(share for *_, share in spots) == pytest.approx(1)


# The ring

def simulated_ring(workers, size):
    "A ring all-reduce with real numbers: the result of every worker, and the numbers that each has sent"
    values = torch.arange(float(workers*size)).view(workers, size).clone()
    expected, sent = values.mean(0), [0]*workers
    microbatches = [list(value.tensor_split(workers)) for value in values]
    for turn in range(2*(workers-1)):
        moves = []
        for k in range(workers):
            number = (k-turn) % workers if turn < workers-1 else (k+1-(turn-workers+1)) % workers
            moves.append((k, number, microbatches[k][number].clone()))
            sent[k] += len(moves[-1][2])
        for k, number, piece in moves:
            to = (k+1) % workers
            microbatches[to][number] = microbatches[to][number]+piece if turn < workers-1 else piece
    return [torch.cat(piece)/workers for piece in microbatches], expected, sent

@pytest.mark.parametrize("workers", [2, 3, 4, 8])
def test_a_ring_that_is_played_through_sends_what_the_formula_says(workers):
    results, expected, sent = simulated_ring(workers, 24*workers)
    assert all(torch.allclose(result, expected) for result in results)
    assert set(sent) == {round(ring_bytes(24*workers, workers))}

def test_costs_of_a_step():
    assert ring_bytes(100, 1) == 0 and step_seconds(1, 0.3, 1e9, 1.) == 0.3
    assert all(ring_bytes(100, n) < ring_bytes(100, n+1) < 200 for n in range(1, 50))
    assert step_seconds(4, 0.3, 4e8, 1e9) == pytest.approx(0.3/4+1.5*4e8/1e9+6*2e-5)
    message_of(lambda: ring_bytes(100, 0), "workers")
    message_of(lambda: step_seconds(2, 0.3, 1, 0), "bandwidth")


# Scripts in processes

@pytest.mark.slow
def test_a_script_that_fails_or_hangs_gets_a_sentence():
    assert "hello 3" in launch("import sys\nprint('hello', sys.argv[1])", 1, 3)
    message_of(lambda: launch("import math\nmath.sqrt(-1)", 1), "The script failed: ValueError: ")
    message_of(lambda: launch("import time\ntime.sleep(60)", 1, seconds=2), "2 seconds")
    message_of(lambda: launch("", 0), "count")

@pytest.mark.skipif(os.name != "posix", reason="asks for processes by their number")
@pytest.mark.slow
def test_workers_of_a_script_that_hangs_are_ended(tmp_path, monkeypatch):
    "The time is up as soon as both workers have begun: on a slow machine later, on none too early"
    script = "import os, sys, time\nopen(os.path.join(sys.argv[1], os.environ['RANK']), 'w').write(str(os.getpid()))\ntime.sleep(600)"
    def numbers(): return [text for path in tmp_path.iterdir() if (text := path.read_text())]

    class Started(subprocess.Popen):
        def communicate(self, timeout=None):
            if timeout != 599: return super().communicate(timeout=timeout)
            while len(numbers()) < 2:
                assert self.poll() is None
                time.sleep(0.1)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(terminal.subprocess, "Popen", Started)
    message_of(lambda: launch(script, 2, tmp_path, seconds=599), "599 seconds")
    for number in map(int, numbers()):
        with pytest.raises(ProcessLookupError): os.kill(number, 0)

def test_a_script_takes_the_processor_where_there_are_fewer_cards_than_processes(monkeypatch):
    monkeypatch.setattr(terminal, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [enough_cards(count).type for count in (1, 2, 3)] == ["cuda", "cuda", "cpu"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert enough_cards() == CPU

def test_nothing_reaches_the_terminal_out_of_a_quiet_block(capfd):
    "Also after an error the channel is open again"
    with pytest.raises(KeyError), quiet_stderr():
        os.write(2, b"not this")
        raise KeyError
    os.write(2, b"but this")
    assert capfd.readouterr().err == "but this"

def test_more_processes_than_cards_are_refused(monkeypatch):
    monkeypatch.setattr(command, "find_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    message_of(lambda: command.place_of("auto"), "2 processes and 1 graphics cards", "--device cpu")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert command.place_of("auto") == torch.device("cuda", 0)


# Steps

@given(rows=st.integers(8, 40), size=st.integers(2, 8), steps=st.integers(1, 30), data=st.data())
@settings(max_examples=25, deadline=None)
def test_steps_are_epochs_in_a_row_and_begin_anywhere(rows, size, steps, data):
    def make(): return Batches(torch.arange(rows), batch_size=size, seed=3, drop_last=True)
    plain, expected = make(), []
    while len(expected) < steps: expected += [batch.tolist() for batch, in plain]
    start, again = data.draw(st.integers(0, steps-1)), Steps(make(), steps)
    assert [batch.tolist() for batch, in again] == expected[:steps] and len(again) == steps
    again.set_epoch(0, start=start)
    assert [batch.tolist() for batch, in again] == expected[start:steps]


# Recipes

QUICK = dict(steps=12, bar=False, device="cpu")

@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_every_recipe_trains_and_leaves_its_files(name, tmp_path):
    measured = train(name, out=tmp_path/"run", **QUICK)
    assert measured and all(math.isfinite(value) for value in measured.values())
    files = {path.name for path in (tmp_path/"run").iterdir()}
    assert {"checkpoint.safetensors", "weights.safetensors", "results.json", "run.json"} <= files
    assert ("sample.png" in files) == (name in ("vae", "gan", "flow", "genesis")) and ("sample.txt" in files) == (name in ("rnn", "gpt"))
    about = load_weights(tmp_path/"run"/"weights.safetensors")[1]
    assert about["recipe"] == name and about["steps"] == 12 and about["measured"] == measured
    assert json.loads((tmp_path/"run"/"results.json").read_text())["steps"] == 12

@pytest.mark.parametrize("name", ["vae", "gan", "flow", "genesis", "cnn", "gpt"])
@pytest.mark.slow
def test_a_resumed_recipe_equals_an_uninterrupted_one(name, tmp_path, monkeypatch, capsys):
    "Noise, augmentation, a moving average and a schedule included"
    train(name, out=tmp_path/"whole", **QUICK)
    class Press(command.RunConfig):
        "Ctrl-C after step 7"
        def after_step(self, trainer):
            if trainer.step == 7: signal.raise_signal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(command, "RunConfig", type("RunConfig", (Press,), {}))
        assert train(name, out=tmp_path/"cut", **QUICK) is None
    assert "Stopped after step 7 of 12" in capsys.readouterr().out and read_state(tmp_path/"cut"/"checkpoint.safetensors")["step"] == 7
    train(name, out=tmp_path/"cut", resume=True, **QUICK)
    ends = [read_state(tmp_path/folder/"checkpoint.safetensors")["players"] for folder in ("whole", "cut")]
    for who in ends[0]:
        for key, value in ends[0][who]["module"].items(): assert torch.equal(value, ends[1][who]["module"][key]), key
    kept = [load_weights(tmp_path/folder/"weights.safetensors")[0] for folder in ("whole", "cut")]
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])

@pytest.mark.slow
def test_a_first_stage_comes_once_and_can_be_stopped(tmp_path, monkeypatch, capsys):
    "The particles of `genesis` learn to redraw for an eighth of the steps, before the first checkpoint"
    stages = []
    class Watched(AccumulatingTrainer):
        "Ctrl-C in the first batch of a first stage, where `press` says so"
        press = True
        def fit(self, *arguments, **settings):
            stages.append([player.name for player in self.players])
            return super().fit(*arguments, **settings)
        def train_step(self, player, batch):
            if self.press and player.name == "reconstruction": signal.raise_signal(signal.SIGINT)
            return super().train_step(player, batch)
    monkeypatch.setattr(command, "AccumulatingTrainer", Watched)
    assert train("genesis", out=tmp_path, **QUICK) is None and "Stopped in the first stage" in capsys.readouterr().out
    assert not (tmp_path/"checkpoint.safetensors").exists() and stages == [["reconstruction"]]
    Watched.press = False
    train("genesis", out=tmp_path, **QUICK)
    train("genesis", out=tmp_path, resume=True, **{**QUICK, "steps": 14})
    assert stages[1:] == [["reconstruction"], ["discriminator", "generator"], ["discriminator", "generator"]]

def test_a_finished_run_can_be_made_longer(tmp_path):
    train("vae", out=tmp_path, **QUICK)
    train("vae", out=tmp_path, resume=True, **QUICK)                      # nothing left to do
    assert read_state(tmp_path/"checkpoint.safetensors")["step"] == 12
    train("vae", out=tmp_path, resume=True, **{**QUICK, "steps": 20})
    assert read_state(tmp_path/"checkpoint.safetensors")["step"] == 20

def test_a_run_from_before_its_record_was_renamed_goes_on(tmp_path):
    "Checkpoints once kept what was asked for under another name"
    train("vae", out=tmp_path, **QUICK)
    state = read_state(tmp_path/"checkpoint.safetensors")
    state["callbacks"]["Asked"] = state["callbacks"].pop("RunConfig")
    write_state(tmp_path/"checkpoint.safetensors", state)
    message_of(lambda: train("vae", out=tmp_path, resume=True, seed=1, **QUICK), "seed 0, not 1")
    train("vae", out=tmp_path, resume=True, **{**QUICK, "steps": 15})
    state = read_state(tmp_path/"checkpoint.safetensors")
    assert state["step"] == 15 and state["callbacks"]["RunConfig"]["recipe"] == "vae"

def test_runs_that_must_not_be_mixed(tmp_path):
    train("vae", out=tmp_path/"run", **QUICK)
    message_of(lambda: train("vae", out=tmp_path/"run", **QUICK), "already holds a run", "--resume")
    message_of(lambda: train("cnn", out=tmp_path/"run", resume=True, **QUICK), "recipe 'vae', not 'cnn'", "another --out")
    message_of(lambda: train("vae", out=tmp_path/"run", resume=True, seed=1, **QUICK), "seed 0, not 1")
    message_of(lambda: train("vae", "glyphs", out=tmp_path/"run", resume=True, **QUICK), "data 'digits', not 'glyphs'")
    message_of(lambda: train("vae", out=tmp_path/"other", resume=True, **QUICK), "no run in", "without --resume")
    assert not (tmp_path/"other").exists()
    (tmp_path/"alien").mkdir()
    (tmp_path/"alien"/"checkpoint.safetensors").write_bytes(b"12345678not a checkpoint")
    message_of(lambda: train("vae", out=tmp_path/"alien", resume=True, **QUICK), "damaged")

@pytest.mark.parametrize("settings, fragments", [
    (dict(recipe="gtp"), ["'gtp'", "Did you mean 'gpt'?"]), (dict(recipe="diffuse"), ["cnn, rnn, gpt, vae, gan, flow, genesis"]),
    (dict(recipe="cnn", data="mnits"), ["'mnits'", "Did you mean 'mnist'?"]), (dict(recipe="gpt", data="shakespear"), ["Did you mean 'shakespeare'?"]),
    (dict(recipe="cnn", device="cuda:9"), ["'cuda:9'", "auto"]), (dict(recipe="cnn", precision="fp16"), ["bf16"]), (dict(recipe="cnn", precision="half"), ["fp32, tf32, bf16, fp16"]),
    (dict(recipe="cnn", batch=0), ["batch"]), (dict(recipe="cnn", lr=-1.), ["lr"]), (dict(recipe="cnn", seed=-1), ["seed"]), (dict(recipe="gpt", size=8), ["no option 'size'", "batch"]),
    (dict(recipe="cnn", steps=0), ["steps"]), (dict(recipe="gan", size=9), ["9 pixels"]), (dict(recipe="cnn", batch=5000), ["batch_size is 5,000"]), (dict(recipe="cnn", microbatches=0), ["microbatches"]), (dict(recipe="genesis", size=9), ["9 pixels"])])
def test_what_cannot_be_done_is_said_before_anything_is_written(settings, fragments, tmp_path):
    message_of(lambda: train(**{**QUICK, "out": tmp_path/"run", **settings}), *fragments)
    assert not (tmp_path/"run").exists()

def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path/"file").write_text("in the way")
    message_of(lambda: train("vae", out=tmp_path/"file", **QUICK), "is a file, not a folder", "--out")
    message_of(lambda: train("vae", out=tmp_path/"file"/"run", **QUICK), "Could not write", "choose another folder")

def test_memory_can_be_fitted_in_a_recipe(tmp_path, monkeypatch, capsys):
    real, calls = vae.vae_loss, []
    def small(module, batch):
        calls.append(len(batch[0]))
        if len(batch[0]) > 40: raise torch.cuda.OutOfMemoryError("out of memory")
        return real(module, batch)
    monkeypatch.setattr(recipes, "vae_loss", small)
    message_of(lambda: train("vae", out=tmp_path/"fails", **QUICK), "Halve the batch size")
    train("vae", out=tmp_path/"fits", fit_memory=True, **QUICK)
    assert "computed in 4 microbatches" in capsys.readouterr().out and max(calls[-4:]) == 32

def test_players_compute_on_a_device_that_is_not_the_processor(monkeypatch):
    "On `meta` no operation mixes with a tensor that was made on the processor; the checks that look at numbers are left out"
    looks = {"check_range", "check_ranges", "check_variety", "check_labels", "times_of", "picture_range"}
    for module in [module for name, module in sys.modules.items() if name.startswith("genesis_course")]:
        for name in [name for name in vars(module) if name.lstrip("_") in looks]: monkeypatch.setattr(module, name, lambda *_: None)
    for name, recipe in RECIPES.items():
        experiment = recipe(device="meta")
        batch = next(iter(experiment.batches))
        players = experiment.players+(experiment.then().players if experiment.then else [])
        for player in players: player.module.to("meta")
        for player in players:
            result = player.loss(player.network, batch)
            value = result["loss"] if isinstance(result, dict) else result
            assert value.device.type == "meta" and value.ndim == 0, name
    with pytest.raises(RuntimeError, match="device"): torch.ones(2, device="meta")+torch.ones(2)


def test_weights_of_the_package_come_from_the_recipes_with_their_settings(monkeypatch):
    "What tools/weights.py builds has the settings and the shapes of the files that are shipped"
    monkeypatch.syspath_prepend(str(ROOT/"tools"))
    import weights
    def sizes(tensors):
        characters = len(tensors["embedding.weight"]) if {"head.weight", "embedding.weight"} <= tensors.keys() and len(tensors["head.weight"]) == len(tensors["embedding.weight"]) else None          # Python's manual, and so its alphabet, differs from version to version
        return {key: ["V" if size == characters else size for size in value.shape] for key, value in tensors.items()}
    def like_shipped(name, experiment):
        shipped, about = load_weights(name)
        assert sizes(experiment.module.state_dict()) == sizes(shipped)
        for key, value in about["settings"].items(): assert experiment.settings[key] == value, (name, key)
    for name, settings in (("rnn", dict(cell="rnn", width=274)), ("lstm", dict(cell="lstm", width=143)), ("gru", dict(cell="gru", width=164))):
        like_shipped(name, weights.rnn_experiment(draws=24, **settings))
    like_shipped("transformer", weights.gpt_experiment(draws=24))
    like_shipped("conditional_gan", weights.gan_experiment(size=28))
    like_shipped("genesis", weights.genesis_experiment(size=28, clip=None).then())

def test_windows_drawn_beforehand_come_in_the_order_of_the_draw():
    "The first weights, then the places, then no more random numbers: so the shipped weights were made"
    torch.manual_seed(3)
    experiment = recipes.gpt_experiment(batch=5, draws=20)
    text = recipes.load_text("python")
    torch.manual_seed(3)
    recipes.Transformer(len(text.vocabulary), context=64, width=80, layers=2)
    expected = torch.randint(len(text.split(0.1)[0].ids)-64, (20,))
    for _ in range(2): assert torch.equal(torch.cat([rows for rows, in experiment.batches]), expected)

def test_a_second_stage_that_is_tried_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    experiment = recipes.genesis_experiment()
    before = torch.get_rng_state()
    command._try_second_stage(experiment)
    assert torch.equal(before, torch.get_rng_state())


# Listeners

def test_the_bar_counts_steps_and_begins_where_the_run_does(monkeypatch):
    seen = []
    class Bar:
        def __init__(self, **settings): seen.append(settings)
        def set_postfix(self, numbers, refresh): seen.append(numbers)
        def update(self): seen.append(1)
        def close(self): seen.append("closed")
    import tqdm
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    Trainer(player(), Progress(), device="cpu").fit(batches())
    assert seen[0]["total"] == 4 and seen[0]["initial"] == 0 and seen.count(1) == 4 and seen[-1] == "closed" and "loss" in seen[1]

def test_curves_reach_tensorboard_once(monkeypatch, tmp_path):
    written = []
    class Writer:
        def __init__(self, folder): self.folder = folder
        def add_scalar(self, name, value, step): written.append((name, step))
        def close(self): written.append("closed")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    Trainer(player(), TensorBoard(tmp_path, every=3), device="cpu").fit(batches(), 2)
    assert written == [("loss", step) for step in range(1, 9)]+["closed"]

def test_without_tensorboard_one_line_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert [type(each) for each in command.loggers(tmp_path, bar=True)] == [Progress]
    assert "pip install tensorboard" in capsys.readouterr().out


# The command

def genesis(*arguments, launcher=("-m",), **settings):
    return subprocess.Popen([sys.executable, *launcher, "genesis_course.cli", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}, start_new_session=True, **settings)

@pytest.mark.slow
def test_the_command_trains_stops_at_ctrl_c_and_goes_on(tmp_path):
    words = ["train", "vae", "--steps", 100_000, "--out", tmp_path/"run", "--device", "cpu", "--every", 20]
    running = genesis(*words)
    deadline = time.time()+100
    while not (tmp_path/"run"/"checkpoint.safetensors").exists() and time.time() < deadline and running.poll() is None: time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    printed = running.communicate(timeout=60)[0]
    assert running.returncode == 130 and "Go on with the same command and --resume." in printed and "Traceback" not in printed, printed
    step = read_state(tmp_path/"run"/"checkpoint.safetensors")["step"]
    words[3] = step+10
    again = genesis(*words, "--resume", "--precision", "bf16")
    printed = again.communicate(timeout=100)[0]
    assert again.returncode == 0 and "nats:" in printed and f"{step+10}/{step+10}" in printed, printed
    assert (tmp_path/"run"/"sample.png").read_bytes()[:4] == b"\x89PNG"

@pytest.mark.slow
def test_bad_words_end_the_command_with_one_sentence(tmp_path):
    refused = genesis("train", "gtp", "--out", tmp_path/"run")
    printed = refused.communicate(timeout=60)[0]
    assert refused.returncode == 1 and printed.strip() == "Stop: There is no recipe 'gtp'. Did you mean 'gpt'? Choose cnn, rnn, gpt, vae, gan, flow, genesis, finetune."

@pytest.mark.slow
def test_two_processes_train_a_recipe_and_one_of_them_writes(tmp_path):
    words = ["train", "gan", "--steps", 12, "--device", "cpu", "--out", tmp_path/"run"]
    running = genesis(*words, launcher=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"])
    printed = running.communicate(timeout=200)[0]
    assert running.returncode == 0 and printed.count("FID of the course:") == 1, printed
    assert json.loads((tmp_path/"run"/"run.json").read_text())["processes"] == 2 and (tmp_path/"run"/"sample.png").exists()
    assert len(read_state(tmp_path/"run"/"checkpoint.safetensors")["rng_state"]) == 2


# The benchmark

@pytest.mark.slow
def test_benchmark_runs_in_miniature_with_few_packages(tmp_path):
    "All parts but the loading with workers, in a Python where nothing but the named packages can be imported"
    block = "import sys\nfor name in ('lightning', 'tqdm', 'typer', 'pooch', 'ipywidgets', 'IPython'): sys.modules[name] = None\n"
    run = f"import runpy\nsys.argv = ['gpu.py', '--dry', '--out', {str(tmp_path/'gpu.json')!r}]\nrunpy.run_path({str(ROOT/'benchmarks'/'gpu.py')!r}, run_name='__main__')"
    path = [str(ROOT/"benchmarks"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run([sys.executable, "-c", block+run], capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout+done.stderr
    result = json.loads((tmp_path/"gpu.json").read_text())
    assert result["did_not_run"] == {} and set(result["rates"]) == {"float32", "bf16"}
    assert [row["what"].split()[0] for row in result["table"]].count("Transformer,") == 5 and len({tuple(row) for row in result["table"]}) == 1
    assert all(row["seconds"] >= 0 and row["samples a second"] > 0 for row in result["table"])
    assert {how: [*curve] for how, curve in result["ms a step over rows"].items()} == {"a loop over parameters": ["1", "16"], "fused": ["1", "16"]}
    for name in ("vae", "gan", "genesis"): assert any(row["what"].startswith(f"{name}, compiled") and "not compiled" not in row["reached"] for row in result["table"]), name

@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card here")
@pytest.mark.slow
def test_benchmark_without_a_card_says_so_and_writes_nothing(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT/"benchmarks"/"gpu.py"), "--out", str(tmp_path/"gpu.json")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "nothing to measure" in done.stdout and not (tmp_path/"gpu.json").exists()
