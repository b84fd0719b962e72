"""Scores of a classifier's predictions, with an interval for the accuracy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .proportions import Abstention, independent_images, wilson_interval

_BINS = 15
_DRAWS = 500
_MOST_WEIGHTS = 4_000_000  # of a bootstrap, in memory at once: 64 MB


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class: precision, recall, their harmonic mean (F1), all 0..1, and its true count."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a classifier scored on labelled images.

    Attributes
    ----------
    n : int
        Images scored.
    accuracy : float
        Fraction of correct predictions.
    low, high : float
        95% interval of the accuracy: Wilson's score interval, with as many independent images as the groups leave.
    balanced_accuracy : float
        Mean recall over the classes that occur in the true labels.
    macro_f1 : float
        Mean F1 over all classes, true or predicted.
    log_loss : float or None
        Mean of minus the natural logarithm of the true class' probability; None without probabilities.
    calibration_error : float or None
        Mean distance between the largest probability and the accuracy, over 15 bins of that probability.
    top_k : int
        5, or 2 where there are no more than 5 classes.
    top_k_accuracy : float or None
        Fraction whose true class is among the `top_k` likeliest.
    intervals : dict of str to (float, float)
        95% interval of each score, by its name; those other than of the accuracy are percentiles of a bootstrap
        over images (or groups).
    per_class : list of ClassScore
        In the order of `classes`.
    classes : list of str
        Sorted; every class that is true or predicted somewhere.
    confusion_matrix : list of list of int
        Counts; one row for each true class, one column for each predicted class. Of repeated predictions, all.
    abstention : Abstention or None
        If it was asked for.
    """

    n: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float | None
    calibration_error: float | None
    top_k: int
    top_k_accuracy: float | None
    intervals: dict[str, tuple[float, float]]
    per_class: list[ClassScore]
    classes: list[str]
    confusion_matrix: list[list[int]]
    abstention: Abstention | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


def evaluate_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    probabilities: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Evaluation:
    """Score predicted labels, and probabilities if there are any, against true labels.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n,)
        Labels; compared as text.
    probabilities : array-like, shape (n, k), optional
    classes : array-like, shape (k,), optional
        What the columns of `probabilities` stand for.
    groups : array-like, shape (n,), optional
        Images that are no independent draws: duplicates, or several predictions for one image. The intervals
        take each group as one draw.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If there is no label, or the lengths differ.

    Examples
    --------
    >>> result = evaluate_predictions(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    >>> result.accuracy, result.balanced_accuracy, result.confusion_matrix
    (0.75, 0.75, [[1, 1], [0, 2]])
    >>> evaluate_predictions(["a", "b"], ["a", "b"], [[0.8, 0.2], [0.4, 0.6]], ["a", "b"]).log_loss
    0.366...
    """
    true, predicted = np.asarray(y_true).astype(str), np.asarray(y_pred).astype(str)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"expected two equally long lists of labels, got shapes {true.shape} and {predicted.shape}")
    scores = _Scores(true, predicted, probabilities, classes)
    n = len(true)
    ids = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    point = scores.all()
    intervals = percentiles(scores.of(resampled(scores.table, ids)))
    intervals["accuracy"] = low, high = wilson_interval(point["accuracy"], independent_images(scores.hit, ids))
    recall, precision, f1, support = (values[0] for values in scores.counts(scores.whole))
    k = len(scores.classes)
    matrix = np.bincount(scores.true * k + scores.predicted, minlength=k * k).reshape(k, k)
    return Evaluation(
        n=n,
        accuracy=point["accuracy"],
        low=low,
        high=high,
        balanced_accuracy=point["balanced_accuracy"],
        macro_f1=point["macro_f1"],
        log_loss=point.get("log_loss"),
        calibration_error=point.get("calibration_error"),
        top_k=scores.top_k,
        top_k_accuracy=point.get("top_k_accuracy"),
        intervals=intervals,
        per_class=[
            ClassScore(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(scores.classes)
        ],
        classes=scores.classes,
        confusion_matrix=matrix.tolist(),
    )


class _Scores:
    """What is known of each image, and the scores of any weighting of the images.

    Every score follows from weighted sums over the images; so the table of what is summed is made once, and all
    draws of a bootstrap are one matrix product.
    """

    def __init__(
        self, true: NDArray[Any], predicted: NDArray[Any], probabilities: ArrayLike | None, classes: ArrayLike | None
    ) -> None:
        names, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
        self.classes = [str(name) for name in names]
        self.true, self.predicted = codes[: len(true)], codes[len(true) :]
        self.hit = self.true == self.predicted
        self.top_k = 2
        # Of each image: one, and its true class, the predicted one, and the class if it is both.
        k = len(names)
        parts = [np.ones((len(true), 1)), *(_one_hot(codes, k) for codes in (self.true, self.predicted))]
        parts.append(parts[1] * parts[2])
        self.has_probabilities = probabilities is not None
        if probabilities is not None:
            table, columns = np.asarray(probabilities, dtype=np.float64), np.asarray(classes).astype(str)
            if table.shape != (len(true), len(columns)):
                raise ValueError(f"expected probabilities of shape {(len(true), len(columns))}, got {table.shape}")
            order = np.argsort(columns)
            place = order[np.minimum(np.searchsorted(columns[order], true), len(columns) - 1)]
            # A class that the classifier has never seen has no column: its probability is 0.
            mine = np.where(columns[place] == true, table[np.arange(len(true)), place], 0)
            self.top_k = 5 if len(columns) > 5 else 2
            in_top = (table > mine[:, np.newaxis]).sum(axis=1) < self.top_k
            in_top &= columns[place] == true
            surest = table.max(axis=1)
            bins = _one_hot(np.minimum((surest * _BINS).astype(np.intp), _BINS - 1), _BINS)
            loss = -np.log(np.clip(mine, 1e-15, 1))
            # How much too sure each image is, in its bin.
            parts += [np.column_stack([loss, in_top]), bins * (surest - self.hit)[:, np.newaxis]]
        self.table = np.hstack(parts)
        self.whole = self.table.sum(axis=0, keepdims=True)

    def all(self) -> dict[str, float]:
        """Every score of all images, by its name."""
        return {name: float(value[0]) for name, value in self.of(self.whole).items()}

    def counts(self, sums: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Recall, precision, F1 and support of each class, shape (draws, k)."""
        k = len(self.classes)
        support, called, hits = (sums[:, 1 + i * k : 1 + (i + 1) * k] for i in range(3))
        recall = hits / np.where(support > 0, support, 1)
        precision = hits / np.where(called > 0, called, 1)
        f1 = 2 * hits / np.where(support + called > 0, support + called, 1)
        return recall, precision, f1, support

    def of(self, sums: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every score by its name, shape (draws,), from weighted sums of the table, shape (draws, columns)."""
        k, total = len(self.classes), sums[:, 0]
        recall, _, f1, support = self.counts(sums)
        called, hits = sums[:, 1 + k : 1 + 2 * k], sums[:, 1 + 2 * k : 1 + 3 * k]
        there, present = support > 0, support + called > 0
        scores = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": (recall * there).sum(axis=1) / there.sum(axis=1),
            "macro_f1": (f1 * present).sum(axis=1) / present.sum(axis=1),
        }
        if self.has_probabilities:
            rest = sums[:, 1 + 3 * k :] / total[:, np.newaxis]
            scores |= {
                "log_loss": rest[:, 0],
                "top_k_accuracy": rest[:, 1],
                "calibration_error": np.abs(rest[:, 2:]).sum(axis=1),
            }
        return scores


def _one_hot(codes: NDArray[np.intp], k: int) -> NDArray[np.float64]:
    table = np.zeros((len(codes), k))
    table[np.arange(len(codes)), codes] = 1
    return table


def resampled(table: NDArray[Any], ids: NDArray[np.intp] | None = None) -> NDArray[Any]:
    """Sums of the columns over the images of each draw of a bootstrap, which draws groups with replacement.

    Parameters
    ----------
    table : ndarray of float, shape (n, columns)
    ids : ndarray of int, shape (n,), optional
        Numbers of the groups, from 0. Default: each image is its own.

    Returns
    -------
    ndarray of float, shape (500, columns)
    """
    number = len(table)
    if ids is not None and ids.max() + 1 < number:
        number = int(ids.max()) + 1
        order = np.argsort(ids, kind="stable")
        table = np.add.reduceat(table[order], np.searchsorted(ids[order], np.arange(number)), axis=0)
    rng = np.random.default_rng(0)
    block = max(1, min(_DRAWS, _MOST_WEIGHTS // number))
    sums = []
    for start in range(0, _DRAWS, block):
        draws = min(block, _DRAWS - start)
        drawn = rng.integers(0, number, (draws, number)) + number * np.arange(draws)[:, np.newaxis]
        sums.append(np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number) @ table)
    return np.concatenate(sums)


def percentiles(drawn: dict[str, NDArray[Any]]) -> dict[str, tuple[float, float]]:
    """The 95% interval of each score, from its values over the draws of a bootstrap."""
    found = {name: np.quantile(values, [0.025, 0.975]) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def paired_difference(
    y_true: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    z: float = 1.959963984540054,
) -> tuple[float, float, float]:
    """Accuracy of `first` minus that of `second` on the same images, with a 95% interval.

    Being right and wrong together cancels out, so the interval is narrower than that of two separate
    accuracies would suggest. Normal approximation over the images.

    Parameters
    ----------
    y_true, first, second : array-like, shape (n,)
        True labels and two sets of predictions.
    groups : array-like, shape (n,), optional
        As in :func:`evaluate_predictions`.
    z : float
        Quantile of the normal distribution.

    Returns
    -------
    difference, low, high : float

    Examples
    --------
    >>> paired_difference([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1])
    (0.0, 0.0, 0.0)
    """
    truth = np.asarray(y_true)
    difference = (np.asarray(first) == truth).astype(float) - (np.asarray(second) == truth)
    mean = float(difference.mean())
    apart = difference - mean
    if groups is not None:
        apart = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], weights=apart)
    one = len(difference) / len(apart)  # the size of a group, on average
    if not difference.any():
        return 0.0, 0.0, 0.0
    # One image (or group) more that is unlike the mean: where all differ alike, nothing says how much they may vary.
    half = z * math.sqrt(float(apart @ apart) + one * one) / len(difference)
    return mean, mean - half, mean + half
