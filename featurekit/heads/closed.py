"""Linear estimators that are solved in closed form, from sums over the rows: ridge regression, LDA, nearest centroid.

Rows need not be in memory for that: see `fit_batches`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batches import FitsInBatches, Moments
from .classifier import PathClassifier, PathRegressor
from .descent import Array
from .linear import Axes
from .path import Targets


class ClosedPath(FitsInBatches):
    """A linear estimator that needs no more of the rows than their moments."""

    _warm_start = False

    def _path(
        self, prepared: Axes, targets: Targets, weights: Array, candidates: Sequence[float]
    ) -> Iterator[tuple[Array, Array]]:
        return self._solve(Moments.of(prepared.rows, self._answers(targets), weights), candidates)

    def _answers(self, targets: Targets) -> Array:
        """What the rows are related to, shape (n, c): by default, the targets."""
        return targets.columns

    @abstractmethod
    def _solve(self, moments: Moments, candidates: Sequence[float]) -> Iterator[tuple[Array, Array]]:
        """W, shape (d, c), and b, shape (c,), of each candidate."""


class _Ridge(ClosedPath):
    _unit_rows = True

    def _solve(self, moments: Moments, candidates: Sequence[float]) -> Iterator[tuple[Array, Array]]:
        from scipy.linalg import eigh

        mean, middle = moments.mean, moments.answers / moments.mass
        powers, axes = eigh(moments.centred())
        seen = axes.T @ (moments.products - np.outer(mean, moments.answers)).astype(axes.dtype)
        for C in candidates:
            W = axes @ (seen / (np.maximum(powers, 0) + 1 / C)[:, np.newaxis]).astype(axes.dtype)
            yield W, (middle - mean @ W).astype(axes.dtype)


class RidgePath(PathClassifier, _Ridge):
    """Ridge regression of each class against the others, with its path, on rows of length 1.

    Solved for all strengths from one decomposition.

    Parameters
    ----------
    Cs : sequence of float
        ``1 / alpha`` of scikit-learn's ``RidgeClassifier``, ascending.
    cv, class_weight, random_state
        As in `LogisticRegressionPath`; so are the attributes.

    Examples
    --------
    >>> from featurekit.heads import RidgePath
    >>> store = getfixture("digits_store")
    >>> RidgePath().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    def __init__(
        self,
        Cs: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)

    def _answers(self, targets: Targets) -> Array:
        return 2 * targets.columns - 1


class RidgeRegressionPath(PathRegressor, _Ridge):
    """Ridge regression of numbers, with its path, on rows of length 1.

    Parameters
    ----------
    Cs : sequence of float
        ``1 / alpha`` of scikit-learn's ``Ridge``, ascending.
    cv, random_state
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    coef_ : ndarray, shape (t, d)
        Of targets that were divided by their deviation.
    C_ : float
        The best of `Cs`.
    scores_ : ndarray, shape (folds, len(Cs))
        R squared, about the variance of all targets.
    deviation_ : ndarray, shape (t,)
        Root mean squared error for rows that were not fitted on: about how far off a prediction is. NaN where nothing
        could be cross-validated.

    Examples
    --------
    >>> from featurekit.heads import RidgeRegressionPath
    >>> store = getfixture("digits_store")
    >>> RidgeRegressionPath().fit(store.X[::2], store.y[::2].astype(float)).predict(store.X[1::2]).shape
    (30,)
    """

    def __init__(
        self,
        Cs: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        *,
        cv: Any = 5,
        random_state: int = 0,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.random_state = random_state


class LDAPath(PathClassifier, ClosedPath):
    """Linear discriminant analysis with a path of shrinkages, on scaled columns (see `LogisticRegressionPath`).

    The covariance within the classes gets the mean of its eigenvalues (without those of 0) over C added to each axis.

    Parameters
    ----------
    Cs : sequence of float
        Ascending: the larger, the less shrinkage.
    cv, class_weight, random_state, blocks
        As in `LogisticRegressionPath`; so are the attributes.

    References
    ----------
    J. H. Friedman, "Regularized Discriminant Analysis", 1989.

    Examples
    --------
    >>> from featurekit.heads import LDAPath
    >>> store = getfixture("digits_store")
    >>> LDAPath().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    _multilabel = False

    def __init__(
        self,
        Cs: Sequence[float] = (0.3, 1.0, 3.0, 10.0, 30.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)
        self.blocks = blocks

    def _answers(self, targets: Targets) -> Array:
        return _of_each(targets)

    def _solve(self, moments: Moments, candidates: Sequence[float]) -> Iterator[tuple[Array, Array]]:
        from scipy.linalg import eigh

        means, masses = moments.means, moments.answers
        inside = (moments.squares - (means.T * masses) @ means) / moments.mass
        powers, axes = eigh(inside.astype(moments.dtype))
        turned = means.astype(axes.dtype) @ axes
        # Of the axes that the rows vary along: how many more there are depends on how the rows are written down.
        usual = max(float(powers[powers > 1e-5 * powers[-1]].mean()), 1e-12) if powers[-1] > 0 else 1e-12
        for C in candidates:
            slopes = turned / (np.maximum(powers, 0) + usual / C)
            offsets = np.log(np.maximum(masses, 1e-12) / moments.mass) - np.einsum("ij,ij->i", slopes, turned) / 2
            yield _of_two((axes @ slopes.T).astype(axes.dtype), offsets.astype(axes.dtype))


class NearestCentroid(PathClassifier, ClosedPath):
    """The class whose mean is nearest, on rows of length 1. Nothing is tuned but the temperature.

    Parameters
    ----------
    cv, random_state
        As in `LogisticRegressionPath`; so are the attributes.

    Examples
    --------
    >>> from featurekit.heads import NearestCentroid
    >>> store = getfixture("digits_store")
    >>> NearestCentroid().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    _multilabel = False
    _unit_rows = True
    _rotated = False
    _needs_squares = False

    def __init__(self, *, cv: Any = 5, random_state: int = 0) -> None:
        self.cv = cv
        self.random_state = random_state

    def _candidates(self) -> list[float]:
        return [1.0]

    def _answers(self, targets: Targets) -> Array:
        return _of_each(targets)

    def _solve(self, moments: Moments, candidates: Sequence[float]) -> Iterator[tuple[Array, Array]]:
        means = moments.means.astype(moments.dtype)
        yield _of_two(2 * means.T, -np.einsum("ij,ij->i", means, means))


def _of_each(targets: Targets) -> Array:
    """A column for each class, also of two."""
    columns = targets.columns
    return np.hstack([1 - columns, columns]) if columns.shape[1] == 1 else columns


def _of_two(W: Array, b: Array) -> tuple[Array, Array]:
    """For two classes one decision value, that of the second minus that of the first."""
    return (W[:, 1:] - W[:, :1], b[1:] - b[:1]) if len(b) == 2 else (W, b)
