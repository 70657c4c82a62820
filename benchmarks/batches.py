"""Images per second of one epoch of MNIST: `Batches` against torchvision's MNIST with PyTorch's DataLoader, in one run.

    GENESIS_DATA=… python benchmarks/batches.py [--repeats 5]

Both sides compute with one thread in the main process, and PyTorch's side gets its best of 0, 1 and 2 worker processes on top. A last row shows `Batches` with as
many threads as torch takes by itself: the same or better on a quiet machine, and worse on a busy one, where the threads of so short an operation wait for each other.
"""
import argparse
import statistics
import sys
import tempfile
import time
import torch
from torch.utils.data import DataLoader
from common import save, torchvision_mnist
from genesis_course.data import Batches, load_images

BATCH = 64


def seconds(epoch):
    "Time of one pass; every batch is fetched, nothing is done with it"
    started = time.perf_counter()
    rows = sum(len(batch[1]) for batch in epoch)
    elapsed = time.perf_counter()-started
    assert rows == 60_000
    return elapsed


def summary(times):
    rates = sorted(60_000/t for t in times)
    return {"images per second": round(statistics.median(rates)), "lowest": round(rates[0]), "highest": round(rates[-1]), "passes": len(rates)}


def agree(ours, theirs):
    "Both sides must serve the same numbers, or the comparison says nothing"
    x, y = next(iter(Batches(ours, batch_size=BATCH, shuffle=False)))
    a, b = next(iter(DataLoader(theirs, batch_size=BATCH)))
    assert torch.equal(y, b) and torch.allclose(x, a, atol=1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="passes of torchvision for each number of workers; Batches gets five times as many, because a pass is so short")
    repeats = parser.parse_args().repeats
    ours, threads = load_images("mnist"), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        theirs = torchvision_mnist(folder, ((0.5,), (0.5,)))
        agree(ours, theirs)
        batches = Batches(ours, batch_size=BATCH)
        loaders = {f"torchvision MNIST + DataLoader, {workers} workers": DataLoader(theirs, batch_size=BATCH, shuffle=True, num_workers=workers) for workers in (0, 1, 2)}
        times = {"Batches": [], **{name: [] for name in loaders}, f"Batches, {threads} threads": []}
        for _ in range(repeats):                              # the sides take turns, so that a busy minute hits all
            for name in times:
                torch.set_num_threads(threads if name.endswith("threads") else 1)
                times[name] += [seconds(loaders[name])] if name in loaders else [seconds(batches) for _ in range(6)][1:]
    table = [{"side": name, **summary(values)} for name, values in times.items()]
    best = max(table[1:4], key=lambda row: row["images per second"])
    for row in table: row["times the best DataLoader"] = round(row["images per second"]/best["images per second"], 1)
    save("batches", "Images per second in one shuffled epoch of MNIST (60,000 images of 28x28 as float32 in [-1, 1], batches of 64), nothing done with them", table, ["torch", "torchvision"],
         ratio=table[0]["times the best DataLoader"], target=60)
    return 0 if table[0]["times the best DataLoader"] >= 60 else 1


if __name__ == "__main__": sys.exit(main())
