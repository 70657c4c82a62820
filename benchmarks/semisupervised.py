"""Few labels, and made data: the tables of chapters 24a and 24b, on the built-in digits, on one core.

    python benchmarks/semisupervised.py [--only labels made] [--seeds 3]
    python benchmarks/semisupervised.py --choose WAY …      which of three settings a way gets; nothing is stored

labels: six ways to learn from 1, 2, 5 or 20 labels of each class and the 1,437 digits of the training part without their labels; accuracy on the 360 of the test part. Every way got three settings,
tried once each on another task (drawn glyphs of 8 by 8 pixels, two labels a class, seed 50), the best of which is used here; no handwritten label was used to choose anything. Steps are such that each
way takes about the same processor seconds, which are stored.
made: does a classifier read better when generated pictures are added to 1, 10 or 100 real ones a class? Every generator saw exactly these, except in the row that says otherwise. All four generators take part
at 10 a class, the VAE everywhere.
The results go to benchmarks/results/semisupervised.json and, as a table for the chapters, to nbs/fewlabels.csv.
"""
import argparse
import csv
import json
import time
import torch
from torch.nn import functional as F
from common import RESULTS, save

STORED, TABLE = RESULTS/"semisupervised.json", RESULTS.parent.parent/"nbs"/"fewlabels.csv"
FRESH_SEED, COUNTS, REAL, ALL_AT = 100, (1, 2, 5, 20), (1, 10, 100), 10
KEYS = ["part", "way", "count", "seed", "measure", "value", "seconds"]

# The settings that each way was tried with, the chosen one first; and its steps
WAYS = {
    "labels, augmented": (700, [{"rotate": 15, "shift": 0.12, "scale": 0.15}, {"rotate": 10, "shift": 0.08, "scale": 0.1}, {"rotate": 5, "shift": 0.04, "scale": 0.05}]),
    "self-training": (550, [{"rounds": 1, "threshold": 0.8}, {"rounds": 1, "threshold": 0.}, {"rounds": 3, "threshold": 0.8}]),
    "FixMatch": (340, [{"threshold": 0.6}, {"threshold": 0.8}, {"threshold": 0.95}]),
    "GAN's extra class": (160, [{"weight": 0.2}, {"weight": 0.5}, {"weight": 1.}]),
    "VAE's M2": (150, [{"scale": 0.005}, {"scale": 0.02}, {"scale": 0.05}]),
    "features of letters": (0, [{"depth": 3}, {"depth": 2}, {"depth": 1}]),
}


def sets(kind):
    "The pool, whose labels are hidden, and the test part"
    from genesis_course.data import load_images
    if kind == "digits": return {size: (load_images("digits", "train", size), load_images("digits", "test", size)) for size in (8, 16)}
    return {size: (load_images("glyphs", "train", size, count=1437), load_images("glyphs", "test", size, count=1000)) for size in (8, 16)}


def share_right(network, images):
    from genesis_course.data import Batches
    from genesis_course.training import accuracy, evaluate
    return evaluate(network, Batches(images, batch_size=500, shuffle=False), lambda module, batch: accuracy(module(batch[0]), batch[1]))["loss"]


def run(players, steps, data, seed):
    from genesis_course.data import Batches
    from genesis_course.processes import Steps
    from genesis_course.training import Trainer
    Trainer(players, device="cpu").fit(Steps(Batches(*data, batch_size=min(64, len(data[0])), seed=seed, drop_last=True), steps))


def letters(pool, few, test, depth):
    "A linear reader of what the network of chapter 12b, which has read letters, makes of twenty versions of each labelled picture"
    from genesis_course.augment import Augment
    from genesis_course.data import to_floats
    from genesis_course.imagenet import LinearReader
    from genesis_course.run import in_mode
    from genesis_course.transfer import backbone
    network, change = backbone(), Augment(**WAYS["labels, augmented"][1][0])
    def seen(x):
        with torch.no_grad(), in_mode([network], False):
            for name in ("stem", *(f"stage{k}" for k in range(1, depth+1))): x = getattr(network, name)(x)
        return x.mean(dim=(2, 3))
    views = torch.cat([seen(change(to_floats(few.images))) for _ in range(20)])
    return (LinearReader(views, few.labels.repeat(20))(seen(to_floats(test.images))).argmax(dim=1) == test.labels).double().mean().item()


def learn(way, data, count, seed, setting):
    "Accuracy of one training, and its processor seconds"
    from genesis_course.augment import Augment
    from genesis_course.data import to_floats
    from genesis_course.optim import one_cycle
    from genesis_course.semisupervised import M2, Handful, extra_class_players, fixmatch_loss, handful_loss, m2_loss, pseudo_labels, self_training_loss, small_reader
    from genesis_course.stable_gan import ConvGenerator
    from genesis_course.training import Player
    from genesis_course.transfer import few_labels
    torch.manual_seed(seed)
    pool, test = data[8]
    few, unlabelled, began, steps = few_labels(pool, count, seed), to_floats(pool.images), time.process_time(), WAYS[way][0]
    weak, strong = Augment(rotate=10, shift=0.08, scale=0.1), Augment(rotate=20, shift=0.12, scale=0.2, erase=0.7)
    network, handful = small_reader(), Handful(few, transform=weak)
    def player(module, loss, lr=5e-3): return Player(module, loss, torch.optim.AdamW, lr=lr, schedule=one_cycle)
    if way == "features of letters": return letters(data[16][0], few_labels(data[16][0], count, seed), data[16][1], **setting), time.process_time()-began
    if way == "labels, augmented": run(player(network, handful_loss(Handful(few, transform=Augment(**setting)))), steps, [unlabelled], seed)
    if way == "FixMatch": run(player(network, fixmatch_loss(handful, weak, strong, **setting)), steps, [unlabelled], seed)
    if way == "GAN's extra class": run(extra_class_players(network, ConvGenerator(16, 8, width=16), handful, **setting), steps, [unlabelled], seed)
    if way == "VAE's M2": run(player(M2(network), m2_loss(handful, weak, **setting)), steps, [unlabelled], seed)
    if way == "self-training":
        rounds, threshold = setting["rounds"], setting["threshold"]
        run(player(network, handful_loss(handful)), steps//2, [unlabelled], seed)
        for again in range(rounds):
            images, guesses, _ = pseudo_labels(network, unlabelled, threshold)
            network = small_reader()
            known = not len(images)                                # nobody is sure of anything
            run(player(network, handful_loss(handful) if known else self_training_loss(handful, weak)), steps//2//rounds, [unlabelled] if known else [images, guesses], seed+again)
    return share_right(network, test), time.process_time()-began


def spread(values, digits=3): return f"{sum(values)/len(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(runs):
    "A row for each way: mean and range over the seeds"
    rows = []
    for part in dict.fromkeys(each["part"] for each in runs):
        for way in dict.fromkeys(each["way"] for each in runs if each["part"] == part):
            mine = [each for each in runs if (each["part"], each["way"]) == (part, way)]
            for measure in dict.fromkeys(each["measure"] for each in mine):
                for count in sorted({each["count"] for each in mine if each["measure"] == measure}):
                    values = [each["value"] for each in mine if (each["measure"], each["count"]) == (measure, count)]
                    rows.append({"part": part, "way": way, "count": count, "measure": measure, "value": spread(values), "seeds": len(values)})
    return rows


def keep(runs):
    save("semisupervised", "Accuracy on the 360 test digits (count: real labels a class)",
         table(runs), ["torch"], runs=runs, settings={way: {"steps": steps, "chosen": tried[0], "tried": tried} for way, (steps, tried) in WAYS.items()})
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, KEYS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(runs)


def found(part, way, count, seed, measures, seconds):
    return [{"part": part, "way": way, "count": count, "seed": seed, "measure": measure, "value": round(value, 4), "seconds": round(seconds, 1)} for measure, value in measures.items()]


def choose(ways):
    data = sets("glyphs")
    for way in ways:
        for setting in WAYS[way][1]:
            accuracy, seconds = learn(way, data, 2, 50, setting)
            print(f"{way:22}{setting!s:50}{accuracy:.3f}  {seconds:.1f} s", flush=True)


def part_labels(seeds, done):
    data = sets("digits")
    for seed in seeds:
        for count in COUNTS:
            for way, (_, tried) in WAYS.items():
                if ("labels", way, count, seed) in done: continue
                accuracy, seconds = learn(way, data, count, seed, tried[0])
                yield found("labels", way, count, seed, {"accuracy": accuracy}, seconds)


def read_with(few, test, draw, transform, seed, steps=150):
    "Accuracy of a classifier that learns from real pictures, and where there is `draw` from 64 drawn ones beside 32 real ones in every batch; as on the page of chapter 24b"
    from genesis_course.data import to_floats
    from genesis_course.optim import one_cycle
    from genesis_course.semisupervised import small_reader
    from genesis_course.training import Player
    torch.manual_seed(seed)
    images, labels = to_floats(few.images), few.labels
    def loss(network, batch):
        rows = torch.randint(len(labels), (32 if draw else 64,))
        x, y = images[rows], labels[rows]
        if transform: x = transform(x)
        if draw: x, y = torch.cat([x, transform(batch[0]) if transform else batch[0]]), torch.cat([y, batch[1]])
        return F.cross_entropy(network(x), y)
    asked = torch.arange(3200) % 10
    made, network = draw(asked) if draw else torch.zeros(3200, 1), small_reader()
    run(Player(network, loss, torch.optim.AdamW, lr=5e-3, schedule=one_cycle), steps, [made, asked], seed)
    return share_right(network, test)


def part_made(seeds, done):
    from genesis_course.augment import Augment
    from genesis_course.synthetic import PAINTERS
    from genesis_course.transfer import few_labels
    pool, test = sets("digits")[8]
    change = Augment(**WAYS["labels, augmented"][1][0])
    for seed in seeds:
        leaky = None
        for count in REAL:
            if ("made", "real", count, seed) in done: continue
            few, draws, runs = few_labels(pool, count, seed), {}, []
            for name, painter in PAINTERS.items():
                if count != ALL_AT and name != "VAE": continue
                torch.manual_seed(seed)
                began = time.process_time()
                draws[name] = painter(few, seed=seed)
                draws[name].seconds = time.process_time()-began
            if leaky is None:
                torch.manual_seed(seed)
                leaky = PAINTERS["VAE"](pool, seed=seed)
            rows = {"real": (None, None), "real, augmented": (None, change), **{f"real and {name}": (draw, None) for name, draw in draws.items()},
                    "real and VAE of all 1,437": (leaky, None)}
            for way, (draw, transform) in rows.items():
                began = time.process_time()
                accuracy = read_with(few, test, draw, transform, seed)
                runs += found("made", way, count, seed, {"accuracy": accuracy}, time.process_time()-began+getattr(draw, "seconds", 0))
            yield runs


PARTS = {"labels": part_labels, "made": part_made}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choose", nargs="+", choices=list(WAYS), help="ways whose settings are to be compared")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.choose: return choose(options.choose)
    runs = json.loads(STORED.read_text())["runs"] if STORED.exists() else []
    for part in options.only:
        done = {(each["part"], each["way"], each["count"], each["seed"]) for each in runs}
        for new in PARTS[part](range(FRESH_SEED, FRESH_SEED+options.seeds), done):
            runs += new
            keep(runs)


if __name__ == "__main__": main()
