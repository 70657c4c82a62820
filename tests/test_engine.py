"""The engine: calls a step, optimisers that update all parameters in one call, and losses as compiled functions."""
import copy
import shutil
from pathlib import Path
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import profile
from helpers import message_of
from genesis_course import compiling, processes
from genesis_course.attention import Transformer
from genesis_course.command import first_stage, train
from genesis_course.data import Batches, Epochs, digits_set
from genesis_course.guards.shared import worth_a_look
from genesis_course.muon import Muon, orthogonal
from genesis_course.optim import Adam
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

CALLS = {"cnn": (1616, 740), "vae": (704, 430), "gan": (1302, 835), "genesis": (5289, 3720), "gpt": (10141, 2150), "rnn": (13439, 6480)}

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
    message_of(lambda: Trainer(player(), device="cpu", compile=3), "compile is True or False")
    assert fit(network(), F.cross_entropy, batches(), device="cpu", compile="aot_eager").step == 3

def test_a_memory_check_copies_a_compiled_player():
    from genesis_course.gpu import memory_used
    one = player()
    Trainer(one, device="cpu", compile="aot_eager").fit(batches())
    assert memory_used(one, next(iter(batches())))["weights"] > 0

def test_the_command_has_the_switch(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(compiling, "_build", lambda loss, how, device: seen.append(how) or loss)
    train("vae", steps=2, out=tmp_path/"run", device="cpu", bar=False, compile=True)
    assert seen == [True]

@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler here")
def test_the_real_compiler_on_a_processor():
    runs = [Trainer(player(), device="cpu", compile=how).fit(batches(), 2) for how in (False, True)]
    assert values(runs[0]) == pytest.approx(values(runs[1]), abs=1e-4)


def test_the_page_draws_what_was_measured(monkeypatch, tmp_path):
    root = Path(__file__).parent.parent
    monkeypatch.syspath_prepend(str(root/"benchmarks"))
    import engine
    shipped = (root/"nbs"/"engine.csv").read_text()
    (tmp_path/"benchmarks").mkdir(), (tmp_path/"nbs").mkdir(), shutil.copytree(root/"benchmarks"/"results", tmp_path/"benchmarks"/"results")
    monkeypatch.setattr(engine, "RESULTS", tmp_path/"benchmarks"/"results")
    engine.write_table()
    assert (tmp_path/"nbs"/"engine.csv").read_text() == shipped
