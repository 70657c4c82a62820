"""Tunes, chapter 19: which network and which way of writing a tune down, bits a note on 300 fresh tunes.

    python benchmarks/music.py [--seeds 3]

An LSTM, a Transformer with rotary positions and one with relative positions learn the grid; the last one learns events and ABC too. All see the chapter's 2,000 tunes, in batches of
16, with Muon at 0.04 and a cosine, for the chapter's numbers of steps, which take about the same processor time. One thread. Runs that are stored already are kept. The table travels
with the weights composer, because chapter 19 shows it.
"""
import argparse
import json
import time
from common import RESULTS, save
import torch
from genesis_course.muon import Muon
from genesis_course.music import ABCCoder, EventCoder, GridCoder, RelativeLM, bits_a_note, tune_loss
from genesis_course.optim import cosine, warm_up
from genesis_course.rnn import RecurrentLM
from genesis_course.sequences import PositionLM
from genesis_course.training import Player, Trainer
from genesis_course.tunes import load_tunes

STEPS = {("LSTM", "grid"): 150, ("rotary", "grid"): 90, ("relative", "grid"): 90, ("relative", "events"): 115, ("relative", "ABC"): 80}
NETWORKS = {"LSTM": RecurrentLM, "relative": RelativeLM, "rotary": lambda size: PositionLM(size, "rotary", layers=2)}


def learn(kind, ids, size, steps, seed):
    "The chapter's short training"
    torch.manual_seed(seed)
    model = NETWORKS[kind](size)
    draws = [ids[rows] for rows in torch.randint(len(ids), (steps, 16))]
    Trainer(Player(model, tune_loss, Muon, lr=0.04, schedule=warm_up(cosine), clip=1.), device="cpu").fit([each[:, :(each != 0).sum(dim=1).max()] for each in draws])
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS/"music.json"
    rows = json.loads(path.read_text())["table"] if path.exists() else []
    train, fresh = load_tunes(count=2000, seed=0), load_tunes(count=300, seed=2)
    coders = {"grid": GridCoder(train), "events": EventCoder(train), "ABC": ABCCoder(train)}
    encoded = {name: coder.encode(train) for name, coder in coders.items()}
    for seed in range(options.seeds):
        for (kind, name), steps in STEPS.items():
            what = {"network": kind, "tunes as": name, "steps": steps, "seed": seed}
            if any(what.items() <= row.items() for row in rows): continue
            started = time.process_time()
            model = learn(kind, encoded[name], len(coders[name].vocabulary), steps, seed)
            seconds = time.process_time()-started
            rows.append({**what, "bits a note": round(bits_a_note(model, coders[name], fresh), 4), "seconds": round(seconds, 1)})
            print(rows[-1], flush=True)
            table = {f"{kind}, {name}": [row["bits a note"] for row in rows if (row["network"], row["tunes as"]) == (kind, name)] for kind, name in STEPS}
            save("music", "Tunes of the built-in composer (chapter 19): bits a note of three networks and three ways of writing", rows, ["torch"], tables={"networks": table})
