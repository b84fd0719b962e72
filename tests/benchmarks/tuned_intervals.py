"""Measure whether the interval of a fine-tuned model is sound: its width beside that of a binomial one.

    python tests/benchmarks/tuned_intervals.py dataset-resized [--epochs 6]

SOURCE has class folders. A stratified fifth is the test set. The last stages are fine-tuned on the rest; then the test
images are scored with groups by perceptual hashes, and beside it with groups by cosines of the tuned network's rows, as
featurekit did before version 3 of its stores: there, the images of a class lie nearly on one point.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from duplicates import connected, cosine_pairs

from featurekit import FineTuneClassifier, evaluate, extract
from featurekit.duplicates import group_rows
from featurekit.images import read_source
from featurekit.metrics import evaluate_predictions
from featurekit.proportions import wilson_interval
from featurekit.splits import holdout


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--unfreeze", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    items = read_source(arguments.source).items
    paths, labels = np.array([item.origin for item in items]), np.array([item.label for item in items])
    train, test = holdout(labels, 0.2, arguments.seed)
    began = time.perf_counter()
    options = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    model = FineTuneClassifier(unfreeze=arguments.unfreeze, seed=arguments.seed, progress=True, **options)
    model.fit(paths[train].tolist(), labels[train])
    print(f"{len(train)} images to train, {len(test)} to test, {(time.perf_counter() - began) / 60:.1f} minutes")
    truth = labels[test]
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "tuned")
        store = extract(
            paths[test].tolist(), labels=truth, output=Path(folder) / "t.h5", backbone=str(Path(folder) / "tuned")
        )
        said, X, contents = model.predict(store), store.X[...], store.columns.sha256
        ids = {"perceptual hashes": group_rows(store).ids, "cosines of tuned rows": connected(
            len(truth), cosine_pairs(X, contents), contents
        )}  # fmt: skip
        scored = evaluate(model, store)
        store.close()
    right = int(np.sum(said == truth))
    low, high = wilson_interval(right / len(truth), len(truth))
    print(f"accuracy {right / len(truth):.4f}, binomial interval {low:.4f} to {high:.4f} (width {high - low:.4f})")
    print(f"evaluate says {scored.low:.4f} to {scored.high:.4f}")
    for name, groups in ids.items():
        e = evaluate_predictions(truth, said, groups=groups)
        balanced = e.intervals["balanced_accuracy"] if hasattr(e, "intervals") else ("", "")
        print(
            f"{name:24} {len(np.unique(groups)):4} groups: {e.low:.4f} to {e.high:.4f} (width {e.high - e.low:.4f}, "
            f"{(e.high - e.low) / (high - low):.2f} of the binomial one); balanced accuracy {balanced}"
        )


if __name__ == "__main__":
    main()
