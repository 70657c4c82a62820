"""Creation without a game: chapter 15b against chapter 15 and chapter 09a on MNIST, at equal processor time.

    GENESIS_DATA=… python benchmarks/codeflow.py [--seconds 75] [--seeds 3] [--only NAME …]

Every row gets the same seconds of one core for its training, all its parts together; the learning rates fall to 0 at their end. Measured with 3,000 drawings and 5,000 test images, the same
for all (2,000 of each for precision and recall); besides the features of the course, the 50 largest principal components of the pixels serve as a second set of features.
codes: 85 % of the time redrawing (batches of 32), 15 % the flow; the same decoder with a Gaussian a class on its codes, and with the codes of real pictures (which needs those
pictures: what the decoder can reach). game: chapter 15's two stages as its recipe has them, a fifth of the time redrawing. game, new law: the same with this chapter's decoder.
"""
import argparse
import json
import subprocess
import sys
import time
from common import RESULTS, save
from genesis import spread

FRESH_SEED = 300
ROWS = {"conv": "convolutional GAN of chapter 09a", "game": "chapter 15: redrawing, then the game", "new law": "the same, with the decoder of chapter 15b",
        "gaussians": "chapter 15b: redrawing, then a Gaussian a class", "codes": "chapter 15b: redrawing, then a flow on the codes",
        "posterior": "its decoder with codes read off the test images", "floor": "3,000 training images instead of drawings"}
TRAINED = "codes", "game", "conv", "new law"


class Clock:
    "Batches without end, as long as there is processor time; `progress` runs from 0 to 1"
    def __init__(self, batches, seconds): self.batches, self.seconds, self.began = batches, seconds, None
    def progress(self): return min(1., (time.process_time()-self.began)/self.seconds) if self.began else 0.
    def __len__(self): return 10**9
    def __iter__(self):
        self.began = time.process_time()
        while True:
            for batch in self.batches:
                if self.progress() >= 1: return
                yield batch


def timed(players, batches, seconds, callbacks=()):
    "Training by the clock: what the trainer's schedule is told is the share of the time that has gone"
    from genesis_course.optim import cosine
    from genesis_course.training import Trainer
    clock = Clock(batches, seconds)
    for player in players:
        steps = iter(range(10**9))
        player.schedule = lambda progress, steps=steps: cosine(clock.progress())*min(1., (next(steps)+1)/100)
    return Trainer(players, callbacks, device="cpu").fit(clock).step


def train(side, seed, seconds):
    "What draws, as {name: function of labels → images}, and its weights and steps"
    import torch
    from genesis_course.codeflow import CodeFlow, ClassGaussians, Creation, ParticleDecoder, code_loss, read_codes, redrawing_player
    from genesis_course.data import Batches, load_images, to_floats
    from genesis_course.diffusion import flow_player
    from genesis_course.genesis import GenesisParticle, genesis_players, pretraining_player
    from genesis_course.recipes import gan_game
    from genesis_course.stable_gan import EMA, ConvDiscriminator, ConvGenerator, sample_class
    torch.manual_seed(seed)
    mnist = load_images("mnist")
    def batches(size): return Batches(mnist, batch_size=size, seed=seed, drop_last=True)
    if side == "codes":
        decoder = ParticleDecoder(28)
        player = redrawing_player(decoder)
        steps = timed([player], batches(32), 0.85*seconds)
        began = time.process_time()
        means, stds = read_codes(player.module, to_floats(mnist.images))
        prior = CodeFlow().measure(means, stds)
        flow, average = flow_player(prior, code_loss)
        left = 0.15*seconds - (time.process_time()-began)
        more = timed([flow], Batches(means, stds, mnist.labels, batch_size=256, seed=seed, drop_last=True), left, [average])
        creation, plain = Creation(decoder, average.module), Creation(decoder, ClassGaussians().measure(means, stds, mnist.labels))
        shown = load_images("mnist", "test")
        known = read_codes(player.module, to_floats(shown.images[:3000]))[0]
        def posterior(labels):
            with torch.no_grad(): return torch.cat([decoder(*pair) for pair in zip(known.split(500), labels.split(500))])
        weights = sum(parameter.numel() for parameter in creation.parameters())
        return {"codes": lambda labels: sample_class(creation, labels, seed=0), "gaussians": lambda labels: sample_class(plain, labels, seed=0),
                "posterior": posterior}, weights, [steps, more]
    discriminator = ConvDiscriminator(28, 32, classes=10)
    generator = {"conv": lambda: ConvGenerator(32, 28, 8, classes=10), "game": lambda: GenesisParticle(28), "new law": lambda: ParticleDecoder(28)}[side]()
    first = 0
    if side == "conv": players, average = gan_game(generator, discriminator, 4e-3)
    else:
        first = timed([pretraining_player(generator)], batches(64), 0.2*seconds)
        players = genesis_players(generator, discriminator, lr=(1.5e-3, 2e-3), clip=5.)
        average = EMA(players[1], 0.998)
    steps = timed(players, batches(64), seconds*(1 if side == "conv" else 0.8), [average])
    return {side: lambda labels: sample_class(average.module, labels, seed=0)}, sum(parameter.numel() for parameter in generator.parameters()), [first, steps]


def race(side, seed, seconds):
    "A training, and all that is measured: {row: measures}"
    import torch
    from genesis_course.data import load_images, to_floats
    from genesis_course.evaluation import features, frechet_distance, precision_recall, read_digits
    test, known, count = load_images("mnist", "test"), load_images("mnist"), 3000
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:5000]
    pixels = to_floats(test.images[order]).flatten(1)
    _, _, axes = torch.pca_lowrank(pixels, 50)
    real, real_pixels, found = features(test.images[order]), pixels @ axes, {}
    def judged(images, labels):
        seen, flat = features(images), (to_floats(images) if images.dtype == torch.uint8 else images).flatten(1) @ axes
        precision, recall = precision_recall(real[:2000], seen[:2000])
        pixel_precision, pixel_recall = precision_recall(real_pixels[:2000], flat[:2000])
        return {"fid": frechet_distance(seen, real), "precision": precision, "recall": recall, "pixel precision": pixel_precision, "pixel recall": pixel_recall,
                "agreement": (read_digits(images) == labels).double().mean().item()}
    if side == "floor":
        mine = torch.randperm(60_000, generator=torch.Generator().manual_seed(seed))[:count]
        return {"floor": {**judged(known.images[mine], known.labels[mine]), "weights": 0}}
    drawers, weights, steps = train(side, seed, seconds)
    for name, draw in drawers.items():
        labels = test.labels[:count] if name == "posterior" else torch.arange(count) % 10
        found[name] = {**judged(draw(labels), labels), "weights": weights, "steps": steps}
    return found


def table(runs):
    "A row for each name: mean and range over the seeds"
    rows = []
    for name, title in ROWS.items():
        mine = [each for each in runs if each["name"] == name]
        if not mine: continue
        row = {"what": title, "name": name, "seeds": len(mine), "weights": mine[0]["weights"]}
        for measure in ("fid", "precision", "recall", "pixel precision", "pixel recall", "agreement"):
            row[measure] = spread([each[measure] for each in mine], 2 if measure != "agreement" else 3)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import torch
        torch.set_num_threads(1)
        return print(json.dumps(race(options.child, options.seed, options.seconds)), flush=True)
    path = RESULTS/"codeflow.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in range(FRESH_SEED, FRESH_SEED+options.seeds):
        for side in options.only or ("floor", *TRAINED):
            if any((each["side"], each["seed"]) == (side, seed) for each in runs): continue
            command = [sys.executable, __file__, "--child", side, "--seed", str(seed), "--seconds", str(options.seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
            runs += [{"side": side, "name": name, "seed": seed, **measures} for name, measures in found.items()]
            save("codeflow", f"MNIST, {options.seconds:g} seconds of one core for each training; mean and range over seeds", table(runs), ["torch"], runs=runs, seconds=options.seconds)


if __name__ == "__main__": main()
