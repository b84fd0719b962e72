"""Frozen features, the last stages trained, all of them, or from scratch: scores on images of neither choice.

    python tests/benchmarks/finetuning.py [sign-digits|clothing] [--images N] [--epochs E] [--seeds 3]

Of sign-digits 70% are for training and choosing the epoch, 30% for the test, the same for all; of clothing the splits
are those of its folders. A seed is that of the training and of what is kept aside for choosing. Test scores have
Wilson's intervals, differences to the frozen classifier paired ones. From scratch, images have less epochs than they
should.

What the last layer starts as: --ways "last 2,last 2 undamped,last 2 random head".
"""

from __future__ import annotations

import time
from typing import Any

import bench
import numpy as np

WAYS: dict[str, dict[str, Any]] = {
    "last stage": {"unfreeze": 1},
    "last 2": {"unfreeze": 2},
    "last 3": {"unfreeze": 3},
    "all": {"unfreeze": "all"},
    "scratch": {"pretrained": False},
    "last 2 random head": {"unfreeze": 2, "head_start": "random"},
    "last 2 undamped": {"unfreeze": 2, "damp": 1.0},
}


def data(name: str, images: int) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """Training and test images, at most so many of the first."""
    from featurekit.images import read_source
    from featurekit.splits import holdout

    def of(folder: str) -> tuple[np.ndarray, np.ndarray]:
        items = read_source(bench.SHARED / folder).items
        return np.array([item.origin for item in items]), np.array([item.label for item in items])

    if name == "clothing":
        (train, y), (test, truth) = of("clothing/train"), of("clothing/test")
    else:
        paths, labels = of(name)
        first, second = holdout(labels, 0.3, 0)
        train, y, test, truth = paths[first], labels[first], paths[second], labels[second]
    if images < len(train):
        kept = holdout(y, images / len(train), 0)[1]
        train, y = train[kept], y[kept]
    return train.tolist(), y, test.tolist(), truth


def scored(truth: np.ndarray, said: np.ndarray, frozen: np.ndarray) -> dict[str, str]:
    """Columns of a table: accuracy on the test images, and the difference to the frozen classifier."""
    from featurekit.metrics import evaluate_predictions, paired_difference

    e = evaluate_predictions(truth, said)
    difference, low, high = paired_difference(truth, said, frozen)
    return {
        "test": f"{e.accuracy:.4f} ({e.low:.3f}-{e.high:.3f})",
        "to frozen": f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
    }


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=10**9, repeats=1)
    parser.add_argument("data", nargs="?", default="sign-digits", choices=("sign-digits", "clothing"))
    parser.add_argument("--epochs", type=int, default=None, help="at most (default: the recipe's)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default="last stage,last 2,last 3,all,scratch", help="default: %(default)s")
    parser.add_argument("--cache", default=None, help="folder for frozen rows")
    arguments = parser.parse_args()
    from featurekit import FineTuneClassifier, TransferClassifier

    train, y, test, truth = data(arguments.data, arguments.images)
    started = time.perf_counter()
    frozen = TransferClassifier(head="logreg", layer="penultimate", cache=arguments.cache).fit(train, y).predict(test)
    minutes = (time.perf_counter() - started) / 60
    first = {"way": "frozen", "seed": "", "epoch": "", "validation": ""}
    rows = [first | scored(truth, frozen, frozen) | {"to frozen": "", "min": minutes}]
    print(rows[0], flush=True)
    for way in arguments.ways.split(","):
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            options = WAYS[way] | ({} if arguments.epochs is None else {"epochs": arguments.epochs})
            model = FineTuneClassifier(seed=seed, cache=arguments.cache, device=arguments.device, **options).fit(
                train, y
            )
            minutes = (time.perf_counter() - started) / 60
            said = model.predict(test)
            c = model.comparison_
            before = f" (frozen {c['frozen_accuracy']:.4f})" if "frozen_accuracy" in c else ""
            rows.append(
                {
                    "way": way,
                    "seed": seed,
                    "epoch": f"{model.best_epoch_}/{len(model.history_) - 1}",
                    "validation": f"{c['accuracy']:.4f}{before}",
                    **scored(truth, said, frozen),
                    "min": minutes,
                }
            )
            print(rows[-1], flush=True)
    report = bench.Report("finetuning")
    report.table(f"{arguments.data}: {len(train)} training and {len(test)} test images", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
