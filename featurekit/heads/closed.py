"""Linear classifiers that are solved in closed form: ridge regression, LDA, nearest centroid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .descent import Array
from .linear import Axes, LinearPath
from .path import targets_of


class RidgePath(LinearPath):
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

    _unit_rows = True
    _warm_start = False

    def __init__(
        self,
        Cs: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)

    def _path(
        self, prepared: Axes, codes: Array, weights: Array, candidates: Sequence[float]
    ) -> Iterator[tuple[Array, Array]]:
        from scipy.linalg import eigh

        rows, share = prepared.rows, weights.astype(prepared.rows.dtype)
        targets = 2 * targets_of(codes, len(self.classes_), rows.dtype) - 1
        mean, middle = share @ rows / share.sum(), share @ targets / share.sum()
        centred = rows - mean
        powers, axes = eigh(centred.T @ (share[:, np.newaxis] * centred))
        seen = axes.T @ (centred.T @ (share[:, np.newaxis] * (targets - middle)))
        for C in candidates:
            W = axes @ (seen / (powers + 1 / C)[:, np.newaxis]).astype(rows.dtype)
            yield W, middle - mean @ W


class LDAPath(LinearPath):
    """Linear discriminant analysis with a path of shrinkages, on scaled columns (see `LogisticRegressionPath`).

    The covariance within the classes gets its mean eigenvalue over C added to each axis.

    Parameters
    ----------
    Cs : sequence of float
        Ascending: the larger, the less shrinkage.
    cv, class_weight, random_state
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

    _warm_start = False

    def __init__(
        self,
        Cs: Sequence[float] = (0.3, 1.0, 3.0, 10.0, 30.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)

    def _path(
        self, prepared: Axes, codes: Array, weights: Array, candidates: Sequence[float]
    ) -> Iterator[tuple[Array, Array]]:
        from scipy.linalg import eigh

        rows, share = prepared.rows, weights.astype(prepared.rows.dtype)
        means, masses = _class_means(rows, codes, share, len(self.classes_))
        inside = rows - means[codes]
        powers, axes = eigh(inside.T @ (share[:, np.newaxis] * inside) / share.sum())
        turned = means @ axes
        for C in candidates:
            slopes = turned / (powers + max(float(powers.mean()), 1e-12) / C)
            offsets = np.log(masses / masses.sum()) - np.einsum("ij,ij->i", slopes, turned) / 2
            yield _of_two((axes @ slopes.T).astype(rows.dtype), offsets.astype(rows.dtype))


class NearestCentroid(LinearPath):
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

    _unit_rows = True
    _rotated = False
    _warm_start = False

    def __init__(self, *, cv: Any = 5, random_state: int = 0) -> None:
        self.cv = cv
        self.random_state = random_state

    def _candidates(self) -> list[float]:
        return [1.0]

    def _path(
        self, prepared: Axes, codes: Array, weights: Array, candidates: Sequence[float]
    ) -> Iterator[tuple[Array, Array]]:
        share = weights.astype(prepared.rows.dtype)
        means, _ = _class_means(prepared.rows, codes, share, len(self.classes_))
        yield _of_two(2 * means.T, -np.einsum("ij,ij->i", means, means))


def _class_means(rows: Array, codes: Array, share: Array, number: int) -> tuple[Array, Array]:
    """Means of the classes, shape (number, d), and the weight of each, shape (number,)."""
    members = np.zeros((number, len(rows)), dtype=rows.dtype)
    members[codes, np.arange(len(rows))] = share
    masses = members.sum(axis=1)
    return members @ rows / np.maximum(masses, np.finfo(rows.dtype).tiny)[:, np.newaxis], masses


def _of_two(W: Array, b: Array) -> tuple[Array, Array]:
    """For two classes one decision value, that of the second minus that of the first."""
    return (W[:, 1:] - W[:, :1], b[1:] - b[:1]) if len(b) == 2 else (W, b)
