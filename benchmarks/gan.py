"""GANs on the CPU: Fréchet distance at equal wall time on MNIST, what each stabiliser buys on the built-in glyphs, and how often a conditional GAN draws what it is asked for.

    GENESIS_DATA=… python benchmarks/gan.py [--seeds 3] [--seconds 135] [--only script chapter08 chapter09 conditional] [--threads 0]
    python benchmarks/gan.py --stabilisers [--seeds 3]

Every training is a process of its own. In the race its clock starts before Python does and includes every import and the reading of the files; training stops when the seconds are over,
and only then are 10,000 images drawn and measured. `script` has the networks, the settings and the habits of a widely copied fully connected example (noise of 100 numbers; generator
128-256-512-1024 with batch norm; discriminator 512-256; Adam 2e-4 with β₁ 0.5; batches of 64 from a DataLoader; images drawn in training mode), written again here. It is also measured after every fifth of
the seconds, with the clock stopped, because it goes up and down; its best value is reported beside the last. FID is that of the course's feature network (chapter 10a), not of Inception: with
10,000 drawings against the 10,000 test images, always beside its floor, 10,000 training images against the same. The recipes were chosen with seeds that are not in the tables, and on training images.
`--stabilisers` needs no files: glyphs of 16 by 16, one thread, equal numbers of steps; FID with 2,000 drawings against the 4,000 images of the set.
"""
import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import time
from common import RESULTS, save, torchvision_mnist

FRESH_SEED = 300
SIDES = {"script": "a widely copied script, fully connected", "chapter08": "chapter 08, fully connected", "chapter09": "chapter 09a, convolutions",
         "conditional": "chapter 09a, conditional"}


def measure(draw, reference, count=10_000):
    "FID of `count` drawings"
    import torch
    from genesis_course.evaluation import features, frechet_distance
    with torch.no_grad(): images = torch.cat([draw(1000) for _ in range(count//1000)])
    return frechet_distance(features(images), reference)


class Clock:
    "Seconds since the process was started, without those spent on measuring"
    def __init__(self, born): self.born, self.held = born, 0.
    def __call__(self): return time.time()-self.born-self.held
    def stopped(self, function):
        started = time.time()
        result = function()
        self.held += time.time()-started
        return result


def script(seed, clock, seconds, reference):
    "The widely copied script; yields (seconds, FID) after every fifth of the time"
    import tempfile
    import torch
    from torch import nn
    torch.manual_seed(seed)
    def block(before, after, norm=True): return [nn.Linear(before, after), *[nn.BatchNorm1d(after, 0.8)]*norm, nn.LeakyReLU(0.2, inplace=True)]
    generator = nn.Sequential(*block(100, 128, norm=False), *block(128, 256), *block(256, 512), *block(512, 1024), nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.LeakyReLU(0.2, inplace=True), nn.Linear(512, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 1), nn.Sigmoid())
    optimizers = [torch.optim.Adam(network.parameters(), lr=0.0002, betas=(0.5, 0.999)) for network in (generator, discriminator)]
    with tempfile.TemporaryDirectory() as folder:
        loader = torch.utils.data.DataLoader(torchvision_mnist(folder, ([0.5], [0.5]), size=28), batch_size=64, shuffle=True)
        loss, due = nn.BCELoss(), 1
        while True:
            for real, _ in loader:
                yes, no = torch.ones(len(real), 1), torch.zeros(len(real), 1)
                optimizers[0].zero_grad()
                fake = generator(torch.randn(len(real), 100))
                loss(discriminator(fake), yes).backward()
                optimizers[0].step()
                optimizers[1].zero_grad()
                ((loss(discriminator(real), yes)+loss(discriminator(fake.detach()), no))/2).backward()
                optimizers[1].step()
                if clock() >= due*seconds/5:
                    due += 1
                    yield {"seconds": round(clock(), 1), "fid": clock.stopped(lambda: measure(lambda count: generator(torch.randn(count, 100)), reference))}
                    if due > 5: return


def ours(side, seed, clock, seconds, reference):
    "A recipe of chapter 08 or 09; one line at the end"
    import torch
    from genesis_course.data import Batches, load_images
    from genesis_course.evaluation import read_digits
    from genesis_course.gan import Discriminator, Generator, gan_players, sample
    from genesis_course.stable_gan import EMA, ConvDiscriminator, ConvGenerator, class_agreement, sample_class, lazy_regularisation, r1_penalty
    from genesis_course.optim import cosine
    from genesis_course.training import Callback, Trainer
    class Bell(Callback):
        def after_step(self, trainer): clock() >= seconds and trainer.stop("the time is over")
    torch.manual_seed(seed)
    begun = clock()
    def schedule(_): return cosine(min(1., (clock()-begun)/(seconds-begun)))
    batches = Batches(load_images("mnist"), batch_size=64, seed=seed, drop_last=True)
    if side == "chapter08": players = gan_players(Generator(64, 28), Discriminator(28, hidden=(512, 256), dropout=0.3), 64, lr=(2e-3, 4e-3), schedule=schedule)
    elif side == "chapter09": players = gan_players(ConvGenerator(32, 28, 8), ConvDiscriminator(28, 32), 32, lr=4e-3, betas=(0., 0.99), schedule=schedule,
                                                 penalty=lazy_regularisation(r1_penalty, 0.5, every=8))
    else:
        from genesis_course.recipes import gan_game
        players, average = gan_game(ConvGenerator(32, 28, 8, classes=10), ConvDiscriminator(28, 32, classes=10), lr=4e-3, schedule=schedule)
    if side != "conditional": average = EMA(players[1], 0.998)
    trainer = Trainer(players, [Bell(), average], device="cpu").fit(batches, epochs=1000)
    found = {"seconds": round(clock(), 1), "steps": trainer.step}
    network = players[1].module if side == "chapter08" else average.module
    if side != "conditional": return {**found, "fid": measure(lambda count: sample(network, count), reference)}
    return {**found, "fid": measure(lambda count: sample_class(network, torch.arange(count) % 10), reference), "agreement": class_agreement(network, read_digits, 10_000)}


STABILISERS = {
    "fully connected (chapter 08)": dict(dense=True),
    "convolutions, no norm": dict(generator=dict(norm=False)),
    "batch norm in the generator": {},
    "and momentum, β₁ = 0.5": dict(betas=(0.5, 0.99)),
    "and spectral norm": dict(discriminator=dict(spectral=True)),
    "and spectral norm, hinge loss": dict(discriminator=dict(spectral=True), losses="hinge"),
    "and Wasserstein, gradient penalty": dict(losses="wasserstein", penalty=("gradient", 10., 2)),
    "and R1": dict(penalty=("r1", 0.5, 8)),
    "and a falling rate": dict(falling=True),
    "and R1, and a falling rate": dict(penalty=("r1", 0.5, 8), falling=True),
}
"Rows that begin with `and` have convolutions and batch norm in the generator"
RATES = (0.004, 0.02)


def stabiliser(name, rate, seed, epochs=8):
    "FID of the last weights and of their average (None: lost), and milliseconds a step"
    import torch
    from genesis_course import gan, stable_gan
    from genesis_course.data import Batches, load_images
    from genesis_course.evaluation import features
    from genesis_course.support import CourseError
    from genesis_course.optim import cosine
    from genesis_course.training import Trainer
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    chosen, images = STABILISERS[name], load_images("glyphs", size=16, count=4000)
    if chosen.get("dense"): networks = gan.Generator(32, 16), gan.Discriminator(16)
    else: networks = stable_gan.ConvGenerator(32, 16, 8, **chosen.get("generator", {})), stable_gan.ConvDiscriminator(16, 32, **chosen.get("discriminator", {}))
    losses = {None: (gan.discriminator_loss, gan.generator_loss), "hinge": (stable_gan.hinge_discriminator_loss, stable_gan.hinge_generator_loss),
              "wasserstein": (stable_gan.wasserstein_discriminator_loss, stable_gan.wasserstein_generator_loss)}[chosen.get("losses")]
    kind, weight, every = chosen.get("penalty", (None, 0., 1))
    penalty = kind and stable_gan.lazy_regularisation({"r1": stable_gan.r1_penalty, "gradient": stable_gan.gradient_penalty}[kind], weight, every)
    players = gan.gan_players(*networks, 32, lr=rate, betas=chosen.get("betas", (0., 0.99)), losses=losses, penalty=penalty, schedule=cosine if chosen.get("falling") else None)
    average, reference = stable_gan.EMA(players[1]), features(images)
    batches, started = Batches(images, batch_size=64, seed=seed, drop_last=True), time.process_time()
    found = {"what": name, "rate": rate, "seed": seed, "steps": epochs*len(batches), "last": None, "average": None}
    def fid(network):
        try: return measure(lambda count: gan.sample(network, count), reference, 2000)
        except CourseError: return None                     # pictures that are not finite, or all the same
    try: Trainer(players, [average], device="cpu").fit(batches, epochs)
    except CourseError: return found                        # a loss that is not finite
    milliseconds = (time.process_time()-started)/found["steps"]*1000
    return {**found, "last": fid(networks[0]), "average": fid(average.module), "milliseconds": milliseconds}


def child(options):
    "One training in this process; a line of JSON for every measurement"
    import torch
    from genesis_course.data import load_images
    from genesis_course.evaluation import features
    if options.child in STABILISERS: return print(json.dumps(stabiliser(options.child, options.rate, options.seed)), flush=True)
    if options.threads: torch.set_num_threads(options.threads)
    clock = Clock(options.born)
    reference = clock.stopped(lambda: features(load_images("mnist", split="test")))
    lines = script(options.seed, clock, options.seconds, reference) if options.child == "script" else [ours(options.child, options.seed, clock, options.seconds, reference)]
    for line in lines: print(json.dumps(line), flush=True)


def run(side, seed, *more):
    "What one training printed"
    command = [sys.executable, __file__, "--child", side, "--seed", str(seed), "--born", str(time.time()), *map(str, more)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def floor():
    "FID of 10,000 training images against the test images"
    from genesis_course.data import load_images
    from genesis_course.evaluation import features, frechet_distance
    return frechet_distance(features(load_images("mnist")[:10_000]), features(load_images("mnist", split="test")))


def spread(values, digits=2):
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})" if values else None


def keep(runs, seconds):
    save("gan", f"FID (64 features of the course's network, 10,000 drawings against the 10,000 MNIST test images; 10,000 training images get {floor():.2f}) {seconds:g} s after the start "
         "of the process: mean and range over seeds", rows(runs), ["torch", "torchvision"], runs=runs)


def race(options):
    path = RESULTS/"gan.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for side in options.only:
        for seed in range(FRESH_SEED, FRESH_SEED+options.seeds):
            lines = run(side, seed, "--seconds", options.seconds, "--threads", options.threads)
            runs = [each for each in runs if (each["side"], each["seed"]) != (side, seed)]+[{"side": side, "seed": seed, "threads": options.threads, "lines": lines}]
            keep(runs, options.seconds)


def rows(runs):
    table, last = [], {side: [each["lines"][-1] for each in runs if each["side"] == side] for side in SIDES}
    for side, lines in last.items():
        if not lines: continue
        best = [min(line["fid"] for line in each["lines"]) for each in runs if each["side"] == side]
        agreement = [100*line["agreement"] for line in lines if "agreement" in line]
        table.append({"training": SIDES[side], "FID": spread([line["fid"] for line in lines]), "best on the way": spread(best) if side == "script" else None,
                      "read as asked for, %": spread(agreement), "seeds": len(lines)})
    return table


def stabilisers(options):
    "Whatever is not stored yet, and the table after each run"
    path = RESULTS/"gan_stabilisers.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in range(FRESH_SEED, FRESH_SEED+options.seeds):
        for name in STABILISERS:
            for rate in RATES:
                if any((each["what"], each["rate"], each["seed"]) == (name, rate, seed) for each in runs): continue
                runs += run(name, seed, "--rate", rate)
                print({key: value for key, value in runs[-1].items() if key != "steps"}, flush=True)
                with contextlib.redirect_stdout(io.StringIO()): save("gan_stabilisers", f"FID (2,000 drawings against the 4,000 glyphs of 16 by 16) after {runs[0]['steps']} steps at two learning rates, last weights and moving average: mean and range over seeds",
                    stabiliser_rows(runs), ["torch"], runs=runs)


def stabiliser_rows(runs):
    table = []
    for name in STABILISERS:
        row = {"what": name}
        for rate in RATES:
            mine = [each for each in runs if (each["what"], each["rate"]) == (name, rate)]
            for weights in ("last", "average"):
                values = [each[weights] for each in mine if each[weights] is not None]
                lost = f", {len(mine)-len(values)} lost" if len(values) < len(mine) else ""
                row[f"{weights}, rate {rate}"] = f"{spread(values, 1)}{lost}" if values else lost.strip(", ") or None
        took = [each["milliseconds"] for each in runs if each["what"] == name and "milliseconds" in each]
        table.append({**row, "ms a step": round(statistics.median(took)) if took else None, "seeds": len({each["seed"] for each in runs if each["what"] == name})})
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=135.)
    parser.add_argument("--only", nargs="+", default=list(SIDES), choices=list(SIDES), help="measure these anew and keep what is stored of the others")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice. Only such runs are fair")
    parser.add_argument("--stabilisers", action="store_true", help="what each stabiliser buys, on glyphs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--born", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child: child(options)
    elif options.stabilisers: stabilisers(options)
    else: race(options)


if __name__ == "__main__": main()
