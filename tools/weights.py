"""Train the small networks whose weights come with the package, and write genesis_course/weights/.

usage: python tools/weights.py [name ...]        without arguments: all of them

One thread, so that a recipe gives the same weights again on the same machine. MNIST is fetched, or read from $GENESIS_DATA.
"""
import json
import math
import platform
import string
import sys
import time
from pathlib import Path
import torch
import torch.nn.functional as F
from torch import nn
from genesis_course.augment import Augment
from genesis_course.cnn import ResNet
from genesis_course.codeflow import CodeFlow, Creation, ParticleDecoder, code_loss, read_codes, redrawing_player
from genesis_course.data import Batches, ImageSet, load_images, to_floats
from genesis_course.diffusion import flow_player, sample_pictures
from genesis_course.evaluation import FeatureNet, features, frechet_distance, precision_recall, read_digits
from genesis_course.genesis import load_genesis
from genesis_course.levels import MASK, MaskedModel, broken, fill, masked_loss, prove
from genesis_course.optim import one_cycle
from genesis_course.recipes import flow_experiment, gan_experiment, genesis_experiment, gpt_experiment, rnn_experiment
from genesis_course.stable_gan import ConvDiscriminator, class_agreement, sample_class
from genesis_course.state import save_weights
from genesis_course.tiles import COLUMNS, ROWS, build_levels, to_ids, to_levels
from genesis_course.training import Player, Trainer, accuracy, evaluate, fit
from genesis_course.vae import VAE, bernoulli_log_likelihood, dense_networks, images_of, sample_prior, to_images, to_probabilities, vae_loss

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT/"genesis_course"/"weights"


def language_model(make, steps=3000, **settings):
    "A network of chapter 05 or 06 in a long run, on the reference inside this Python; its windows are drawn beforehand"
    batch, context = 24, 64
    experiment = make("python", batch=batch, context=context, draws=steps*batch, **settings)
    Trainer(experiment.players, device="cpu").fit(experiment.batches)
    built = dict(experiment.settings)
    vocabulary = built.pop("vocabulary")
    return experiment.module, {"settings": built, "vocabulary": vocabulary, "steps": steps, "batch": batch, "context": context,
                               "python": platform.python_version(), "bits": experiment.measure()["bits per character"]}


def feature_network(epochs=8, batch=128, lr=0.01, weight_decay=0.02, augment=dict(rotate=8, scale=0.1, shift=0.05)):
    "The feature network of chapter 10a: one reader for handwritten digits of two kinds and for drawn ones"
    glyphs = load_images("glyphs", count=12000)
    parts = [load_images("mnist"), *[load_images("digits", "train", size=28)]*8, glyphs]
    together = ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]), glyphs.classes)
    model = FeatureNet().to(memory_format=torch.channels_last)

    def loss(module, pair):
        "The convolutions compute in 16 bits, with the channels of a pixel side by side"
        x, y = pair
        with torch.autocast("cpu", torch.bfloat16): return F.cross_entropy(module(x.contiguous(memory_format=torch.channels_last)).float(), y)
    player = Player(model, loss, torch.optim.AdamW, lr=lr, schedule=one_cycle, weight_decay=weight_decay)
    Trainer(player).fit(Batches(together, batch_size=batch, transform=Augment(**augment)), epochs=epochs)

    def share_right(images):
        measure = lambda module, pair: accuracy(module(pair[0]), pair[1])
        return round(evaluate(model, Batches(images, batch_size=1000, shuffle=False), measure)["loss"], 4)
    tests = {"mnist": load_images("mnist", "test"), "digits": load_images("digits", "test", size=28), "glyphs": load_images("glyphs", "test", count=3000)}
    return model, {"trained_on": {"mnist": 60_000, "digits": 1437, "glyphs": 12_000}, "epochs": epochs, "batch": batch, "lr": lr, "augment": augment,
                   "accuracy": {name: share_right(images) for name, images in tests.items()}}


def drawn_digits(experiment):
    "What a trained generator of MNIST is measured by: pictures read as the class that was asked for, and FID"
    return {"agreement": round(class_agreement(experiment.module, read_digits, 10_000), 4), "fid": round(experiment.measure()["FID of the course"], 2)}


def conditional_gan(epochs=6):
    "The generator of chapter 09a on MNIST; the table of its stabilisers, which benchmarks/gan.py makes, travels with it"
    experiment = gan_experiment("mnist")
    trainer = Trainer(experiment.players, experiment.callbacks, device="cpu").fit(experiment.batches, epochs)
    test = features(load_images("mnist", split="test"))
    table = json.loads((ROOT/"benchmarks"/"results"/"gan_stabilisers.json").read_text())["table"]
    return experiment.module, {"settings": experiment.settings, "steps": trainer.step, **drawn_digits(experiment),
                               "floor": round(frechet_distance(features(load_images("mnist")[:10_000]), test), 2), "stabilisers": table}


def flow_digits(epochs=2, count=2000):
    "The U-Net of chapter 11b on MNIST; the tables that benchmarks/diffusion.py makes travel with it"
    experiment = flow_experiment("mnist")
    trainer = Trainer(experiment.players, experiment.callbacks, device="cpu").fit(experiment.batches, epochs)
    labels, test = torch.arange(count) % 10, features(load_images("mnist", split="test"))
    pictures = sample_pictures(experiment.module, labels, seed=0)
    drawn = features(pictures)
    precision, recall = precision_recall(test[:2000], drawn[:2000])
    measured = ROOT/"benchmarks"/"results"/"diffusion.json"
    return experiment.module, {"settings": experiment.settings, "steps": trainer.step, "calls": 20, "fid": round(frechet_distance(drawn, test), 3),
                               "precision": round(precision, 3), "recall": round(recall, 3), "agreement": round((read_digits(pictures) == labels).double().mean().item(), 4),
                               "floor": round(frechet_distance(features(load_images("mnist")[:count]), test), 3),
                               "tables": json.loads(measured.read_text())["tables"] if measured.exists() else {}}


def bend(images):
    "Letters [B, 1, H, W] as a hand might write them: stretched and bent at random, and seven in ten as blurred as pictures of half the size are"
    count, _, *side = images.shape
    waves = F.interpolate(0.1*torch.randn(count, 2, 4, 4), side, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    stretch = (1+0.15*torch.randn(count, 1, 1, 2)).clamp(0.6, 1.5)
    grid = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), list(images.shape), align_corners=False)
    bent = F.grid_sample(images+1, grid*stretch+waves, align_corners=False)-1
    small = F.interpolate(bent, [length//2 for length in side], mode="bicubic", antialias=True)
    blurred = F.interpolate(small, side, mode="bicubic", antialias=True).clamp(-1, 1)
    return torch.where(torch.rand(count, 1, 1, 1) < 0.7, blurred, bent)


def letter_reader(count=40_000, epochs=5, batch=64, lr=4e-3, weight_decay=0.02):
    "The backbone of chapter 12b: it reads 52 drawn letters; what fine-tuning makes of it, which benchmarks/transfer.py measures, travels with it"
    settings = dict(classes=52, widths=(16, 32, 64), stem_kernel=5, stem_stride=2)
    ranges = dict(slant=(-0.5, 0.5), rotation=(-15, 15), weight=(-0.01, 0.13), scale=(0.8, 1.3), x=(-0.05, 0.05), y=(-0.05, 0.05))
    letters = load_images("glyphs", size=16, count=count, characters=string.ascii_letters, **ranges)
    model = ResNet(**settings)
    fit(model, F.cross_entropy, Batches(letters, batch_size=batch, transform=bend), epochs, lr, optimizer=torch.optim.AdamW, schedule=one_cycle,
        weight_decay=weight_decay, device="cpu")
    test = load_images("glyphs", "test", size=16, count=2600, characters=string.ascii_letters)
    right = evaluate(model, Batches(test, batch_size=500, shuffle=False), lambda module, pair: accuracy(module(pair[0]), pair[1]))["loss"]
    measured = ROOT/"benchmarks"/"results"/"transfer.json"
    return model, {"settings": settings, "letters": count, "epochs": epochs, "accuracy": round(right, 4),
                   "runs": json.loads(measured.read_text())["runs"] if measured.exists() else []}


def genesis_particle(epochs=8):
    "The generator of chapter 15 on MNIST: reconstruction for an epoch, then the game; what benchmarks/genesis.py measured travels with it"
    first = genesis_experiment("mnist", clip=None)
    Trainer(first.players, device="cpu").fit(first.batches)
    game = first.then()
    trainer = Trainer(game.players, game.callbacks, device="cpu").fit(game.batches, epochs)
    measured = {name: json.loads((ROOT/"benchmarks"/"results"/f"genesis_{name}.json").read_text()) for name in ("race", "parts", "cost")}
    tables = {**{name: each["table"] for name, each in measured.items()}, "step": measured["cost"]["step"]}
    return game.module, {"settings": game.settings, "steps": len(first.batches)+trainer.step, **drawn_digits(game), **tables}


def creation(epochs=5, lr=0.01):
    "The particles of chapter 15b on MNIST: redrawing, then a flow on the codes"
    redraw = redrawing_player(ParticleDecoder(28), lr=lr)
    trainer = Trainer(redraw, device="cpu").fit(Batches(load_images("mnist"), batch_size=32, seed=0, drop_last=True), epochs)
    return with_flow(redraw.module, trainer.step)


def with_flow(autoencoder, steps, epochs=20):
    "A flow on the codes of MNIST for particles that redraw it, and what the two draw together; what benchmarks/codeflow.py measured travels with it"
    mnist, test = load_images("mnist"), load_images("mnist", split="test")
    means, stds = read_codes(autoencoder, to_floats(mnist.images))
    player, average = flow_player(CodeFlow().measure(means, stds), code_loss)
    Trainer(player, average, device="cpu").fit(Batches(means, stds, mnist.labels, batch_size=256, seed=0, drop_last=True), epochs)
    made, labels, real = Creation(autoencoder.generator, average.module), torch.arange(10_000) % 10, features(test)
    drawn = sample_class(made, labels, seed=0)
    seen = features(drawn)
    precision, recall = precision_recall(real[:2000], seen[:2000])
    with torch.no_grad():
        copied = autoencoder.generator(read_codes(autoencoder, to_floats(test.images[:1000]))[0], test.labels[:1000])
        error = (copied-to_floats(test.images[:1000])).square().mean().item()
    measured = ROOT/"benchmarks"/"results"/"codeflow.json"
    return made, {"settings": {"size": 28}, "steps": steps, "fid": round(frechet_distance(seen, real), 3), "precision": round(precision, 3), "recall": round(recall, 3),
                  "agreement": round((read_digits(drawn) == labels).double().mean().item(), 4), "floor": round(frechet_distance(features(mnist[:10_000]), real), 3),
                  "redrawn, dB": round(10*math.log10(4/error), 1), "race": json.loads(measured.read_text())["runs"] if measured.exists() else []}


def two_planes(count=12_000, epochs=60, batch=100, lr=3e-3):
    "The VAE of chapter 07a whose codes are two numbers, and a plain autoencoder of the same layers, for the live plane; the codes of 500 test pictures travel with them"
    still, hidden = dict(size=20, font=0, x=0, y=0, rotation=0, scale=1.), [128, 64]
    images, test = load_images("glyphs", count=count, **still), load_images("glyphs", split="test", count=500, **still)
    vae, plain = VAE(20, 2, hidden), nn.ModuleDict(dict(zip(("encoder", "decoder"), dense_networks(20, 2, 2, hidden))))

    def pixel_loss(module, pair):
        x = images_of(pair)
        return -bernoulli_log_likelihood(module["decoder"](module["encoder"](x)), to_probabilities(x)).mean()
    for module, loss in ((vae, vae_loss), (plain, pixel_loss)):
        torch.manual_seed(0)
        Trainer(Player(module, loss, lr=lr, schedule=one_cycle), device="cpu").fit(Batches(images, batch_size=batch, seed=0), epochs)
    with torch.no_grad():
        x, rng = to_floats(test.images), torch.Generator().manual_seed(0)
        codes = {"vae": vae.encode(x)[0], "plain": plain["encoder"](x)}
        invented = {"vae": sample_prior(vae, 2000, rng), "plain": to_images(plain["decoder"](torch.randn(2000, 2, generator=rng)))}
    kinds = {name: round(torch.bincount(read_digits(each), minlength=10).max().item()/2000, 2) for name, each in invented.items()}
    return nn.ModuleDict({"vae": vae, "plain": plain}), {"hidden": hidden, "count": count, "epochs": epochs, "commonest_digit": kinds, "labels": test.labels.tolist(),
           "codes": {name: [[round(number, 3) for number in code] for code in each.tolist()] for name, each in codes.items()}}


class DigitEncoder(nn.Module):
    "Pictures of digits [B, 1, 28, 28] → what the genesis particle is to be asked for: a code [B, latent_dim], and logits [B, 10]"
    def __init__(self, latent_dim=32, width=16):
        super().__init__()
        reader, self.latent_dim = ConvDiscriminator(28, width), latent_dim
        self.layers = nn.Sequential(*reader.layers, nn.Linear(reader.head.in_features, latent_dim+10))

    def forward(self, x): return self.layers(x).split([self.latent_dim, 10], dim=1)


def genesis_encoder(epochs=5, batch=48, lr=3e-3):
    "An encoder for the shipped genesis particle, which stays as it is: the code with which its cloud redraws a picture of MNIST"
    generator, encoder = load_genesis()[0].requires_grad_(False), DigitEncoder()

    def loss(module, pair):
        (x, labels), (z, logits) = pair, module(pair[0])
        error = (generator(z, labels)-x).square()
        return {"loss": 2*error.flatten(1).sum(dim=1).mean() + 0.15*z.square().sum(dim=1).mean() + 20*F.cross_entropy(logits, labels), "squared error": error.mean().detach()}
    player = Player(encoder, loss, lr=lr, schedule=one_cycle, betas=(0.9, 0.99))
    trainer = Trainer(player, device="cpu").fit(Batches(load_images("mnist"), batch_size=batch, seed=0, drop_last=True, transform=Augment(rotate=8, scale=0.1, shift=0.03)), epochs)
    test = load_images("mnist", "test")[:2000]
    with torch.no_grad():
        x = to_floats(test.images)
        z, logits = encoder(x)
        torch.manual_seed(0)
        redrawn, others = generator(z, logits.argmax(dim=1)), generator(torch.randn_like(z), test.labels)
    return encoder, {"settings": {"latent_dim": 32, "width": 16}, "steps": trainer.step, "accuracy": round(accuracy(logits, test.labels).item(), 4),
                     "squared_error": {"redrawn": round((redrawn-x).square().mean().item(), 3), "another of the class": round((others-x).square().mean().item(), 3)},
                     "read_as_asked": round((read_digits(redrawn) == test.labels).float().mean().item(), 4)}


def level_filler(count=3000, epochs=60, width=48, lr=6e-3):
    "The masked model of chapter 20, on levels of the course's builder"
    model = MaskedModel(width)
    player = Player(model, masked_loss, torch.optim.AdamW, lr=lr, schedule=one_cycle)
    trainer = Trainer(player, device="cpu").fit(Batches(to_ids(build_levels(count)[0]), batch_size=64), epochs)
    made = fill(model, torch.full((300, ROWS, COLUMNS), MASK))
    return model, {"settings": {"width": width}, "levels": count, "steps": trainer.step, "finished": round(sum(prove(level).finished for level in to_levels(made))/300, 3),
                   "broken": round(broken(made).sum().item()/300, 3)}


def translators():
    "The translators of chapter 17 that learned without pairs: upright → leaning, and filled → outlines → filled; the tables that benchmarks/translation.py makes travel with them"
    sys.path.insert(0, str(ROOT/"benchmarks"))
    from translation import LONG, RESULTS, glyph_pairs, train_unpaired
    lean, _ = train_unpaired(glyph_pairs("slant")[0], glyph_pairs("slant", seed=5)[1], seed=0)
    fill, trace = train_unpaired(glyph_pairs("colour")[0], glyph_pairs("colour", seed=5)[1], seed=0)
    tables = json.loads((RESULTS/"translation.json").read_text())["tables"]
    return nn.ModuleDict({"lean": lean, "fill": fill, "trace": trace}), {"epochs": LONG, "tables": tables}


RECIPES = {
    "translators": translators,
    "genesis_encoder": genesis_encoder,
    "levels": level_filler,
    "planes": two_planes,
    "backbone": letter_reader,
    "genesis": genesis_particle,
    "creation": creation,
    "features": feature_network,
    "conditional_gan": conditional_gan,
    "flow_digits": flow_digits,
    "rnn": lambda: language_model(rnn_experiment, cell="rnn", width=274, lr=0.01),
    "lstm": lambda: language_model(rnn_experiment, cell="lstm", width=143, lr=0.04),
    "gru": lambda: language_model(rnn_experiment, cell="gru", width=164, lr=0.02),
    "transformer": lambda: language_model(gpt_experiment, lr=0.03),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    if unknown := set(sys.argv[1:])-RECIPES.keys(): raise SystemExit(f"No recipe is called {min(unknown)!r}. There are: {', '.join(RECIPES)}.")
    for name in sys.argv[1:] or RECIPES:
        torch.manual_seed(0)
        started = time.perf_counter()
        module, about = RECIPES[name]()
        about["seconds"] = round(time.perf_counter()-started)
        path = save_weights(FOLDER/f"{name}.safetensors", module, **about)
        told = {key: value for key, value in about.items() if key not in ("vocabulary", "stabilisers", "race", "parts", "cost", "step", "runs", "tables", "labels", "codes")}
        print(f"{name}: {path.stat().st_size/1e6:.2f} MB, {told}", flush=True)
