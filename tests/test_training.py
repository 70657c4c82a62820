"The training loop: the same numbers as a loop by hand, the same weights after a kill, a sentence for every mistake"
import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from helpers import message_of
from genesis_course import optim, state, training
from genesis_course.support import CourseError
from genesis_course.state import load_weights, read_state, save_weights, write_state
from genesis_course.training import (Callback, Checkpoint, EarlyStopping, Player, PlotLosses,
                                     Trainer, Validate, accuracy, evaluate, fit, range_test)

CPU = torch.device("cpu")

def network(dropout=0.):
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))

def batches(count=6, size=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(size, 8, generator=generator), torch.randint(3, (size,), generator=generator)) for _ in range(count)]

def cross_entropy(module, batch): return F.cross_entropy(module(batch[0]), batch[1])

def player(seed=0, **settings):
    torch.manual_seed(seed)
    return Player(network(settings.pop("dropout", 0.)), settings.pop("loss", cross_entropy), **settings)

def same(a, b): return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

# The loop

def test_trainer_equals_a_loop_by_hand():
    ours, data = player(optimizer=torch.optim.SGD, lr=0.1, momentum=0.9), batches()
    Trainer(ours, device="cpu").fit(data, epochs=3)
    torch.manual_seed(0)
    theirs = network()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, fused=True)
    losses = []
    for _ in range(3):
        for x, y in data:
            optimizer.zero_grad()
            loss = F.cross_entropy(theirs(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert same(ours.module, theirs)

def test_history_holds_step_and_value_of_every_loss():
    trainer = Trainer(player(), device="cpu").fit(batches(4), epochs=2)
    assert [step for step, _ in trainer.history["loss"]] == list(range(1, 9))
    assert all(isinstance(value, float) for _, value in trainer.history["loss"])

def test_several_players_take_turns_and_are_named_in_the_history():
    turns = []
    def loss(name):
        def of(module, batch):
            turns.append(name)
            return {"loss": cross_entropy(module, batch), "accuracy": accuracy(module(batch[0]), batch[1])}
        return of
    players = [player(name=name, loss=loss(name)) for name in ("discriminator", "generator")]
    trainer = Trainer(players, device="cpu").fit(batches(2))
    assert turns == ["discriminator", "generator"]*2
    assert set(trainer.history) == {"discriminator loss", "discriminator accuracy", "generator loss", "generator accuracy"}

def test_a_second_fit_goes_on_counting():
    trainer = Trainer(player(), device="cpu").fit(batches(3))
    trainer.fit(batches(3), epochs=2)
    assert (trainer.step, trainer.epoch, len(trainer.history["loss"])) == (9, 3, 9)

def test_modes_are_as_they_were_after_fit_and_validation():
    model = network(0.5)
    model[2].eval()
    seen = []
    class Look(Callback):
        def after_step(self, trainer): seen.append([part.training for part in model])
    fit(model, F.cross_entropy, batches(2), valid=batches(1), callbacks=[Look()], device="cpu", epochs=2)
    assert all(all(modes) for modes in seen)
    assert [part.training for part in model] == [True, True, False, True]

def test_clip_bounds_the_gradient():
    clipped = player(clip=1e-3, loss=lambda module, batch: 1e6*cross_entropy(module, batch))
    Trainer(clipped, device="cpu").fit(batches(1))
    assert torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in clipped.module.parameters()])) <= 1.001e-3

def test_parameter_groups_keep_their_ratio_under_a_schedule():
    def slower_body(parameters, lr):
        parameters = list(parameters)
        return torch.optim.SGD([{"params": parameters[:2], "lr": lr/10}, {"params": parameters[2:]}], lr=lr)
    trained = Player(network(), cross_entropy, slower_body, lr=1., schedule=lambda t: 0.5)
    Trainer(trained, device="cpu").fit(batches(1))
    assert [group["lr"] for group in trained.optimizer.param_groups] == [0.05, 0.5]

def test_evaluate_weighs_batches_by_their_size():
    data = [(torch.zeros(1, 1), torch.zeros(1)), (torch.ones(3, 1), torch.zeros(3))]
    assert evaluate(nn.Identity(), data, lambda module, batch: module(batch[0]).mean()) == {"loss": 0.75}

def test_range_test_leaves_the_player_as_it_was():
    tested = player(dropout=0.5, optimizer=torch.optim.Adam)
    Trainer(tested, device="cpu").fit(batches(2))
    before = [tensor.clone() for tensor in tested.module.state_dict().values()], json.dumps(state._pack(tested.optimizer.state_dict(), {})), torch.get_rng_state()
    tried = range_test(tested, batches(3), high=100., steps=50)
    after = list(tested.module.state_dict().values()), json.dumps(state._pack(tested.optimizer.state_dict(), {})), torch.get_rng_state()
    assert all(map(torch.equal, before[0], after[0])) and before[1] == after[1] and torch.equal(before[2], after[2])
    assert len(tried) > 10 and tried[0][0] == pytest.approx(1e-5)


# Optimisers and schedules, against PyTorch's

PAIRS = [(optim.SGD, torch.optim.SGD, dict(lr=0.03), {}), (optim.Momentum, torch.optim.SGD, dict(lr=0.01, momentum=0.9), {}),
         (optim.RMSprop, torch.optim.RMSprop, dict(lr=0.01), dict(alpha=0.9)), (optim.Adam, torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.99)), {}),
         (optim.Adam, torch.optim.Adam, dict(lr=0.01, weight_decay=0.1), {}),
         (lambda p, **s: optim.Adam(p, decoupled=True, **s), torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1), {})]

@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ours, theirs, both, extra", PAIRS)
def test_optimisers_from_papers_equal_torch_on_random_problems(ours, theirs, both, extra, seed):
    torch.manual_seed(seed)
    matrix, target, start = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    ends = []
    for make, settings in ((ours, both), (theirs, {**both, **extra})):
        theta = start.clone().requires_grad_()
        optimizer = make([theta], **settings)
        rows = torch.Generator().manual_seed(seed)
        for _ in range(300):
            batch = torch.randint(20, (4,), generator=rows)
            optimizer.zero_grad()
            ((matrix[batch]@theta-target[batch])**2).mean().backward()
            optimizer.step()
        ends.append(theta.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)

def lrs_of(scheduler_of, total):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.)
    scheduler, values = scheduler_of(optimizer), []
    for _ in range(total):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values

@pytest.mark.parametrize("total", [10, 50, 200])
def test_schedules_equal_torch(total):
    S, rise = torch.optim.lr_scheduler, total//5
    steps = [k/total for k in range(total)]
    assert [optim.cosine(t, 0.1) for t in steps] == pytest.approx(lrs_of(lambda o: S.CosineAnnealingLR(o, total, eta_min=0.1), total), abs=1e-9)
    assert [optim.exponential(t, 0.02) for t in steps] == pytest.approx(lrs_of(lambda o: S.ExponentialLR(o, 0.02**(1/total)), total), abs=1e-9)
    warmed = lrs_of(lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.01, total_iters=rise), S.CosineAnnealingLR(o, total-rise)], [rise]), total)
    assert [optim.warm_up(optim.cosine, rise/total)(t) for t in steps] == pytest.approx(warmed, abs=1e-9)
    cycle = lrs_of(lambda o: S.OneCycleLR(o, 1., total_steps=total, pct_start=0.3, cycle_momentum=False), total)
    assert [optim.one_cycle(k/(total-1), peak=(0.3*total-1)/(total-1)) for k in range(total)] == pytest.approx(cycle, abs=1e-9)

def test_a_fit_follows_its_schedule_from_beginning_to_end():
    seen = []
    Trainer(player(schedule=lambda t: seen.append(t) or 1.), device="cpu").fit(batches(5), epochs=2)
    assert seen == pytest.approx([k/10 for k in range(10)])


# Callbacks

def test_events_come_in_order_and_the_end_in_reverse():
    heard = []
    class Listen(Callback):
        def __init__(self, order): self.order = order
        def before_fit(self, trainer): heard.append(("before", self.order))
        def after_step(self, trainer): heard.append(("step", self.order))
        def after_epoch(self, trainer): heard.append(("epoch", self.order))
        def after_fit(self, trainer): heard.append(("after", self.order))
    Trainer(player(), [Listen(2), Listen(1)], device="cpu").fit(batches(1))
    assert heard == [("before", 1), ("before", 2), ("step", 1), ("step", 2), ("epoch", 1), ("epoch", 2), ("after", 2), ("after", 1)]

def test_early_stopping_returns_to_the_best_weights():
    values, kept = iter([3., 1., 2., 2., 0.5]), []
    class Fake(Callback):
        def after_epoch(self, trainer):
            trainer.log("valid loss", next(values))
            kept.append([tensor.clone() for tensor in trainer.players[0].module.state_dict().values()])
    stopped = player()
    trainer = Trainer(stopped, [EarlyStopping(2), Fake()], device="cpu")
    trainer.callbacks.reverse()
    trainer.fit(batches(2), epochs=5)
    assert trainer.epoch == 4 and "step 4" in trainer.stopped
    assert all(map(torch.equal, kept[1], stopped.module.state_dict().values()))

def test_validation_logs_loss_and_metrics_once_an_epoch():
    trainer = fit(network(), F.cross_entropy, batches(3), epochs=2, valid=batches(2, seed=1), metrics={"accuracy": accuracy}, device="cpu")
    assert [step for step, _ in trainer.history["valid accuracy"]] == [3, 6] and "valid loss" in trainer.history

def test_live_writes_one_line_of_text_outside_notebooks(capsys):
    fit(network(), F.cross_entropy, batches(3), callbacks=[PlotLosses()], device="cpu")
    assert "loss" in capsys.readouterr().err


# Resuming

LOADER = torch.utils.data.DataLoader

class Reshuffled:
    "Like `Batches`: the order depends on (seed, epoch), and an epoch can begin anywhere"
    def __init__(self, data): self.data, self.epoch, self.start = data, 0, 0
    def __len__(self): return len(self.data)
    def set_epoch(self, epoch, start=0): self.epoch, self.start = epoch, start
    def __iter__(self):
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.epoch))
        for i in order[self.start:]: yield self.data[i]

def sources():
    x, y = (torch.cat(part) for part in zip(*batches()))
    return {"list": batches(), "set_epoch": Reshuffled(batches()), "DataLoader": LOADER(torch.utils.data.TensorDataset(x, y), batch_size=10, shuffle=True)}

class StopAt(Callback):
    order = 200
    def __init__(self, step, kill): self.step, self.kill = step, kill
    def after_step(self, trainer):
        if trainer.step == self.step: os.kill(os.getpid(), signal.SIGKILL) if self.kill else trainer.stop("test")

def run_until(path, source, step=None, resume=None, optimizer=torch.optim.Adam, kill=False):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    def noisy(module, batch): return cross_entropy(module, (batch[0]+0.1*torch.randn(batch[0].shape)+0.1*random.random()+0.1*float(np.random.rand()), batch[1]))
    extra = dict(momentum=0.9) if optimizer is torch.optim.SGD else {}
    learner = player(dropout=0.3, loss=noisy, optimizer=optimizer, lr=0.01, schedule=optim.warm_up(optim.cosine), clip=1., **extra)
    callbacks = [Validate(batches(1, seed=5)), EarlyStopping(50), Checkpoint(path, every=1), *([StopAt(step, kill)] if step else [])]
    return Trainer(learner, callbacks, device="cpu").fit(sources()[source], epochs=4, resume=resume)

@pytest.mark.parametrize("source", ["list", "set_epoch", "DataLoader"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, optim.Adam])
@pytest.mark.slow
def test_a_run_stopped_anywhere_and_resumed_equals_the_uninterrupted_one(tmp_path, source, optimizer):
    whole = run_until(tmp_path/"whole", source, optimizer=optimizer)
    for step in (1, 5, 6, 7, 13, 24):
        run_until(tmp_path/"part", source, step, optimizer=optimizer)
        torch.rand(7)
        resumed = run_until(tmp_path/"part", source, resume=tmp_path/"part", optimizer=optimizer)
        assert same(whole.players[0].module, resumed.players[0].module), step
        assert whole.history == resumed.history

KILLED = textwrap.dedent("""
    import os, signal, sys
    import torch
    torch.set_num_threads(1)
    sys.path.insert(0, {tests!r})
    from test_training import run_until
    path = sys.argv[1]
    run_until(path+".warm", "DataLoader", 1)         # what PyTorch imports at the first step need not be imported by every child
    for step in map(int, sys.argv[2:]):
        child = os.fork()
        if not child: run_until(path, "DataLoader", step, resume=path if os.path.exists(path) else None, kill=True)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
""")

@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_run_killed_at_ten_random_steps_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = run_until(tmp_path/"whole", "DataLoader")
    kills = sorted(random.Random(7).sample(range(1, 24), 10))
    script = KILLED.format(tests=os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path/"run"), *map(str, kills)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert read_state(tmp_path/"run")["step"] == kills[-1]
    resumed = run_until(tmp_path/"run", "DataLoader", resume=tmp_path/"run")
    assert same(whole.players[0].module, resumed.players[0].module) and whole.history == resumed.history

WRITER = textwrap.dedent("""
    import sys, torch
    torch.set_num_threads(1)
    from genesis_course.state import write_state
    step = 0
    while True:
        write_state(sys.argv[1], {"step": step, "weights": torch.full((200_000,), float(step))})
        step += 1
        if step == 1: print("ready", flush=True)
""")

@pytest.mark.slow
def test_kill_during_a_write_leaves_a_whole_checkpoint(tmp_path):
    rng, path, last = random.Random(0), tmp_path/"run.safetensors", -1
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(rng.uniform(0.01, 0.2))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        state = read_state(path)
        assert (state["weights"] == state["step"]).all()

def test_a_run_that_a_callback_ended_goes_on_when_more_is_asked_for(tmp_path):
    class Enough(Callback):
        def after_step(self, trainer): trainer.stop("enough") if trainer.step == 4 else None
    def run(callbacks, epochs, resume=None): return Trainer(player(), callbacks, device="cpu").fit(batches(3), epochs, resume)
    ended = run([Enough(), Checkpoint(tmp_path/"run", every=1)], 2)
    assert ended.step == 4 and ended.stopped == "enough"
    assert run([], 5, tmp_path/"run").step == 15

def test_a_run_that_early_stopping_ended_says_so_again_and_goes_on_with_more_patience(tmp_path, capsys):
    class Worse(Callback):
        def after_epoch(self, trainer): trainer.log("valid loss", trainer.epoch)
    def run(patience, resume=None):
        stopping = EarlyStopping(patience)
        stopping.order = 1
        return Trainer(player(), [Worse(), stopping, Checkpoint(tmp_path/"run")], device="cpu").fit(batches(2), 9, resume)
    ended = run(2)
    again = run(2, tmp_path/"run")
    assert ended.step == again.step == 6 and "not improved since step 2" in again.stopped and same(ended.players[0].module, again.players[0].module)
    assert "Nothing left to train: valid loss has not improved" in capsys.readouterr().out
    assert run(4, tmp_path/"run").step == 10

def test_a_finished_run_says_that_nothing_is_left(tmp_path, capsys):
    for resume in (None, tmp_path/"run"): Trainer(player(), Checkpoint(tmp_path/"run"), device="cpu").fit(batches(2), 3, resume)
    assert "all 3 epochs are done" in capsys.readouterr().out

def test_a_checkpoint_is_resumed_with_the_settings_of_the_code(tmp_path):
    first = Trainer(player(lr=0.5, optimizer=torch.optim.SGD), Checkpoint(tmp_path/"run"), device="cpu").fit(batches(2))
    second = Trainer(player(lr=0.1, optimizer=torch.optim.SGD), device="cpu").fit(batches(2), epochs=2, resume=tmp_path/"run")
    assert second.players[0].optimizer.param_groups[0]["lr"] == 0.1 and second.step == 4

def test_early_stopping_is_still_stopped_after_resuming(tmp_path):
    def run(resume=None):
        class Worse(Callback):
            order = -10
            def after_epoch(self, trainer): trainer.log("valid loss", float(trainer.epoch))
        return Trainer(player(), [Worse(), EarlyStopping(2), Checkpoint(tmp_path/"run")], device="cpu").fit(batches(2), epochs=9, resume=resume)
    first, second = run(), run(tmp_path/"run")
    assert first.epoch == second.epoch == 3 and same(first.players[0].module, second.players[0].module)

@given(state=st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda part: st.lists(part, max_size=3) | st.tuples(part) | st.dictionaries(st.integers() | st.text(), part, max_size=3), max_leaves=12))
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_what_is_written_is_read_back(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp()/"state"
    state = {"state": state, "tensors": [torch.tensor(1.5), torch.zeros(0, 3), torch.eye(2).t(), torch.ones(2, dtype=torch.bfloat16)]}
    write_state(path, state)
    back = read_state(path)
    assert back["state"] == state["state"] and all(map(torch.equal, back["tensors"], state["tensors"]))

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")/"run.safetensors"
    Trainer(player(), Checkpoint(path), device="cpu").fit(batches(2))
    return path

@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_one_flipped_bit_is_noticed(checkpoint, where, bit):
    data = bytearray(checkpoint.read_bytes())
    data[int(where*len(data))] ^= 1 << bit
    damaged = checkpoint.with_name("damaged")
    damaged.write_bytes(data)
    original = read_state(checkpoint)
    try: state = read_state(damaged)
    except CourseError: return
    assert repr(state) == repr(original)          # a space in the padding, or a name that is not used

@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30, deadline=None)
def test_a_truncated_checkpoint_is_a_sentence(checkpoint, share):
    data = checkpoint.read_bytes()
    damaged = checkpoint.with_name("damaged")
    damaged.write_bytes(data[:int(share*len(data))])
    message_of(lambda: read_state(damaged), "damaged")

def test_foreign_files_are_sentences_and_change_nothing(checkpoint, tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path/"weights")
    torch.save({"w": torch.zeros(2)}, tmp_path/"pickle")
    def resume(trained, path): return lambda: Trainer(trained, device="cpu").fit(batches(2), epochs=2, resume=path)
    message_of(resume(player(), tmp_path/"weights"), "not a checkpoint of this course")
    message_of(resume(player(), tmp_path/"pickle"), "not a safetensors file")
    message_of(resume(player(), tmp_path/"missing"), "could not be read", "missing")
    message_of(resume(player(), tmp_path), "could not be read")
    other = Player(nn.Linear(8, 3), cross_entropy)
    before = [tensor.clone() for tensor in other.module.parameters()]
    message_of(resume(other, checkpoint), "does not fit", "None")
    wider = Player(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.), nn.Linear(32, 3)), cross_entropy)
    message_of(resume(wider, checkpoint), "[16, 8] there and [32, 8] here")
    message_of(resume(player(name="other"), checkpoint), "players are called")
    message_of(resume(player(optimizer=torch.optim.SGD), checkpoint), "was Adam, yours is SGD")
    assert all(map(torch.equal, before, other.module.parameters()))

def test_a_checkpoint_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path/"file").write_text("")
    message_of(lambda: Trainer(player(), Checkpoint(tmp_path/"file"/"run"), device="cpu").fit(batches(1)), "Could not write")


# Ctrl-C

class Press(Callback):
    def __init__(self, step, times=1): self.step, self.times = step, times
    def after_step(self, trainer):
        if trainer.step == self.step:
            for _ in range(self.times): os.kill(os.getpid(), signal.SIGINT)

def test_ctrl_c_ends_fit_at_a_step_and_training_can_go_on(tmp_path, capsys):
    usual = signal.getsignal(signal.SIGINT)
    path = tmp_path/"run"
    trainer = Trainer(player(dropout=0.2), [Press(4), Checkpoint(path), EarlyStopping(3), Validate(batches(1))], device="cpu")
    assert trainer.fit(batches(6), epochs=2) is trainer
    assert (trainer.step, len(trainer.history["loss"])) == (4, 4) and trainer.interrupted
    assert signal.getsignal(signal.SIGINT) is usual
    message = capsys.readouterr().out
    assert "after step 4" in message and "resume=True" in message and str(path) in message
    assert read_state(path)["step"] == 4
    trainer.fit(batches(6), epochs=2, resume=True)
    again = Trainer(player(dropout=0.2), [EarlyStopping(3), Validate(batches(1))], device="cpu").fit(batches(6), epochs=2, resume=path)
    torch.manual_seed(0)
    whole = Trainer(player(dropout=0.2), [EarlyStopping(3), Validate(batches(1))], device="cpu").fit(batches(6), epochs=2)
    assert trainer.step == again.step == 12 and same(whole.players[0].module, again.players[0].module) and same(whole.players[0].module, trainer.players[0].module)

def test_the_second_ctrl_c_raises_at_once():
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt): Trainer(player(), Press(2, times=2), device="cpu").fit(batches(6))
    assert signal.getsignal(signal.SIGINT) is usual

def test_ctrl_c_from_outside_during_a_long_fit(capsys):
    trainer = Trainer(player(), device="cpu")
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    trainer.fit(batches(6), epochs=10**6)
    assert trainer.interrupted and len(trainer.history["loss"]) == trainer.step > 0

def test_fit_in_another_thread_leaves_the_handler_alone():
    usual, errors = signal.getsignal(signal.SIGINT), []
    class Look(Callback):
        def after_step(self, trainer): errors.append(signal.getsignal(signal.SIGINT) is usual)
    thread = threading.Thread(target=lambda: Trainer(player(), Look(), device="cpu").fit(batches(2)))
    thread.start()
    thread.join()
    assert errors == [True, True]


# Mistakes

@pytest.mark.parametrize("lr", ["0.1", None, -1, 0, math.nan, math.inf, True, [0.1]])
def test_a_wrong_learning_rate_is_a_sentence(lr): message_of(lambda: player(lr=lr), "learning rate", repr(lr))

def test_a_text_learning_rate_says_quotation_marks(): message_of(lambda: player(lr="0.1"), "quotation marks")

@pytest.mark.parametrize("epochs", [0, -1, 2.5, "3", None, True])
def test_wrong_epochs_are_a_sentence(epochs): message_of(lambda: Trainer(player(), device="cpu").fit(batches(1), epochs=epochs), "epochs", repr(epochs))

@pytest.mark.parametrize("loss, fragment", [
    (lambda module, batch: None, "returned None"), (lambda module, batch: {}, "returned None"), (lambda module, batch: cross_entropy(module, batch).item(), "without .item()"),
    (lambda module, batch: module(batch[0]), "shape is [10, 3]"), (lambda module, batch: cross_entropy(module, batch).detach(), "cut off"),
    (lambda module, batch: {"loss": torch.tensor(1.)}, "cut off")])
def test_a_loss_that_cannot_be_minimised_is_a_sentence(loss, fragment): message_of(lambda: Trainer(player(loss=loss, name="judge"), device="cpu").fit(batches(1)), fragment, "'judge'")

def test_empty_batches_are_a_sentence():
    for nothing in ([], iter([]), LOADER(torch.utils.data.TensorDataset(torch.zeros(3, 1)), batch_size=4, drop_last=True)):
        message_of(lambda: Trainer(player(), device="cpu").fit(nothing), "not one batch")

def test_no_batches_at_all_is_a_sentence(): message_of(lambda: Trainer(player(), device="cpu").fit(None), "no batches")

def test_a_generator_is_refused_before_an_epoch_is_wasted():
    trainer = Trainer(player(), device="cpu")
    message_of(lambda: trainer.fit((batch for batch in batches()), epochs=2), "only once")
    assert trainer.step == 0
    trainer.fit((batch for batch in batches(3)))
    assert trainer.step == 3

def test_batches_that_hide_a_generator_are_found_in_epoch_2():
    class Once:
        def __init__(self): self.inside = iter(batches(2))
        def __iter__(self): return self.inside
    message_of(lambda: Trainer(player(), device="cpu").fit(Once(), epochs=2), "epoch 2", "only once")

def test_a_schedule_needs_a_length():
    message_of(lambda: Trainer(player(schedule=optim.cosine), device="cpu").fit(iter(batches())), "no length")

def test_a_schedule_must_return_a_factor(): message_of(lambda: Trainer(player(schedule=lambda t: math.nan), device="cpu").fit(batches(1)), "schedule", "nan")

def test_frozen_parameters_are_a_sentence():
    frozen = network().requires_grad_(False)
    message_of(lambda: Player(frozen, cross_entropy, name="judge"), "'judge'", "nothing to learn")
    thawed = player()
    thawed.module.requires_grad_(False)
    message_of(lambda: Trainer(thawed, device="cpu").fit(batches(1)), "frozen parameters")

def test_wrong_players_and_callbacks_are_sentences():
    message_of(lambda: Trainer([]), "needs a Player")
    message_of(lambda: Trainer(network()), "needs a Player")
    message_of(lambda: Trainer([player(), player()]), "name of its own")
    message_of(lambda: Trainer(player(), callbacks=[PlotLosses]), "is not a callback")
    message_of(lambda: Player(3, cross_entropy), "torch.nn.Module")
    message_of(lambda: player(clip=-1), "clip")

def test_fit_says_that_it_needs_pairs():
    x, y = batches(1)[0]
    message_of(lambda: fit(network(), F.cross_entropy, (x, y), device="cpu"), "pairs")

def test_early_stopping_without_validation_is_a_sentence():
    message_of(lambda: Trainer(player(), EarlyStopping(1), device="cpu").fit(batches(1)), "Validate")

def test_an_empty_validation_set_is_a_sentence():
    message_of(lambda: fit(network(), F.cross_entropy, batches(1), valid=[], device="cpu"), "validation set empty")

def test_a_tensor_on_another_device_is_a_sentence():
    def mixed(module, batch): raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!")
    message_of(lambda: Trainer(player(loss=mixed), device="cpu").fit(batches(1)), "cuda:0 and cpu", "device=x.device")

def test_a_nan_loss_names_player_step_and_remedy_and_spares_the_weights():
    def explode(module, batch): return cross_entropy(module, batch)*(math.nan if explode.step == 5 else 1)
    class Count(Callback):
        def after_step(self, trainer): explode.step = trainer.step+1
    explode.step = 1
    victim = player(loss=explode, name="generator", lr=0.25)
    trainer = Trainer(victim, Count(), device="cpu")
    message_of(lambda: trainer.fit(batches(3), epochs=3), "'generator'", "nan in step 5 (epoch 2)", "0.25", "0.025", "clip=1.0")
    assert all(parameter.isfinite().all() for parameter in victim.module.parameters()) and len(trainer.history["loss"]) == 5

def test_a_loss_that_is_nan_from_the_start_blames_the_loss():
    message_of(lambda: Trainer(player(loss=lambda module, batch: -module(batch[0]).abs().neg().log().mean()), device="cpu").fit(batches(1)), "step 1", "nothing has been learned yet")

def test_a_loss_that_really_diverges_is_caught():
    wild = player(optimizer=torch.optim.SGD, lr=1e9, loss=lambda module, batch: module(batch[0]).pow(2).mean())
    assert "learning rate is too high" in message_of(lambda: Trainer(wild, device="cpu").fit(batches(6), epochs=100))
    assert all(parameter.isfinite().all() for parameter in wild.module.parameters())

def test_nan_in_the_data_is_called_so():
    data = batches(3)
    data[1][0][2, 3] = math.nan
    message_of(lambda: Trainer(player(), device="cpu").fit(data), "step 2", "data contain NaN")

def test_on_an_accelerator_the_step_of_a_nan_is_still_named():
    trainer = Trainer(player(), device="cpu")
    trainer.pending = [(trainer.players[0], "loss", step, 1, torch.tensor(math.inf if step == 37 else 1.)) for step in range(1, 51)]
    message_of(lambda: trainer.history, "inf in step 37 (epoch 1)")
    assert len(trainer.history["loss"]) == 50


# Weights for use

def test_weights_come_back_in_float32_and_close(tmp_path):
    module = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30))
    state, about = load_weights(save_weights(tmp_path/"small.safetensors", module, sizes=[20, 30]))
    assert about == {"sizes": [20, 30]} and state["1.num_batches_tracked"].dtype == torch.int64
    for name, value in module.state_dict().items():
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-6)

def test_unknown_weights_are_a_sentence_that_names_the_known(): message_of(lambda: load_weights("transformers"), "lstm", "transformer")

def test_a_missing_file_of_weights_is_a_sentence(tmp_path): message_of(lambda: load_weights(tmp_path/"gone.safetensors"), "could not be read")

def test_a_checkpoint_is_no_file_of_weights(tmp_path):
    Trainer(player(), Checkpoint(tmp_path/"run.safetensors"), device="cpu").fit(batches())
    message_of(lambda: load_weights(tmp_path/"run.safetensors"), "resume=")


# Precision

@pytest.mark.slow
def test_precision_none_never_imports_fabric():
    code = "import sys, torch; from genesis_course.training import *; Trainer(Player(torch.nn.Linear(1, 1), lambda m, b: m(b).sum())).fit([torch.ones(1, 1)]); sys.exit('lightning_fabric' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

def test_mixed_precision_trains_float32_weights_close_to_full_precision():
    ends = []
    for precision in (None, "bf16-mixed"):
        trained = player(optimizer=torch.optim.SGD, lr=0.1, clip=1.)
        trainer = Trainer(trained, Validate(batches(1, seed=3)), device="cpu", precision=precision).fit(batches(), epochs=2)
        ends.append((trained.module[0].weight.detach(), trainer.history["valid loss"][-1][1]))
    assert ends[1][0].dtype == torch.float32 and not torch.equal(ends[0][0], ends[1][0])
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=0, atol=5e-3)
    assert ends[0][1] == pytest.approx(ends[1][1], abs=0.02)

def test_an_unknown_precision_is_a_sentence(): message_of(lambda: Trainer(player(), device="cpu", precision="8-magic"), "precision")
