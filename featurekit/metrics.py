"""Scores of a classifier's predictions, each with an interval."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import FEWEST_GROUPS, TAILS, Interval, WithInterval, interval_note, percentiles, resampled
from .proportions import Z95, Abstention, grouped_wilson

_BINS = 15


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
    low, high : float or None
        95% interval of the accuracy: Wilson's score interval, with as many independent images as the groups leave.
        None with fewer than 6 groups of images, unless each image is a group of its own; `interval_note` says so.
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
    intervals : dict of str to (float, float), or (None, None)
        95% interval of each score, by its name. Wilson's of the accuracy and the top-k accuracy; of the calibration
        error, whose value is on average too large, by inversion of a test; of the others percentiles of a bootstrap.
        Where draws are simulated, they are of images (or groups), and there is no interval with fewer than 6 of them.
        Wilson's are there for any number of single images.
    per_class : list of ClassScore
        In the order of `classes`.
    classes : list of str
        Sorted; every class that is true or predicted somewhere.
    confusion_matrix : list of list of int
        Counts; one row for each true class, one column for each predicted class. Of repeated predictions, all.
    abstention : Abstention or None
        If it was asked for.
    groups : int
        Independent groups of images; images that belong to none count as one each.
    interval_note : str
        Why there are no intervals, or why they are rough: there are fewer than 6, or 10, groups. Empty otherwise.
    """

    n: int
    accuracy: float
    low: float | None
    high: float | None
    balanced_accuracy: float
    macro_f1: float
    log_loss: float | None
    calibration_error: float | None
    top_k: int
    top_k_accuracy: float | None
    intervals: dict[str, Interval]
    per_class: list[ClassScore]
    classes: list[str]
    confusion_matrix: list[list[int]]
    abstention: Abstention | None = None
    groups: int = 0
    interval_note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


def evaluate_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    probabilities: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    repeats: int = 1,
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
        take each group as one draw. With fewer than 6 groups there are none, since not even the range of the scores of
        5 groups holds their middle in 95 of 100 cases; with fewer than 10 they are mostly too narrow. Images that all
        are groups of their own keep the intervals of the accuracy and the top-k accuracy, however few they are.
    repeats : int
        How many predictions there are for each image. Those of one image belong to one group.

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
    images, number = n // repeats, int(ids.max()) + 1
    intervals = _intervals(scores, ids, point, images)
    kept = "the accuracy" if scores.in_top is None else f"the accuracy and the top-{scores.top_k} accuracy"
    low, high = intervals["accuracy"]
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
        groups=number,
        interval_note=interval_note(number, images, kept),
    )


class _Scores:
    """What is known of each image, and the scores of any weighting of the images.

    Every score follows from weighted sums over the images; so the table of what is summed is made once, and all
    draws of a bootstrap are one matrix product. It is sparse: most numbers are of another class than the image.
    """

    def __init__(
        self, true: NDArray[Any], predicted: NDArray[Any], probabilities: ArrayLike | None, classes: ArrayLike | None
    ) -> None:
        names, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
        self.classes = [str(name) for name in names]
        self.true, self.predicted = codes[: len(true)], codes[len(true) :]
        self.hit = self.true == self.predicted
        self.top_k = 2
        self.in_top: NDArray[np.bool_] | None = None
        # Of each image: one, and its true class, the predicted one, and the class if it is both.
        n, k = len(true), len(names)
        parts: list[tuple[Any, Any]] = [
            (0, 1),
            (1 + self.true, 1),
            (1 + k + self.predicted, 1),
            (1 + 2 * k + self.true, self.hit),
        ]
        width = 1 + 3 * k
        if probabilities is not None:
            table, columns = np.asarray(probabilities, dtype=np.float64), np.asarray(classes).astype(str)
            if table.shape != (n, len(columns)):
                raise ValueError(f"expected probabilities of shape {(n, len(columns))}, got {table.shape}")
            order = np.argsort(columns)
            place = order[np.minimum(np.searchsorted(columns[order], true), len(columns) - 1)]
            # A class that the classifier has never seen has no column: its probability is 0.
            mine = np.where(columns[place] == true, table[np.arange(n), place], 0)
            self.top_k = 5 if len(columns) > 5 else 2
            self.in_top = (table > mine[:, np.newaxis]).sum(axis=1) < self.top_k
            self.in_top &= columns[place] == true
            surest = table.max(axis=1)
            bins = np.minimum((surest * _BINS).astype(np.intp), _BINS - 1)
            loss = -np.log(np.clip(mine, 1e-15, 1))
            # How much too sure each image is, in its bin.
            parts += [(width, loss), (width + 1, self.in_top), (width + 2 + bins, surest - self.hit)]
            width += 2 + _BINS
        self.table = _sparse(parts, n, width)
        self.whole = np.asarray(self.table.sum(axis=0)).reshape(1, width)

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
        if self.in_top is not None:
            scores |= {
                "log_loss": sums[:, 1 + 3 * k] / total,
                "top_k_accuracy": sums[:, 2 + 3 * k] / total,
                "calibration_error": np.abs(self.gaps(sums)).sum(axis=1),
            }
        return scores

    def gaps(self, sums: NDArray[Any]) -> NDArray[Any]:
        """How much too sure the classifier is in each bin, as a share of all images, shape (draws, bins)."""
        gaps: NDArray[Any] = sums[:, -_BINS:] / sums[:, :1]
        return gaps


def _sparse(parts: list[tuple[Any, Any]], n: int, width: int) -> Any:
    """A table of `n` rows, in which each part has one number a row, in the column that it names."""
    from scipy.sparse import coo_array

    columns = np.concatenate([np.broadcast_to(column, n) for column, _ in parts])
    values = np.concatenate([np.broadcast_to(value, n).astype(np.float64) for _, value in parts])
    return coo_array((values, (np.tile(np.arange(n), len(parts)), columns)), shape=(n, width)).tocsr()


def _intervals(scores: _Scores, ids: NDArray[np.intp], point: dict[str, float], images: int) -> dict[str, Interval]:
    """95% intervals of all scores; what is drawn are groups, with replacement."""
    intervals: dict[str, Interval] = dict.fromkeys(point, (None, None))
    if ids.max() + 1 >= FEWEST_GROUPS:
        drawn = resampled(scores.table, ids)
        intervals |= percentiles(scores.of(drawn))
        if scores.in_top is not None:
            intervals["calibration_error"] = _calibration_interval(scores.gaps(scores.whole)[0], scores.gaps(drawn))
    intervals["accuracy"] = grouped_wilson(scores.hit, ids, images)
    if scores.in_top is not None:
        intervals["top_k_accuracy"] = grouped_wilson(scores.in_top, ids, images)
    return intervals


def _calibration_interval(gaps: NDArray[np.float64], drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Interval of the sum of absolute gaps, by inversion of a test.

    The sum is too large by what chance adds to each gap, and a draw adds as much again: its percentiles hold next to
    no true value. So it is asked which multiples of the gaps, with the noise of the draws, would give what was seen.

    Parameters
    ----------
    gaps : ndarray, shape (bins,)
        Seen.
    drawn : ndarray, shape (draws, bins)
        Of each draw.

    References
    ----------
    J. Carpenter, "Test inversion bootstrap confidence intervals", 1999.
    """
    noise, seen = drawn - gaps, float(np.abs(gaps).sum())
    if not seen:
        return 0.0, 0.0

    def quantile(multiple: float, tail: float) -> float:
        return float(np.quantile(np.abs(multiple * gaps + noise).sum(axis=1), tail))

    def edge(low: float, high: float, tail: float) -> float:
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if quantile(middle, tail) > seen else (middle, high)
        return low

    least = 0.0 if quantile(0.0, TAILS[1]) > seen else edge(0.0, 1.0, TAILS[1])
    most = edge(1.0, 1 + float(np.abs(noise).sum(axis=1).max()) / seen, TAILS[0])
    return least * seen, min(1.0, most * seen)


def paired_difference(
    y_true: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    z: float = Z95,
) -> WithInterval:
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
    difference : float
    low, high : float or None
        None with fewer than 6 groups, or single images.

    Examples
    --------
    >>> paired_difference([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1])
    (0.0, 0.0, 0.0)
    """
    truth = np.asarray(y_true)
    difference = (np.asarray(first) == truth).astype(float) - (np.asarray(second) == truth)
    mean = float(difference.mean())
    apart = difference - mean
    if groups is not None:
        apart = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], weights=apart)
    if len(apart) < FEWEST_GROUPS:
        return mean, None, None
    one = len(difference) / len(apart)  # the size of a group, on average
    if not difference.any():
        return 0.0, 0.0, 0.0
    # One image (or group) more that is unlike the mean: where all differ alike, nothing says how much they may vary.
    half = z * math.sqrt(float(apart @ apart) + one * one) / len(difference)
    return mean, mean - half, mean + half
