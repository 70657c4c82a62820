"""The genesis particle on the CPU: against the convolutional GAN of chapter 09a on MNIST at equal steps, what each of its parts is worth, and what it costs.

    GENESIS_DATA=… python benchmarks/genesis.py [race] [parts] [cost] [--seeds 3] [--only NAME …] [--threads 0]

race: both generators play against the same discriminator of chapter 09a on MNIST, for the same number of steps with batches of 64; the genesis particle's steps include its first
stage, redrawing. FID, precision and recall come from 10,000 drawings and the 10,000 test images (2,000 of each for precision and recall), "read as asked for" from the same drawings.
parts: trainings on the built-in glyphs (16 by 16, 24 particles), each with one thing changed; FID of 2,000 drawings against 4,000 glyphs that were not trained on, before and after
the forces are set to zero. cost: milliseconds of a training step and of 64 pictures, by particles, steps and pixels, one thread.
Every training is a process of its own. What is stored is kept; `--only` measures a row anew.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from common import RESULTS, save

FRESH_SEED, STEPS, BATCH = 300, 3300, 64
SIDES = {"conv": "convolutional GAN of chapter 09a", "genesis": "genesis particle"}
FIRST_STAGE = 600
PARTS = {
    "all": "as in the chapter",
    "game": "no first stage: 1,375 steps of the game",
    "redraw": "no second stage: 1,375 steps of redrawing",
    "enhanced": "with E: turned, moved, scaled",
    "attacked": "with C: attacks of 0.1 on what the judge sees",
    "still": "no forces, trained so",
    "equal": "all dabs equal, trained so",
    "alone": "particles that do not see each other",
    "deaf": "the same, with as many weights as attention has",
    "plain": "no characters",
    "uneven": "independent throws instead of a sunflower",
    "placed": "places and characters learned instead of thrown",
    "fading": "places and characters learned, and ink that may fade out",
    "few": "200 images only",
    "few enhanced": "200 images only, with E",
}


class Steps:
    "So many batches, over as many epochs as that takes"
    def __init__(self, batches, count): self.batches, self.count = batches, count
    def __len__(self): return self.count
    def __iter__(self):
        left = self.count
        while left:
            for batch, _ in zip(self.batches, range(left)):
                yield batch
                left -= 1


def play(generator, discriminator, batches, first, steps, lr, decay, pretraining_rate=4e-3, **parts):
    "Both stages on Steps; the averaged generator"
    from genesis_course.recipes import genesis_game, reconstruction
    from genesis_course.training import Trainer
    if first: Trainer(reconstruction(generator, pretraining_rate), device="cpu").fit(Steps(batches, first))
    if not steps: return generator
    players, average = genesis_game(generator, discriminator, lr, decay, **parts)
    Trainer(players, [average], device="cpu").fit(Steps(batches, steps))
    return average.module


def race(side, seed):
    "One training on MNIST"
    import torch
    from genesis_course.data import Batches, load_images
    from genesis_course.evaluation import features, frechet_distance, precision_recall, read_digits
    from genesis_course.genesis import GenesisParticle
    from genesis_course.stable_gan import ConvDiscriminator, ConvGenerator, sample_class
    torch.manual_seed(seed)
    generator = GenesisParticle(28) if side == "genesis" else ConvGenerator(32, 28, 8, classes=10)
    settings = dict(first=FIRST_STAGE, steps=STEPS-FIRST_STAGE, lr=(1.5e-3, 2e-3), clip=5.) if side == "genesis" else dict(first=0, steps=STEPS, lr=4e-3)
    batches = Batches(load_images("mnist"), batch_size=BATCH, seed=seed, drop_last=True)
    artist = play(generator, ConvDiscriminator(28, 32, classes=10), batches, decay=0.998, **settings)
    test = features(load_images("mnist", split="test"))
    labels = torch.arange(10_000) % 10
    drawn = sample_class(artist, labels, seed=0)
    seen = features(drawn)
    precision, recall = precision_recall(test[:2000], seen[:2000])
    return {"fid": frechet_distance(seen, test), "agreement": (read_digits(drawn) == labels).double().mean().item(), "precision": precision, "recall": recall,
            "weights": sum(parameter.numel() for parameter in generator.parameters())}


def variant(name):
    "The generator of a row of the table"
    import torch
    from torch import nn
    from genesis_course.genesis import Cloud, GenesisParticle, squash
    from genesis_course.particles import picture, splat

    class Still(GenesisParticle):
        def move(self, z, labels=None, cloud=None, steps=None, force_scale=1.): return super().move(z, labels, cloud, steps, 0.)

    class Alone(GenesisParticle):
        def __init__(self, size, **settings):
            super().__init__(size, **settings)
            self.dynamics.attention = nn.Linear(self.splat_head.in_features, self.splat_head.in_features)

    class Deaf(GenesisParticle):
        def __init__(self, size, **settings):
            super().__init__(size, **settings)
            width = self.splat_head.in_features
            self.dynamics.attention = nn.Sequential(nn.Linear(width, 2*width, bias=False), nn.ReLU(), nn.Linear(2*width, width, bias=False))

    class Equal(GenesisParticle):
        def draw(self, position, hidden, size=None): return super().draw(position, torch.zeros_like(hidden), size)

    class Plain(GenesisParticle):
        def sample_cloud(self, count, particles=None, generator=None):
            cloud = super().sample_cloud(count, particles, generator)
            return Cloud(cloud.position, torch.zeros_like(cloud.particle_noise))

    class Uneven(GenesisParticle):
        def sample_cloud(self, count, particles=None, generator=None):
            cloud = super().sample_cloud(count, particles, generator)
            return Cloud(0.5*torch.randn(cloud.position.shape, generator=generator), cloud.particle_noise)

    class Placed(GenesisParticle):
        def __init__(self, size, **settings):
            super().__init__(size, **settings)
            self.place, self.role = (nn.Parameter(part[0].clone()) for part in super().sample_cloud(1))
        def sample_cloud(self, count, particles=None, generator=None): return Cloud(self.place.expand(count, -1, -1), self.role.expand(count, -1, -1))

    class Fading(Placed):
        def draw(self, position, hidden, size=None):
            look = self.splat_head(hidden)
            sigma, density = self.sigma*look[..., :2].clamp(-2, 2).exp(), nn.functional.softplus(look[..., 2]+1)
            return picture(splat(squash(position), sigma, density, *self.shape[1:]))

    return {"still": Still, "equal": Equal, "alone": Alone, "deaf": Deaf, "plain": Plain, "uneven": Uneven, "placed": Placed, "fading": Fading}.get(name, GenesisParticle)(16, particles=24, width=32)


def part(name, seed):
    "One training on glyphs"
    import torch
    from genesis_course.augment import Augment
    from genesis_course.data import Batches, load_images
    from genesis_course.evaluation import features, frechet_distance, precision_recall, read_digits
    from genesis_course.genesis import adversarial_discriminator_loss
    from genesis_course.stable_gan import ConvDiscriminator, sample_class
    torch.manual_seed(seed)
    digits, generator = load_images("glyphs", size=16, count=200 if name.startswith("few") else 4000), variant(name)
    first, steps = {"game": (0, 1375), "redraw": (1375, 0)}.get(name, (625, 750))
    extra = {"enhance": Augment(rotate=10, shift=0.08, scale=0.1)} if "enhanced" in name else {"attack": adversarial_discriminator_loss(0.1)} if name == "attacked" else {}
    artist = play(generator, ConvDiscriminator(16, 32, classes=10), Batches(digits, batch_size=32, seed=seed, drop_last=True), first, steps, lr=(2e-3, 4e-3), decay=0.99, **extra)
    new, labels, found = features(load_images("glyphs", split="test", size=16, count=4000)), torch.arange(2000) % 10, {}
    for suffix, force in (("", 1.), (" without forces", 0.)):
        move = artist.move
        artist.move = lambda z, labels=None, cloud=None: move(z, labels, cloud, force_scale=force)
        drawn = sample_class(artist, labels, seed=0)
        artist.move = move
        seen = features(drawn)
        found |= {"fid"+suffix: frechet_distance(seen, new), "agreement"+suffix: (read_digits(drawn) == labels).double().mean().item()}
        if not suffix: found["recall"] = precision_recall(new[:2000], seen)[1]
    return found


def milliseconds(function, times=10):
    "The fastest of several calls, in processor time"
    function()
    taken = []
    for _ in range(times):
        started = time.process_time()
        function()
        taken.append(1000*(time.process_time()-started))
    return round(min(taken), 1)


def cost():
    "Milliseconds, one thread, by what is changed from the usual 40 particles, 4 steps, 28 pixels"
    import torch
    from genesis_course.gan import noise
    from genesis_course.genesis import GenesisParticle
    torch.set_num_threads(1)
    rows, z, labels = [], noise(64, 32), torch.arange(64) % 10
    for particles, steps, size in [(40, 4, 28), (10, 4, 28), (20, 4, 28), (80, 4, 28), (160, 4, 28), (40, 1, 28), (40, 2, 28), (40, 8, 28), (40, 4, 14), (40, 4, 56), (40, 4, 112), (40, 4, 224)]:
        generator = GenesisParticle(size, particles=particles, steps=steps)
        def draw():
            with torch.no_grad(): generator(z, labels)
        rows.append({"particles": particles, "steps": steps, "pixels": size, "64 pictures, ms": milliseconds(draw),
                     "forward and backward, ms": milliseconds(lambda: generator(z, labels).sum().backward(), 5)})
    return rows


def step_of(side):
    "Milliseconds of a step of the game on MNIST and of 64 pictures, one thread"
    import torch
    from genesis_course.data import Batches, load_images
    from genesis_course.genesis import GenesisParticle, genesis_players
    from genesis_course.stable_gan import ConvDiscriminator, ConvGenerator, sample_class
    from genesis_course.training import Trainer
    torch.manual_seed(0)
    generator = GenesisParticle(28) if side == "genesis" else ConvGenerator(32, 28, 8, classes=10)
    trainer = Trainer(genesis_players(generator, ConvDiscriminator(28, 32, classes=10)), device="cpu")
    batches = Batches(load_images("mnist")[:16*BATCH], batch_size=BATCH)               # sixteen steps see the penalty about twice
    return {"a step, ms": round(milliseconds(lambda: trainer.fit(batches), 3)/16, 1), "64 pictures, ms": milliseconds(lambda: sample_class(generator, torch.arange(64) % 10))}


def run(kind, name, seed, threads):
    "What one training printed"
    command = [sys.executable, __file__, kind, "--child", name, "--seed", str(seed), "--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def spread(values, digits):
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def rows(runs, names):
    "A row for each name: mean and range of every measure"
    table, digits = [], {"weights": 0, "fid": 2}
    for name, title in names.items():
        mine = [each for each in runs if each["name"] == name]
        if not mine: continue
        row = {"what": title, "seeds": len(mine)}
        for measure in [key for key in mine[0] if key not in ("name", "seed", "threads")]:
            row[measure] = mine[0][measure] if measure == "weights" else spread([each[measure] for each in mine], digits.get(measure.split()[0], 3))
        table.append(row)
    return table


WHAT = {"race": f"MNIST, {STEPS:,} steps with batches of {BATCH}; 64 features of the course's network: mean and range over seeds",
        "parts": "glyphs of 16 by 16, 24 particles; FID of 2,000 drawings against 4,000 glyphs that were not trained on: mean and range over seeds"}


def measure(kind, names, options):
    path = RESULTS/f"genesis_{kind}.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in range(FRESH_SEED, FRESH_SEED+options.seeds):
        for name in options.only or names:
            known = any((each["name"], each["seed"]) == (name, seed) for each in runs)
            if known and not options.only: continue
            runs = [each for each in runs if (each["name"], each["seed"]) != (name, seed)]
            runs.append({"name": name, "seed": seed, "threads": options.threads, **run(kind, name, seed, options.threads)})
            save(f"genesis_{kind}", WHAT[kind], rows(runs, names), ["torch"], runs=runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["race", "parts", "cost"], help="race, parts, cost")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="measure these rows anew")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import torch
        if options.threads: torch.set_num_threads(options.threads)
        return print(json.dumps({"race": race, "parts": part}[options.what[0]](options.child, options.seed)), flush=True)
    if "race" in options.what: measure("race", SIDES, options)
    if "parts" in options.what: measure("parts", PARTS, options)
    if "cost" in options.what: save("genesis_cost", "64 pictures, one thread, processor time, the fastest of ten", cost(), ["torch"], step={side: step_of(side) for side in SIDES})


if __name__ == "__main__": main()
