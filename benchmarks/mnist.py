"""Seconds from process start to a test accuracy, on the CPU: the official PyTorch MNIST example, and the course's networks and `Trainer`.

    GENESIS_DATA=… python benchmarks/mnist.py [--seeds 5] [--only official quick exact fashion] [--threads 0]

Every training is a process of its own; its clock starts before Python does and includes every import, the reading of the files and the test. The official side has the
network, the settings and the behaviour of mnist/main.py in pytorch/examples on a CPU (Adadelta, StepLR, batches of 64 in the order of the file, dropout, a DataLoader
without workers, a test after every epoch), written again here. It stops after the first epoch that reaches 99.0 %. Our sides train for a fixed number of epochs and test once.
The recipes were chosen on 10,000 images set aside from the training part (`--choose` trains and measures there); the seeds of the table were not used for that.
Accuracies do not depend on how busy a machine is and seconds do, so runs are stored with their number of threads, and only runs with all of them count for the seconds.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from common import RESULTS, save, torchvision_mnist

FRESH_SEED, STORED = 200, RESULTS/"mnist.json"


@dataclass
class Recipe:
    "What is trained, how long and with what"
    goal: str
    data: str
    network: str
    epochs: int
    lr: float
    decay: float = 0.02
    smoothing: float = 0.
    augment: dict = field(default_factory=dict)
    views: str = "one"          # what the test averages over


RECIPES = {
    "quick": Recipe("MNIST 99.0 %", "mnist", "narrow", epochs=2, lr=0.02),
    "exact": Recipe("MNIST 99.5 %", "mnist", "plain", epochs=10, lr=0.02, smoothing=0.1, augment=dict(rotate=8, scale=0.1, shift=0.05), views="moved"),
    "fashion": Recipe("Fashion-MNIST 93.5 %", "fashion", "residual", epochs=20, lr=0.01, decay=0.05, smoothing=0.1, augment=dict(shift=0.036, flip=True), views="both"),
}


def build(name):
    from torch import nn
    from genesis_course.cnn import ResNet, conv_block
    if name == "residual": return ResNet(widths=(28, 56, 112), stem_kernel=5, stem_stride=2, pool="max")
    width = {"narrow": 64, "plain": 96}[name]
    return nn.Sequential(conv_block(1, 16, kernel=5, stride=2), conv_block(16, 32), nn.MaxPool2d(2), conv_block(32, width),
                         nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def views(kind, x):
    "The picture, and the same picture seen a little differently"
    if kind == "one": return [x]
    moved = [x.roll((down, right), (2, 3)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return moved + [view.flip(3) for view in moved] if kind == "both" else moved


def ours(recipe, seed, choose):
    "Test accuracy in percent, and the number of parameters"
    import torch
    import torch.nn.functional as F
    from genesis_course.augment import Augment
    from genesis_course.data import Batches, load_images, split_set
    from genesis_course.optim import one_cycle
    from genesis_course.training import Player, Trainer, evaluate
    torch.manual_seed(seed)
    learn = load_images(recipe.data)
    learn, test = split_set(learn, valid=1/6) if choose else (learn, load_images(recipe.data, split="test"))
    model = build(recipe.network).to(memory_format=torch.channels_last)
    change = Augment(**recipe.augment) if recipe.augment else lambda x: x
    def scores(module, x):
        "Logits; the convolutions compute in 16 bits, with the channels of a pixel side by side"
        with torch.autocast("cpu", torch.bfloat16): return module(x.contiguous(memory_format=torch.channels_last)).float()
    def loss(module, batch): return F.cross_entropy(scores(module, batch[0]), batch[1], label_smoothing=recipe.smoothing)
    def right(module, batch):
        mean = sum(scores(module, x).softmax(dim=1) for x in views(recipe.views, batch[0]))
        return (mean.argmax(dim=1) == batch[1]).float().mean()
    def optimizer(parameters, lr):
        "AdamW that shrinks weights only, not batch norm's scales or biases"
        parameters = list(parameters)
        groups = [{"params": [p for p in parameters if (p.ndim > 1) == large], "weight_decay": recipe.decay*large} for large in (True, False)]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))
    player = Player(model, loss, optimizer, lr=recipe.lr, schedule=one_cycle)
    Trainer(player, device="cpu").fit(Batches(learn, batch_size=128, seed=seed, drop_last=True, transform=change), epochs=recipe.epochs)
    accuracy = evaluate(model, Batches(test, batch_size=1000, shuffle=False), right)["loss"]
    return 100*accuracy, sum(p.numel() for p in model.parameters())


def official(seed, limit=99.0):
    "Yields the test accuracy in percent and the number of parameters after every epoch, until the limit is reached"
    import torch
    import torch.nn.functional as F
    from torch import nn
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        learn, test = (torchvision_mnist(folder, ((0.1307,), (0.3081,)), train=part) for part in (True, False))
        learn = torch.utils.data.DataLoader(learn, batch_size=64)
        test = torch.utils.data.DataLoader(test, batch_size=1000)
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), nn.LogSoftmax(dim=1))
        optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
        for _ in range(14):
            model.train()
            for x, y in learn:
                optimizer.zero_grad()
                F.nll_loss(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad(): right = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in test)
            yield right/len(test.dataset)*100, sum(p.numel() for p in model.parameters())
            if right >= limit/100*len(test.dataset): return
            scheduler.step()


def child(side, seed, threads, choose):
    "One training in this process; a line of JSON for every test"
    import torch
    if threads: torch.set_num_threads(threads)
    for accuracy, weights in official(seed) if side == "official" else [ours(RECIPES[side], seed, choose)]:
        print(json.dumps({"accuracy": accuracy, "weights": weights}), flush=True)


def timed(side, seed, threads=0, choose=False):
    "[(seconds since the process was started, what it printed)]"
    started, lines = time.perf_counter(), []
    command = [sys.executable, __file__, "--child", side, "--seed", str(seed), "--threads", str(threads), *["--choose"]*choose]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"): lines.append((time.perf_counter()-started, json.loads(line)))
    if process.returncode: raise SystemExit(f"{side} with seed {seed} failed.")
    return lines


def measure(side, seed, threads):
    "One run, as it is kept"
    lines = timed(side, seed, threads)
    tests = [{"seconds": round(seconds, 1), "accuracy": round(found["accuracy"], 2)} for seconds, found in lines]
    return {"side": side, "seed": seed, "threads": threads, "weights": lines[-1][1]["weights"], "tests": tests}


def rows(runs):
    "The table: seconds are the median of runs with all threads, accuracy is over all seeds; the ratio is to the official example's seconds to 99.0 %"
    def seconds(side):
        times = [run["tests"][-1]["seconds"] for run in runs if run["side"] == side and not run["threads"]]
        return statistics.median(times) if times else None
    def row(what, side, took, accuracies):
        weights = next(run["weights"] for run in runs if run["side"] == side)
        spread = f"{statistics.mean(accuracies):.2f}" + (f" ({min(accuracies):.2f} to {max(accuracies):.2f})" if len(accuracies) > 1 else "")
        ratio = f"1/{seconds('official')/took:.1f}" if took and seconds("official") and side in ("quick", "exact") else None
        return {"training": what, "weights": f"{weights:,}", "seconds": took, "of the official time": ratio, "test accuracy, %": spread, "seeds": len(accuracies)}
    table = []
    for run in runs:
        if run["side"] != "official": continue
        first, last = run["tests"][0], run["tests"][-1]
        table += [row("the official example, one epoch", "official", first["seconds"], [first["accuracy"]]),
                  row(f"the official example, {len(run['tests'])} epochs", "official", last["seconds"], [last["accuracy"]])]
    for side, recipe in RECIPES.items():
        accuracies = [run["tests"][-1]["accuracy"] for run in {run["seed"]: run for run in runs if run["side"] == side}.values()]
        if accuracies: table.append(row(f"ours, {recipe.goal}, {recipe.epochs} epochs", side, seconds(side), accuracies))
    return table


def keep(stored):
    "Write down what has been measured so far"
    save("mnist", "Seconds from the start of the process to the last test (median of the runs with all cores), and test accuracy in percent (mean and range over the seeds)",
         rows(stored), ["torch", "torchvision"], runs=stored, recipes={side: vars(recipe) for side, recipe in RECIPES.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["official", *RECIPES], choices=["official", *RECIPES], help="measure these anew and keep what is stored of the others")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice. Only such runs count for the seconds")
    parser.add_argument("--choose", action="store_true", help="train on 50,000 images and measure on the other 10,000 of the training part")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help="with --choose")
    options = parser.parse_args()
    if options.child: return child(options.child, options.seed, options.threads, options.choose)
    if options.choose:
        for side in options.only: print(side, timed(side, options.seed, options.threads, choose=True), flush=True)
        return
    stored = json.loads(STORED.read_text())["runs"] if STORED.exists() else []
    for side in options.only:
        seeds = [1] if side == "official" else range(FRESH_SEED, FRESH_SEED+options.seeds)
        for seed in seeds:
            stored = [run for run in stored if (run["side"], run["seed"], run["threads"]) != (side, seed, options.threads)]
            stored.append(measure(side, seed, options.threads))
            keep(stored)


if __name__ == "__main__": main()
