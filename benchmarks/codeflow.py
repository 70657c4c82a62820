"""Creation without a game: chapter 15b against chapter 15 and chapter 09a on MNIST, at equal processor time.

    GENESIS_DATA=… python benchmarks/codeflow.py [--seconds 300] [--seeds 3] [--only NAME …] [--keep FOLDER]

Every training gets the same seconds of one core, all its parts together, counted as processor time; its learning rates fall to 0 at their end. What is stored is kept, so that a race that was
broken off goes on. Measured with 3,000 drawings and 5,000 test images, the same for all (2,000 of each for precision and recall); besides the features of the course, the 50 largest principal
components of the pixels serve as a second set of features, which no network has learned.
codes: 80 % of the time redrawing (batches of 32, bundles of three dabs), 20 % the flow (batches of 1024); the same flow guided, the same decoder with a Gaussian a class on its codes, and with the
codes of training images (which needs those images: what the decoder can reach). wide: as many weights as the GAN, 72 % redrawing, the rest a larger flow (batches of 512) and, four seconds of it, a
weak one; alone, and led away from the weak one. game: chapter 15's two stages as its recipe has them, a fifth of the time redrawing. conv: the conditional GAN of
chapter 09a at the rate of its recipe. How the particles of `codes` are built and trained was tried out on MNIST for this race; the recipes of the other two came from their chapters.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from common import RESULTS, save
from genesis import spread

FRESH_SEED = 300
GUIDANCE = {"codes": 1., "guided": 1.1}
ROWS = {"conv": "convolutional GAN of chapter 09a", "game": "chapter 15: redrawing, then the game", "gaussians": "chapter 15b: a Gaussian for each class",
        **{name: f"chapter 15b: small flow, guidance {scale:g}" for name, scale in GUIDANCE.items()},
        "wide": "chapter 15b: large flow, guidance 1", "led": "chapter 15b: large flow, led, guidance 1.05",
        "copies": "chapter 15b: small flow's decoder, codes of training pictures", "floor": "no model: 3,000 training images"}
TRAINED = "codes", "wide", "conv", "game"
SETTINGS = dict(told=48, bundle=3)          # of the decoder; with the flow of `codes` below 60,000 weights
SMALL, LARGE, WEAK = dict(width=60), dict(width=110), dict(width=32, blocks=1)      # flows; of the large one we are led away from the weak one
SHORT = {"conv": "09a, GAN", "game": "15, game", "gaussians": "Gaussians", "codes": "flow", "guided": "flow, guided", "wide": "large flow", "led": "large flow, led", "copies": "copies", "floor": "real images"}
MEASURES = "fid", "precision", "recall", "pixel precision", "pixel recall", "agreement"


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


def kept(folder, name, module, train):
    "The steps that `train` returns; with a folder, the module that it trained is kept there, and the next time taken from there"
    import torch
    path = Path(folder)/f"{name}.pt" if folder else None
    if path and path.exists():
        state = torch.load(path, weights_only=True)
        module.load_state_dict(state["weights"])
        return state["steps"]
    steps = train()
    if path: torch.save({"weights": module.state_dict(), "steps": steps}, path)
    return steps


def creation(seed, redraw_for, flow_for, folder=None, heal_for=0., decay=0.99, flow=SMALL, rows=1024, weak_for=0.):
    "A `Creation` of chapter 15b trained by the clock, its autoencoder, means and deviations of the codes, the steps of all parts, and what pushes did before and after it had learned to heal"
    import torch
    from genesis_course.codeflow import CodeFlow, Creation, ParticleDecoder, code_loss, read_codes, redrawing_player
    from genesis_course.creation import healing_loss, share_read
    from genesis_course.data import Batches, load_images, to_floats
    from genesis_course.diffusion import flow_player
    from genesis_course.muon import Muon
    from genesis_course.training import Player
    mnist = load_images("mnist")
    def batches(*data, size): return Batches(*data, batch_size=size, seed=seed, drop_last=True)
    torch.manual_seed(seed)
    redraw = redrawing_player(ParticleDecoder(28, **SETTINGS))
    steps = [kept(folder, f"redrawn_{seed}_{redraw_for:g}", redraw.module, lambda: timed([redraw], batches(mnist, size=32), redraw_for))]
    began = time.process_time()
    means, stds = read_codes(redraw.module, to_floats(mnist.images))
    def flowing(size, seconds, began):
        torch.manual_seed(seed)
        prior = CodeFlow(**size).measure(means, stds)
        def follow():
            player, average = flow_player(prior, code_loss, decay=decay)
            more = timed([player], batches(means, stds, mnist.labels, size=rows), seconds-(time.process_time()-began), [average])
            prior.load_state_dict(average.module.state_dict())
            return more
        steps.append(kept(folder, f"flow_{size['width']}_{seed}_{seconds:g}", prior, follow))
        return prior
    prior = flowing(flow, flow_for-weak_for, began)
    if weak_for: prior.weak = flowing(WEAK, weak_for, time.process_time())
    decoder, told = redraw.module.generator, {}
    made = Creation(decoder.eval(), prior.eval())
    def healed():
        ways = {"no push": {}, "ten pushes": {"pushes": 10}, "thirty pushes": {"pushes": 30}, "ten by a hand": {"pushes": 10, "hand": {"by": 1., "reach": 0.5}}, "another digit": {"another": True}}
        return {name: round(share_read(made, **way), 3) for name, way in ways.items()}
    if heal_for:                                   # the codes stay as they are
        told["before"] = healed()
        torch.manual_seed(seed)
        player = Player(decoder, healing_loss(), Muon, lr=0.004)
        steps.append(kept(folder, f"healed_{seed}_{heal_for:g}", decoder, lambda: timed([player], batches(to_floats(mnist.images), means, stds, mnist.labels, size=32), heal_for)))
        told["after"] = healed()
    return made, redraw.module, (means, stds), steps, told


def train(side, seed, seconds, folder=None):
    "What draws, as {name: function of labels → images}, and its weights and steps"
    import torch
    from genesis_course.codeflow import ClassGaussians, Creation
    from genesis_course.data import Batches, load_images
    from genesis_course.genesis import GenesisParticle, genesis_players, pretraining_player
    from genesis_course.recipes import gan_game
    from genesis_course.stable_gan import EMA, ConvDiscriminator, ConvGenerator, sample_class
    mnist = load_images("mnist")
    if side == "wide":
        made, _, _, steps, _ = creation(seed, 0.72*seconds, 0.28*seconds, folder, flow=LARGE, rows=512, weak_for=seconds/75)
        def led_by(lead, scale):
            def draw(labels):
                made.prior.lead, made.prior.guidance = lead, scale
                return sample_class(made, labels, seed=0)
            return draw
        return {"wide": led_by(1., 1.), "led": led_by(1.5, 1.05)}, sum(each.numel() for each in made.parameters()), steps
    if side == "codes":
        made, _, (means, stds), steps, _ = creation(seed, 0.8*seconds, 0.2*seconds, folder)
        gaussians = Creation(made.decoder, ClassGaussians().measure(means, stds, mnist.labels))
        def guided_by(scale):
            def draw(labels):
                made.prior.guidance = scale
                return sample_class(made, labels, seed=0)
            return draw
        @torch.no_grad()
        def copies(labels): return torch.cat([made.decoder(*pair) for pair in zip(means[:len(labels)].split(500), labels.split(500))])
        drawers = {name: guided_by(scale) for name, scale in GUIDANCE.items()}
        return {**drawers, "gaussians": lambda labels: sample_class(gaussians, labels, seed=0), "copies": copies}, sum(each.numel() for each in made.parameters()), steps
    torch.manual_seed(seed)
    batches, first = Batches(mnist, batch_size=64, seed=seed, drop_last=True), 0
    discriminator = ConvDiscriminator(28, 32, classes=10)
    generator = ConvGenerator(32, 28, 8, classes=10) if side == "conv" else GenesisParticle(28)
    if side == "conv": players, average = gan_game(generator, discriminator, 4e-3)
    else:
        first = timed([pretraining_player(generator)], batches, 0.2*seconds)
        players = genesis_players(generator, discriminator, lr=(1.5e-3, 2e-3), clip=5.)
        average = EMA(players[1], 0.998)
    steps = timed(players, batches, seconds*(1 if side == "conv" else 0.8), [average])
    return {side: lambda labels: sample_class(average.module, labels, seed=0)}, sum(each.numel() for each in generator.parameters()), [first, steps]


def race(side, seed, seconds, folder=None):
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
    drawers, weights, steps = train(side, seed, seconds, folder)
    for name, draw in drawers.items():
        labels = known.labels[:count] if name == "copies" else torch.arange(count) % 10
        found[name] = {**judged(draw(labels), labels), "weights": weights, "steps": steps}
    return found


def table(runs):
    "A row for each name: mean and range over the seeds"
    from genesis_course.codeflow import CodeFlow, ParticleDecoder
    decoder, small, large, weak = (sum(each.numel() for each in module.parameters()) for module in
                                   (ParticleDecoder(28, **SETTINGS), CodeFlow(**SMALL), CodeFlow(**LARGE), CodeFlow(**WEAK)))
    rows, weights = [], {"copies": decoder, "gaussians": decoder, "codes": decoder+small, "guided": decoder+small, "wide": decoder+large, "led": decoder+large+weak}
    for name, title in ROWS.items():
        mine = [each for each in runs if each["name"] == name]
        if not mine: continue
        row = {"what": title, "name": name, "short": SHORT[name], "seeds": len(mine), "weights": weights.get(name, mine[0]["weights"])}
        for measure in MEASURES:
            row[measure] = spread([each[measure] for each in mine], 2 if measure != "agreement" else 3)
        rows.append(row)
    return rows


def store(runs, seconds):
    "The file of results: runs of this length, and the tables of them"
    kept = [{name: each[name] for name in ("name", "seed", *MEASURES)} for each in runs if each["name"] in ROWS]
    rows = table(runs)
    save("codeflow", f"MNIST, {seconds:g} seconds of one core for each training; mean and range over seeds", [{key: row[key] for key in row if key != "short"} for row in rows], ["torch"],
         runs=runs, seconds=seconds, tables={"race": rows, "runs": kept})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--keep", help="a folder for networks that have learned to redraw, so that this need not be done twice")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import torch
        torch.set_num_threads(1)
        return print(json.dumps(race(options.child, options.seed, options.seconds, options.keep)), flush=True)
    path = RESULTS/"codeflow.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    runs = [each for each in runs if each.get("seconds") == options.seconds]
    for seed in range(FRESH_SEED, FRESH_SEED+options.seeds):
        for side in options.only or ("floor", *TRAINED):
            if any((each["side"], each["seed"]) == (side, seed) for each in runs): continue
            command = [sys.executable, __file__, "--child", side, "--seed", str(seed), "--seconds", str(options.seconds), *(["--keep", options.keep] if options.keep else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
            runs += [{"side": side, "name": name, "seed": seed, "seconds": options.seconds, **measures} for name, measures in found.items()]
            store(runs, options.seconds)
    store(runs, options.seconds)


if __name__ == "__main__": main()
