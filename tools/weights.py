"""Train the small networks whose weights come with the package, and write genesis_course/weights/.

usage: python tools/weights.py [name ...]        without arguments: all of them
       python tools/weights.py --tables name ... the weights stay; only the tables that benchmarks have measured are read anew

One thread, so that a recipe gives the same weights again on the same machine. MNIST is fetched, or read from $GENESIS_DATA.
"""
import copy
import itertools
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
from genesis_course.codeflow import CodeFlow, Creation, ParticleDecoder, code_loss, load_creation, read_codes, redrawing_player
from genesis_course.data import Batches, ImageSet, load_images, to_floats
from genesis_course.diffusion import UNet, flow_player, sample_pictures
from genesis_course.evaluation import FeatureNet, features, frechet_distance, precision_recall, read_digits
from genesis_course.flow import heun
from genesis_course.levels import MASK, MaskedModel, broken, fill, masked_loss, prove
from genesis_course.muon import Muon
from genesis_course.music import GridCoder, RelativeLM, bits_a_note, tune_loss
from genesis_course.optim import cosine, one_cycle, warm_up
from genesis_course.recipes import gan_experiment, genesis_experiment, gpt_experiment, rnn_experiment
from genesis_course.stable_gan import ConvDiscriminator, class_agreement, sample_class
from genesis_course.state import read_state, save_weights, write_state
from genesis_course.tiles import COLUMNS, ROWS, build_levels, to_ids, to_levels
from genesis_course.training import Player, Trainer, accuracy, evaluate, fit
from genesis_course.transfer import backbone
from genesis_course.tunes import load_tunes
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


class Some:
    "So many batches, however many times through the data that is"
    def __init__(self, batches, count): self.batches, self.count = batches, count
    def __len__(self): return self.count
    def __iter__(self): return itertools.islice(itertools.chain.from_iterable(itertools.repeat(self.batches)), self.count)


def flow_digits(first=8500, then=3500, size=28, count=5000, calls=6):
    "The U-Net of chapter 11b on MNIST in two legs: first with a high rate, then from the average with one that falls to 0; the tables that benchmarks/diffusion.py makes travel with it"
    images, settings = load_images("mnist"), dict(size=size, channels=1, classes=10)
    network, started = UNet(**settings), time.process_time()
    high, fall = warm_up(cosine), lambda t: 1-t
    for leg, (steps, about) in enumerate([(first, dict(lr=0.02, decay=0.998, schedule=lambda t: high(0.467*t))), (then, dict(lr=0.014, momentum=0.9, decay=0.995, schedule=fall))]):
        torch.manual_seed(leg)
        player, average = flow_player(network, **about)
        Trainer(player, average, device="cpu", precision="bf16-mixed").fit(Some(Batches(images, batch_size=64, seed=leg, drop_last=True), steps))
        network = copy.deepcopy(average.module).requires_grad_()
    trained = time.process_time()-started
    network.eval()
    return network, {"settings": settings, "steps": first+then, "training": round(trained), **flow_measures(network, count, calls)}


def flow_measures(network, count=5000, calls=6, scale=1.15):
    "Drawings of a network of MNIST in steps of Heun's method, and as many real digits, beside the test digits"
    labels, test, real = torch.arange(count) % 10, features(load_images("mnist", split="test")), features(load_images("mnist")[:count])
    pictures = sample_pictures(network, labels, calls, scale, seed=0, sampler=heun)

    def judge(images):
        precision, recall = precision_recall(test[:2000], images[:2000])
        return {"fid": round(frechet_distance(images, test), 3), "precision": round(precision, 3), "recall": round(recall, 3)}
    return {"drawings": count, "calls": calls, "scale": scale, **judge(features(pictures)), "agreement": round((read_digits(pictures) == labels).double().mean().item(), 4),
            "floor": judge(real)["fid"], "real": judge(real), "tables": tables_of("flow_digits")}


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


def creation(guidance=1.05, lead=1.5, seed=300, seconds=(1900, 1000, 700), folder=None):
    "The particles of chapter 15b on MNIST, an hour of one core by the clock, so another machine gets other weights: redrawing, a flow and a weak one, starts that were pushed. What the race of five minutes measured travels with it"
    sys.path.insert(0, str(ROOT/"benchmarks"))
    import codeflow
    redraw_for, flow_for, heal_for = seconds
    flow = dict(width=176, blocks=3)
    made, autoencoder, (means, _), steps, pushes = codeflow.creation(seed, redraw_for, flow_for, folder, heal_for, decay=0.999, flow=flow, weak_for=20.)
    made.prior.guidance, made.prior.lead = guidance, lead
    settings = dict(size=28, **codeflow.SETTINGS, flow=dict(**flow, guidance=guidance, lead=lead), weak=codeflow.WEAK)
    known = {"settings": settings, "steps": steps[0], "steps of the flow": steps[1], "steps of the weak flow": steps[2], "steps from pushed starts": steps[3], "core seconds": list(seconds), "read after pushes": pushes}
    return made, {**known, **told_of(made, autoencoder, means, load_images("mnist"), load_images("mnist", split="test"), digits_measured), "tables": tables_of("creation")}


def redrawn_and_flowing(images, test, settings, epochs, flow_epochs, measured):
    "Particles that redraw images, and a flow on their codes; `measured` gets both, codes of training images, and the test images"
    decoder = ParticleDecoder(**{name: value for name, value in settings.items() if name != "flow"})
    redraw, began = redrawing_player(decoder), time.process_time()
    trainer = Trainer(redraw, device="cpu").fit(Batches(images, batch_size=32, seed=0, drop_last=True), epochs)
    autoencoder, middle = redraw.module, time.process_time()
    means, stds = read_codes(autoencoder, to_floats(images.images))
    player, average = flow_player(CodeFlow(decoder.latent_dim, decoder.classes, **settings["flow"]).measure(means, stds), code_loss)
    flow_steps = Trainer(player, average, device="cpu").fit(Batches(means, stds, images.labels, batch_size=256, seed=0, drop_last=True), flow_epochs).step
    made, seconds = Creation(decoder, average.module.eval()), [round(middle-began), round(time.process_time()-middle)]
    return made, {"settings": settings, "steps": trainer.step, "steps of the flow": flow_steps, "core seconds": seconds, **told_of(made, autoencoder, means, images, test, measured)}


def told_of(made, autoencoder, means, images, test, measured):
    "The decibels of redrawn test images, and what `measured` says of drawings and of copies, which come from the codes of training images"
    with torch.no_grad():
        real = to_floats(test.images[:1000])
        error = (made.decoder(read_codes(autoencoder, real)[0], test.labels[:1000])-real).square().mean().item()
        copies = torch.cat([made.decoder(*pair) for pair in zip(means[:10_000].split(500), images.labels[:10_000].split(500))])
    return {"redrawn, dB": round(10*math.log10(4/error), 1), **measured(made, test, copies, images.labels[:10_000])}


def digits_measured(made, test, copies, their_labels):
    "What 10,000 digits are like beside the test images, for several strengths of lead and guidance; then codes of training images, and these themselves"
    labels, real = torch.arange(10_000) % 10, features(test)
    def judged(images, wanted):
        seen = features(images)
        precision, recall = precision_recall(real[:2000], seen[:2000])
        return {"fid": round(frechet_distance(seen, real), 3), "precision": round(precision, 3), "recall": round(recall, 3),
                "agreement": round((read_digits(images) == wanted).double().mean().item(), 4)}
    prior, strengths = made.prior, []
    def strength(): return {"lead": prior.lead, "guidance": prior.guidance}
    chosen = strength()
    for prior.lead, prior.guidance in ((1., 1.), (1., 1.05), (1., 1.1), (1.25, 1.), (1.5, 1.), (1.25, 1.05), (1.5, 1.05), (1.5, 1.1)):
        strengths.append({**strength(), **judged(sample_class(made, labels, seed=0), labels)})
        print(strengths[-1], flush=True)
    prior.lead, prior.guidance = chosen.values()
    of_chosen = next({key: row[key] for key in row if key not in chosen} for row in strengths if {**row, **chosen} == row)
    return {**of_chosen, "strengths": strengths, "codes of pictures": judged(copies, their_labels),
            "floor": round(frechet_distance(features(load_images("mnist")[:10_000]), real), 3)}


SIGNS = string.digits+string.ascii_uppercase+string.ascii_lowercase


def letters(count=37_200, epochs=3, flow_epochs=30, guidance=1.1):
    "The particles of chapter 15b on drawn glyphs: 62 classes, digits and letters"
    drawn, test = (load_images("glyphs", split, size=28, count=many, characters=SIGNS) for split, many in (("train", count), ("test", 6200)))
    settings = dict(size=28, classes=len(SIGNS), told=48, flow=dict(width=60, guidance=guidance))
    return redrawn_and_flowing(drawn, test, settings, epochs, flow_epochs, letters_measured)


def letters_measured(made, test, copies, their_labels):
    "Which letters the backbone of chapter 12b reads in what was drawn, and in test images"
    reader, alphabet = backbone().eval(), {sign: k for k, sign in enumerate(string.ascii_letters)}
    labels = torch.tensor([k for k, sign in enumerate(SIGNS) if sign in alphabet]*50)
    asked = torch.tensor([alphabet[SIGNS[k]] for k in labels])
    real = load_images("glyphs", "test", size=16, count=len(labels), characters=string.ascii_letters)
    with torch.no_grad():
        def right(images, wanted): return round((reader(images).argmax(dim=1) == wanted).double().mean().item(), 4)
        small = F.interpolate(sample_class(made, labels, seed=0), (16, 16), mode="area")
        return {"characters": SIGNS, "agreement": right(small, asked), "real letters": right(to_floats(real.images), real.labels)}


def inks(count=20_000, epochs=5, flow_epochs=30, guidance=1.1):
    "The particles of chapter 15b with three inks, on drawn digits of one hue each"
    drawn, test = (coloured(load_images("glyphs", split, size=28, count=many)) for split, many in (("train", count), ("test", 2000)))
    return redrawn_and_flowing(drawn, test, dict(size=28, channels=3, told=48, flow=dict(width=60, guidance=guidance)), epochs, flow_epochs, inks_measured)


def coloured(grey):
    "Each picture in a hue of its own: [N, 1, H, W] → [N, 3, H, W] bytes"
    phase = 2*math.pi*(torch.rand(len(grey.images), 1, generator=torch.Generator().manual_seed(0))+torch.arange(3)/3)
    shade = (0.5+0.5*phase.cos())/(0.5+0.5*phase.cos()).amax(dim=1, keepdim=True)
    return ImageSet((grey.images*shade[:, :, None, None]).round().to(torch.uint8), grey.labels, grey.classes)


def hues(images):
    "The angle of the mean colour of each picture [N, 3, H, W], in turns from 0 to 1"
    ink = (to_floats(images) if images.dtype == torch.uint8 else images).add(1).mean(dim=(2, 3))
    return (torch.atan2(math.sqrt(3)*(ink[:, 2]-ink[:, 1]), 2*ink[:, 0]-ink[:, 1]-ink[:, 2])/(2*math.pi)) % 1


def inks_measured(made, test, copies, their_labels):
    "Digits read in the brightest ink of each pixel, and how evenly the hues are spread: entropy over twelve bins, in shares of the most"
    labels = torch.arange(2000) % 10
    drawn = sample_class(made, labels, seed=0)
    def even(images):
        share = torch.histc(hues(images), 12, 0, 1)/len(images)
        return round(-(share*share.clamp_min(1e-9).log()).sum().item()/math.log(12), 3)
    return {"agreement": round((read_digits(drawn.amax(dim=1, keepdim=True)) == labels).double().mean().item(), 4), "hues": even(drawn), "real hues": even(test.images)}


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
    "Pictures of digits [B, 1, 28, 28] → what the particles are to be asked for: a code [B, latent_dim], and logits [B, 10]"
    def __init__(self, latent_dim=32, width=16):
        super().__init__()
        reader, self.latent_dim = ConvDiscriminator(28, width), latent_dim
        self.layers = nn.Sequential(*reader.layers, nn.Linear(reader.head.in_features, latent_dim+10))

    def forward(self, x): return self.layers(x).split([self.latent_dim, 10], dim=1)


def creation_encoder(epochs=6, batch=48, lr=3e-3):
    "An encoder for the shipped particles of chapter 15b, which stay as they are: the code with which a cloud redraws a picture of MNIST. It is held near the codes of training pictures"
    made, encoder = load_creation()[0].requires_grad_(False), DigitEncoder()
    decoder, prior = made.decoder, made.prior

    def loss(module, pair):
        (x, labels), (code, logits) = pair, module(pair[0])
        error, far = (decoder(code, labels)-x).square(), (code-prior.centre)/prior.scale
        return {"loss": 2*error.flatten(1).sum(dim=1).mean() + 0.15*far.square().sum(dim=1).mean() + 20*F.cross_entropy(logits, labels), "squared error": error.mean().detach()}
    player = Player(encoder, loss, lr=lr, schedule=one_cycle, betas=(0.9, 0.99))
    trainer = Trainer(player, device="cpu").fit(Batches(load_images("mnist"), batch_size=batch, seed=0, drop_last=True, transform=Augment(rotate=8, scale=0.1, shift=0.03)), epochs)
    test = load_images("mnist", "test")[:2000]
    with torch.no_grad():
        x = to_floats(test.images)
        code, logits = encoder(x)
        redrawn, others = decoder(code, logits.argmax(dim=1)), sample_class(made, test.labels, seed=0)
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
                   "broken": round(broken(made).sum().item()/300, 3), "tables": tables_of("levels")}


def composer(steps=1200, batch=16, lr=0.04):
    "The network of chapter 19 that goes on with four notes, in a longer run on the chapter's own tunes; the table that benchmarks/music.py makes travels with it"
    train, fresh = load_tunes(count=2000, seed=0), load_tunes(count=300, seed=2)
    coder = GridCoder(train)
    model, ids = RelativeLM(len(coder.vocabulary)), coder.encode(train)
    draws = [ids[rows] for rows in torch.randint(len(ids), (steps, batch))]
    player = Player(model, tune_loss, Muon, lr=lr, schedule=warm_up(cosine), clip=1.)
    Trainer(player, device="cpu").fit([each[:, :(each != 0).sum(dim=1).max()] for each in draws])
    return model, {"settings": {"vocab_size": len(coder.vocabulary)}, "vocabulary": coder.vocabulary, "steps": steps, "batch": batch, "bits": round(bits_a_note(model, coder, fresh), 3),
                   "floor": round(sum(tune.bits for tune in fresh)/sum(len(tune.notes) for tune in fresh), 3),
                   "tables": tables_of("composer")}


def translators():
    "The translators of chapter 17 that learned without pairs: upright → leaning, and filled → outlines → filled; the tables that benchmarks/translation.py makes travel with them"
    sys.path.insert(0, str(ROOT/"benchmarks"))
    from translation import LONG, glyph_pairs, train_unpaired
    lean, *_ = train_unpaired(glyph_pairs("slant")[0], glyph_pairs("slant", seed=5)[1], seed=0, shade=None)
    fill, trace, _ = train_unpaired(glyph_pairs("colour")[0], glyph_pairs("colour", seed=5)[1], seed=0, shade=None)
    return nn.ModuleDict({"lean": lean, "fill": fill, "trace": trace}), {"epochs": LONG, "tables": tables_of("translators")}


RECIPES = {
    "translators": translators,
    "creation_encoder": creation_encoder,
    "levels": level_filler,
    "composer": composer,
    "planes": two_planes,
    "backbone": letter_reader,
    "genesis": genesis_particle,
    "creation": creation,
    "letters": letters,
    "inks": inks,
    "features": feature_network,
    "conditional_gan": conditional_gan,
    "flow_digits": flow_digits,
    "rnn": lambda: language_model(rnn_experiment, cell="rnn", width=274, lr=0.01),
    "lstm": lambda: language_model(rnn_experiment, cell="lstm", width=143, lr=0.04),
    "gru": lambda: language_model(rnn_experiment, cell="gru", width=164, lr=0.02),
    "transformer": lambda: language_model(gpt_experiment, lr=0.03),
}

TABLES = {"creation": "codeflow", "translators": "translation", "composer": "music", "levels": "levels", "flow_digits": "diffusion"}        # weights: the results that travel with them


def tables_of(name):
    measured = ROOT/"benchmarks"/"results"/f"{TABLES[name]}.json"
    return json.loads(measured.read_text())["tables"] if measured.exists() else {}


def with_new_tables(name):
    path = FOLDER/f"{name}.safetensors"
    state = read_state(path)
    return write_state(path, {**state, "about": {**state["about"], "tables": tables_of(name)}})


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--tables"]:
        for name in sys.argv[2:]: print(with_new_tables(name))
        sys.exit()
    if unknown := set(sys.argv[1:])-RECIPES.keys(): raise SystemExit(f"No recipe is called {min(unknown)!r}. There are: {', '.join(RECIPES)}.")
    for name in sys.argv[1:] or RECIPES:
        torch.manual_seed(0)
        started = time.perf_counter()
        module, about = RECIPES[name]()
        about["seconds"] = round(time.perf_counter()-started)
        path = save_weights(FOLDER/f"{name}.safetensors", module, **about)
        told = {key: value for key, value in about.items() if key not in ("vocabulary", "stabilisers", "race", "parts", "cost", "step", "runs", "tables", "labels", "codes", "strengths")}
        print(f"{name}: {path.stat().st_size/1e6:.2f} MB, {told}", flush=True)
