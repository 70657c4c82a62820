"""Levels, chapter 20: the three generators, each trained with three seeds; what 100 of their levels are worth before and after a repair.

    python benchmarks/levels.py [--seeds 3]

Networks, data and steps are those of the chapter: 900 levels of the builder; all repairs are by the masked model of seed 0. One thread. Runs that are stored already are kept. The
table travels with the weights levels, because chapter 20 shows it.
"""
import argparse
import json
import math
import time
from common import RESULTS, save
import torch
from genesis_course.attention import Transformer
from genesis_course.data import Batches
from genesis_course.gan import gan_players
from genesis_course.levels import MASK, Columns, MaskedModel, PatchCritic, PatchGenerator, as_channels, broken, fill, masked_loss, patch_levels, prove, repair_levels
from genesis_course.optim import one_cycle
from genesis_course.rnn import generate, next_token_loss
from genesis_course.stable_gan import EMA, lazy_regularisation, r1_penalty
from genesis_course.tiles import ROWS, build_levels, to_ids, to_levels
from genesis_course.training import Player, Trainer

built, difficulty = build_levels(900)
difficulty = torch.as_tensor(difficulty)
tiles = to_ids(built)
columns = Columns(tiles)
patches = torch.cat([as_channels(tiles[:, :, x:x+16]) for x in (0, 5, 11, 16)])


def train_transformer(seed, epochs=6):
    torch.manual_seed(seed)
    words, model = columns.encode(tiles), Transformer(len(columns)+3, context=33, width=64, heads=4, layers=2)
    sentences = torch.cat([len(columns)+difficulty[:, None], words], dim=1)
    player = Player(model, next_token_loss, torch.optim.AdamW, lr=1e-2, schedule=one_cycle)
    Trainer(player, device="cpu").fit(Batches(sentences[:, :-1], sentences[:, 1:], batch_size=32, seed=seed), epochs)
    return model


def train_gan(seed, epochs=4):
    torch.manual_seed(seed)
    generator, penalty = PatchGenerator(), lazy_regularisation(r1_penalty, 0.05, every=4)
    players = gan_players(generator, PatchCritic(), generator.latent_dim, lr=2e-3, penalty=penalty, betas=(0.5, 0.99))
    mean = EMA(players[1], decay=0.98)
    Trainer(players, mean, device="cpu").fit(Batches(patches, batch_size=32, seed=seed), epochs)
    return mean.module


def train_masked(seed, epochs=10):
    torch.manual_seed(seed)
    model = MaskedModel()
    Trainer(Player(model, masked_loss, torch.optim.AdamW, lr=6e-3, schedule=one_cycle), device="cpu").fit(Batches(tiles, batch_size=32, seed=seed), epochs)
    return model


def say_levels(model, asked, seed=0):
    return columns.decode(generate(model, len(columns)+asked[:, None], 32, generator=torch.Generator().manual_seed(seed))[:, 1:])


def effort_heard(model):
    "Mean effort of levels that were asked for as easy, medium and hard"
    asked = torch.arange(180) % 3
    found = [prove(level) for level in to_levels(say_levels(model, asked, seed=5))]
    effort = torch.tensor([proof.effort if proof.finished else math.nan for proof in found])
    return [round(effort[asked == k].nanmean().item(), 1) for k in range(3)]


def same(a, b): return (a[:, None] == b[None]).all(dim=2).float().mean(dim=2)


def whole(made): return sum(prove(level).finished and not wrong.any().item() for level, wrong in zip(to_levels(made), broken(made)))/len(made)


def judge(made, repairer, seed):
    "What the chapter asks of levels [N, H, W]"
    count, fixed = len(made), repair_levels(repairer, made, generator=torch.Generator().manual_seed(seed))
    nearest = same(fixed, tiles).amax(dim=1)
    found = {"finished": sum(prove(level).finished for level in to_levels(made))/count, "whole": whole(made), "repaired": whole(fixed), "broken": broken(made).sum().item()/count,
             "redrawn": (fixed != made).any(dim=1).float().mean().item(), "variety": 1-(same(fixed, fixed).sum().item()-count)/(count*(count-1)), "nearest": nearest.mean().item(),
             "copies": (nearest == 1).float().mean().item()}
    return {name: round(value, 4) for name, value in found.items()}


def codes(seed): return torch.randn(100, 2, 16, generator=torch.Generator().manual_seed(seed))


def blank_filled(model, seed):
    rng = torch.Generator().manual_seed(seed)
    torch.randn(100, 2, 16, generator=rng)                     # the chapter draws the GAN's codes first
    return fill(model, torch.full((100, ROWS, 32), MASK), generator=rng)


GENERATORS = {"Transformer": (train_transformer, lambda model, seed: say_levels(model, torch.arange(100) % 3, seed)), "GAN": (train_gan, lambda model, seed: patch_levels(model, codes(seed))),
              "masked model": (train_masked, blank_filled), "builder": (lambda seed: None, lambda model, seed: to_ids(build_levels(100, seed=seed+1)[0]))}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS/"levels.json"
    rows = json.loads(path.read_text())["table"] if path.exists() else []
    repairer = train_masked(0)
    for name, (train, make) in GENERATORS.items():
        for seed in range(options.seeds):
            if any((row["what"], row["seed"]) == (name, seed) for row in rows): continue
            started = time.process_time()
            model = train(seed)
            row = {"what": name, "seed": seed, "seconds": round(time.process_time()-started, 1), **judge(make(model, seed), repairer, seed)}
            if name == "Transformer": row["efforts"] = effort_heard(model)
            rows.append(row)
            print(row, flush=True)
            save("levels", "Levels (chapter 20): 100 of each generator, three seeds; shares that can be finished, are whole, are whole after a repair", rows, ["torch"], tables={"generators": rows})
