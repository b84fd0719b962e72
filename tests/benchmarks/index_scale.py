"""Ledger and index at 10^8 images, without images and without rows: what breaks first.

    python tests/benchmarks/index_scale.py --folder /big/disk --rows 1000000 10000000 100000000

The rows of a folder store lie in shards that are never read as a whole; what grows with the number of images is the
index, and what a run keeps in memory. Made-up paths and hashes go through the code of the store, each step in a
process of its own, so that the peak memory is that of the step. 100 million need 18 GB of memory and 7 GB of disk.

publish   everything about n images in memory -> index.h5 (labels, hashes, sizes, ledger, places of rows in shards)
open      FeatureStore(folder), and how many rows it has
info      rows of each class, images of each status, number of shards
find      FeatureStore.find of one image by its path, the last
row       where the rows of 10,000 images lie, that were chosen at random: their shards
labels    all labels, for a head
columns   paths, labels, groups, hashes, sizes, times; and their digest
ledger    what became of each image; and its digest
hashes    what a run that adds images needs: the index of content hashes, and 10,000 lookups in it
items     what a run lists: one Item and one Outcome for each image (of at most 10 million)
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from store_scale import DIM, ROOT, SPACE

from featurekit.images import PERCEPTUAL_BYTES
from featurekit.store import STORED, Columns, FeatureStore, HashIndex, Ledger, Places, publish_index

SHARD_ROWS, BLOCK = 512, 1_000_000
STEPS = ("publish", "open", "info", "find", "row", "labels", "columns", "ledger", "hashes", "items")


def text(pattern: str, numbers: np.ndarray) -> np.ndarray:
    """Numbers written into a text, a million at a time: lists of so many texts would be larger than the arrays."""
    parts = [numbers[start : start + BLOCK] for start in range(0, len(numbers), BLOCK)]
    return np.concatenate([np.array([pattern % i for i in part.tolist()], dtype="S") for part in parts])


def columns(n: int) -> Columns:
    """Made-up images of a thousand classes."""
    number = np.arange(n)
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    perceptual = rng.integers(0, 256, (n, PERCEPTUAL_BYTES), dtype=np.uint8)
    return Columns(
        text("class/%09d.jpg", number),
        text("class-%03d", number * 1000 // n),
        np.zeros(n, dtype="S1"),
        hashes,
        number,
        number + 1,
        perceptual=perceptual,
    )


def step(name: str, folder: Path, n: int) -> dict[str, float]:
    """Run one step; what it measured."""
    if name == "items":
        from featurekit.images import Item
        from featurekit.pipeline import Outcome

        n = min(n, 10_000_000)
        started = time.perf_counter()
        items = [Item(f"class/{i:09d}.jpg", f"{ROOT}/class/{i:09d}.jpg", "class") for i in range(n)]
        outcomes = [Outcome(i.to_bytes(32, "big"), i, i) for i in range(n)]
        assert len(items) == len(outcomes)
        return {"seconds": time.perf_counter() - started, "of": n}
    if name == "publish":
        c = columns(n)
        ledger = Ledger(c.path, np.full(n, STORED.encode()), {}, np.arange(n))
        names = [f"rows-{i:064x}.h5" for i in range(-(-n // SHARD_ROWS))]
        row = np.arange(n)
        places = Places(names, (row // SHARD_ROWS).astype(np.int32), (row % SHARD_ROWS).astype(np.int32))
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        started = time.perf_counter()
        publish_index(folder, SPACE, {"root": ROOT}, c, ledger, places)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "bytes a row": (folder / "index.h5").stat().st_size / n, "in memory": made / n}
    started = time.perf_counter()
    store = FeatureStore(folder)
    if name == "info":
        assert sum(store.class_counts.values()) == store.ledger_counts["stored"] == n
        assert store.shard_count == -(-n // SHARD_ROWS)
    elif name == "find":
        assert store.find(f"class/{n - 1:09d}.jpg") == n - 1
    elif name == "row":
        wanted = np.sort(np.random.default_rng(0).choice(n, 10_000, replace=False))
        assert (store.places.shard[wanted] == wanted // SHARD_ROWS).all()
    elif name == "labels":
        assert len(np.unique(store.columns.label)) == 1000
    elif name == "columns":
        assert len(store.columns) == n
    elif name == "ledger":
        assert len(store.ledger) == n
    elif name == "hashes":
        index, sha256 = HashIndex(), store.columns.sha256
        read = time.perf_counter()
        index.add(sha256, 0, np.arange(n))
        built = time.perf_counter()
        wanted = np.random.default_rng(1).integers(0, n, 10_000)
        assert (index.find(map(bytes, sha256[wanted]))[:, 1] == wanted).all()
        done = time.perf_counter()
        return {"seconds": done - started, "building": built - read, "10,000": done - built}
    assert len(store) == n
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    """Run all steps for all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("index-scale"))
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = step(arguments.step, arguments.folder, arguments.rows[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps(found | {"peak": peak * 1024}))
        return
    print(f"a row of {DIM} float16 has {2 * DIM} bytes in a shard")
    print(f"{'n':>9}  {'step':8} {'seconds':>8} {'ns/row':>7} {'peak GB':>8} {'peak bytes/row':>14}")
    for n in arguments.rows:
        folder = arguments.folder / str(n)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.steps:
            command = [sys.executable, __file__, "--folder", str(folder), "--rows", str(n), "--step", name]
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if out.returncode:
                print(f"{n:>9}  {name:8} ended with {out.returncode}: not enough memory?", flush=True)
                continue
            found = json.loads(out.stdout)
            rows = found.pop("of", n)
            seconds, peak = found.pop("seconds"), found.pop("peak")
            more = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
            print(
                f"{rows:>9}  {name:8} {seconds:8.2f} {1e9 * seconds / rows:7.0f} {peak / 1e9:8.2f} {peak / rows:14.0f}"
                f"  {more}",
                flush=True,
            )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
