"""What every benchmark writes down: the machine without its name, the versions, and the result as JSON."""
import contextlib
import importlib.metadata
import json
import os
import platform
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
