"""Full fine-tuning, the last layers alone, and low-rank adapters of two pre-trained networks: seconds, memory, and how good they become.

    python benchmarks/finetune.py [--seeds 6] [--rates]

The photo network learns the digits of scikit-learn, enlarged to 32 pixels; the Transformer of the course, which has read Python's manual, learns Python's `argparse`. On a processor
seconds are those of this process, and memory is counted: weights, gradients, what the optimiser keeps, activations. On a card it is the most that was taken at once. `--rates` tries
learning rates with one seed on what is set aside (the text: on another file), and writes down only what they reached. The results go to benchmarks/results/finetune.json and nbs/finetune.csv.
"""
import argparse
import inspect
import json
import time
import torch
from common import RESULTS, save
from genesis_course.cards import memory_used, synchronize
from genesis_course.processes import Steps, move
from genesis_course.recipes import RECIPES
from genesis_course.start import default_device
from genesis_course.submodules import trained_weights
from genesis_course.training import Trainer

WAYS = "full", "last", "lora"
TASKS = {"photos": ({"data": "digits", "size": 32}, 25), "text": ({"data": argparse.__file__}, 60)}
RATES = {"photos": (0.001, 0.003, 0.01, 0.03, 0.1), "text": (0.003, 0.01, 0.03, 0.1, 0.3)}


def in_bf16(loss):
    "The same loss, its products in bf16"
    def inner(module, batch):
        with torch.autocast(next(module.parameters()).device.type, torch.bfloat16): return loss(module, batch)
    return inner


def one_run(settings, steps, how, seed, device, precision="float32", **more):
    "One training: a row of the table"
    torch.manual_seed(seed)
    experiment = RECIPES["finetune"](how=how, seed=seed, device=device, **settings, **more)
    player, card = experiment.players[0], device.type == "cuda"
    if precision == "bf16": player.loss = in_bf16(player.loss)
    trainer = Trainer(player, device=device)
    if card: torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter if card else time.process_time
    synchronize(device)
    started = clock()
    trainer.fit(Steps(experiment.batches, steps))
    synchronize(device)
    seconds = clock()-started
    memory = torch.cuda.max_memory_allocated() if card else sum(memory_used(player, move(next(iter(experiment.batches)), device)).values())
    (measure, reached), = experiment.measure().items()
    return {"how": how, "seed": seed, "device": torch.cuda.get_device_name() if card else "processor", "precision": precision, "weights learned": trained_weights(experiment.module),
            "lr": player.base_lrs[0], "ms a step": round(1000*seconds/steps, 1), "MB": round(memory/1e6, 2), "measure": measure, "reached": round(float(reached), 4)}


def write_table():
    "What chapter 21b draws, in a table that comes with the chapters"
    result = json.loads((RESULTS/"finetune.json").read_text())
    rows = [{"part": part, **row} for part, name in (("new", "table"), ("set aside", "rates")) for row in result[name]]
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (RESULTS.parent.parent/"nbs"/"finetune.csv").write_text("\n".join(lines)+"\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--rates", action="store_true", help="try learning rates on what is set aside, and write down what they reached")
    options, device, table, path = parser.parse_args(), default_device(), [], RESULTS/"finetune.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    tries = [] if options.rates else known.get("rates", [])
    torch.set_num_threads(1)
    for network, (settings, steps) in TASKS.items():
        for how in WAYS:
            if options.rates:
                apart = {**settings, "valid": True} if network == "photos" else {"data": inspect.__file__}
                for lr in RATES[network]:
                    tries.append({"network": network, **one_run(apart, steps, how, 0, device, lr=lr)})
                    print(tries[-1], flush=True)
                continue
            for seed in range(options.seeds):
                table.append({"network": network, **one_run(settings, steps, how, seed, device)})
                print(table[-1], flush=True)
    if options.rates: path.write_text(json.dumps({**known, "rates": tries}, indent=1)+"\n")
    else: save("finetune", "Three ways of fine-tuning a photo network (25 steps on digits) and a Transformer (60 steps on a text), batches of 32", table, ["torch"], rates=tries)
    write_table()


if __name__ == "__main__": main()
