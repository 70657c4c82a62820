"""Membership in four generators, chapter 25a: who is recognised by a score of its own, by the score minus a reference's, and who is copied.

    python benchmarks/responsibility.py

200 digits of 8 by 8 as members, 200 as outsiders, 200 for the reference and 500 that set the threshold for copies; three seeds draw them and all else. One thread.
It writes results/responsibility.json, and the rows that the chapter shows to nbs/responsibility.csv, which travels with the chapters.
"""
import csv
import time
from pathlib import Path
from common import save
import torch
from genesis_course.data import load_images, to_floats
from genesis_course.evaluation import features, find_copies
from genesis_course.genesis import GenesisParticle, pretraining_player
from genesis_course.privacy import Suspect, auc, batches_of, learn_flow, learn_gan, learn_vae, tpr_at
from genesis_course.training import Trainer

TABLE = Path(__file__).parent.parent/"nbs"/"responsibility.csv"


def learn_particle(x, epochs=120):
    "The genesis particle without classes, and an encoder: first stage of chapter 15; the score is minus the error of the picture redrawn, mean of four clouds"
    generator = GenesisParticle(x.shape[-1], latent_dim=16, classes=None, particles=16, steps=3, width=24)
    player = pretraining_player(generator, lr=4e-3)
    Trainer(player, device="cpu").fit(batches_of(x), epochs)

    @torch.no_grad()
    def score(pictures):
        code = player.module.encoder(pictures).chunk(2, dim=1)[0]
        torch.manual_seed(0)
        return -torch.stack([(generator(code)-pictures).square().flatten(1).mean(dim=1) for _ in range(4)]).mean(dim=0)

    @torch.no_grad()
    def draw(count): return generator(torch.randn(count, generator.latent_dim))
    return Suspect(draw, score)


def attack(learn, name, seed):
    "One generator and its reference: a row"
    digits = load_images("digits", split="all")
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    members, outsiders, others, aside = (to_floats(digits.images[rows]) for rows in order[:1100].split([200, 200, 200, 500]))
    torch.manual_seed(seed)
    started = time.process_time()
    suspect, reference = learn(members), learn(others)
    seconds = time.process_time()-started
    plain = [suspect.score(part) for part in (members, outsiders)]
    left = [score-reference.score(part) for score, part in zip(plain, (members, outsiders))]
    torch.manual_seed(seed+1)
    copies = find_copies(features(suspect.draw(500)), features(members), features(aside))
    return {"part": "membership", "name": name, "seed": seed, "AUC": round(auc(*plain), 3), "AUC with a reference": round(auc(*left), 3),
            "found at 1 % false": round(tpr_at(*left), 3), "copies": round(copies.found.double().mean().item(), 4), "seconds": round(seconds, 1)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = [attack(learn, name, seed) for name, learn in {"VAE": learn_vae, "flow": learn_flow, "GAN": learn_gan, "particle": learn_particle}.items() for seed in range(3)]
    save("responsibility", "Membership inference on four generators of 200 digits, three seeds", rows, ["torch", "genesis_course"])
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
