"""Scores where an image has several labels, or a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import FEWEST_GROUPS, Interval, interval_note, percentiles, resampled


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Scores of one label: precision, recall, their harmonic mean (F1), average precision, and its true count."""

    label: str
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class LabelEvaluation:
    """What a classifier scored on images that have several labels.

    Attributes
    ----------
    n : int
        Images scored.
    exact_match : float
        Fraction of images of which every label is right.
    label_accuracy : float
        Fraction of all answers, one for each label of each image, that are right.
    micro_f1, macro_f1 : float
        F1 of all answers together; mean F1 of the labels that occur, true or predicted.
    mean_average_precision : float or None
        Mean over the labels that some images have and others have not; None without probabilities.
    log_loss : float or None
        Mean over all answers of minus the natural logarithm of the true one's probability.
    intervals : dict of str to (float, float), or (None, None)
        95% intervals, but of the average precision: percentiles of a bootstrap over images (or groups); None with fewer
        than 6 of these.
    per_label : list of LabelScore
    groups, interval_note
        As in :class:`featurekit.metrics.Evaluation`.
    """

    n: int
    exact_match: float
    label_accuracy: float
    micro_f1: float
    macro_f1: float
    mean_average_precision: float | None
    log_loss: float | None
    intervals: dict[str, Interval]
    per_label: list[LabelScore]
    groups: int = 0
    interval_note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


@dataclass(frozen=True, slots=True)
class NumberEvaluation:
    """What a regressor scored.

    Attributes
    ----------
    n : int
        Images scored.
    r2 : float
        Share of the variance that is explained, 1 at best (mean over several targets).
    mean_absolute_error, root_mean_squared_error : float
        In the unit of the numbers (means over several targets).
    intervals : dict of str to (float, float), or (None, None)
        95% intervals: percentiles of a bootstrap over images (or groups); None with fewer than 6 of these.
    groups, interval_note
        As in :class:`featurekit.metrics.Evaluation`.
    """

    n: int
    r2: float
    mean_absolute_error: float
    root_mean_squared_error: float
    intervals: dict[str, Interval]
    groups: int = 0
    interval_note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self) | {"intervals": {name: list(interval) for name, interval in self.intervals.items()}}


def evaluate_labels(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    probabilities: ArrayLike | None = None,
    *,
    columns: list[str] | None = None,
    groups: ArrayLike | None = None,
) -> LabelEvaluation:
    """Score predicted labels that do not exclude each other.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n, k)
        0 or 1 for each label.
    probabilities : array-like, shape (n, k), optional
    columns : list of str, optional
        Names of the labels.
    groups : array-like, shape (n,), optional
        As in :func:`featurekit.metrics.evaluate_predictions`.

    Returns
    -------
    LabelEvaluation

    Raises
    ------
    ValueError
        If there is no image, the shapes differ, or a value is not 0 or 1.

    Examples
    --------
    >>> result = evaluate_labels([[1, 0], [1, 1]], [[1, 0], [0, 1]])
    >>> result.exact_match, result.label_accuracy, result.micro_f1
    (0.5, 0.75, 0.8)
    """
    from sklearn.metrics import average_precision_score

    for table in (y_true, y_pred):
        if not np.isin(np.asarray(table), (0, 1)).all():
            raise ValueError("expected tables of 0 and 1, and one of them holds something else")
    true, predicted = np.asarray(y_true).astype(bool), np.asarray(y_pred).astype(bool)
    if true.shape != predicted.shape or true.ndim != 2 or not true.size:
        raise ValueError(f"expected two equally large tables of labels, got shapes {true.shape} and {predicted.shape}")
    n, k = true.shape
    right = true == predicted
    parts: list[Any] = [np.ones(n), right.all(axis=1), right.mean(axis=1)]
    precisions: list[float | None] = [None] * k
    if probabilities is not None:
        likely = np.asarray(probabilities, dtype=np.float64)
        if likely.shape != true.shape:
            raise ValueError(f"expected probabilities of shape {true.shape}, got {likely.shape}")
        parts.append(-np.log(np.clip(np.where(true, likely, 1 - likely), 1e-15, 1)).mean(axis=1))
        mixed = (true != true[0]).any(axis=0)
        precisions = [float(average_precision_score(true[:, i], likely[:, i])) if mixed[i] else None for i in range(k)]
    means = len(parts)
    columns_of_counts = [true & predicted, true, predicted]
    table = np.column_stack([*parts, *columns_of_counts]).astype(np.float64)

    def scores(sums: NDArray[Any]) -> dict[str, NDArray[Any]]:
        both, have, called = np.split(sums[:, means:], 3, axis=1)
        f1, occurs = 2 * both / np.maximum(have + called, 1e-12), have + called > 0
        found = {
            "exact_match": sums[:, 1] / sums[:, 0],
            "label_accuracy": sums[:, 2] / sums[:, 0],
            "micro_f1": 2 * both.sum(axis=1) / np.maximum((have + called).sum(axis=1), 1e-12),
            "macro_f1": f1.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1),
        }
        return found if means == 3 else found | {"log_loss": sums[:, 3] / sums[:, 0]}

    whole = table.sum(axis=0, keepdims=True)
    both, have, called = np.split(whole[0, means:], 3)
    known = [value for value in precisions if value is not None]
    names = list(map(str, range(k))) if columns is None else columns
    point = {name: float(value[0]) for name, value in scores(whole).items()}
    return LabelEvaluation(
        n=n,
        exact_match=point["exact_match"],
        label_accuracy=point["label_accuracy"],
        micro_f1=point["micro_f1"],
        macro_f1=point["macro_f1"],
        mean_average_precision=float(np.mean(known)) if known else None,
        log_loss=point.get("log_loss"),
        **_intervals(table, groups, scores, point),
        per_label=[
            LabelScore(
                names[i],
                float(both[i] / max(called[i], 1)),
                float(both[i] / max(have[i], 1)),
                float(2 * both[i] / max(have[i] + called[i], 1)),
                precisions[i],
                int(have[i]),
            )
            for i in range(k)
        ],
    )


def evaluate_numbers(y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike | None = None) -> NumberEvaluation:
    """Score predicted numbers.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n,) or (n, t)
    groups : array-like, shape (n,), optional
        As in :func:`featurekit.metrics.evaluate_predictions`.

    Returns
    -------
    NumberEvaluation

    Raises
    ------
    ValueError
        If there is no image, the shapes differ, or a number is not finite.

    Examples
    --------
    >>> result = evaluate_numbers([1.0, 2, 3, 4], [1, 2, 3, 6])
    >>> result.mean_absolute_error, result.root_mean_squared_error, round(result.r2, 3)
    (0.5, 1.0, 0.2)
    """
    true, predicted = np.asarray(y_true, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    if true.shape != predicted.shape or true.ndim not in {1, 2} or not true.size:
        raise ValueError(f"expected two equally long lists of numbers, got shapes {true.shape} and {predicted.shape}")
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise ValueError("expected finite numbers, and some are infinite or none at all")
    true, predicted = true.reshape(len(true), -1), predicted.reshape(len(true), -1)
    centred, error = true - true.mean(axis=0), true - predicted
    table = np.column_stack([np.ones(len(true)), centred, centred**2, error**2, np.abs(error)])

    def scores(sums: NDArray[Any]) -> dict[str, NDArray[Any]]:
        total = sums[:, :1]
        mean, squares, squared, absolute = np.split(sums[:, 1:] / total, 4, axis=1)
        variance = squares - mean**2
        explained = np.where(variance > 1e-300, 1 - squared / np.where(variance > 1e-300, variance, 1), 0)
        return {
            "r2": explained.mean(axis=1),
            "mean_absolute_error": absolute.mean(axis=1),
            "root_mean_squared_error": np.sqrt(squared).mean(axis=1),
        }

    point = {name: float(value[0]) for name, value in scores(table.sum(axis=0, keepdims=True)).items()}
    return NumberEvaluation(
        n=len(true),
        r2=point["r2"],
        mean_absolute_error=point["mean_absolute_error"],
        root_mean_squared_error=point["root_mean_squared_error"],
        **_intervals(table, groups, scores, point),
    )


def _intervals(
    table: NDArray[np.float64],
    groups: ArrayLike | None,
    scores: Callable[[NDArray[Any]], dict[str, NDArray[Any]]],
    names: Iterable[str],
) -> dict[str, Any]:
    """The intervals of scores, how many groups of images they count, and what is to be said of so few."""
    n = len(table)
    ids = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    number = n if ids is None else int(ids.max()) + 1
    found: dict[str, Interval] = dict.fromkeys(names, (None, None))
    if number >= FEWEST_GROUPS:
        found |= percentiles(scores(resampled(table, ids)))
    return {"intervals": found, "groups": number, "interval_note": interval_note(number, n)}
