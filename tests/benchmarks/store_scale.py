"""The store alone, without network or images, at growing sizes: how each figure grows with n.

    python tests/benchmarks/store_scale.py --folder /big/disk --rows 50000 500000 5000000

For each n, in fresh processes of their own so that the peak memory is that of one step:

append      ShardCache.add: shards of 4,096 rows, each safe on the disk (fsync) before the next
merge       the shards become one file (publish), and, for comparison, the index of a folder store
warm        what `extract` does with nothing to do, images left out: open, index of hashes, look up the
            signature of every path, build columns and ledger, compare all with what is published
verify      every checksum
gather      10,000 random rows in one call: median of 5 calls, other rows each time
batches     iter_batches(4096) over everything

The page cache is as warm as memory lets it be. The yardstick, in the same run: ``bytes`` writes as many
plain bytes to one file, with one fsync.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from featurekit.backbones import find
from featurekit.store import (
    DTYPES,
    STORED,
    Columns,
    FeatureStore,
    Ledger,
    ShardCache,
    encode,
    publish,
    publish_index,
    verify,
)

DIM, SHARD_ROWS, ROOT = 1280, 4096, "/photos"
DTYPE = DTYPES["float16"]
SPACE = replace(find("efficientnet_lite0").space, dim=DIM)
STEPS = ("bytes", "append", "merge", "index", "warm", "verify", "gather", "folder-gather", "batches")


def columns(start: int, stop: int) -> Columns:
    """Made-up images: paths in source order, random content hashes."""
    n = stop - start
    number = np.arange(start, stop)
    text = [f"class-{i // 1000:06d}/image-{i:09d}.jpg" for i in range(start, stop)]
    hashes = np.random.default_rng([7, start]).integers(0, 256, (n, 32), dtype=np.uint8)
    return Columns(encode(text), encode(t[:12] for t in text), encode([""] * n), hashes, number, number + 1)


def all_columns(n: int) -> Columns:
    """Of all n rows."""
    parts = [columns(start, min(start + SHARD_ROWS, n)) for start in range(0, n, SHARD_ROWS)]
    return Columns.concatenate(parts)


def ledger_of(c: Columns) -> Ledger:
    """Every image stored."""
    return Ledger(c.path, np.full(len(c), STORED.encode()), {}, np.arange(len(c)))


def some_rows() -> np.ndarray:
    """Rows like those of a network: half of them zero."""
    rows = np.random.default_rng(0).normal(size=(SHARD_ROWS, DIM)).astype(DTYPE)
    return np.maximum(rows, 0)


def step(name: str, folder: Path, n: int) -> dict[str, float]:
    """Run one step; what it measured."""
    target = folder / "s.h5"
    parts = folder / "s"  # a folder store whose shards the file is merged from
    started = time.perf_counter()
    if name == "bytes":
        block = some_rows().tobytes()
        with (folder / "plain").open("wb") as out:
            for _ in range(0, n, SHARD_ROWS):
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        seconds = time.perf_counter() - started
        (folder / "plain").unlink()
        return {"seconds": seconds}
    if name == "append":
        cache = ShardCache(parts, SPACE, root=ROOT, dtype=DTYPE)
        rows, made = some_rows(), 0.0
        for start in range(0, n, SHARD_ROWS):
            before = time.perf_counter()
            c = columns(start, min(start + SHARD_ROWS, n))
            rows[:, 0] = np.arange(SHARD_ROWS) % 2048
            made += time.perf_counter() - before
            cache.add(c, rows[: len(c)], "made up")
        return {"seconds": time.perf_counter() - started - made}
    if name in {"merge", "index"}:
        cache = ShardCache(parts, SPACE, root=ROOT, dtype=DTYPE)
        c = all_columns(n)
        ledger = ledger_of(c)
        started = time.perf_counter()
        if name == "merge":
            publish(target, SPACE, {"root": ROOT}, c, ledger, cache.blocks(c.sha256), DTYPE)
        else:
            publish_index(parts, SPACE, {"root": ROOT}, c, ledger, cache.places(c.sha256))
        return {"seconds": time.perf_counter() - started, "bytes": target.stat().st_size if name == "merge" else 0}
    if name == "warm":
        store = FeatureStore(target)
        cache = ShardCache(folder / "s.h5.parts", SPACE, store, root=ROOT, dtype=DTYPE)
        signatures = cache.signatures()
        opened = time.perf_counter()
        size, mtime, contents, paths = [], [], [], []
        for i in range(n):  # as the pipeline does it, with a source that gives one path after another
            path = f"class-{i // 1000:06d}/image-{i:09d}.jpg"
            known = signatures.get(path)
            assert known is not None
            assert known[2] in cache
            paths.append(path)
            size.append(known[0])
            mtime.append(known[1])
            contents.append(known[2])
        old = store.columns
        hashes = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 32)
        now = Columns(encode(paths), old.label, old.group, hashes, np.array(size), np.array(mtime))
        assert old.same_as(now)
        assert store.ledger == ledger_of(now)
        return {"seconds": time.perf_counter() - started, "opening": opened - started}
    if name == "verify":
        assert verify(target).ok
        return {"seconds": time.perf_counter() - started}
    store = FeatureStore(parts if name == "folder-gather" else target)
    if name == "batches":
        total = sum(len(X) for X, _ in store.iter_batches(4096))
        assert total == n
        return {"seconds": time.perf_counter() - started}
    rng = np.random.default_rng(1)
    times = []
    for _ in range(5):
        wanted = rng.choice(n, 10_000, replace=False)
        before = time.perf_counter()
        rows = store.X[wanted]
        times.append(time.perf_counter() - before)
        assert np.array_equal(rows[:, 0], (wanted % SHARD_ROWS % 2048).astype(DTYPE))
    return {"seconds": float(np.median(times)), "first": times[0]}


def main() -> None:
    """Run all steps for all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("store-scale"), help="about 2.6 kB x 2 a row are needed")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 500_000, 5_000_000])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = step(arguments.step, arguments.folder, arguments.rows[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps(found | {"peak": peak * 1024}))
        return
    print(f"{'n':>9}  {'step':14} {'seconds':>8} {'rows/s':>10} {'MB/s':>6} {'peak bytes/row':>14}")
    for n in arguments.rows:
        folder = arguments.folder / str(n)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in STEPS:
            command = [sys.executable, __file__, "--folder", str(folder), "--rows", str(n), "--step", name]
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(out.stdout)
            rows = 10_000 if "gather" in name else n
            rate = rows / found["seconds"]
            more = ", ".join(f"{key} {found[key]:.4g}" for key in found if key not in {"seconds", "peak"})
            print(
                f"{n:>9}  {name:14} {found['seconds']:8.2f} {rate:10.0f} {rate * DIM * DTYPE.itemsize / 1e6:6.0f} "
                f"{found['peak'] / n:14.0f}  {more}",
                flush=True,
            )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
