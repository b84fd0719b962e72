"""Memory of a search with several workers: rows that lie on the disk, against the same rows in an array.

    python tests/benchmarks/search_memory.py [--images 80000] [--jobs 2]

Each way is a GridSearchCV (n_jobs) in a process of its own, over a store that is written for it. While it runs, the
proportional set sizes (PSS: what processes share is counted once, in shares) of the process and its workers are read
from Linux's /proc, and the largest is kept. A worker's copy of its training rows is there in either way: scikit-learn
makes it. What is more in the end is what a way costs.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import bench
import numpy as np

WAYS = {"store.X": "the rows of the store, read in each worker", "array": "np.asarray(store.X)"}


def write(path: Path, n: int) -> None:
    """A store of made-up rows of 1,280 numbers, in three classes."""
    from featurekit.backbones import find
    from featurekit.store import STORED, Columns, Ledger, LedgerEntry, encode, publish

    rng = np.random.default_rng(0)
    names, sizes = [f"images/{i:07d}.jpg" for i in range(n)], np.arange(n, dtype=np.int64)
    hashes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    columns = Columns(encode(names), encode([str(i % 3) for i in range(n)]), encode([""] * n), hashes, sizes, sizes)
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(names))
    slabs = [rng.standard_normal((min(8192, n - at), 1280), dtype=np.float32) for at in range(0, n, 8192)]
    publish(path, replace(find("efficientnet_lite0").space, dim=1280), {"root": "/"}, columns, ledger, slabs)


def search(path: str, way: str, jobs: int) -> None:
    """One search; prints the bytes of a pickle of the rows, which go with every task."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import GaussianNB

    from featurekit import FeatureStore

    store = FeatureStore(path)
    y = store.y
    X = store.X if way == "store.X" else np.asarray(store.X)
    begun = time.perf_counter()
    GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=3, n_jobs=jobs, refit=False).fit(X, y)
    sent = len(pickle.dumps(store.X)) if way == "store.X" else X.nbytes
    print(json.dumps({"seconds": time.perf_counter() - begun, "pickled MB": sent / 1e6}))


def watched(command: list[str]) -> tuple[str, float, float]:
    """Output of a command, and the largest PSS in MB of its own process and of any worker."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    own, worker = 0.0, 0.0
    while process.poll() is None:
        own = max(own, _pss(process.pid))
        worker = max([worker, *map(_pss, _below(process.pid))])
        time.sleep(0.05)
    assert process.stdout is not None
    return process.stdout.read(), own, worker


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("Pss:")), 0.0)


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *_below(child))]


def main() -> None:
    """Write the store, run the ways, print."""
    parser = bench.parser(__doc__, images=80_000, repeats=1)
    parser.add_argument("--jobs", type=int, default=2, help="workers")
    parser.add_argument("--once", nargs=2, metavar=("STORE", "WAY"), help="run one search only")
    arguments = parser.parse_args()
    if arguments.once:
        search(*arguments.once, arguments.jobs)
        return
    report, rows = bench.Report("search-memory"), []
    with tempfile.TemporaryDirectory(prefix="featurekit-search-") as home:
        path = Path(home, "s.h5")
        write(path, arguments.images)
        for way, what in WAYS.items():
            command = [sys.executable, __file__, "--jobs", str(arguments.jobs), "--once", str(path), way]
            out, own, worker = watched(command)
            rows.append({"X": what, "process MB": own, "largest worker MB": worker, **json.loads(out)})
    title = f"{arguments.images} rows of 1,280 ({arguments.images * 5120 / 1e6:.0f} MB), {arguments.jobs} workers"
    report.table(title, rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
