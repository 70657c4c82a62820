"""Chapter 22: does R1 help here? Many seeds at one rate, a search of equal size for both sides, and the winners again.

    python benchmarks/experiments.py [--seeds 40] [--trials 60]

Every run is `digits_trial` of chapter 22: 144 steps, FID of 1,000 drawings against 300 digits to choose by (valid) and 300 others to report by (test).
first: rate 0.01, without R1 and with γ = 1, the same seeds. search: rate, and with R1 also γ, drawn log-uniformly, each with a seed of its own; 500 drawings judged after 2, 4 and 6 epochs.
winner: on each side the setting with the smallest valid of the search, with fresh seeds. The runs go to nbs/experiments.csv, which the chapter draws.
"""
import argparse
import csv
import math
from pathlib import Path
from statistics import fmean, stdev
from common import save

SIDES = {"plain": (None, None), "R1": (0.03, 30.)}      # smallest and largest γ
RATES = 1e-3, 5e-2
TABLE = Path(__file__).parent.parent/"nbs"/"experiments.csv"
COLUMNS = "stage", "side", "rate", "gamma", "seed", "after2", "after4", "after6", "valid", "test"


def log_uniform(low, high, rng):
    import torch
    return math.exp(math.log(low) + torch.rand((), generator=rng, dtype=torch.float64).item()*math.log(high/low))


def plan(seeds, trials):
    "Settings of the first two stages: dicts without results"
    import torch
    for seed in range(100, 100+seeds):
        for side in SIDES: yield {"stage": "first", "side": side, "rate": 0.01, "gamma": 1. if side == "R1" else 0., "seed": seed}
    for number, (side, gammas) in enumerate(SIDES.items()):
        rng = torch.Generator().manual_seed(number)
        for trial in range(trials):
            rate = log_uniform(*RATES, rng)
            yield {"stage": "search", "side": side, "rate": float(f"{rate:.3g}"), "gamma": float(f"{log_uniform(*gammas, rng):.3g}") if side == "R1" else 0., "seed": 1000*(number+1)+trial}


def run(setting):
    "A setting with what came of it"
    from genesis_course.experiments import digits_trial
    way = {}
    valid, test = digits_trial(setting["rate"], setting["gamma"], setting["seed"], look=lambda epoch, value: way.update({f"after{epoch}": round(value, 3)}) if setting["stage"] == "search" else None)
    return {**setting, **way, "valid": round(valid, 3), "test": round(test, 3)}


def winners(runs, seeds):
    "The best setting of each side by validation, with fresh seeds"
    for side in SIDES:
        best = min((each for each in runs if each["stage"] == "search" and each["side"] == side), key=lambda each: each["valid"])
        for seed in range(5000, 5000+seeds): yield {"stage": "winner", "side": side, "rate": best["rate"], "gamma": best["gamma"], "seed": seed}


def table(runs):
    "A row for each stage and side"
    rows = []
    for stage, side in dict.fromkeys((each["stage"], each["side"]) for each in runs):
        mine = [each for each in runs if (each["stage"], each["side"]) == (stage, side)]
        values, same = [each["test"] for each in mine], len({(each["rate"], each["gamma"]) for each in mine}) == 1
        rows.append({"stage": stage, "side": side, "runs": len(mine), "rate": mine[0]["rate"] if same else "searched", "gamma": mine[0]["gamma"] if same else "searched",
                     "FID to the test part, mean": round(fmean(values), 2), "standard deviation": round(stdev(values), 2), "best": min(values), "worst": max(values)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    import torch
    torch.set_num_threads(1)
    runs = [run(setting) for setting in plan(options.seeds, options.trials)]
    runs += [run(setting) for setting in winners(runs, options.seeds)]
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(runs)
    save("experiments", "8x8 digits, a small fully connected GAN, 144 steps; every run is in nbs/experiments.csv", table(runs), ["torch"])


if __name__ == "__main__": main()
