"""What a pre-trained backbone is worth: digits learned from few labels in each way of fine-tuning of chapter 12b, and what is left of the letters.

    GENESIS_DATA=… python benchmarks/transfer.py [--seeds 3] [--data digits mnist] [--again] [--choose]

Each run trains for about 200 steps on batches of 32 with a learning rate that rises and falls, on labels that the seed chooses from the training part, and reads the test
part: of scikit-learn's digits the 360 that mostly come from other writers, of MNIST all 10,000, at 16 by 16 pixels. "letters" is the share of 2,600 drawn letters that
the body reads afterwards, under the head that it had before. A network from scratch is also given four times the steps. What frozen batch norms do is measured for digits with
five labels a class, at the usual rate and at a third of it. The learning rate of each way was chosen (`--choose`) on images of the training part that had no labels then,
with seeds that the table does not use. After a change of the results, `python tools/weights.py backbone` lets them travel with the weights, where the chapter reads them.
"""
import argparse
import copy
import json
import math
import string
import torch
from torch.nn import functional as F
from common import RESULTS, save
from genesis_course.cnn import ResNet
from genesis_course.data import Batches, load_images
from genesis_course.optim import one_cycle
from genesis_course.state import load_weights
from genesis_course.submodules import trained_weights
from genesis_course.training import accuracy, evaluate, fit
from genesis_course.transfer import backbone, few_labels, freeze, prepare

SCRATCH, LONGER, STORED, STEPS, BATCH = "from scratch", "from scratch, 800 steps", RESULTS/"transfer.json", 200, 32
COUNTS = {"digits": (1, 2, 5, 10, 20, 50, 100), "mnist": (2, 10, 50, 200)}
RATES = {SCRATCH: 0.01, LONGER: 0.01, "head only": 0.01, "last layers": 0.01, "all layers": 0.01, "rates by depth": 0.01, "gradual unfreezing": 0.01, "adapters": 0.01}
HELD = {"all layers, a third of the rate": 0.003, "all layers, batch norms frozen": 0.01, "all layers, a third of the rate, batch norms frozen": 0.003,
        "adapters, batch norms frozen": 0.01}      # for HELD_FOR only
HELD_FOR = ("digits", 5)


def read(network, images):
    "Share of the images that it reads rightly"
    return evaluate(network, Batches(images, batch_size=500, shuffle=False), lambda module, pair: accuracy(module(pair[0]), pair[1]))["loss"]


def train(method, images, lr, seed):
    "The trained network, and how many of its weights were trained"
    torch.manual_seed(seed)
    scratch, (way, *held) = method in (SCRATCH, LONGER), method.split(", ")
    network = ResNet(**{**load_weights("backbone")[1]["settings"], "classes": 10}) if scratch else backbone(10)
    settings = {} if scratch else prepare(network, way)
    for layer in network.modules():
        if "batch norms frozen" in held and isinstance(layer, torch.nn.BatchNorm2d): freeze(layer)
    moving = sum(p.numel() for p in network.parameters()) if method == "gradual unfreezing" else trained_weights(network)
    batches = Batches(images, batch_size=min(BATCH, len(images)), seed=seed, drop_last=True)
    fit(network, F.cross_entropy, batches, math.ceil((4 if method == LONGER else 1)*STEPS/len(batches)), lr, schedule=one_cycle, device="cpu", **settings)
    return network, moving


def choose(sets, methods):
    "Accuracy on training images that had no label, for three learning rates"
    for data in sets:
        images = load_images(data, size=16)[:6000]
        learn, judge = images[:-400], images[-400:]
        for method in methods:
            for lr in (0.003, 0.01, 0.03):
                found = {count: sum(read(train(method, few_labels(learn, count, seed), lr, seed)[0], judge) for seed in (100, 101))/2 for count in (2, 10)}
                print(data, method, lr, {count: round(right, 3) for count, right in found.items()}, flush=True)


def measure(data, count, sets, done, seeds):
    "One run for each way and each seed that has not been done"
    images, test, letters = sets
    old = backbone()
    for method, lr in {**RATES, **(HELD if (data, count) == HELD_FOR else {})}.items():
        for seed in range(seeds):
            if (data, count, method, seed) in done: continue
            network, moving = train(method, few_labels(images, count, seed), lr, seed)
            run = {"data": data, "labels": count, "method": method, "seed": seed, "weights": moving, "accuracy": round(read(network, test), 4), "letters": None}
            if method not in (SCRATCH, LONGER):
                network.head = copy.deepcopy(old.head)
                run["letters"] = round(read(network, letters), 4)
            yield run


def rows(runs):
    "A row for each set and number of labels, a column for each way: mean accuracy, and the range over the seeds"
    def cell(data, count, method):
        found = [100*run["accuracy"] for run in runs if (run["data"], run["labels"], run["method"]) == (data, count, method)]
        if not found: return None
        return f"{sum(found)/len(found):.1f} ({min(found):.1f} to {max(found):.1f})"
    measured = sorted({(run["data"], run["labels"]) for run in runs})
    return [{"set": data, "labels a class": count, **{method: cell(data, count, method) for method in RATES}} for data, count in measured]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=list(COUNTS), choices=list(COUNTS))
    parser.add_argument("--again", action="store_true", help="measure everything anew; otherwise what is stored is kept, and what is missing added")
    parser.add_argument("--choose", nargs="*", choices=list(RATES), help="try learning rates on the training part, for these ways or all; nothing is stored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.choose is not None: return choose(options.data, options.choose or list(RATES))
    runs = json.loads(STORED.read_text())["runs"] if STORED.exists() and not options.again else []
    letters = load_images("glyphs", "test", size=16, count=2600, characters=string.ascii_letters)
    for data in options.data:
        sets = load_images(data, size=16), load_images(data, "test", size=16), letters
        for count in COUNTS[data]:
            done = {(run["data"], run["labels"], run["method"], run["seed"]) for run in runs}
            if found := list(measure(data, count, sets, done, options.seeds)):
                runs += found
                keep(runs)


def keep(runs):
    "Write down what has been measured so far"
    save("transfer", "Per cent of test images read rightly after about 200 steps from so many labels: mean and range over the seeds", rows(runs), ["torch"], runs=runs, rates=RATES)


if __name__ == "__main__": main()
