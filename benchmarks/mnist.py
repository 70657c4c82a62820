"""Seconds from process start to a test accuracy, on the CPU: the official PyTorch MNIST example, and the course's networks and `Trainer`.

    GENESIS_DATA=… python benchmarks/mnist.py [--seeds 5] [--only official quick exact fashion]

Every training is a process of its own; its clock starts before Python does and includes every import, the reading of the files and the test. The official side has the
network, the settings and the behaviour of mnist/main.py in pytorch/examples on a CPU (Adadelta, StepLR, batches of 64 in the order of the file, dropout, a DataLoader
without workers, a test after every epoch), written again here. It stops after the first epoch that reaches 99.0 %. Our sides train for a fixed number of epochs and test once.
The recipes were chosen on 10,000 images set aside from the training part (`--choose` trains and measures there); the seeds of the table were not used for that.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from common import save

FRESH_SEED = 100


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
    "quick": Recipe("MNIST 99.0 %", "mnist", "plain", 2, 0.02),
    "exact": Recipe("MNIST 99.5 %", "mnist", "plain", 10, 0.02, augment=dict(rotate=8, scale=0.1, shift=0.05), views="moved"),
    "fashion": Recipe("Fashion-MNIST 93.5 %", "fashion", "residual", 12, 0.01, decay=0.05, augment=dict(shift=0.07, flip=True, erase=0.5), views="mirrored"),
}


def build(name):
    from torch import nn
    from genesis_course.cnn import ResNet, conv_block
    if name == "residual": return ResNet(widths=(24, 48, 96), pool="max")
    return nn.Sequential(conv_block(1, 16, kernel=5, stride=2), conv_block(16, 32), nn.MaxPool2d(2), conv_block(32, 96),
                         nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(96, 10))


def views(kind, x):
    "The picture, and the same picture seen a little differently"
    if kind == "mirrored": return x, x.flip(3)
    if kind == "moved": return x, x.roll(1, 2), x.roll(-1, 2), x.roll(1, 3), x.roll(-1, 3)
    return x,


def ours(recipe, seed, choose):
    "Test accuracy in percent, and the number of parameters"
    import torch
    import torch.nn.functional as F
    from genesis_course.cnn import Augment
    from genesis_course.data import Batches, load_images, split_set
    from genesis_course.training import Player, Trainer, evaluate, one_cycle
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
    "Yields the test accuracy in percent after every epoch, until it reaches the limit"
    import torch
    import torch.nn.functional as F
    from torch import nn
    from genesis_course.downloads import fetch
    from genesis_course.support import import_torchvision
    import_torchvision()
    from torchvision import datasets, transforms
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)/"MNIST"/"raw"
        raw.mkdir(parents=True)
        for key in ("train-images", "train-labels", "test-images", "test-labels"):
            found = fetch(f"mnist/{key}")
            shutil.copyfile(found, raw/found.name)
        pipeline = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        learn, test = (datasets.MNIST(folder, train=part, download=True, transform=pipeline) for part in (True, False))
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
            yield right/len(test.dataset)*100
            if right >= limit/100*len(test.dataset): return
            scheduler.step()


def child(side, seed, choose):
    "One training in this process; a line of JSON for every test"
    if side == "official":
        for accuracy in official(seed): print(json.dumps({"accuracy": accuracy}), flush=True)
    else:
        accuracy, weights = ours(RECIPES[side], seed, choose)
        print(json.dumps({"accuracy": accuracy, "weights": weights}), flush=True)


def timed(side, seed, choose=False):
    "[(seconds since the process was started, what it printed)]"
    started, lines = time.perf_counter(), []
    command = [sys.executable, __file__, "--child", side, "--seed", str(seed), *["--choose"]*choose]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"): lines.append((time.perf_counter()-started, json.loads(line)))
    if process.returncode: raise SystemExit(f"{side} with seed {seed} failed.")
    return lines


def summary(side, seeds):
    runs = []
    for seed in range(FRESH_SEED, FRESH_SEED+seeds):
        (seconds, found), = timed(side, seed)
        runs.append({"seed": seed, "seconds": round(seconds, 1), "accuracy": round(found["accuracy"], 2), "weights": found["weights"]})
        print(side, runs[-1], flush=True)
    return runs


def row(what, seconds, accuracies, weights, reference):
    "A line of the table; the ratio is to the official example's seconds to 99.0 %"
    spread = f"{statistics.mean(accuracies):.2f}" + (f" ({min(accuracies):.2f} to {max(accuracies):.2f})" if len(accuracies) > 1 else "")
    ratio = f"1/{reference/seconds:.1f}" if reference else None
    return {"training": what, "weights": f"{weights:,}", "seconds, from process start": round(seconds, 1), "of the official time": ratio, "test accuracy, %": spread, "seeds": len(accuracies)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["official", *RECIPES], choices=["official", *RECIPES])
    parser.add_argument("--choose", action="store_true", help="train on 50,000 images and measure on the other 10,000 of the training part")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.child: return child(options.child, options.seed, options.choose)
    if options.choose:
        for side in options.only: print(side, timed(side, options.seed, choose=True), flush=True)
        return
    table, details, reference = [], {}, None
    if "official" in options.only:
        epochs = timed("official", 1)
        reference, first = epochs[-1][0], epochs[0][0]
        details["official"] = [{"seconds": round(seconds, 1), "accuracy": round(found["accuracy"], 2)} for seconds, found in epochs]
        table += [row("the official example, first epoch", first, [epochs[0][1]["accuracy"]], 1_199_882, reference),
                  row(f"the official example to 99.0 % ({len(epochs)} epochs)", reference, [epochs[-1][1]["accuracy"]], 1_199_882, reference)]
    for side, recipe in RECIPES.items():
        if side not in options.only: continue
        details[side] = summary(side, options.seeds)
        seconds = statistics.median(run["seconds"] for run in details[side])
        table.append(row(f"ours, {recipe.goal} ({recipe.epochs} epochs)", seconds, [run["accuracy"] for run in details[side]], details[side][0]["weights"],
                         reference if recipe.data == "mnist" else None))
    save("mnist", "Seconds from the start of the process to the test accuracy, median over the seeds; accuracy as mean and range. All data sets in full",
         table, ["torch", "torchvision", "genesis_course"], runs=details, recipes={side: vars(recipe) for side, recipe in RECIPES.items()})


if __name__ == "__main__": main()
