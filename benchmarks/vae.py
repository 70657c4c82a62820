"""Variational autoencoders on MNIST, on the CPU: seconds to the test loss of the official PyTorch example, and nats on binarised digits.

    GENESIS_DATA=… python benchmarks/vae.py [--seeds 3] [--only official quick conv] [--threads 0]

Every training is a process of its own; its clock starts before Python does and includes every import, the reading of the files and the test. The official side has the
network (784-400-20, fully connected), the settings and the behaviour of vae/main.py in pytorch/examples on a CPU (Adam 1e-3, batches of 128, a DataLoader without workers,
a test after every epoch), written again here; it runs its ten epochs. "quick" has the same network and the same loss, trains for a fixed number of epochs and tests once.
Both report the same number: reconstruction plus KL in nats for a test image, grey pixels as targets, one draw of the code for each image.
"conv" is the convolutional VAE of chapter 07a on binarised digits: training images are thrown anew in every epoch, the 10,000 test images once, with a fixed seed. It reports
the negative bound and, for the first 1,000 of the test images, the estimate of -log p(x) from 500 draws (Burda et al. 2016).
The recipes were chosen on 10,000 images set aside from the training part (`--choose` trains and measures there); the seeds of the table were not used for that.
Losses do not depend on how busy a machine is and seconds do, so runs are stored with their number of threads, and only runs with all of them count for the seconds.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from common import RESULTS, save, torchvision_mnist

FRESH_SEED, STORED = 300, RESULTS/"vae.json"


@dataclass
class Recipe:
    "What is trained, how long and with what"
    epochs: int
    lr: float
    batch: int
    latent_dim: int
    width: int = 0           # maps of the convolutional model; 0: the official network
    samples: int = 1         # draws of the estimate


RECIPES = {
    "quick": Recipe(epochs=7, lr=8e-3, batch=256, latent_dim=20),
    "conv": Recipe(epochs=12, lr=6e-3, batch=128, latent_dim=32, width=32, samples=500),
}


PUBLISHED = {        # binarised anew for training; estimates from 5,000 draws
    "published: Burda et al. 2016, Table 1, VAE, one stochastic layer of 50": "86.76",
    "published: Burda et al. 2016, Table 1, IWAE with k = 50, one stochastic layer of 50": "84.78",
}


def ours(side, seed, choose, epochs=None, images=None):
    "What one training found"
    import torch
    from genesis_course.data import Batches, load_images, split_set, to_floats
    from genesis_course.optim import one_cycle
    from genesis_course.training import Player, Trainer
    from genesis_course.vae import VAE, ConvVAE, bernoulli_log_likelihood, binarise, importance_weighted_bound, kl_divergence, negative_bound, to_probabilities
    recipe = RECIPES[side]
    torch.manual_seed(seed)
    learn = load_images("mnist")
    learn, test = split_set(learn, valid=1/6) if choose else (learn, load_images("mnist", split="test"))
    test = to_floats(test.images[:images])
    model = ConvVAE(28, recipe.latent_dim, recipe.width) if recipe.width else VAE(28, recipe.latent_dim, hidden=400)
    with torch.no_grad():                                  # the decoder begins with the mean picture
        last = model.decoder[-1] if recipe.width else model.decoder[-2]
        grey = to_probabilities(to_floats(learn.images[:10_000])).mean(dim=0)
        last.bias.copy_((grey.mean() if recipe.width else grey.flatten()).clamp(0.01, 0.99).logit())
    def loss(module, batch):
        "The bound; the matrices compute in 16 bits"
        with torch.autocast("cpu", torch.bfloat16): logits, mean, log_variance = module(batch[0])
        mean, log_variance = mean.float(), log_variance.float()
        return (kl_divergence(mean, log_variance)-bernoulli_log_likelihood(logits.float(), to_probabilities(batch[0]))).mean()
    player = Player(model, loss, lr=recipe.lr, schedule=one_cycle, betas=(0.9, 0.99), fused=True)
    change = binarise if side == "conv" else None
    Trainer(player, device="cpu").fit(Batches(learn, batch_size=recipe.batch, seed=seed, transform=change), epochs=epochs or recipe.epochs)
    if side == "conv": test = binarise(test, torch.Generator().manual_seed(0))
    found = {"nats": negative_bound(model, test).mean().item(), "weights": sum(p.numel() for p in model.parameters())}
    if recipe.samples > 1: found["estimate"] = -importance_weighted_bound(model, test[:1000], recipe.samples, batch_size=4000).mean().item()
    return found


def official(seed, epochs=None):
    "Yields the test loss in nats after every epoch"
    import torch
    from torch import nn, optim
    from torch.nn import functional as F
    torch.manual_seed(seed)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.mean, self.log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
            self.outer, self.pixels = nn.Linear(20, 400), nn.Linear(400, 784)
        def forward(self, x):
            seen = F.relu(self.inner(x.view(-1, 784)))
            mean, log_variance = self.mean(seen), self.log_variance(seen)
            z = mean + torch.randn_like(mean)*torch.exp(0.5*log_variance)
            return torch.sigmoid(self.pixels(F.relu(self.outer(z)))), mean, log_variance

    def loss_of(x):
        "Summed over the batch, as there"
        pixels, mean, log_variance = model(x)
        return F.binary_cross_entropy(pixels, x.view(-1, 784), reduction="sum") - 0.5*torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())

    with tempfile.TemporaryDirectory() as folder:
        learn, test = (torchvision_mnist(folder, train=part) for part in (True, False))
        learn = torch.utils.data.DataLoader(learn, batch_size=128, shuffle=True)
        test = torch.utils.data.DataLoader(test, batch_size=128)
        model = Network()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(epochs or 10):
            model.train()
            for x, _ in learn:
                optimizer.zero_grad()
                loss = loss_of(x)
                loss.backward()
                loss.item()                              # the example adds it up at every step
                optimizer.step()
            model.eval()
            with torch.no_grad(): nats = sum(loss_of(x).item() for x, _ in test)/len(test.dataset)
            yield {"nats": nats, "weights": sum(p.numel() for p in model.parameters())}


def child(options):
    "One training in this process; a line of JSON for every test"
    import torch
    if options.threads: torch.set_num_threads(options.threads)
    found = official(options.seed, options.epochs) if options.child == "official" else [ours(options.child, options.seed, options.choose, options.epochs, options.images)]
    for line in found: print(json.dumps(line), flush=True)


def timed(side, seed, options):
    "[(seconds since the process was started, what it printed)]"
    command = [sys.executable, __file__, "--child", side, "--seed", str(seed), "--threads", str(options.threads), *["--choose"]*options.choose]
    for name in ("epochs", "images"):
        if getattr(options, name): command += [f"--{name}", str(getattr(options, name))]
    started, lines = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"): lines.append((time.perf_counter()-started, json.loads(line)))
    if process.returncode: raise SystemExit(f"{side} with seed {seed} failed.")
    return lines


def measure(side, seed, options):
    "One run, as it is kept"
    lines = timed(side, seed, options)
    tests = [{"seconds": round(seconds, 1), **{name: round(found[name], 2) for name in ("nats", "estimate") if name in found}} for seconds, found in lines]
    return {"side": side, "seed": seed, "threads": options.threads, "weights": lines[-1][1]["weights"], "tests": tests}


def spread(values): return f"{statistics.mean(values):.2f}" + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "") if values else None


def rows(runs):
    "The table: seconds are the median of runs with all threads, nats are over all seeds; the ratio is to the official example's ten epochs"
    def of(side): return list({run["seed"]: run for run in runs if run["side"] == side}.values())
    def seconds(side):
        times = [run["tests"][-1]["seconds"] for run in runs if run["side"] == side and not run["threads"]]
        return statistics.median(times) if times else None
    names = {"official": "the official example, 10 epochs, grey pixels", "quick": f"ours, the same network, {RECIPES['quick'].epochs} epochs, grey pixels",
             "conv": f"ours, convolutional, {RECIPES['conv'].epochs} epochs, binarised (training anew in each epoch, test once; estimate: first 1,000 test images)"}
    table = []
    for side, name in names.items():
        if not of(side): continue
        took, baseline = seconds(side), seconds("official")
        table.append({"training": name, "weights": f"{of(side)[0]['weights']:,}", "seconds": took,
                      "of the official time": f"1/{baseline/took:.1f}" if took and baseline and side == "quick" else None,
                      "negative bound, nats": spread([run["tests"][-1]["nats"] for run in of(side)]),
                      "estimate, nats": spread([run["tests"][-1]["estimate"] for run in of(side) if "estimate" in run["tests"][-1]]), "seeds": len(of(side))})
    if of("conv"): table += [{"training": name, "weights": None, "seconds": None, "of the official time": None, "negative bound, nats": None, "estimate, nats": nats, "seeds": None}
                             for name, nats in PUBLISHED.items()]
    return table


def keep(stored):
    "Write down what has been measured so far"
    save("vae", "Seconds from the start of the process to the last test (median of the runs with all cores), and nats for a test image (mean and range over the seeds)",
         rows(stored), ["torch", "torchvision"], runs=stored, recipes={side: vars(recipe) for side, recipe in RECIPES.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["official", *RECIPES], choices=["official", *RECIPES], help="measure these anew and keep what is stored of the others")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice. Only such runs count for the seconds")
    parser.add_argument("--choose", action="store_true", help="train on 50,000 images and measure on the other 10,000 of the training part; nothing is stored")
    parser.add_argument("--epochs", type=int, help="with --choose: instead of the recipe's")
    parser.add_argument("--images", type=int, help="with --choose: measure on so many")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help="with --choose")
    options = parser.parse_args()
    if options.child: return child(options)
    if options.choose:
        for side in options.only: print(side, timed(side, options.seed, options), flush=True)
        return
    if options.epochs or options.images: parser.error("--epochs and --images go with --choose")
    stored = json.loads(STORED.read_text())["runs"] if STORED.exists() else []
    for side in options.only:
        for seed in [1] if side == "official" else range(FRESH_SEED, FRESH_SEED+options.seeds):
            stored = [run for run in stored if (run["side"], run["seed"], run["threads"]) != (side, seed, options.threads)]
            stored.append(measure(side, seed, options))
            keep(stored)


if __name__ == "__main__": main()
