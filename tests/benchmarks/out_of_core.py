"""Fitting a head on a store that is larger than memory should hold: peak memory, time, and score.

    featurekit extract clothing/train -o train.h5
    featurekit extract clothing/test -o test.h5
    python tests/benchmarks/out_of_core.py train.h5 test.h5 --rows 850000 --folder /big/disk

Makes a store of so many rows, each a mixture of two rows of one class with a little noise: 850,000 of 1,280 float32
are 4.4 GB. Then, each in a process of its own: ``featurekit fit`` on it, with each head that can be fitted a part at a
time; an ``SGDClassifier`` by ``partial_fit``; and, in memory, the same heads, and ``logreg``, on a sample of it. Every
model is scored on the second store, whose images are real and none of the first. Prints the peak of resident memory,
which for a mapped file would count the page cache as well; h5py maps none.
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

from featurekit import FeatureStore
from featurekit.store import STORED, Columns, Ledger, ShardCache, encode, publish_index

BATCH = 4096


def make(train: str, target: Path, n: int) -> None:
    """A folder store of mixtures of the rows of `train`."""
    with FeatureStore(train) as store:
        X, y, space = store.X[...].astype(np.float32), store.y, store.space
    rng = np.random.default_rng(0)
    members = {label: np.flatnonzero(y == label) for label in np.unique(y)}
    noise = X.std(axis=0) * 0.3
    cache, parts = ShardCache(target, space), []
    for start in range(0, n, BATCH):
        size = min(BATCH, n - start)
        first = rng.integers(0, len(X), size)
        second = np.array([rng.choice(members[label]) for label in y[first]])
        share = rng.random((size, 1)).astype(np.float32)
        rows = X[first] * share + X[second] * (1 - share)
        rows += noise * rng.standard_normal(rows.shape, dtype=np.float32)
        names = [f"{label}/{start + i:09d}.jpg" for i, label in enumerate(y[first])]
        number = np.arange(start, start + size)
        hashes = rng.integers(0, 256, (size, 32), dtype=np.uint8)
        columns = Columns(encode(names), encode(y[first]), encode([""] * size), hashes, number, number + 1)
        cache.add(columns, rows, "made")
        parts.append(columns)
    whole = Columns.concatenate(parts)
    ledger = Ledger(whole.path, np.full(n, STORED.encode()), {}, np.arange(n))
    publish_index(target, space, {"root": "/made"}, whole, ledger, cache.places(whole.sha256))


def once(what: str, big: str, test: str, sample: int) -> dict[str, float]:
    """Fit in one way; seconds, peak memory in MB, and accuracy on the second store."""
    from sklearn.linear_model import SGDClassifier

    from featurekit import TransferClassifier, evaluate
    from featurekit.heads import fit_head, make_head

    name, _, where = what.partition(" ")
    head = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0) if name == "sgd" else name
    with FeatureStore(big) as store, FeatureStore(test) as other:
        begun = time.perf_counter()
        if where == "in batches":
            classifier = TransferClassifier(head=head).fit(store)
            fitted = time.perf_counter() - begun
            accuracy = evaluate(classifier, other).accuracy
        else:
            chosen = np.sort(np.random.default_rng(1).choice(len(store), sample, replace=False))
            X, y = store.X[chosen], store.y[chosen]
            model = fit_head(make_head(head, y), X, y)
            fitted = time.perf_counter() - begun
            accuracy = model.score(other.X[...], other.y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": fitted, "peak": peak, "accuracy": accuracy}


def main() -> None:
    """Make the store, fit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--rows", type=int, default=850_000)
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--heads", default="lda,ridge,centroid,sgd", help="with commas between them")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(once(arguments.once, arguments.train, arguments.test, arguments.sample)))
        return
    big = arguments.folder / f"out-of-core-{arguments.rows}"
    try:
        if not big.exists():
            make(arguments.train, big, arguments.rows)
        with FeatureStore(big) as store:
            print(f"{len(store)} rows, {store.nbytes / 1e9:.2f} GB")
        print(f"{'':16} {'seconds':>8} {'peak MB':>8} {'accuracy':>9}", flush=True)
        batches = [f"{head} in batches" for head in arguments.heads.split(",")]
        samples = [f"{head} on a sample" for head in [*arguments.heads.split(","), "logreg"]]
        for what in [*batches, *samples]:
            command = [sys.executable, __file__, str(big), arguments.test, "--once", what]
            command += ["--sample", str(arguments.sample)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{what:20} {found['seconds']:8.1f} {found['peak']:8.0f} {found['accuracy']:9.4f}", flush=True)
    finally:
        shutil.rmtree(big, ignore_errors=True)


if __name__ == "__main__":
    main()
