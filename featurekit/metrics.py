"""Scores of a classifier's predictions, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BINS = 15
_DRAWS = 500
_TAILS = (0.025, 0.975)
_BLOCK = 1_000_000  # draws times groups at once: 8 MB


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
        Mean distance between the largest probability and the accuracy, over 15 bins of that probability. Chance
        adds to it, so that it is larger than 0 for perfect probabilities, the more so the fewer images.
    top_k : int
        5, or 2 where there are no more than 5 classes.
    top_k_accuracy : float or None
        Fraction whose true class is among the `top_k` likeliest.
    intervals : dict of str to (float, float)
        95% interval of each score, by its name. Wilson's of the accuracy and the top-k accuracy; of the calibration
        error, whose value is on average too large, by inversion of a test; of the others percentiles of a bootstrap.
        Where draws are simulated, they are of images (or groups).
    per_class : list of ClassScore
        In the order of `classes`.
    classes : list of str
        Sorted; every class that is true or predicted somewhere.
    confusion_matrix : list of list of int
        Counts; one row for each true class, one column for each predicted class. Of repeated predictions, all.
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
    point = _point(scores)
    intervals = _intervals(scores, ids, point)
    low, high = intervals["accuracy"]
    matrix = scores.confusion()
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
        per_class=_per_class(scores.classes, matrix),
        classes=scores.classes,
        confusion_matrix=matrix.tolist(),
    )


def _per_class(classes: list[str], matrix: NDArray[np.intp]) -> list[ClassScore]:
    hits, support, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = hits / np.maximum(support, 1), hits / np.maximum(called, 1)
    f1 = 2 * hits / (support + called)  # each class is true or predicted somewhere
    return [
        ClassScore(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(classes)
    ]


class _Scores:
    """What is known of each image, the sums that scores are made of, and the scores of such sums."""

    def __init__(
        self, true: NDArray[Any], predicted: NDArray[Any], probabilities: ArrayLike | None, classes: ArrayLike | None
    ) -> None:
        names, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
        self.classes = [str(name) for name in names]
        self.true, self.predicted = codes[: len(true)], codes[len(true) :]
        self.hit = self.true == self.predicted
        self.top_k = 2
        self.loss = self.in_top = self.bins = self.surest = None
        if probabilities is None:
            return
        table, columns = np.asarray(probabilities, dtype=np.float64), np.asarray(classes).astype(str)
        if table.shape != (len(true), len(columns)):
            raise ValueError(f"expected probabilities of shape {(len(true), len(columns))}, got {table.shape}")
        order = np.argsort(columns)
        place = order[np.minimum(np.searchsorted(columns[order], true), len(columns) - 1)]
        # A class that the classifier has never seen has no column: its probability is 0.
        mine = np.where(columns[place] == true, table[np.arange(len(true)), place], 0)
        self.top_k = 5 if len(columns) > 5 else 2
        self.loss = -np.log(np.clip(mine, 1e-15, 1))
        self.in_top = (table > mine[:, np.newaxis]).sum(axis=1) < self.top_k
        self.in_top &= columns[place] == true
        self.surest = table.max(axis=1)
        self.bins = np.minimum((self.surest * _BINS).astype(np.intp), _BINS - 1)

    def confusion(self) -> NDArray[np.intp]:
        """Counts; one row for each true class, one column for each predicted class."""
        k = len(self.classes)
        return np.bincount(self.true * k + self.predicted, minlength=k * k).reshape(k, k)

    def sums(self, ids: NDArray[np.intp]) -> Any:
        """What the scores are made of, summed over each group: a sparse matrix of one row for each group.

        Of each class the true, the predicted and the rightly predicted images; if there are probabilities also the
        loss, the hits among the likeliest, and of each bin the sureness minus the hits.
        """
        from scipy.sparse import coo_matrix

        n, k = len(self.true), len(self.classes)
        parts: list[tuple[Any, Any]] = [(self.true, 1), (k + self.predicted, 1), (2 * k + self.true, self.hit)]
        if self.loss is not None and self.bins is not None:
            parts += [(3 * k, self.loss), (3 * k + 1, self.in_top), (3 * k + 2 + self.bins, self.surest - self.hit)]
        columns = np.concatenate([np.broadcast_to(column, n) for column, _ in parts])
        values = np.concatenate([np.broadcast_to(value, n).astype(np.float64) for _, value in parts])
        width = 3 * k + (0 if self.loss is None else 2 + _BINS)
        return coo_matrix((values, (np.tile(ids, len(parts)), columns)), shape=(int(ids.max()) + 1, width)).tocsr()

    def of(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Every score, by its name, of totals of shape (columns of `sums`, draws)."""
        k = len(self.classes)
        support, called, hits = sums[:k], sums[k : 2 * k], sums[2 * k : 3 * k]
        total = support.sum(axis=0)
        recall = hits / np.where(support > 0, support, 1)
        f1 = 2 * hits / np.where(support + called > 0, support + called, 1)
        scores = {
            "accuracy": hits.sum(axis=0) / total,
            "balanced_accuracy": recall.sum(axis=0) / (support > 0).sum(axis=0),
            "macro_f1": f1.sum(axis=0) / (support + called > 0).sum(axis=0),
        }
        if self.loss is not None:
            loss, in_top, apart = sums[3 * k], sums[3 * k + 1], sums[3 * k + 2 :]
            scores["log_loss"] = loss / total
            scores["calibration_error"] = np.abs(apart).sum(axis=0) / total
            scores["top_k_accuracy"] = in_top / total
        return scores


def _point(scores: _Scores) -> dict[str, float]:
    """Every score of all images."""
    sums = scores.sums(np.zeros(len(scores.true), dtype=np.intp)).toarray().T
    return {name: float(value[0]) for name, value in scores.of(sums).items()}


def _intervals(scores: _Scores, ids: NDArray[np.intp], point: dict[str, float]) -> dict[str, tuple[float, float]]:
    """95% intervals of all scores; what is drawn are groups, with replacement."""
    sums = scores.sums(ids)
    draws = np.concatenate([sums.T @ times for times in _times_drawn(sums.shape[0])], axis=1)
    intervals = {}
    for name, values in scores.of(draws).items():
        low, high = np.quantile(values, _TAILS)
        intervals[name] = (float(low), float(high))
    intervals["accuracy"] = wilson_interval(point["accuracy"], _independent(scores.hit, ids))
    if scores.in_top is not None:
        intervals["top_k_accuracy"] = wilson_interval(point["top_k_accuracy"], _independent(scores.in_top, ids))
        k = len(scores.classes)
        gaps = np.asarray(sums.sum(axis=0)).ravel()[3 * k + 2 :] / len(scores.true)
        intervals["calibration_error"] = _calibration_interval(gaps, draws[3 * k + 2 :] / draws[:k].sum(axis=0))
    return intervals


def _calibration_interval(gaps: NDArray[np.float64], drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Interval of the sum of absolute gaps, by inversion of a test.

    The sum is too large by what chance adds to each gap, and a draw adds as much again: its percentiles hold next to
    no true value. So it is asked which multiples of the gaps, with the noise of the draws, would give what was seen.

    Parameters
    ----------
    gaps : ndarray, shape (bins,)
        Seen.
    drawn : ndarray, shape (bins, draws)
        Of each draw.

    References
    ----------
    J. Carpenter, "Test inversion bootstrap confidence intervals", 1999.
    """
    noise, seen = drawn - gaps[:, np.newaxis], float(np.abs(gaps).sum())
    if not seen:
        return 0.0, 0.0

    def quantile(multiple: float, tail: float) -> float:
        return float(np.quantile(np.abs(multiple * gaps[:, np.newaxis] + noise).sum(axis=0), tail))

    def edge(low: float, high: float, tail: float) -> float:
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if quantile(middle, tail) > seen else (middle, high)
        return low

    least = 0.0 if quantile(0.0, _TAILS[1]) > seen else edge(0.0, 1.0, _TAILS[1])
    most = edge(1.0, 1 + float(np.abs(noise).sum(axis=0).max()) / seen, _TAILS[0])
    return least * seen, min(1.0, most * seen)


def _times_drawn(number: int) -> Iterator[NDArray[np.float64]]:
    """How often each of so many groups is drawn, a column for each draw, in blocks that fit in memory."""
    rng = np.random.default_rng(0)
    most = max(1, _BLOCK // number)
    for start in range(0, _DRAWS, most):
        size = min(most, _DRAWS - start)
        drawn = rng.integers(0, number, (number, size)) * size + np.arange(size)
        yield np.bincount(drawn.ravel(), minlength=number * size).reshape(number, size).astype(np.float64)


def _independent(hit: NDArray[Any], ids: NDArray[np.intp]) -> float:
    """How many independent images would make the accuracy vary as much as these groups of images do."""
    n, number = len(hit), int(ids.max()) + 1
    if number == n:
        return n
    p = float(hit.mean())
    if p in (0.0, 1.0):
        return number
    totals = np.bincount(ids, weights=hit - p)
    if not totals @ totals > 1e-12:  # every group has the mean share
        return number
    return float(np.clip(p * (1 - p) * n * n / (totals @ totals), 1, n))


def wilson_interval(p: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Parameters
    ----------
    p : float
        Fraction of successes, 0 to 1.
    n : float
        Independent trials, more than 0.
    z : float
        Quantile of the normal distribution; the default gives 95%.

    Returns
    -------
    low, high : float

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples
    --------
    >>> low, high = wilson_interval(0.9, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


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
