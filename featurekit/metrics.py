"""Scores of a classifier's predictions, with an interval for the accuracy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
        95% Wilson score interval of the accuracy, taking the images as independent draws.
    balanced_accuracy : float
        Mean recall over the classes that occur in the true labels.
    macro_f1 : float
        Mean F1 over all classes, true or predicted.
    per_class : list of ClassScore
        In the order of `classes`.
    classes : list of str
        Sorted; every class that is true or predicted somewhere.
    confusion_matrix : list of list of int
        Counts; one row for each true class, one column for each predicted class.
    """

    n: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    macro_f1: float
    per_class: list[ClassScore]
    classes: list[str]
    confusion_matrix: list[list[int]]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self)


def evaluate_predictions(y_true: ArrayLike, y_pred: ArrayLike) -> Evaluation:
    """Score predicted labels against true ones.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n,)
        Labels; compared as text.

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
    """
    true, predicted = np.asarray(y_true).astype(str), np.asarray(y_pred).astype(str)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"expected two equally long lists of labels, got shapes {true.shape} and {predicted.shape}")
    classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    k, n = len(classes), len(true)
    matrix: NDArray[np.int64] = np.zeros((k, k), dtype=np.int64)
    np.add.at(matrix, (codes[:n], codes[n:]), 1)
    hits, support, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall = hits / np.maximum(support, 1)
    precision = hits / np.maximum(called, 1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    low, high = wilson_interval(int(hits.sum()), n)
    return Evaluation(
        n=n,
        accuracy=float(hits.sum() / n),
        low=low,
        high=high,
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1.mean()),
        per_class=[
            ClassScore(str(classes[i]), float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i in range(k)
        ],
        classes=[str(label) for label in classes],
        confusion_matrix=matrix.tolist(),
    )


def wilson_interval(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Parameters
    ----------
    hits, n : int
        Successes and trials, ``0 <= hits <= n`` and ``n > 0``.
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
    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    p = hits / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def paired_difference(
    y_true: ArrayLike, first: ArrayLike, second: ArrayLike, z: float = 1.959963984540054
) -> tuple[float, float, float]:
    """Accuracy of `first` minus that of `second` on the same images, with a 95% interval.

    Being right and wrong together cancels out, so the interval is narrower than that of two separate
    accuracies would suggest. Normal approximation over the images.

    Parameters
    ----------
    y_true, first, second : array-like, shape (n,)
        True labels and two sets of predictions.
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
    half = z * float(difference.std()) / math.sqrt(len(difference))
    return mean, mean - half, mean + half
