"""Classifiers of scikit-learn on NumPy arrays, against the same in OnDevice.

    python tests/benchmarks/on_device.py [--images 50000] [--dim 1280] [--classes 100] [--device cuda]

Rows are made up, float32. Times are of `fit`, the way of the rows to the device and back included. The last column is
the share of rows for which both predict the same.
"""

from __future__ import annotations

import os
import warnings
from functools import partial

import bench
import numpy as np


def made_up(n: int, dim: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    X = rng.standard_normal((n, dim), dtype=np.float32)
    X += rng.standard_normal((classes, dim), dtype=np.float32)[y] / 8
    return X, y


def main() -> None:
    """Measure and print."""
    os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy is imported, so all that needs it is imported below
    parser = bench.parser(__doc__, images=50_000, repeats=3)
    parser.add_argument("--dim", type=int, default=1280, help="length of a row (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=100, help="how many (default: %(default)s)")
    arguments = parser.parse_args()
    from sklearn.base import clone
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featurekit.heads import OnDevice

    warnings.simplefilter("ignore")  # of iterations that did not suffice: the number is what makes the times comparable
    X, y = made_up(arguments.images, arguments.dim, arguments.classes)
    rows = []
    for estimator in (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=50, tol=1e-12)),
        RidgeClassifier(solver="svd"),
        LinearDiscriminantAnalysis(),
        GaussianNB(),
    ):
        plain, moved = clone(estimator), OnDevice(estimator, arguments.device)
        moved.fit(X[: 10 * arguments.dim], y[: 10 * arguments.dim])  # what is loaded and compiled once
        ways = {"NumPy": partial(plain.fit, X, y), "on device": partial(moved.fit, X, y)}
        taken = bench.seconds(ways, arguments.repeats)
        same = float((plain.predict(X) == moved.predict(X)).mean())
        name = type(estimator[-1] if hasattr(estimator, "steps") else estimator).__name__
        rows.append(
            {"estimator": name, **taken, "ratio": f"{taken['NumPy'] / taken['on device']:.2f}", "same": f"{same:.4f}"}
        )
    report = bench.Report("on-device")
    report.table(f"seconds of fit, {len(X)} x {X.shape[1]}, {arguments.classes} classes, {on(arguments.device)}", rows)
    report.write(arguments.out)


def on(device: str) -> str:
    """The device's name."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return "CPU"
    return torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
