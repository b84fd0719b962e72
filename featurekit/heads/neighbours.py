"""k nearest neighbours, with a path over k: of classes, of labels, of numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .classifier import PathClassifier, PathRegressor
from .descent import Array
from .linear import unit_length
from .path import Path, Targets

_BLOCK = 1024  # rows whose similarities are computed at once


class _Neighbours(NamedTuple):
    """Rows of length 1, and which of them are remembered."""

    rows: Array
    chosen: Array


class _Model(NamedTuple):
    """Remembered rows, what they vote for (shape (n, c)), how much each counts, and how many are asked."""

    rows: Array
    votes: Array
    weights: Array
    k: int


class NeighboursPath(Path):
    """What asks the k nearest by cosine."""

    _warm_start = False

    def _candidates(self) -> list[int]:
        ks = [int(k) for k in np.atleast_1d(self.ks)]
        if not ks or not all(a > b > 0 for a, b in zip([np.inf, *ks], ks, strict=False)):
            raise ValueError(f"ks must be positive and descending, got {self.ks!r}")
        return ks

    def _prepare(self, X: Array, weights: Array) -> _Neighbours:
        return _Neighbours(unit_length(X), np.arange(len(X)))

    def _part(self, prepared: _Neighbours, chosen: Array) -> _Neighbours:
        return prepared._replace(chosen=chosen)

    def _path(
        self, prepared: _Neighbours, targets: Targets, weights: Array, candidates: Sequence[int]
    ) -> Iterator[_Model]:
        share = weights.astype(prepared.rows.dtype)
        for k in candidates:
            yield _Model(prepared.rows[prepared.chosen], targets.columns, share, min(k, len(share)))

    def _apply(self, prepared: _Neighbours, chosen: Array, model: _Model) -> Array:
        return self._values(_asked(prepared.rows[chosen], model))

    def _keep(self, prepared: _Neighbours, model: _Model, candidate: int) -> None:
        self.rows_, self.votes_, self.weights_, self.k_ = model

    def _decide(self, X: Array) -> Array:
        return self._values(_asked(unit_length(X), _Model(self.rows_, self.votes_, self.weights_, self.k_)))

    @abstractmethod
    def _values(self, means: Array) -> Array:
        """Decision values, from the mean votes of the neighbours."""


class NearestNeighbours(PathClassifier, NeighboursPath):
    """The k nearest by cosine, each with a vote of one over its distance; k is chosen by cross-validation.

    Parameters
    ----------
    ks : sequence of int
        Numbers of neighbours, descending: the fewest are the least regularised.
    cv, class_weight, random_state
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    classes_, scores_, temperature_
        As in `LogisticRegressionPath`; decision values are logarithms of the shares of the votes (of two classes, and
        of labels, of their odds).
    k_ : int
        The best of `ks`.

    Examples
    --------
    >>> from featurekit.heads import NearestNeighbours
    >>> store = getfixture("digits_store")
    >>> NearestNeighbours().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    def __init__(
        self,
        ks: Sequence[int] = (50, 20, 10, 5, 3, 1),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
    ) -> None:
        self.ks = ks
        self.cv = cv
        self.class_weight = class_weight
        self.random_state = random_state

    def _values(self, means: Array) -> Array:
        # 0.01: so that nothing is impossible. A single column, or one of labels, is for or against.
        logs: Array = np.log(means + 1e-2)
        alone = self._of_labels or means.shape[1] == 1
        return logs - np.log(1 - means + 1e-2) if alone else logs


class NearestNeighboursRegression(PathRegressor, NeighboursPath):
    """The mean of the k nearest by cosine, each weighted by one over its distance; k is chosen by cross-validation.

    Parameters
    ----------
    ks : sequence of int
        Numbers of neighbours, descending: the fewest are the least regularised.
    cv, random_state
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    scores_, deviation_
        As in `RidgeRegressionPath`.
    k_ : int
        The best of `ks`.

    Examples
    --------
    >>> from featurekit.heads import NearestNeighboursRegression
    >>> store = getfixture("digits_store")
    >>> NearestNeighboursRegression().fit(store.X[::2], store.y[::2].astype(float)).predict(store.X[1::2]).shape
    (30,)
    """

    def __init__(self, ks: Sequence[int] = (50, 20, 10, 5, 3, 1), *, cv: Any = 5, random_state: int = 0) -> None:
        self.ks = ks
        self.cv = cv
        self.random_state = random_state

    def _values(self, means: Array) -> Array:
        return means


def _asked(rows: Array, model: _Model) -> Array:
    """Mean votes of the nearest, shape (n, c)."""
    parts = []
    for start in range(0, len(rows), _BLOCK):
        similar = rows[start : start + _BLOCK] @ model.rows.T
        nearest = np.argpartition(similar, -model.k, axis=1)[:, -model.k :]
        distances = 1 - np.take_along_axis(similar, nearest, axis=1)
        strength = model.weights[nearest] / np.maximum(distances, 1e-6)
        votes = np.einsum("ij,ijk->ik", strength, model.votes[nearest])
        parts.append(votes / np.maximum(strength.sum(axis=1, keepdims=True), np.finfo(votes.dtype).tiny))
    return np.concatenate(parts)
