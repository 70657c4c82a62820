"""What a training step costs beyond PyTorch itself: `Trainer` and its peers on a 784-64-10 network, batch 64, SGD, on the CPU.

    python benchmarks/trainer.py [--steps 500] [--repeats 15] [--threads 1]

Every side trains the same network on the same ready-made batches, with progress bars, loggers and checkpoints switched off.
The cost of a step is (time of a long fit − time of a short fit)/(difference in steps), so that setting up is not counted.
The sides take turns in every repeat; the table shows medians and the ratio to the bare loop. A peer that is not installed is recorded as such.
The peers: pip install accelerate lightning fastai keras (Keras runs on its torch backend).
"""
import argparse
import contextlib
import io
import logging
import os
import statistics
import time
import warnings

os.environ["KERAS_BACKEND"] = "torch"
import torch
import torch.nn.functional as F
from torch import nn
from common import save
from genesis_course.support import import_torchvision

LR, BATCH, SHORT = 0.01, 64, 50


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def sgd(model): return torch.optim.SGD(model.parameters(), lr=LR)


class Cycle:
    "The same few batches over and over, `count` in all"
    def __init__(self, batches, count): self.batches, self.count = batches, count
    def __len__(self): return self.count
    def __iter__(self):
        for i in range(self.count): yield self.batches[i % len(self.batches)]


def bare():
    model = network()
    optimizer = sgd(model)
    def run(batches):
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
    return run


def ours():
    from genesis_course.training import Player, Trainer
    trainer = Trainer(Player(network(), lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]), torch.optim.SGD, lr=LR), device="cpu")
    return lambda batches: trainer.fit(batches)


def ours_on_fabric():
    from genesis_course.training import Player, Trainer
    trainer = Trainer(Player(network(), lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]), torch.optim.SGD, lr=LR), device="cpu", precision="32-true")
    return lambda batches: trainer.fit(batches)


def wrapped_loop(engine, model, optimizer):
    "The bare loop, with the backward pass of an engine that wraps model and optimiser"
    def run(batches):
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            engine.backward(loss)
            optimizer.step()
    return run


def fabric():
    from lightning.fabric import Fabric
    engine = Fabric(accelerator="cpu", devices=1)
    model = network()
    model, optimizer = engine.setup(model, sgd(model))
    return wrapped_loop(engine, model, optimizer)


def accelerate():
    from accelerate import Accelerator
    engine = Accelerator(cpu=True)
    model = network()
    model, optimizer = engine.prepare(model, sgd(model))
    return wrapped_loop(engine, model, optimizer)


def lightning():
    import lightning as L
    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()
        def training_step(self, batch, index): return F.cross_entropy(self.model(batch[0]), batch[1])
        def configure_optimizers(self): return sgd(self.model)
    module = Module()
    def run(batches):
        L.Trainer(accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                  enable_model_summary=False).fit(module, batches)
    return run


def fastai():
    from fastai.basics import DataLoaders, Learner, OptimWrapper
    learner = Learner(DataLoaders([], [], device="cpu"), network(), loss_func=F.cross_entropy, lr=LR,
                      opt_func=lambda parameters, lr, **_: OptimWrapper(parameters, torch.optim.SGD, lr=lr))
    learner._do_epoch_validate = lambda *_: None
    def run(batches):
        learner.dls.loaders[0] = batches
        with learner.no_logging(): learner.fit(1)
    return run


def keras():
    import keras
    model = keras.Sequential([keras.layers.Input((784,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    model.compile(keras.optimizers.SGD(LR), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda batches: model.fit(iter(batches), steps_per_epoch=len(batches), epochs=1, verbose=0)


SIDES = {"bare PyTorch loop": bare, "Genesis Course Trainer": ours, "Genesis Course Trainer on Fabric": ours_on_fabric, "bare loop under Fabric": fabric,
         "bare loop under accelerate": accelerate, "Lightning Trainer": lightning, "fastai Learner": fastai, "Keras on torch": keras}


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def seconds(run, batches):
    started = time.perf_counter()
    run(batches)
    return time.perf_counter()-started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500, help="steps that are timed in each repeat")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; more than one brings nothing to so small a network")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(BATCH, 784, generator=generator), torch.randint(10, (BATCH,), generator=generator)) for _ in range(50)]
    with contextlib.suppress(Exception): import_torchvision()      # some peers import it, and a CUDA build of it beside a CPU build of torch needs help
    runs, missing = {}, {}
    for name, make in SIDES.items():
        try:
            with quiet():
                run = make()
                run(Cycle(data, SHORT))
            runs[name] = run
        except Exception as error: missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    times = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            with quiet(): short, long = seconds(run, Cycle(data, SHORT)), seconds(run, Cycle(data, SHORT+options.steps))
            times[name].append((long-short)/options.steps)
    base = times["bare PyTorch loop"]
    table = [{"side": name, "µs a step": round(1e6*statistics.median(values), 1), "fastest": round(1e6*min(values), 1), "slowest": round(1e6*max(values), 1),
              "times the bare loop": round(statistics.median(value/other for value, other in zip(values, base)), 3)} for name, values in times.items()]
    save("trainer", f"A training step of a 784-64-10 network, batch 64, SGD, cross-entropy, on the CPU with {torch.get_num_threads()} thread(s) (median of {options.repeats} turns of {options.steps} steps each)",
         table, ["torch", "lightning", "accelerate", "fastai", "keras"], did_not_run=missing)
    for name, why in missing.items(): print(f"{name}: did not run ({why})")


if __name__ == "__main__": main()
