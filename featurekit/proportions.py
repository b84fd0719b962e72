"""Shares of right answers, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import FEWEST_GROUPS, Interval

Z95 = 1.959963984540054
"""Quantile of the normal distribution: of a two-sided interval of 95%."""


@dataclass(frozen=True, slots=True)
class Abstention:
    """What a classifier scored where it was sure enough.

    Attributes
    ----------
    below : float
        It says nothing where its largest probability is below this.
    answered : float
        Fraction of the images that got an answer.
    accuracy, low, high : float or None
        Fraction of right answers, and its 95% interval; None without any. The interval is None as well where the
        images that are answered are in too few groups for one.
    """

    below: float
    answered: float
    accuracy: float | None
    low: float | None
    high: float | None


def wilson_interval(p: float, n: float, z: float = Z95) -> tuple[float, float]:
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

    Raises
    ------
    ValueError
        If `p` is no fraction (the number of successes, say), or `n` is not above 0.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples
    --------
    >>> low, high = wilson_interval(0.9, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be the fraction of successes, expected 0 to 1, got {p}")
    if not n > 0:
        raise ValueError(f"n must be the number of trials, expected more than 0, got {n}")
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def grouped_wilson(hit: NDArray[Any], ids: NDArray[np.intp], images: int | None = None) -> Interval:
    """Wilson score interval of the share of hits, with as many images as the groups leave independent.

    Parameters
    ----------
    hit : ndarray of bool, shape (n,)
    ids : ndarray of int, shape (n,)
        Numbers of the groups, from 0.
    images : int, optional
        Different images, if some are there several times. Default: n.

    Returns
    -------
    low, high : float or None
        None if there are fewer groups than `FEWEST_GROUPS`, and fewer than images.
    """
    groups = int(ids.max()) + 1
    if groups < min(len(hit) if images is None else images, FEWEST_GROUPS):
        return None, None
    return wilson_interval(float(hit.mean()), independent_images(hit, ids))


def independent_images(hit: NDArray[Any], ids: NDArray[np.intp]) -> float:
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


def abstain(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    surest: ArrayLike,
    below: float,
    groups: ArrayLike | None = None,
) -> Abstention:
    """Score predicted labels where they are sure enough.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n,)
        Labels; compared as text.
    surest : array-like, shape (n,)
        Probability of the predicted label.
    below : float
        Answers of a lower probability are held back.
    groups : array-like, shape (n,), optional
        As in :func:`evaluate_predictions`.

    Returns
    -------
    Abstention

    Examples
    --------
    >>> abstain(["a", "a", "b"], ["a", "b", "b"], [0.9, 0.5, 0.8], 0.6).accuracy
    1.0
    """
    answered = np.asarray(surest) >= below
    if not answered.any():
        return Abstention(below, 0.0, None, None, None)
    hit = (np.asarray(y_true).astype(str) == np.asarray(y_pred).astype(str))[answered]
    ids = np.arange(len(hit))
    if groups is not None:
        ids = np.unique(np.asarray(groups)[answered], return_inverse=True)[1]
    accuracy = float(hit.mean())
    low, high = grouped_wilson(hit, ids)
    return Abstention(below, float(answered.mean()), accuracy, low, high)
