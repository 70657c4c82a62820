"""Characters of Tiny Shakespeare on the CPU: nanoGPT's documented setting against a recipe of the course, and four kinds of network at equal time.

    GENESIS_DATA=… python benchmarks/shakespeare.py [--seeds 0 1 2] [--threads 0]

One side is the setting that nanoGPT documents for a computer without a graphics card: 4 layers, 4 heads, width 128, context 64, batches of 12, 2,000 iterations, no dropout;
published validation loss 1.88. It is a re-implementation in plain PyTorch of what that script does with those flags, in this file, and not the script itself: learned positions,
LayerNorm and linear layers without biases, tied embedding, weights from normal(0, 0.02), AdamW with 1e-3 → 1e-4 after 100 iterations of warm-up, weight decay 0.1 on matrices,
clipping at 1, an evaluation of 20 batches of both parts every 250 iterations which keeps the best weights in a file, and batches cut out of a NumPy array. It counts from 0 to
2,000 inclusive, as the script does. Numbering the text, which nanoGPT does in a program of its own before, is a fraction of a second, and is in the time.

The other side is the course's `Transformer` of the same size (0.2 % more parameters), trained by its `Trainer` in fewer steps. Each run is a fresh process, and its time is taken
from outside: from the start of the process, imports and reading included, until training has ended. The loss is measured after that, outside the time, on the whole validation
text (the last tenth) in windows of 64 characters, in the same way for both. The numbers of both sides are those of the last step.

Then an RNN, an LSTM, a GRU and the Transformer train for as many seconds each as a run of the recipe took; their learning rates follow the clock, and measuring stops the clock.
The three recurrent networks have the width and the learning rate that did best among a few for this time; like the Transformer they start every window without a memory.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from common import save

CONTEXT, WIDTH, HEADS, LAYERS, BATCH, ITERATIONS = 64, 128, 4, 4, 12, 2000
STEPS = 500     # of the recipe, in batches of 12 as well
NETWORKS = {"RNN": ("rnn", 256, 2e-3), "LSTM": ("lstm", 192, 6e-3), "GRU": ("gru", 192, 4e-3), "Transformer": (None, WIDTH, 4e-3)}    # cell, width, learning rate
POINTS = 8      # measurements on a curve


def reference(seed, threads):
    "The documented nanoGPT setting; returns the model as the course's language models are called, for measuring"
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
    from genesis_course.downloads import fetch
    if threads: torch.set_num_threads(threads)

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(WIDTH))

        def forward(self, x): return F.layer_norm(x, (WIDTH,), self.gain)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = Norm(), Norm()
            self.qkv, self.out = nn.Linear(WIDTH, 3*WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.up, self.down = nn.Linear(WIDTH, 4*WIDTH, bias=False), nn.Linear(4*WIDTH, WIDTH, bias=False)

        def forward(self, x):
            q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(WIDTH, dim=-1))
            x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.layers, self.norm = nn.Sequential(*[Layer() for _ in range(LAYERS)]), Norm()
            for name, parameter in self.named_parameters():
                residual = name.endswith(("out.weight", "down.weight"))
                if parameter.ndim == 2: nn.init.normal_(parameter, std=0.02/math.sqrt(2*LAYERS) if residual else 0.02)

        def forward(self, ids, state=None):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            return F.linear(self.norm(self.layers(x)), self.tokens.weight), None

    def numbers(text, known): return np.array([known[character] for character in text], dtype=np.uint16)

    def sample(data):
        starts = torch.randint(len(data)-CONTEXT, (BATCH,))
        return tuple(torch.stack([torch.from_numpy(data[i+later:i+later+CONTEXT].astype(np.int64)) for i in starts]) for later in (0, 1))

    def loss_of(batch):
        x, y = batch
        return F.cross_entropy(model(x)[0].flatten(0, 1), y.flatten())

    def learning_rate(step):
        if step < 100: return 1e-3*(step+1)/101
        return 1e-4 + (1e-3-1e-4)*(1+math.cos(math.pi*(step-100)/(ITERATIONS-100)))/2

    @torch.no_grad()
    def estimate(data):
        model.eval()
        losses = [loss_of(sample(data)).item() for _ in range(20)]
        model.train()
        return sum(losses)/len(losses)

    torch.manual_seed(seed)
    text = Path(fetch("shakespeare")).read_text(encoding="utf-8")
    data = numbers(text, {character: i for i, character in enumerate(sorted(set(text)))})
    train, valid = data[:int(0.9*len(data))], data[int(0.9*len(data)):]
    model, best = GPT(int(data.max())+1), math.inf
    matrices, vectors = ([p for p in model.parameters() if (p.ndim == 2) == flat] for flat in (True, False))
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.}], lr=1e-3, betas=(0.9, 0.99))
    with tempfile.TemporaryDirectory() as folder:
        batch = sample(train)
        for step in range(ITERATIONS+1):
            for group in optimizer.param_groups: group["lr"] = learning_rate(step)
            if step % 250 == 0:
                _, found = estimate(train), estimate(valid)
                if found < best and step:
                    best = found
                    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, Path(folder)/"best.pt")
            loss = loss_of(batch)
            batch = sample(train)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
    return model, ITERATIONS+1


def player_of(kind, vocab_size, schedule):
    "A network of the course with its loss, optimiser and schedule"
    import torch
    from genesis_course.attention import Transformer
    from genesis_course.rnn import RecurrentLM, next_token_loss
    from genesis_course.training import Player
    cell, width, lr = NETWORKS[kind]
    module = RecurrentLM(vocab_size, cell, width) if cell else Transformer(vocab_size, CONTEXT, width, HEADS, LAYERS)
    return Player(module, next_token_loss, torch.optim.AdamW, lr=lr, schedule=schedule, clip=1., betas=(0.9, 0.99), weight_decay=0.1)


def rise_and_fall(t):
    "5 % of training up, the rest down to a tenth of the learning rate"
    from genesis_course.optim import cosine, warm_up
    return warm_up(lambda rest: cosine(rest, 0.1), 0.05)(t)


def course_text(threads):
    import torch
    from genesis_course.data import load_text
    if threads: torch.set_num_threads(threads)
    return load_text("shakespeare").split(0.1)


def recipe(seed, threads, steps=STEPS):
    "The course's classes: every batch is new text, for its windows begin so far apart that one pass takes `steps` steps"
    from genesis_course.data import Batches
    from genesis_course.start import seed_everything
    from genesis_course.training import Trainer
    train, _ = course_text(threads)
    seed_everything(seed)
    windows = train.windows(CONTEXT, len(train)//(steps*BATCH))
    player = player_of("Transformer", len(train.vocabulary), rise_and_fall)
    trainer = Trainer(player, device="cpu").fit(Batches(*windows, batch_size=BATCH, seed=seed, drop_last=True))
    return player.module, trainer.step


def curve(kind, budget, threads):
    "Train one kind of network for so many seconds: {seconds, losses, steps, parameters} of the whole validation text"
    from genesis_course.data import Batches
    from genesis_course.rnn import text_loss
    from genesis_course.start import seed_everything
    from genesis_course.training import Callback, Trainer
    train, valid = course_text(threads)
    seed_everything(0)

    class Clock(Callback):
        "Seconds of training, the measurements left out"
        def __init__(self): self.start, self.times, self.losses = None, [], []
        def seconds(self): return time.perf_counter()-self.start if self.start else 0.
        def share(self, _): return rise_and_fall(min(1., self.seconds()/budget))
        def before_fit(self, trainer): self.start = time.perf_counter()

        def after_step(self, trainer):
            now = self.seconds()
            if now < budget*(len(self.times)+1)/POINTS: return
            self.times.append(round(now, 2))
            self.losses.append(round(text_loss(player.module, valid, CONTEXT), 4))
            self.start = time.perf_counter()-now
            if now >= budget: trainer.stop("the time is up")

    clock = Clock()
    player = player_of(kind, len(train.vocabulary), clock.share)
    trainer = Trainer(player, [clock], device="cpu").fit(Batches(*train.windows(CONTEXT, CONTEXT-1), batch_size=BATCH, seed=0, drop_last=True), epochs=1000)
    return {"seconds": clock.times, "losses": clock.losses, "steps": trainer.step, "parameters": parameters(player.module),
            "carried": round(text_loss(player.module, valid, CONTEXT, stateful=True), 4)}


def parameters(module): return sum(parameter.numel() for parameter in module.parameters())


def child(options):
    "One side in its own process: a line when training has ended, and a line with what was measured afterwards"
    if options.child in NETWORKS: return print(json.dumps(curve(options.child, options.budget, options.threads)))
    model, steps = {"reference": reference, "recipe": recipe}[options.child](options.seed, options.threads)
    print("trained", flush=True)
    from genesis_course.data import load_text
    from genesis_course.rnn import text_loss
    valid = load_text("shakespeare").split(0.1)[1]
    print(json.dumps({"loss": round(text_loss(model, valid, CONTEXT), 4), "steps": steps, "parameters": parameters(model)}))


def start(options, name, **more):
    "Run a child: what it measured, with the seconds from the start of its process until it had trained"
    settings = {"child": name, "threads": options.threads, **more}
    command = [sys.executable, __file__, *(word for key, value in settings.items() for word in (f"--{key}", str(value)))]
    began, seconds, lines = time.perf_counter(), None, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.strip() == "trained": seconds = time.perf_counter()-began
            else: lines.append(line)
    if process.returncode: raise SystemExit(f"{name} ended with {process.returncode}")
    return {"seconds": seconds and round(seconds, 1), **json.loads(lines[-1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the recipe, a run each")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch, on both sides; 0: as many as it takes by itself")
    for name, kind, default in (("--child", str, None), ("--seed", int, 1337), ("--budget", float, 30.)):
        parser.add_argument(name, type=kind, default=default, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child: return child(options)
    documented = start(options, "reference", seed=1337)
    ours = [start(options, "recipe", seed=seed) for seed in options.seeds]
    middle = statistics.median(run["seconds"] for run in ours)
    table = [row("nanoGPT's documented setting", [documented], documented["seconds"]), row("Genesis Course", ours, documented["seconds"])]
    curves = {kind: start(options, kind, budget=middle) for kind in NETWORKS}
    what = "Training on Tiny Shakespeare on the CPU: seconds from the start of the process, and the loss of the whole validation text in windows of 64 characters (median of the runs)"
    save("shakespeare", what, table, ["torch", "numpy"], threads=options.threads or "as many as PyTorch takes", runs={"documented": documented, "course": ours}, curves=curves)
    for kind, found in curves.items(): print(f"{kind}: {found['losses'][-1]} nats after {found['seconds'][-1]} s, {found['steps']} steps, {found['parameters']:,} parameters")


def row(side, runs, base):
    seconds, losses = [run["seconds"] for run in runs], [run["loss"] for run in runs]
    middle = statistics.median(seconds)
    return {"side": side, "runs": len(runs), "parameters": runs[0]["parameters"], "steps": runs[0]["steps"], "seconds": round(middle, 1), "share of the documented time": round(middle/base, 3),
            "loss in nats": round(statistics.median(losses), 3), "lowest": round(min(losses), 3), "highest": round(max(losses), 3)}


if __name__ == "__main__": main()
