"""The engine: calls a step, optimisers that update all parameters in one call, losses as compiled functions, and steps that are recorded."""
import contextlib
import copy
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import profile
from helpers import message_of
from genesis_course import compiling, processes, recording, training
from genesis_course import run as run_room
from genesis_course.attention import Transformer
from genesis_course.command import first_stage, train
from genesis_course.compiling import asking, chance
from genesis_course.data import Batches, Epochs, digits_set
from genesis_course.gpu import AccumulatingTrainer
from genesis_course.guards.shared import worth_a_look
from genesis_course.muon import Muon, orthogonal
from genesis_course.optim import Adam, Momentum, UpdateRule, cosine
from genesis_course.processes import Steps, fused
from genesis_course.recipes import RECIPES
from genesis_course.stable_gan import EMA, ConvGenerator
from genesis_course.terminal import quiet_stderr
from genesis_course.training import Callback, Checkpoint, Player, Trainer, fit

DIGITS = digits_set("train")


def network(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.Dropout(0.2), nn.GELU(), nn.Linear(24, 10))
def loss(module, batch): return F.cross_entropy(module(batch[0]), batch[1])
def player(seed=0, **settings):
    torch.manual_seed(seed)
    return Player(settings.pop("module", None) or network(), settings.pop("loss", loss), **settings)
def batches(rows=150, **settings): return Batches(DIGITS[:rows], **{"batch_size": 50, **settings})
def values(trainer, name="loss"): return [value for _, value in trainer.history[name]]
def weights(module): return torch.cat([value.double().flatten() for value in module.state_dict().values()])


# Calls a step. Counted: all calls into PyTorch's kernels ("aten::…", those inside others included) of eight steps (or four) after three others, by torch.profiler.
# The first column is what the code of November 2026 took before optimisers, averages and batches were taken together (of gpt and rnn: 3,618 and 6,916
# without the 6,523 views that every fit began with).

CALLS = {"cnn": (1616, 740), "vae": (704, 430), "gan": (1302, 835), "genesis": (5289, 4000), "gpt": (10141, 2050), "rnn": (13439, 6480)}

def calls_a_step(name):
    steps = 4 if name in ("gpt", "rnn") else 8
    torch.manual_seed(0)
    experiment = RECIPES[name]()
    if experiment.then:
        with torch.random.fork_rng(): experiment = first_stage(experiment, Trainer(experiment.players, device="cpu"), 2)
    trainer = Trainer(experiment.players, experiment.callbacks, device="cpu")
    trainer.fit(Steps(experiment.batches, 3))
    with quiet_stderr(), profile() as seen: trainer.fit(Steps(experiment.batches, steps))
    return sum(row.count for row in seen.key_averages() if row.key.startswith("aten::"))/steps

@pytest.mark.parametrize("name", ["cnn", "vae", "gan", pytest.param("genesis", marks=pytest.mark.slow), pytest.param("gpt", marks=pytest.mark.slow), pytest.param("rnn", marks=pytest.mark.slow)])
def test_a_step_makes_no_more_calls_than_it_did(name):
    before, most = CALLS[name]
    assert most < before and calls_a_step(name) <= most


# One call for all parameters

@pytest.mark.parametrize("optimizer, settings", [(torch.optim.Adam, {}), (torch.optim.AdamW, {"weight_decay": 0.1}), (torch.optim.SGD, {"momentum": 0.9, "nesterov": True})])
def test_the_fused_optimiser_takes_the_same_steps(optimizer, settings):
    runs = [Trainer(player(optimizer=optimizer, lr=1e-2, **settings, **choice), device="cpu").fit(batches(), 3) for choice in ({}, {"fused": False})]
    assert [run.players[0].optimizer.defaults["fused"] for run in runs] == [True, False], "and a choice is kept"
    assert values(runs[0]) == pytest.approx(values(runs[1]), rel=1e-4)

def optimizer_runs(kind, steps, grads, groups=False, fresh=None, **settings):
    "Weights and counters after steps in which only some parameters have a gradient, with the course's class and with PyTorch's own"
    ends = []
    for ours in (True, False):
        rng = torch.Generator().manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((3, 2), (4,), (2, 2, 2))]
        given = [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:]}] if groups else parameters
        made = fused(kind)(given, lr=0.03, **settings) if ours else kind(given, lr=0.03, fused=True, **settings)
        for step in range(steps):
            for k, each in enumerate(parameters): each.grad = torch.randn(each.shape, generator=rng) if grads(k, step) else None
            made.step()
            if step == fresh: made.load_state_dict(copy.deepcopy(made.state_dict()))
        ends.append((parameters, [float(made.state[each]["step"]) for each in parameters if each in made.state], made))
    return ends

@pytest.mark.parametrize("kind, settings", [(torch.optim.Adam, {}), (torch.optim.Adam, {"amsgrad": True, "betas": (0., 0.99)}), (torch.optim.AdamW, {"weight_decay": 0.1}), (torch.optim.Adam, {"maximize": True, "weight_decay": 0.1})])
@pytest.mark.parametrize("grads, groups, fresh", [(lambda k, step: True, False, None), (lambda k, step: True, True, 2), (lambda k, step: k != 1, False, 3), (lambda k, step: k != 1 or step > 2, False, None), (lambda k, step: k != 1 or step < 3, False, 4), (lambda k, step: k or step > 1, True, 1)],
                         ids=["all", "groups, loaded", "one is frozen", "one joins later", "one stops, loaded", "a group joins later"])
def test_a_shared_counter_changes_no_bit(kind, settings, grads, groups, fresh):
    (ours, counts, made), (theirs, others, _) = optimizer_runs(kind, 6, grads, groups, fresh, **settings)
    assert counts == others and all(torch.equal(a, b) for a, b in zip(ours, theirs))
    assert isinstance(made, kind) and type(made).__name__ == kind.__name__ and type(made) is not kind

def test_as_long_as_all_learn_there_is_one_counter():
    _, _, made = optimizer_runs(torch.optim.Adam, 3, lambda k, step: True)[0]
    assert len({id(kept["step"]) for kept in made.state.values()}) == 1 and not made.apart
    made.param_groups[0]["params"][1].grad = None
    made.step()
    assert made.apart and sorted(float(kept["step"]) for kept in made.state.values()) == [3., 4., 4.]

def test_clipping_is_that_of_pytorch():
    torch.manual_seed(0)
    one, other = network(), network()
    for module, scale in ((one, 5.), (other, 1e-3)):
        (scale*module(torch.randn(6, 1, 8, 8))).square().sum().backward()
        twin = copy.deepcopy(module)
        for mine, its in zip(module.parameters(), twin.parameters()): its.grad = mine.grad.clone()
        module[1].bias.grad = twin[1].bias.grad = None
        processes.setup_player(made := Player(module, loss, clip=0.5))
        made.clip_gradients(made)
        nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        for mine, its in zip(module.parameters(), twin.parameters()):
            if its.grad is not None: torch.testing.assert_close(mine.grad, its.grad, rtol=1e-5, atol=1e-8)

@pytest.mark.parametrize("optimizer", [torch.optim.RMSprop, torch.optim.Adagrad, Adam, lambda parameters, lr: torch.optim.SGD(parameters, lr)])
def test_what_has_no_fused_version_is_left_alone(optimizer):
    made = player(optimizer=optimizer, lr=1e-2).optimizer
    assert not made.defaults.get("fused") and not getattr(made, "chosen_here", False)

def test_parameters_that_cannot_be_fused_get_the_loop():
    made = fused(torch.optim.Adam)([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], lr=0.1)
    assert not made.defaults["fused"]
    with pytest.raises(ValueError): fused(torch.optim.Adam)([nn.Parameter(torch.zeros(2))], lr=-1.)

def test_on_other_devices_the_loop_comes_back_unless_it_was_chosen():
    for settings, kept in (({}, None), ({"fused": True}, True)):
        one = player(**settings)
        processes.setup_player(one, torch.device("meta"))
        assert [group["fused"] for group in one.optimizer.param_groups] == [kept]

def test_a_run_that_was_kept_by_the_loop_goes_on_fused(tmp_path):
    path = tmp_path/"run.safetensors"
    Trainer(player(fused=False), Checkpoint(path), device="cpu").fit(batches(), 1)
    whole = Trainer(player(fused=False), device="cpu").fit(batches(), 2)
    resumed = Trainer(player(seed=5), Checkpoint(path), device="cpu").fit(batches(), 2, resume=path)
    assert values(whole) == pytest.approx(values(resumed), rel=1e-4) and resumed.players[0].optimizer.defaults["fused"]

def test_the_average_follows_every_number_and_counts():
    torch.manual_seed(0)
    one = Player(ConvGenerator(4, 8, 4), lambda module, batch: module(batch).square().mean(), lr=0.1)
    average, mine = EMA(one, decay=0.9), copy.deepcopy(one.module.state_dict())
    class ByHand(Callback):
        def after_step(self, trainer):
            share = 1-min(0.9, trainer.step/(9+trainer.step))
            for name, now in one.module.state_dict().items():
                mine[name] = mine[name]+share*(now-mine[name]) if now.is_floating_point() else now.clone()
    Trainer(one, [average, ByHand()], device="cpu").fit([torch.randn(6, 4)]*5)
    for name, value in average.module.state_dict().items(): torch.testing.assert_close(value, mine[name], rtol=1e-5, atol=1e-6)

def test_muon_moves_matrices_of_one_shape_as_it_moves_each():
    torch.manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (3, 2, 2), (5,), (1, 1)]
    together, alone = ([nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(k))) for k, shape in enumerate(shapes)] for _ in range(2))
    whole, single = Muon(together, lr=0.1), [Muon([each], lr=0.1) for each in alone]
    for step in range(3):
        for k, (a, b) in enumerate(zip(together, alone)): a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(10*step+k)); b.grad = a.grad.clone()
        whole.step(), [each.step() for each in single]
    for a, b in zip(together, alone): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

def test_a_step_of_muon_by_its_formula():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 5))
    start, made = weight.detach().clone(), Muon([weight], lr=0.1, momentum=0.9)
    first, second = torch.randn(2, 3, 5)
    weight.grad = first.clone(); made.step()
    after = start-0.2*0.1*5**0.5*orthogonal(first+0.9*first)
    torch.testing.assert_close(weight.detach(), after, rtol=1e-5, atol=1e-6)
    weight.grad = second.clone(); made.step()
    torch.testing.assert_close(weight.detach(), after-0.2*0.1*5**0.5*orthogonal(second+0.9*(0.9*first+second)), rtol=1e-5, atol=1e-6)

@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("start, part", [(0, (0, 1)), (2, (0, 1)), (1, (1, 3))])
def test_rows_are_those_of_the_whole_order_cut_up(drop_last, start, part):
    epochs = Epochs(24 if drop_last else 27, 6, True, 7, drop_last)
    order = torch.cat([*epochs]) if not drop_last else None
    epochs.set_epoch(0)
    chunks = [*epochs]
    epochs.set_epoch(0, start=start, part=part)
    assert [rows.tolist() for rows in epochs] == [chunk[part[0]::part[1]].tolist() for chunk in chunks[start:]]
    assert len(chunks) == len(epochs) and (order is None or sorted(order.tolist()) == [*range(27)])

def test_labels_are_looked_at_once_and_again_after_a_change():
    labels, others = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    assert worth_a_look(labels, 10) and not worth_a_look(labels, 10) and worth_a_look(others, 10) and worth_a_look(labels, 4)
    labels[0] = 12
    assert worth_a_look(labels, 10)
    for _ in range(20): worth_a_look(torch.zeros(1), 10)
    assert worth_a_look(labels, 10), "long ago"
    with torch.inference_mode(): assert all(worth_a_look(torch.zeros(1), 10) for _ in range(2))


# Compiled losses

@pytest.mark.parametrize("precision", [None, "bf16-mixed"])
def test_a_compiled_run_has_the_numbers_of_an_ordinary_one(precision, capsys):
    runs = [Trainer(player(), device="cpu", precision=precision, compile=how).fit(batches(170), 2) for how in (False, "aot_eager")]
    assert values(runs[0]) == pytest.approx(values(runs[1]), abs=1e-6) and (weights(runs[0].players[0].module)-weights(runs[1].players[0].module)).abs().max() < 1e-6
    assert capsys.readouterr().out == ""

def test_a_smaller_last_batch_and_evaluation_are_left_to_python(monkeypatch):
    made = []
    def count(function, **settings):
        def call(*arguments):
            made.append(len(arguments[1][0]))
            return function(*arguments)
        return call
    monkeypatch.setattr(torch, "compile", count)
    Trainer(player(), device="cpu", compile="aot_eager").fit(batches(170), 2)
    assert made == [50]+6*[50], "once to try it, and three whole batches an epoch"

def test_a_game_with_a_penalty_compiles():
    def play(how):
        torch.manual_seed(0)
        experiment = RECIPES["gan"](batch=16)
        return Trainer(experiment.players, experiment.callbacks, device="cpu", compile=how).fit(Steps(experiment.batches, 12))
    plain, fast = play(False), play("aot_eager")
    assert any(values(plain, "discriminator penalty")), "some step had one"
    for name in plain.history: assert values(plain, name) == pytest.approx(values(fast, name), abs=1e-5)

def test_a_compiled_run_that_was_cut_off_equals_a_whole_one(tmp_path):
    path = tmp_path/"run.safetensors"
    class Cut(Callback):
        def after_step(self, trainer):
            if trainer.step == 4: trainer.stop("enough")
    whole = Trainer(player(), device="cpu", compile="aot_eager").fit(batches(), 3)
    Trainer(player(), [Cut(), Checkpoint(path)], device="cpu", compile="aot_eager").fit(batches(), 3)
    resumed = Trainer(player(seed=3), Checkpoint(path), device="cpu", compile="aot_eager").fit(batches(), 3, resume=path)
    assert torch.equal(weights(whole.players[0].module), weights(resumed.players[0].module)) and values(whole) == values(resumed)

def said(capsys, **settings):
    plain = Trainer(player(**settings.get("plain", settings)), device="cpu").fit(batches(), 1)
    capsys.readouterr()
    other = Trainer(player(**settings.get("other", settings)), device="cpu", compile="aot_eager").fit(batches(), 1)
    assert values(plain) == values(other)
    return capsys.readouterr().out

def test_a_network_with_hooks_is_left_to_python(capsys):
    module = network()
    module[1].register_forward_hook(lambda *_: None)
    start = copy.deepcopy(module.state_dict())
    plain = Trainer(player(module=module), device="cpu").fit(batches(), 1)
    module.load_state_dict(start)
    other = Trainer(player(module=module), device="cpu", compile="aot_eager").fit(batches(), 1)
    assert values(plain) == values(other) and capsys.readouterr().out == "The loss of player 'model' is not compiled: its network has hooks.\n"

def test_without_a_compiler_one_sentence_says_so(monkeypatch, capsys):
    def refuse(function, **settings):
        def call(*arguments): raise RuntimeError("No working C++ compiler found\nand a page more")
        return call
    monkeypatch.setattr(torch, "compile", refuse)
    assert said(capsys) == "The loss of player 'model' is not compiled: No working C++ compiler found\n"

def test_a_compiler_that_errs_is_not_believed(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function, **settings: lambda *arguments: 3*function(*arguments))
    assert "where Python gives" in said(capsys)

def test_a_compiled_function_that_fails_later_is_given_up(monkeypatch, capsys):
    calls = []
    def fragile(function, **settings):
        def call(*arguments):
            calls.append(0)
            if len(calls) == 3: raise RuntimeError("recompiled too often")
            return function(*arguments)
        return call
    monkeypatch.setattr(torch, "compile", fragile)
    assert said(capsys) == "The loss of player 'model' is not compiled: recompiled too often\n" and len(calls) == 3

def test_a_loss_at_fault_gets_its_own_words():
    for how in (False, "aot_eager"):
        message_of(lambda: Trainer(player(loss=lambda module, batch: module(batch[0])), device="cpu", compile=how).fit(batches()), "shape", ".mean()")
        message_of(lambda: Trainer(player(loss=lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]+1)), device="cpu", compile=how).fit(batches()), "0 to")

def test_the_switch_is_a_switch():
    message_of(lambda: Trainer(player(), device="cpu", compile=3), "compile is True, \"graph\" or False")
    assert fit(network(), F.cross_entropy, batches(), device="cpu", compile="aot_eager").step == 3

def test_a_memory_check_copies_a_compiled_player():
    from genesis_course.gpu import memory_used
    one = player()
    Trainer(one, device="cpu", compile="aot_eager").fit(batches())
    assert memory_used(one, next(iter(batches())))["weights"] > 0

def test_the_command_has_the_switch(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(compiling, "_build", lambda loss, how: seen.append(how) or loss)
    train("vae", steps=2, out=tmp_path/"run", device="cpu", bar=False, compile=True)
    assert seen == [True]

@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler here")
def test_the_real_compiler_on_a_processor():
    runs = [Trainer(player(), device="cpu", compile=how).fit(batches(), 2) for how in (False, True)]
    assert values(runs[0]) == pytest.approx(values(runs[1]), abs=1e-4)


# Steps that are recorded. A processor cannot record; `Tape` does what a recording on a card does, as far as Python sees it: recording carries nothing out, and a launch reads
# and writes the memory that was there when it was recorded, with the learning rate as a tensor.

class Tape:
    broken = None        # a function that is called after each launch, with the run and the gradients

    def __init__(self, run): self.run, self.recorded, self.launched = run, 0, 0

    @contextlib.contextmanager
    def beside(self): yield

    def record(self, function):
        run, groups = self.run, [group for each in self.run.players for group in each.optimizer.param_groups]
        rates, places = [group["lr"] for group in groups], [part for each in run.players for part in recording._tensors(run, each)]
        before = [part.clone() for part in places]
        try: values = function()
        finally:
            with torch.no_grad():
                for part, value in zip(places, before): part.copy_(value)
        slopes = [(weight, weight.grad) for each in run.players for weight in each.module.parameters() if weight.grad is not None]
        self.recorded += 1
        def launch():
            kept, usual = (run.pending, run.curves), [group["lr"] for group in groups]
            run.pending, run.curves = [], {}
            for group, rate in zip(groups, rates): group["lr"] = rate
            values.copy_(function())
            for group, rate in zip(groups, usual): group["lr"] = rate
            for weight, slope in slopes: slope.copy_(weight.grad)
            run.pending, run.curves = kept
            self.launched += 1
            if self.broken: self.broken(run, slopes)
        return launch, values

@pytest.fixture
def tapes(monkeypatch):
    "All tapes that recorded runs have made; numbers wait to be logged, as on a card"
    made = []
    def keep(run, player, batch, loss, others):
        for name, value in {"loss": loss, **others}.items(): run.pending.append((player, name, run.step+1, run.epoch+1, torch.as_tensor(value).detach()))
    record = recording.record_steps
    def begin(run, how):
        monkeypatch.setattr(recording, "recorder_of", lambda device: made.append(Tape(run)) or made[-1])
        record(run, how)
    monkeypatch.setattr(training, "log_losses", keep)
    monkeypatch.setattr(run_room, "record_steps", begin)
    return made

def same(one, other):
    "To rounding: the learning rate of a recording is a float32. (What a batch norm takes out again, Adam makes large of next to nothing; so weights are compared as a whole.)"
    assert values(one) == pytest.approx(values(other), abs=2e-5)
    here, there = (weights(each.players[0].module) for each in (one, other))
    assert (here-there).norm() < 2e-3*here.norm()

OPTIMIZERS = {"adam": {}, "momentum": dict(optimizer=torch.optim.SGD, momentum=0.9, lr=0.05), "muon": dict(optimizer=Muon, lr=0.02), "ours": dict(optimizer=Momentum, lr=0.05),
              "clipped": dict(clip=0.5), "two groups": dict(optimizer=lambda parameters, lr: torch.optim.AdamW([{"params": [each], "lr": lr/(k+1)} for k, each in enumerate(parameters)], fused=True))}

@pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_recorded_run_has_the_numbers_of_an_ordinary_one(settings, tapes, capsys):
    runs = [Trainer(player(schedule=cosine, **settings), device="cpu", compile=how).fit(batches(170), 4) for how in (False, "graph")]
    same(*runs)
    assert capsys.readouterr().out == "" and tapes[0].recorded == 1 and tapes[0].launched == 9, "12 whole batches, of which 3 were as written"
    assert {type(group["lr"]) for group in runs[1].players[0].optimizer.param_groups} == {float}

def test_the_two_switches_together(tapes, capsys):
    plain = Trainer(player(), device="cpu").fit(batches(), 4)
    both = Trainer(player(), device="cpu", compile="aot_eager")
    run_room.record_steps(both, True)
    both.fit(batches(), 4)
    assert values(plain) == pytest.approx(values(both), abs=2e-5) and capsys.readouterr().out == "" and tapes[0].launched == 9

def sometimes(module, batch):
    "A loss with a penalty in every other step, on average"
    penalty = sum(weight.square().sum() for weight in module.parameters()) if chance(0.5) else 0.
    return {"loss": loss(module, batch)+0.01*penalty, "penalty": penalty}

def still(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))

def test_what_is_left_to_chance_has_a_recording_for_each_answer(tapes, capsys):
    runs = []
    for how in (False, "graph"):
        torch.manual_seed(0)
        runs.append(Trainer(Player(still(), sometimes), device="cpu", compile=how).fit(Steps(batches(), 30)))
    same(*runs)
    assert values(runs[0], "penalty") == pytest.approx(values(runs[1], "penalty"), rel=1e-4) and capsys.readouterr().out == ""
    assert tapes[0].recorded == 2 and tapes[0].launched == 30-1-3-3, "the very first step does not know the question yet"

def test_chance_is_a_share_and_its_questions_are_kept_apart():
    torch.manual_seed(0)
    assert 0.2 < sum(chance(0.25) for _ in range(2000))/2000 < 0.3
    with asking([True, False]) as asked:
        with asking() as inner: chance(1.)
        assert [chance(0.1), chance(0.9)] == [True, False] and asked == [0.1, 0.9] and inner == [1.]

def test_a_recorded_game_and_its_first_stage(tapes, capsys):
    "The numbers of a game cannot be compared here: on a processor its noise and its chances come from one source"
    torch.manual_seed(0)
    experiment = RECIPES["genesis"](batch=16)
    experiment = first_stage(experiment, Trainer(experiment.players, device="cpu", compile="graph"), 8)
    trainer = Trainer(experiment.players, experiment.callbacks, device="cpu", compile="graph").fit(Steps(experiment.batches, 12))
    assert capsys.readouterr().out == "" and all(map(math.isfinite, values(trainer, "generator loss"))) and tapes[-1].launched > 8

def test_a_recorded_run_that_was_cut_off_goes_on_as_a_whole_one(tapes, tmp_path):
    path = tmp_path/"run.safetensors"
    class Cut(Callback):
        def after_step(self, trainer):
            if trainer.step == 7: trainer.stop("enough")
    whole = Trainer(player(), device="cpu", compile="graph").fit(batches(), 4)
    cut = Trainer(player(), [Cut(), Checkpoint(path)], device="cpu", compile="graph").fit(batches(), 4)
    kept = path.read_bytes()
    resumed = Trainer(player(seed=3), Checkpoint(path), device="cpu", compile="graph").fit(batches(), 4, resume=path)
    path.write_bytes(kept)
    cut.callbacks = cut.callbacks[1:]
    again = cut.fit(batches(), 4, resume=path)              # the same trainer: its optimiser's memory lies elsewhere now
    same(whole, resumed), same(whole, again)
    assert tapes[1].recorded == 2

def unrecorded(tapes, capsys, **settings):
    "What is said of a run that cannot be recorded; its numbers are those of an ordinary one"
    runs = []
    for how in (False, "graph"):
        capsys.readouterr()
        made = settings.get("made", lambda: Player(still(), settings.get("loss", loss)))
        torch.manual_seed(0)
        runs.append(Trainer(made(), settings.get("callbacks", ()), device="cpu", compile=how).fit(settings.get("batches") or batches(), 6))
    same(*runs)
    return capsys.readouterr().out

def test_what_cannot_be_recorded_is_left_to_python_and_one_sentence_says_why(tapes, capsys, monkeypatch):
    def with_hook():
        module = still()
        module[1].register_forward_hook(lambda *_: None)
        return Player(module, loss)
    start = "The steps of player 'model' are not recorded: "
    assert unrecorded(tapes, capsys, made=with_hook) == start+"its network has hooks.\n"
    assert unrecorded(tapes, capsys, batches=[(*pair, "train") for pair in batches()]) == start+"its batches hold more than tensors.\n"
    class Restless(Callback):
        def after_step(self, trainer): trainer.players[0].optimizer.param_groups[0]["weight_decay"] = 0.01*(trainer.step//5)
    assert unrecorded(tapes, capsys, callbacks=[Restless()]) == start+"the settings of its optimiser change.\n"
    class Counting(UpdateRule):
        def __init__(self, parameters, lr): super().__init__(parameters, lr=lr)
        def update(self, theta, g, state, lr):
            state["t"] = state.get("t", 0)+1
            theta -= lr*g/state["t"]
    assert unrecorded(tapes, capsys, made=lambda: Player(still(), loss, Counting)) == start+"its optimiser counts in Python.\n"
    def restless(module, batch):
        if len(seen) % 4 == 2: chance(0.5)
        seen.append(0)
        return loss(module, batch)
    seen = []
    torch.manual_seed(0)
    Trainer(Player(still(), restless), device="cpu", compile="graph").fit(batches(), 2)
    assert capsys.readouterr().out == start+"what it leaves to chance differs from step to step.\n"
    def refuse(self, function): raise RuntimeError("operation not permitted when stream is capturing\nand a page more")
    monkeypatch.setattr(Tape, "record", refuse)
    assert unrecorded(tapes, capsys) == start+"operation not permitted when stream is capturing\n"

def test_a_recording_that_errs_is_not_believed(tapes, capsys, monkeypatch):
    start = "The steps of player 'model' are not recorded: its "
    def nudge(run, slopes):
        with torch.no_grad(): next(run.players[0].module.parameters()).add_(0.01)
    monkeypatch.setattr(Tape, "broken", staticmethod(nudge))
    assert unrecorded(tapes, capsys) == start+"weights would not be those of the step as written.\n"
    monkeypatch.setattr(Tape, "broken", staticmethod(lambda run, slopes: slopes[0][1].zero_()))
    assert unrecorded(tapes, capsys) == start+"gradients would not be those of the step as written.\n"

def test_a_number_that_python_changes_is_found_out(tapes, capsys):
    "A recording keeps the number; the looks at launches 1, 2, 4, 8 … compare"
    def made():
        state = {"beta": 0.}
        def annealed(module, batch):
            if not recording_now: state["beta"] += 1.
            return loss(module, batch)*(frozen[-1] if recording_now else state["beta"])
        return Player(still(), annealed)
    recording_now, frozen = [], []
    original = Tape.record
    def record(self, function):
        frozen.append(4.)
        def inside():
            recording_now.append(0)
            try: return function()
            finally: recording_now.pop()
        return original(self, inside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tape, "record", record)
        assert "would not be those" in unrecorded(tapes, capsys, made=made)

def repeater(trainer): return next(cell.cell_contents for cell in trainer.train_step.__closure__ if isinstance(cell.cell_contents, dict))[trainer.players[0]]

@pytest.mark.parametrize("change", ["cleared", "loaded twice", "frozen"])
def test_memory_that_lies_elsewhere_is_noticed(change, tapes):
    for _ in range(4):
        trainer = Trainer(player(), device="cpu", compile="graph").fit(batches(), 4)
        optimizer = trainer.players[0].optimizer
        assert not repeater(trainer).has_moved()
        if change == "cleared": optimizer.state.clear()
        elif change == "frozen": trainer.players[0].module[1].requires_grad_(False)
        else:
            for _ in range(2): optimizer.load_state_dict(optimizer.state_dict())
        assert repeater(trainer).has_moved()

def test_more_that_is_left_to_python(tapes, capsys):
    start = "The steps of player 'model' are not recorded: "
    class Elsewhere(UpdateRule):
        def __init__(self, parameters, lr): super().__init__(parameters, lr=lr)
        def update(self, theta, g, state, lr):
            state.setdefault("step", torch.zeros((), device="meta")).add_(1)
            theta -= lr*g
    assert unrecorded(tapes, capsys, made=lambda: Player(still(), loss, Elsewhere)) == start+"its optimiser counts in Python.\n"
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = still()
            self.register_buffer("mean", torch.zeros(64))
        def forward(self, x):
            if self.training: self.mean = 0.9*self.mean+0.1*x.flatten(1).mean(dim=0).detach()
            return self.inner(x.flatten(1)-self.mean)
    assert unrecorded(tapes, capsys, made=lambda: Player(Replacing(), loss)) == start+"its network replaces a buffer.\n"
    scaled = Trainer(player(module=still()), device="cpu", compile="graph")
    scaled.fabric = SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(scaler=object())))
    repeater(scaled).begin(next(iter(batches())))
    AccumulatingTrainer(player(), device="cpu", compile="graph", fit_memory=True).fit(batches())
    assert capsys.readouterr().out == 2*(start+"Python may repeat or leave out a step.\n")

def test_a_look_for_which_memory_is_too_small_ends_the_recording(tapes, capsys, monkeypatch):
    full = []
    def greedy(module, batch):
        if full and full.pop(): raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss(module, batch)
    def launched(run, slopes): full[:] = [True]
    monkeypatch.setattr(Tape, "broken", staticmethod(launched))
    assert "not enough memory" in unrecorded(tapes, capsys, loss=greedy)

def test_a_recording_that_fails_leaves_the_card_as_it_was(monkeypatch):
    "As PyTorch has it: where the end of a recording fails, the stream is not put back"
    class Stream(str):
        def wait_stream(self, other): pass
    now = {"stream": (usual := Stream("usual")), "mode": 0}
    @contextlib.contextmanager
    def stream(chosen):
        before, now["stream"] = now["stream"], chosen
        try: yield
        finally: now["stream"] = before
    @contextlib.contextmanager
    def graph(made, stream, capture_error_mode):
        now["stream"] = stream
        try: yield
        finally: raise RuntimeError("operation failed due to a previous error during capture")
    for name, fake in {"Stream": lambda device: Stream("beside"), "current_stream": lambda device: now["stream"], "stream": stream, "graph": graph, "CUDAGraph": object,
                       "get_sync_debug_mode": lambda: now["mode"], "set_sync_debug_mode": lambda mode: now.update(mode=mode)}.items(): monkeypatch.setattr(torch.cuda, name, fake)
    modes = []
    with pytest.raises(RuntimeError): recording.CardRecorder("cuda").record(lambda: modes.append(now["mode"]))
    assert now == {"stream": usual, "mode": 0} and modes == ["error"], "a wait is found before it spoils the recording"

def test_a_logged_number_that_python_changes_is_found_out(tapes, capsys, monkeypatch):
    "What Python logs does not wait: it is in the history at once"
    def keep(run, player, batch, loss, others):
        run.pending.append((player, "loss", run.step+1, run.epoch+1, loss.detach()))
        for name, value in others.items(): run.curves.setdefault(name, []).append((run.step+1, value))
    monkeypatch.setattr(training, "log_losses", keep)
    def counted(changes):
        seen = []
        def inside(module, batch):
            seen.append(0)
            return {"loss": loss(module, batch), "seen": float(len(seen)) if changes else 3.}
        torch.manual_seed(0)
        return Trainer(Player(still(), inside), device="cpu", compile="graph").fit(batches(), 4)
    assert [value for _, value in counted(False).history["seen"]] == 12*[3.] and capsys.readouterr().out == ""
    counted(True)
    assert capsys.readouterr().out == "The steps of player 'model' are not recorded: a number that Python logs changes.\n"

def test_without_a_card_one_sentence_says_so(capsys):
    Trainer(player(), device="cpu", compile="graph").fit(batches(), 1)
    assert capsys.readouterr().out == "Only steps on a card of NVIDIA's or AMD's can be recorded. These are computed on cpu, as they are written.\n"

@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card here")
@pytest.mark.parametrize("name", ["cnn", "vae", "gan", "genesis", "gpt", "rnn", "flow"])
def test_recorded_steps_on_a_card(name, capsys):
    def go(how):
        torch.manual_seed(0)
        experiment = RECIPES[name](device=torch.device("cuda"))
        if experiment.then: experiment = first_stage(experiment, Trainer(experiment.players, compile=how), 20)
        trainer = Trainer(experiment.players, experiment.callbacks, compile=how).fit(Steps(experiment.batches, 40))
        return {name: values(trainer, name) for name in trainer.history}
    plain, fast = go(False), go("graph")
    assert capsys.readouterr().out == ""
    for name in plain: assert plain[name][:12] == pytest.approx(fast[name][:12], rel=0.02, abs=0.02), name


def test_the_page_draws_what_was_measured(monkeypatch, tmp_path):
    root = Path(__file__).parent.parent
    monkeypatch.syspath_prepend(str(root/"benchmarks"))
    import engine
    shipped = (root/"nbs"/"engine.csv").read_text()
    (tmp_path/"benchmarks").mkdir(), (tmp_path/"nbs").mkdir(), shutil.copytree(root/"benchmarks"/"results", tmp_path/"benchmarks"/"results")
    monkeypatch.setattr(engine, "RESULTS", tmp_path/"benchmarks"/"results")
    engine.write_table()
    assert (tmp_path/"nbs"/"engine.csv").read_text() == shipped
