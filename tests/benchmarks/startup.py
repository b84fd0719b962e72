"""Where the time goes when 100 images are extracted: the whole command, cold and warm, by phase.

    python tests/benchmarks/startup.py

cold    the first time on a machine: no converted network is there
warm    every other time
again   nothing to do: the store is there already
torch   warm, by PyTorch (``--runtime torch``)

Each in a process of its own, from before its start to after its end.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bench

CHILD = """
import json, sys, time
spent = {}
def mark(phase, since):
    spent[phase] = spent.get(phase, 0.0) + time.time() - since
started, settings = json.loads(sys.argv[1])
from featurekit.extraction import run, update
from featurekit import runtime
from featurekit.pipeline import forward
mark("python and imports", started)

def timed(phase, home, name):
    original = getattr(home, name)
    def call(*args, **kwargs):
        since = time.time()
        try:
            return original(*args, **kwargs)
        finally:
            mark(phase, since)
    setattr(home, name, call)

timed("find images", run, "read_source")
timed("find weights", run, "find")
timed("network", forward, "load_runtime")
timed("images", run, "fill")
timed("open and lock", run, "Update")
timed("publish", update.Update, "publish")
timed("publish", update.Update, "finish")
try:
    from featurekit.runtime import converted, openvino_runtime
    timed("convert", openvino_runtime, "converted_network")
    timed("import openvino", openvino_runtime, "import_openvino")
except ImportError:
    pass
summary = run.extract(**settings).summary
spent["images"] -= spent.get("network", 0.0)
spent["network"] = spent.get("network", 0.0) - spent.get("convert", 0.0)
print(json.dumps([spent, summary.computed, time.time()]))
"""


def run(paths: Sequence[str], output: Path, cache: Path, runtime: str, device: str) -> dict[str, float]:
    """One process; seconds by phase."""
    settings = {"source": list(paths), "output": str(output), "runtime": runtime, "device": device}
    environment = os.environ | {"FEATUREKIT_CACHE": str(cache)}
    started = time.time()
    command = [sys.executable, "-c", CHILD, json.dumps([started, settings])]
    out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    spent, _, ended = json.loads(out)
    ended_at = time.time()
    spent["exit"] = ended_at - ended
    spent["rest"] = ended_at - started - sum(v for k, v in spent.items() if k != "import openvino")
    return spent | {"all": ended_at - started}


def main() -> None:
    """Measure and print."""
    arguments = bench.parser(__doc__, images=100).parse_args()
    paths = [str(path) for path in bench.photos(arguments.images)]
    home = Path(tempfile.mkdtemp(prefix="featurekit-startup-"))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("cold", "warm", "again", "torch")}
    for repeat in range(arguments.repeats):
        store, cache, device = home / f"{repeat}.h5", home / f"cache-{repeat}", arguments.device
        runs["cold"].append(run(paths, home / f"cold-{repeat}.h5", cache, "auto", device))
        runs["warm"].append(run(paths, store, cache, "auto", device))
        runs["again"].append(run(paths, store, cache, "auto", device))
        runs["torch"].append(run(paths, home / f"torch-{repeat}.h5", cache, "torch", device))
    phases = list(dict.fromkeys(phase for found in runs.values() for each in found for phase in each))
    phases.sort(key=lambda phase: phase in {"rest", "exit", "all"})
    rows = [
        {"seconds": phase}
        | {name: statistics.median(each.get(phase, 0.0) for each in found) for name, found in runs.items()}
        for phase in phases
    ]
    report = bench.Report("startup")
    report.table(f"{len(paths)} photographs, the whole process ('import openvino' is part of 'network')", rows)
    report.write(arguments.out)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
