"""What the course adds: seconds to `import torch`, and megabytes to an installation of torch and JupyterLab. Peers that are installed stand beside it.

    python benchmarks/footprint.py [--repeats 5]
"""
import argparse
import importlib.metadata
import re
import statistics
import subprocess
import sys
from common import save, version

OURS = "import genesis_course.data, genesis_course.training, genesis_course.practice, genesis_course.plots"
IMPORTS = {"genesis_course": OURS, "fastai": "from fastai.vision.all import *", "lightning": "import lightning", "d2l": "from d2l import torch as d2l", "keras": "import keras"}


def seconds(name):
    "Of a library's import, in a process of its own that has imported torch (and, for its peers, torchvision) before"
    before = "" if name == "genesis_course" else "from genesis_course.support import import_torchvision; import_torchvision()"
    statement = IMPORTS[name]
    script = f"import os, time, torch\n{before}\nos.environ['KERAS_BACKEND'] = 'torch'\nstarted = time.perf_counter()\n{statement}\nprint('seconds', time.perf_counter()-started)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    found = re.search(r"seconds ([\d.]+)", done.stdout)
    return float(found[1]) if found else None


def closure(names):
    "All distributions that these need, with the extras that they name"
    from packaging.requirements import Requirement
    found, queue = {}, [(Requirement(name).name, frozenset(Requirement(name).extras)) for name in names]
    while queue:
        name, extras = queue.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if extras <= found.get(key, frozenset()) and key in found: continue
        try: distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError: continue
        found[key] = found.get(key, frozenset()) | extras
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}): queue.append((need.name, frozenset(need.extras)))
    return set(found)


def megabytes(names): return sum(file.locate().stat().st_size for name in names for file in importlib.metadata.distribution(name).files or [] if file.locate().is_file())/1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    present = [name for name in IMPORTS if version(name)]
    times = {name: [] for name in present}
    for _ in range(repeats+1):                                   # the first round only warms the disk's cache
        for name in present: times[name].append(seconds(name))
    base, table = closure(["torch", "jupyterlab"]), []
    for name in present:
        added = closure([name])-base
        kept = [t for t in times[name][1:] if t is not None]
        table.append({"library": name, "import after torch, s": round(statistics.median(kept), 3) if kept else None, "slowest, s": round(max(kept), 3) if kept else None,
                      "adds to torch and JupyterLab, MB": round(megabytes(added)), "packages added": len(added)})
    save("footprint",
         f"Importing after `import torch` (median of {repeats} fresh processes) and what an installation adds to torch and JupyterLab", table, ["torch", "jupyterlab", *IMPORTS],
         largest_of_ours=sorted(((name, round(megabytes([name]))) for name in closure(["genesis_course"])-base), key=lambda pair: -pair[1])[:5])


if __name__ == "__main__": main()
