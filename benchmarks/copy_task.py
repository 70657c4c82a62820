"""How far back each recurrent cell can learn to look: naming a letter after so many characters of noise.

    python benchmarks/copy_task.py [--steps 300] [--seeds 3] [--width 32] [--threads 1] [--seconds 330]

A sequence begins with one of 8 letters, then come `distance` characters of noise from another alphabet, and at the end the network has to name the letter.
For every cell, distance and seed a new network (embedding, one layer, linear head) is trained on that distance alone: Adam with one learning rate for each cell,
gradients cut at norm 1, batches of 32, the same number of steps for all. Guessing is right one time in eight. The accuracy is measured on 1,000 new sequences.
The distances grow (1, 2, 3, 4, 6, 8, 12 …) until the mean accuracy of a cell is near guessing at two of them, or the next one would not end
in time; the table shows where it falls under 90 %,
on the straight line between two measured distances. The seeds are 0, 1, 2 …, of the weights and of the sequences. The two LSTMs differ in the first bias of the forget gate only.
"""
import argparse
import statistics
import time
import torch
import torch.nn.functional as F
from common import save
from genesis_course.rnn import RecurrentLM
from genesis_course.training import Player

LETTERS, BATCH, GUESS = 8, 32, 1/8
DISTANCES = [1, *(k*2**n for n in range(9) for k in (2, 3))]
SIDES = {"RNN": dict(cell="rnn", lr=5e-3), "LSTM, forget bias 0": dict(cell="lstm", forget_bias=0., lr=1e-2),
         "LSTM, forget bias 1": dict(cell="lstm", forget_bias=1., lr=1e-2), "GRU": dict(cell="gru", lr=1e-2)}


def sequences(distance, count, rng):
    "[count, distance + 1]: a letter, then noise; and the letters [count]"
    ids = torch.randint(LETTERS, (count, distance+1), generator=rng)
    ids[:, 1:] += LETTERS
    return ids, ids[:, 0]


def loss(module, batch): return F.cross_entropy(module(batch[0])[0][:, -1], batch[1])


def accuracy(distance, seed, steps, width, lr, **settings):
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = RecurrentLM(2*LETTERS, width=width, **settings)
    player = Player(model, loss, lr=lr, clip=1.)
    for _ in range(steps): player.step(loss(model, sequences(distance, BATCH, rng)))
    ids, letters = sequences(distance, 1000, rng)
    with torch.no_grad(): return (model(ids)[0][:, -1].argmax(1) == letters).float().mean().item()


def falls_under(share, curve):
    "The distance at which a curve {distance: accuracy} first falls under a share; None if it never does"
    points = sorted(curve.items())
    for (near, high), (far, low) in zip(points, points[1:]):
        if high >= share > low: return round(near+(far-near)*(high-share)/(high-low), 1)
    return None if points[0][1] >= share else points[0][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="for every network")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=32, help="of the state")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; more than one brings nothing to so small a network")
    parser.add_argument("--seconds", type=float, default=330, help="begin nothing that would not end in this time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started, curves, open_sides = time.perf_counter(), {name: {} for name in SIDES}, list(SIDES)
    slowest = 0.                                           # seconds for a character of distance, so far
    for distance in DISTANCES:
        for name in list(open_sides):
            begun = time.perf_counter()
            if begun-started+slowest*(distance+1) > options.seconds: open_sides.remove(name)
            if name not in open_sides: continue
            curves[name][distance] = [accuracy(distance, seed, options.steps, options.width, **SIDES[name]) for seed in range(options.seeds)]
            if distance >= 8: slowest = max(slowest, (time.perf_counter()-begun)/(distance+1))
            means = [statistics.mean(values) for values in curves[name].values()]
            if len(means) > 1 and max(means[-2:]) < 2*GUESS: open_sides.remove(name)
    longest = max(max(curve) for curve in curves.values())
    table = []
    for name, curve in curves.items():
        limits = [falls_under(0.9, {d: values[seed] for d, values in curve.items()}) for seed in range(options.seeds)]
        mean = falls_under(0.9, {d: statistics.mean(values) for d, values in curve.items()})
        spread = [limit if limit else f"over {max(curve)}" for limit in limits]
        table.append({"cell": name, "falls under 90 % at": mean or f"over {max(curve)}", "single seeds": ", ".join(map(str, spread)),
                      **{f"accuracy at {d}": round(statistics.mean(curve[d]), 3) if d in curve else "" for d in DISTANCES if d <= longest}})
    save("copy_task", f"Naming one of 8 letters after a distance of noise: {options.steps} steps of {BATCH} sequences, width {options.width}, mean of the seeds 0 to {options.seeds-1}",
         table, ["torch"], seconds=round(time.perf_counter()-started), accuracies={name: {str(d): [round(value, 3) for value in values] for d, values in curve.items()} for name, curve in curves.items()})


if __name__ == "__main__": main()
