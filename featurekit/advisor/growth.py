"""More images or a better model? The learning curve of a head, its fit, and what twice the images would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..bootstrap import FEWEST_GROUPS
from ..evaluation import learning_curve
from ..heads import DEFAULT_HEAD
from ..proportions import Z95

SHARES = (0.12, 0.22, 0.36, 0.6, 1.0)
_SEEDS = 3
_CV = 3
_LEAST = 5  # images of a class below which errors follow another law
_EXPONENTS = np.linspace(0.05, 1.5, 30)
_DRAWS = 300


@dataclass(frozen=True, slots=True)
class Growth:
    """How accuracy grows with the number of images.

    Attributes
    ----------
    points : list of (rows, accuracy, low, high)
        Mean over the seeds of each size, in training rows, with 95% intervals: of the images that were scored, and of
        the draws of those that were learned from.
    limit, scale, exponent : float
        Of the fit ``error = limit + scale * rows ** -exponent``; not a number if there are fewer than three sizes to be
        fitted.
    doubled : (gain, low, high), or None
        What twice the images would add to the accuracy, by the fit, with a 95% interval.
    reason : str
        Why there is no fit; empty if there is.
    """

    points: list[tuple[float, float, float, float]]
    limit: float
    scale: float
    exponent: float
    doubled: tuple[float, float, float] | None
    reason: str = ""

    def sentence(self) -> str:
        """What it says."""
        if self.doubled is None:
            return f"learning curve: {self.reason}"
        gain, low, high = (100 * value for value in self.doubled)
        return (
            f"learning curve of frozen features: twice the images would bring {gain:+.1f} points ({low:+.1f} to "
            f"{high:+.1f}); beyond four times as many, the curve says nothing"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return {
            "points": [dict(zip(("rows", "accuracy", "low", "high"), point, strict=True)) for point in self.points],
            "limit": None if self.doubled is None else self.limit,
            "scale": None if self.doubled is None else self.scale,
            "exponent": None if self.doubled is None else self.exponent,
            "doubled": self.doubled,
            "reason": self.reason,
        }


def growth(
    X: ArrayLike,
    y: ArrayLike,
    head: Any = DEFAULT_HEAD,
    *,
    groups: ArrayLike | None = None,
    blocks: Sequence[int] | None = None,
) -> Growth:
    """Learning curves of three seeds over five sizes, and their fit.

    Sizes with fewer than five images of a class are shown, and left out of the fit: errors there follow another law. A
    single extrapolation is unreliable (R. Mahmood et al., "How much more data do I need?", 2022): the interval is that
    of refits to curves that are drawn within their own intervals, and does not hold that the law may be another one.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Classes.
    head : str or scikit-learn classifier
    groups : array-like, shape (n,), optional
        Rows of one group stay on one side.
    blocks : sequence of int, optional
        Numbers of the columns of each layer, for heads that know blocks.

    Returns
    -------
    Growth

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> found = growth(store.X, store.y, "centroid")
    >>> len(found.points), found.points[0][0] < found.points[-1][0]
    (5, True)
    """
    labels = np.asarray(y)
    curves = [
        learning_curve(X, labels, head, shares=SHARES, cv=_CV, seed=seed, groups=groups, blocks=blocks)
        for seed in range(_SEEDS)
    ]
    sizes = min(len(curve) for curve in curves)
    if not sizes:
        return Growth([], np.nan, np.nan, np.nan, None, "there are too few images of a class for one")
    if any(point.low is None for point in curves[0]):
        return Growth([], np.nan, np.nan, np.nan, None, f"there are fewer than {FEWEST_GROUPS} groups of images")
    rows = np.array([[point.rows for point in curve[:sizes]] for curve in curves]).mean(axis=0)
    accuracy = np.array([[point.accuracy for point in curve[:sizes]] for curve in curves])
    ends = np.array([[(point.low, point.high) for point in curve[:sizes]] for curve in curves], dtype=np.float64)
    widths = np.diff(ends, axis=2)[:, :, 0] / (2 * Z95)
    # The images that are scored are the same for every seed; which ones are learned from is drawn anew.
    spread = np.sqrt(np.mean(widths**2, axis=0) + accuracy.var(axis=0, ddof=1) / _SEEDS)
    mean = accuracy.mean(axis=0)
    points = [
        (float(n), float(a), float(max(a - Z95 * s, 0)), float(min(a + Z95 * s, 1)))
        for n, a, s in zip(rows, mean, spread, strict=True)
    ]
    least = float(np.unique(labels, return_counts=True)[1].min()) * rows / rows[-1] * (1 - 1 / _CV)
    fitted = least >= _LEAST
    if fitted.sum() < 3:
        why = f"fewer than three sizes have {_LEAST} images of each class or more, so that it cannot be extrapolated"
        return Growth(points, np.nan, np.nan, np.nan, None, why)
    n, error = rows[fitted], 1 - mean[fitted]
    # Seeds score the same images: what they share moves the whole curve, and says nothing of its slope.
    own = np.sqrt(accuracy.var(axis=0, ddof=1)[fitted] / _SEEDS + 0.25 * np.mean(widths**2, axis=0)[fitted])
    limit, scale, exponent = fit_power_law(n, error, own)
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(_DRAWS):
        drawn = fit_power_law(n, np.clip(error + own * rng.normal(size=len(n)), 0, 1), own)
        gains.append(_gain(drawn, len(labels)))
    low, high = np.percentile(gains, [2.5, 97.5])
    return Growth(
        points, limit, scale, exponent, (_gain((limit, scale, exponent), len(labels)), float(low), float(high))
    )


def _gain(law: tuple[float, float, float], n: int) -> float:
    _, scale, exponent = law
    return float(scale * (n**-exponent - (2 * n) ** -exponent))


def fit_power_law(
    rows: Sequence[float] | NDArray[np.float64], error: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fit ``error = limit + scale * rows ** -exponent``, limit and scale not below 0, by weighted least squares.

    Parameters
    ----------
    rows : array-like, shape (sizes,)
    error : ndarray, shape (sizes,)
    spread : ndarray, shape (sizes,)
        Standard errors.

    Returns
    -------
    limit, scale, exponent : float

    Examples
    --------
    >>> n = np.array([50, 100, 200, 400.0])
    >>> [round(value, 2) for value in fit_power_law(n, 0.1 + 2 * n**-0.5, np.full(4, 0.01))]
    [0.1, 2.0, 0.5]
    """
    from scipy.optimize import nnls

    n, weights = np.asarray(rows, dtype=np.float64), 1 / np.maximum(spread, 1e-4)
    best = (np.inf, 0.0, 0.0, 0.0)
    for exponent in _EXPONENTS:
        table = np.stack([np.ones_like(n), n**-exponent], axis=1) * weights[:, np.newaxis]
        (limit, scale), misfit = nnls(table, error * weights)
        if misfit < best[0]:
            best = (misfit, float(limit), float(scale), float(exponent))
    return best[1:]
