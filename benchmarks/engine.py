"""What a step of each recipe costs on a processor: calls into PyTorch's kernels and milliseconds, by two versions of the package in turn.

OLD and NEW are two folders that hold a genesis_course each:

    python benchmarks/engine.py --before OLD --after NEW [--only cnn …] [--rounds 4] [--turns 2]

Calls are all events "aten::…" (those inside others included) that torch.profiler sees in eight steps after three others; milliseconds are processor time of one thread, the fastest
of so many rounds of eight steps. The two versions take turns, so that a busy machine slows both.
"""
import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from common import RESULTS, save

NAMES = "cnn", "vae", "gan", "genesis", "gpt", "rnn", "flow"
CHILD = '''
import json, sys, time, torch
torch.set_num_threads(1)
from torch.profiler import profile
from genesis_course.command import first_stage
from genesis_course.processes import Steps
from genesis_course.recipes import RECIPES
from genesis_course.training import Trainer
torch.manual_seed(0)
experiment = RECIPES[sys.argv[1]]()
if experiment.then: experiment = first_stage(experiment, Trainer(experiment.players, device="cpu"), 2)
trainer = Trainer(experiment.players, experiment.callbacks, device="cpu")
def run(steps): trainer.fit(Steps(experiment.batches, steps))
run(3)
taken = []
for _ in range(int(sys.argv[2])):
    started = time.process_time()
    run(8)
    taken.append(1000*(time.process_time()-started)/8)
with profile() as seen: run(8)
print(json.dumps([sum(row.count for row in seen.key_averages() if row.key.startswith("aten::"))/8, min(taken)]))
'''


def ask(folder, name, rounds):
    "Calls and milliseconds a step, by a process with the package of this folder"
    room = {**os.environ, "PYTHONPATH": str(Path(folder).resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD, name, str(rounds)], env=room, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


WAYS = "as written", "recorded", "compiled and recorded"

def write_table():
    "What chapter 21 draws, in a table that comes with the chapters: nbs/engine.csv"
    engine, card = (json.loads((RESULTS/f"{name}.json").read_text()) for name in ("engine", "gpu"))
    rows = [("card TFLOP/s", name, max(rates.values())/1e12) for name, rates in card["rates"].items()]
    rows += [("card GB/s", "x + 1", card["bytes a second"]/1e9)]
    found = {row["what"]: row for row in card["table"]}
    rows += [(f"card ms, {way}", name, float(found[f"{name}, {way}"]["reached"].split()[0])) for way in WAYS for name in ("vae", "gan", "genesis")]
    rows += [("card calls", name, calls) for name in ("vae", "gan", "genesis") if (calls := found[f"{name}, as written"]["calls a step"])]
    rows += [(f"card ms over rows, {how}", count, ms) for how, curve in card["ms a step over rows"].items() for count, ms in curve.items()]
    rows += [("card tokens/s", what.removeprefix("Transformer, "), row["samples a second"]) for what, row in found.items() if what.startswith("Transformer")]
    rows += [("card share of the rate", what.removeprefix("Transformer, "), row["share of the bf16 rate"]) for what, row in found.items() if what.startswith("Transformer")]
    rows += [("card pictures/s", what.removeprefix("loading MNIST, "), row["samples a second"]) for what, row in found.items() if what.startswith("loading")]
    beside = {}
    for row in card["beside"]: beside.setdefault(row["what"], []).append(row)
    rows += [("beside, seconds", what, statistics.median(row["seconds"] for row in rows_of)) for what, rows_of in beside.items()]
    rows += [("beside, tokens/s", what, rows_of[0]["samples a second"]) for what, rows_of in beside.items() if what.startswith("Transformer")]
    rows += [("card seconds", what, row["seconds"]) for what, row in found.items() if what.startswith(("MNIST", "CIFAR"))]
    rows += [(kind, row["recipe"], row[kind]) for kind in ("calls before", "calls after", "ms before", "ms after") for row in engine["table"]]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([("kind", "name", "value"), *((kind, name, f"{value:.6g}") for kind, name, value in rows)])
    (RESULTS.parent.parent/"nbs"/"engine.csv").write_text(file.getvalue(), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, help="a folder that holds the older genesis_course")
    parser.add_argument("--after", default=Path(__file__).parent.parent, help="and the newer one")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=4, help="of eight steps, in each process")
    parser.add_argument("--turns", type=int, default=2, help="processes of each version")
    options = parser.parse_args()
    folders, table = {"before": options.before, "after": options.after}, []
    for name in options.only:
        found = {when: [] for when in folders}
        for _ in range(options.turns):
            for when, folder in folders.items(): found[when].append(ask(folder, name, options.rounds))
        table.append({"recipe": name, **{f"calls {when}": round(pairs[0][0]) for when, pairs in found.items()}, **{f"ms {when}": round(min(ms for _, ms in pairs), 2) for when, pairs in found.items()}})
        print(table[-1], flush=True)
    save("engine", "A step of each recipe on its built-in data, one thread: calls into PyTorch's kernels, and processor time, the fastest of the rounds", table, ["torch"])
    write_table()


if __name__ == "__main__": main()
