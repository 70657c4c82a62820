"""What every benchmark writes down: the machine without its name, the versions, and the result as JSON."""
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
from pathlib import Path

RESULTS = Path(__file__).parent/"results"


def machine():
    "Processor, cores and system; no host name and no path"
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        cpu = next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None


def torchvision_mnist(
    folder,           # where the copy goes
    normalise=None,   # (means, deviations) of the channels; None: pixels from 0 to 1
    train=True,       # the training part, or the test part
    size=None,        # pixels of a side, where the pipeline resizes
):
    "The usual pipeline of torchvision, which wants a folder that it may write to and gets a copy of the files there"
    from genesis_course.downloads import fetch
    from genesis_course.support import import_torchvision
    import_torchvision()
    from torchvision import datasets, transforms
    raw = Path(folder)/"MNIST"/"raw"
    raw.mkdir(parents=True, exist_ok=True)
    for key in ("train-images", "train-labels", "test-images", "test-labels"):
        found = fetch(f"mnist/{key}")
        shutil.copyfile(found, raw/found.name)
    pipeline = transforms.Compose([*([transforms.Resize(size)] if size else []), transforms.ToTensor(), *([transforms.Normalize(*normalise)] if normalise else [])])
    return datasets.MNIST(folder, train=train, download=True, transform=pipeline)


def save(
    name,       # of the file, without .json
    what,       # one sentence: what was measured
    table,      # rows for the site: a list of dicts with the same keys
    packages,   # names whose versions matter
    **more,     # anything else worth keeping
):
    result = {"what": what, "machine": machine(), "versions": {package: version(package) for package in packages}, "table": table, **more}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS/f"{name}.json").write_text(json.dumps(result, indent=1)+"\n")
    for row in table: print("  ".join(f"{key}: {value}" for key, value in row.items()))
