"""Translation of pictures, chapter 17: what each part of pix2pix and of CycleGAN is good for on the built-in glyphs, with the true pairs as judge.

    python benchmarks/translation.py paired [--seeds 3]      outlines → filled: each loss, no skips, three sizes of patch
    python benchmarks/translation.py unpaired [--seeds 3]    upright → leaning: with pairs; without, from a dark start, and from a random shade: with the cycle, without, and with the identity loss
    python benchmarks/translation.py message [--seeds 3]     filled → outlines → filled: how many inks come back, with noise in the middle (seed 0 from a random shade, as the weights)
    python benchmarks/translation.py tries                   upright → leaning without pairs, random shade: one epoch of seed 2, which fails, with one thing changed
    python benchmarks/translation.py remedies                the same, the whole run

Glyphs of 16 by 16, 2,000 pairs, batches of 16, 125 steps an epoch, one thread: 3 epochs for the first part, 6 for the others. Measured on 500 test digits. "Random shade": the last bias of a copier is as PyTorch draws it, and not SHADE; beside `distance` and `read rightly`, which need pairs, there is what can be seen without them after the first epoch. Runs that are stored in results/translation.json already are kept, so a part can be filled up seed by seed; delete its rows to measure it anew. The tables travel with the weights translators, because chapter 17 shows them.
"""
import argparse
import json
import time
from common import RESULTS, save
import torch
from genesis_course.evaluation import features, frechet_distance, read_digits
from genesis_course.optim import cosine
from genesis_course.stable_gan import r1_penalty
from genesis_course.training import Callback, Trainer
from genesis_course.translation import INKS, PatchDiscriminator, Translator, Two, Unpaired, cycle_players, glyph_pairs, paired, pix2pix_players, there_and_back, translated

EPOCHS, LONG, SHADE = 3, 6, -0.5


def ink_of(pictures): return (pictures.amax(dim=1, keepdim=True)+1)/2


def right(pictures, labels): return round((read_digits(pictures) == labels).float().mean().item(), 4)


def train_paired(pairs, seed, depth=None, epochs=EPOCHS, skips=True, **settings):
    "A translator that has learned from pairs"
    torch.manual_seed(seed)
    generator = Translator(pairs[0].shape[1], pairs[1].shape[1], skips=skips)
    judge = None if depth is None else PatchDiscriminator(pairs[0].shape[1]+pairs[1].shape[1], depth=depth)
    Trainer(pix2pix_players(generator, judge, schedule=cosine, **settings), device="cpu").fit(paired(*pairs, seed=seed), epochs)
    return generator


def copier(before, after, shade, copying=True):
    "Translator(before, after, copying=True, shade=shade); None leaves the last bias as PyTorch drew it"
    network = Translator(before, after)
    network.copying = copying
    torch.nn.init.zeros_(network.head.weight)
    if shade is not None: torch.nn.init.constant_(network.head.bias, shade)
    return network


def train_unpaired(first, second, seed, epochs=LONG, judge=PatchDiscriminator, shade=SHADE, copying=True, change=None, callbacks=(), **settings):
    "The two translators, there and back, that have learned from two heaps, and their trainer; `change`: what happens to the players beforehand"
    torch.manual_seed(seed)
    a, b = first.shape[1], second.shape[1]
    there, back = copier(a, b, shade, copying), copier(b, a, shade, copying)
    players = cycle_players(Two(there, back), Two(judge(a, depth=2), judge(b, depth=2)), schedule=cosine, **{"cycle": 5., **settings})
    if change: change(players)
    trainer = Trainer(players, callbacks, device="cpu").fit(Unpaired(first, second, seed=seed), epochs)
    return there, back, trainer


KINDS = {"distance": dict(adversarial=0), "judge alone": dict(l1=0, depth=1), "both": dict(depth=1), "both, no skips": dict(depth=1, skips=False), "both, pixels": dict(depth=0), "both, whole": dict(depth=2)}


def of_pairs(seeds, known):
    pairs, (outlines, filled, labels) = glyph_pairs("colour")[:2], glyph_pairs("colour", "test", count=500)
    for seed in range(seeds):
        for what, settings in KINDS.items():
            if (what, seed) in known: continue
            started = time.process_time()
            made = translated(train_paired(pairs, seed, **settings), outlines)
            colours = ((made+1)/2).permute(0, 2, 3, 1)[ink_of(filled)[:, 0] > 0.9]
            yield {"what": what, "seed": seed, "distance": round((made-filled).abs().mean().item()/2, 4), "shape": round((ink_of(made)-ink_of(filled)).abs().mean().item(), 4),
                   "ink": round((torch.cdist(colours, INKS).min(dim=1).values < 0.25).float().mean().item(), 4), "read rightly": right(2*ink_of(made)-1, labels), "seconds": round(time.process_time()-started, 1)}


def leaning(train, what, seed):
    "The row of a translator upright → leaning: `train` gives it, and perhaps more"
    test_upright, test_leaning, labels = glyph_pairs("slant", "test", count=500)
    started = time.process_time()
    there, *more = train()
    made = translated(there, test_upright)
    return {"what": what, "seed": seed, "distance": round((made-test_leaning).abs().mean().item()/2, 4), "read rightly": right(made, labels), "seconds": round(time.process_time()-started, 1)}, more


class FirstEpoch(Callback):
    "What can be seen after the first epoch of a run without pairs; `last`: it is the only one, with rates that fall as in the first of six"
    def __init__(self, last=False): self.last = last

    def after_epoch(self, trainer):
        if trainer.epoch > 1: return
        if self.last: trainer.stop("one epoch was asked for")
        there, (upright, heap) = trainer.players[1].module.first, (pictures[:1000] for pictures in trainer.batches.pictures)
        made = translated(there, upright)
        def mean(name): return round(sum(float(loss) for _, loss in trainer.history[name])/len(trainer.history[name]), 4) if name in trainer.history else None
        self.seen = {"judges": mean("judges plain") or mean("judges loss"), "cycle": mean("translators cycle"), "frechet": round(float(frechet_distance(features(made), features(heap))), 3),
                     "kept": round((read_digits(made) == read_digits(upright)).float().mean().item(), 4)}


def without_pairs(what, seed, last=False, **settings):
    "A row: how a run without pairs upright → leaning ends, and what its first epoch showed"
    upright, heap, look = glyph_pairs("slant")[0], glyph_pairs("slant", seed=5)[1], FirstEpoch(last)
    row, _ = leaning(lambda: train_unpaired(upright, heap, seed, callbacks=[look], **settings), what, seed)
    biases = {} if settings.get("shade", 0) is not None else {"shades": first_shades(seed)}
    return {**row, **look.seen, **biases}


def first_shades(seed):
    "The last biases that two copiers begin with, if nobody sets them: there, and back"
    torch.manual_seed(seed)
    return [round(copier(1, 1, None).head.bias.item(), 3) for _ in range(2)]


UNPAIRED = {"no pairs": {}, "random shade": {"shade": None}, "random shade, no cycle": {"shade": None, "cycle": 0.}, "random shade, identity": {"shade": None, "identity": 2.5}}


def of_heaps(seeds, known):
    for seed in range(seeds):
        if ("pairs", seed) not in known: yield leaning(lambda: [train_paired(glyph_pairs("slant")[:2], seed, epochs=LONG, adversarial=0)], "pairs", seed)[0]
        for what, settings in UNPAIRED.items():
            if (what, seed) not in known: yield without_pairs(what, seed, **settings)


def normed(channels, depth):
    "A judge with spectral norm on each convolution (chapter 09a)"
    judge = PatchDiscriminator(channels, depth=depth)
    for layer in judge.layers:
        if isinstance(layer, torch.nn.Conv2d): torch.nn.utils.parametrizations.spectral_norm(layer)
    return judge


def quarter_rate(players): players[0].base_lrs = [lr/4 for lr in players[0].base_lrs]

def sloped(players, weight=0.1):
    "R1 (chapter 09a) for both judges"
    plain = players[0].loss
    def loss(network, batch):
        found, penalty = plain(network, batch), sum(r1_penalty(judge, real) for judge, real in zip((network.first, network.second), batch))
        return {"loss": found + weight*penalty, "plain": found.detach()}
    players[0].loss = loss


REMEDIES = {"twice the cycle": {"cycle": 10.}, "half the rate": {"lr": 1e-3}, "spectral norm": {"judge": normed}}
TRIES = [("judges at a quarter of the rate", 2, {"change": quarter_rate}), ("judges with R1", 2, {"change": sloped}), ("copy times 2.5", 2, {"copying": 2.5}),
         ("shade 0", 2, {"shade": 0.}), ("shade -0.25", 2, {"shade": -0.25}), ("shade -0.5", 2, {"shade": -0.5}), ("shade 0.25", 0, {"shade": 0.25}),
         *(("shade -0.5", seed, {"shade": -0.5}) for seed in (3, 4, 5)), *(("random shade", seed, {}) for seed in (4, 5))]


def of_remedies(seeds, known):
    "Without pairs, seed 2, and one thing changed"
    for what, settings in REMEDIES.items():
        if (what, 2) not in known: yield without_pairs(what, 2, **{"shade": None, **settings})


def of_tries(seeds, known):
    "One epoch of it; of seed 0, which does not fail, from a pale start; and of others from a dark one"
    for what, seed, settings in TRIES:
        if (what, seed) not in known: yield without_pairs(what, seed, last=True, **{"shade": None, **settings})


def own_ink(made, wanted):
    "Share of digits whose mean colour is nearest to the ink that it should be"
    stroke = (ink_of(wanted) > 0.8).float()
    def nearest(images): return torch.cdist(((images+1)/2*stroke).sum(dim=(2, 3))/stroke.sum(dim=(2, 3)).clamp(min=1), INKS).argmin(dim=1)
    return round((nearest(made) == nearest(wanted)).float().mean().item(), 4)


def of_messages(seeds, known):
    outlines, filled, (test_outlines, test_filled, labels) = glyph_pairs("colour")[0], glyph_pairs("colour", seed=5)[1], glyph_pairs("colour", "test", count=500)
    for seed in range(seeds):
        if ("no pairs", seed) in known: continue
        started = time.process_time()
        fill, trace, _ = train_unpaired(outlines, filled, seed, shade=SHADE if seed else None)        # seed 0 as in the weights
        middle, made = translated(trace, test_filled), translated(fill, test_outlines)
        yield {"what": "no pairs", "seed": seed, "middle": round((middle-test_outlines).abs().mean().item()/2, 4), "shape": round((ink_of(made)-ink_of(test_filled)).abs().mean().item(), 4),
               "read rightly": right(2*ink_of(made)-1, labels), **{f"ink, noise {noise:g}": own_ink(there_and_back(trace, fill, test_filled, noise)[1], test_filled) for noise in (0., 0.05, 0.1, 0.2, 0.4)},
               "seconds": round(time.process_time()-started, 1)}


PARTS = {"paired": of_pairs, "unpaired": of_heaps, "remedies": of_remedies, "tries": of_tries, "message": of_messages}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS/"translation.json"
    def stored(): return json.loads(path.read_text())["tables"] if path.exists() else {}
    rows = stored().get(options.part, [])
    for row in PARTS[options.part](options.seeds, {(row["what"], row["seed"]) for row in rows}):
        rows.append(row)
        tables = {**stored(), options.part: rows}              # another part may be running
        save("translation", "Translation of glyphs (chapter 17), with pairs, without, with remedies, and what comes back of a message", tables.get("paired", rows), ["torch"], tables=tables)
