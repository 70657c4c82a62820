"""Translation of pictures, chapter 17: what each part of pix2pix and of CycleGAN is good for on the built-in glyphs, with the true pairs as judge.

    python benchmarks/translation.py paired [--seeds 3]      outlines → filled: each loss, no skips, three sizes of patch
    python benchmarks/translation.py unpaired [--seeds 3]    upright → leaning: with pairs, without, without the cycle
    python benchmarks/translation.py message [--seeds 3]     filled → outlines → filled: how many inks come back, with noise in the middle

Glyphs of 16 by 16, 2,000 pairs, batches of 16, 125 steps an epoch, one thread: 3 epochs for the first part, 6 for the others. Measured on 500 test digits. Each part replaces its own table in results/translation.json; the tables travel with the weights translators, because chapter 17 shows them.
"""
import argparse
import json
import time
from common import RESULTS, save
import torch
from genesis_course.evaluation import read_digits
from genesis_course.optim import cosine
from genesis_course.training import Trainer
from genesis_course.translation import INKS, PatchDiscriminator, Translator, Two, Unpaired, cycle_players, glyph_pairs, paired, pix2pix_players, there_and_back, translated

EPOCHS, LONG = 3, 6


def ink_of(pictures): return (pictures.amax(dim=1, keepdim=True)+1)/2


def right(pictures, labels): return round((read_digits(pictures) == labels).float().mean().item(), 4)


def train_paired(pairs, seed, depth=None, epochs=EPOCHS, skips=True, **settings):
    "A translator that has learned from pairs"
    torch.manual_seed(seed)
    generator = Translator(pairs[0].shape[1], pairs[1].shape[1], skips=skips)
    judge = None if depth is None else PatchDiscriminator(pairs[0].shape[1]+pairs[1].shape[1], depth=depth)
    Trainer(pix2pix_players(generator, judge, schedule=cosine, **settings), device="cpu").fit(paired(*pairs, seed=seed), epochs)
    return generator


def train_unpaired(first, second, seed, epochs=LONG, **settings):
    "The two translators, there and back, that have learned from two heaps"
    torch.manual_seed(seed)
    a, b = first.shape[1], second.shape[1]
    there, back = Translator(a, b, copying=True), Translator(b, a, copying=True)
    judges = Two(PatchDiscriminator(a, depth=2), PatchDiscriminator(b, depth=2))
    settings = {"cycle": 5., **settings}
    Trainer(cycle_players(Two(there, back), judges, schedule=cosine, **settings), device="cpu").fit(Unpaired(first, second, seed=seed), epochs)
    return there, back


KINDS = {"distance": dict(adversarial=0), "judge alone": dict(l1=0, depth=1), "both": dict(depth=1), "both, no skips": dict(depth=1, skips=False), "both, pixels": dict(depth=0), "both, whole": dict(depth=2)}


def of_pairs(seeds):
    pairs, (outlines, filled, labels), rows = glyph_pairs("colour")[:2], glyph_pairs("colour", "test", count=500), []
    for seed in range(seeds):
        for what, settings in KINDS.items():
            started = time.process_time()
            made = translated(train_paired(pairs, seed, **settings), outlines)
            colours = ((made+1)/2).permute(0, 2, 3, 1)[ink_of(filled)[:, 0] > 0.9]
            rows.append({"what": what, "seed": seed, "distance": round((made-filled).abs().mean().item()/2, 4), "shape": round((ink_of(made)-ink_of(filled)).abs().mean().item(), 4),
                         "ink": round((torch.cdist(colours, INKS).min(dim=1).values < 0.25).float().mean().item(), 4), "read rightly": right(2*ink_of(made)-1, labels), "seconds": round(time.process_time()-started, 1)})
            print(rows[-1], flush=True)
    return rows


def of_heaps(seeds):
    upright, leaning, (test_upright, test_leaning, labels) = glyph_pairs("slant")[0], glyph_pairs("slant", seed=5)[1], glyph_pairs("slant", "test", count=500)
    rows = []
    for seed in range(seeds):
        for what in ("pairs", "no pairs", "no pairs, no cycle"):
            started = time.process_time()
            if what == "pairs": there = train_paired(glyph_pairs("slant")[:2], seed, epochs=LONG, adversarial=0)
            else: there, _ = train_unpaired(upright, leaning, seed, cycle=5. if what == "no pairs" else 0.)
            made = translated(there, test_upright)
            rows.append({"what": what, "seed": seed, "distance": round((made-test_leaning).abs().mean().item()/2, 4), "read rightly": right(made, labels), "seconds": round(time.process_time()-started, 1)})
            print(rows[-1], flush=True)
    return rows


def own_ink(made, wanted):
    "Share of digits whose mean colour is nearest to the ink that it should be"
    stroke = (ink_of(wanted) > 0.8).float()
    def nearest(images): return torch.cdist(((images+1)/2*stroke).sum(dim=(2, 3))/stroke.sum(dim=(2, 3)).clamp(min=1), INKS).argmin(dim=1)
    return round((nearest(made) == nearest(wanted)).float().mean().item(), 4)


def of_messages(seeds):
    outlines, filled, (test_outlines, test_filled, labels) = glyph_pairs("colour")[0], glyph_pairs("colour", seed=5)[1], glyph_pairs("colour", "test", count=500)
    rows = []
    for seed in range(seeds):
        started = time.process_time()
        fill, trace = train_unpaired(outlines, filled, seed)
        middle, made = translated(trace, test_filled), translated(fill, test_outlines)
        rows.append({"what": "no pairs", "seed": seed, "middle": round((middle-test_outlines).abs().mean().item()/2, 4), "shape": round((ink_of(made)-ink_of(test_filled)).abs().mean().item(), 4),
                     "read rightly": right(2*ink_of(made)-1, labels), **{f"ink, noise {noise:g}": own_ink(there_and_back(trace, fill, test_filled, noise)[1], test_filled) for noise in (0., 0.05, 0.1, 0.2, 0.4)},
                     "seconds": round(time.process_time()-started, 1)})
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["paired", "unpaired", "message"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS/"translation.json"
    rows = {"paired": of_pairs, "unpaired": of_heaps, "message": of_messages}[options.part](options.seeds)
    tables = json.loads(path.read_text())["tables"] if path.exists() else {}
    tables[options.part] = rows
    save("translation", "Translation of glyphs (chapter 17), up to three seeds: with pairs, without, and what comes back of a message", tables.get("paired", rows), ["torch"], tables=tables)
