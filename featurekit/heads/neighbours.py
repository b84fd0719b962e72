"""k nearest neighbours, with a path over k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .descent import Array
from .linear import unit_length
from .path import PathClassifier

_BLOCK = 1024  # rows whose similarities are computed at once


class _Neighbours(NamedTuple):
    """Rows of length 1, and which of them are remembered."""

    rows: Array
    chosen: Array


class _Model(NamedTuple):
    """Remembered rows, what they vote for (a column for each class), and how many are asked."""

    rows: Array
    votes: Array
    k: int


class NearestNeighbours(PathClassifier):
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
        As in `LogisticRegressionPath`; decision values are logarithms of the shares of the votes.
    k_ : int
        The best of `ks`.

    Examples
    --------
    >>> from featurekit.heads import NearestNeighbours
    >>> store = getfixture("digits_store")
    >>> NearestNeighbours().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    _warm_start = False

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

    def _candidates(self) -> list[int]:
        ks = [int(k) for k in np.atleast_1d(self.ks)]
        if not ks or not all(a > b > 0 for a, b in zip([np.inf, *ks], ks, strict=False)):
            raise ValueError(f"ks must be positive and descending, got {self.ks!r}")
        return ks

    def _prepare(self, X: Array, weights: Array) -> _Neighbours:
        return _Neighbours(unit_length(X), np.arange(len(X)))

    def _part(self, prepared: _Neighbours, chosen: Array) -> _Neighbours:
        return prepared._replace(chosen=chosen)

    def _path(self, prepared: _Neighbours, codes: Array, weights: Array, candidates: Sequence[int]) -> Iterator[_Model]:
        votes = np.zeros((len(codes), len(self.classes_)), dtype=prepared.rows.dtype)
        votes[np.arange(len(codes)), codes] = weights
        for k in candidates:
            yield _Model(prepared.rows[prepared.chosen], votes, min(k, len(codes)))

    def _apply(self, prepared: _Neighbours, chosen: Array, model: _Model) -> Array:
        return _decisions(prepared.rows[chosen], model)

    def _keep(self, prepared: _Neighbours, model: _Model, candidate: int) -> None:
        self.rows_, self.votes_, self.k_ = model

    def _decide(self, X: Array) -> Array:
        return _decisions(unit_length(X), _Model(self.rows_, self.votes_, self.k_))


def _decisions(rows: Array, model: _Model) -> Array:
    parts = []
    for start in range(0, len(rows), _BLOCK):
        similar = rows[start : start + _BLOCK] @ model.rows.T
        nearest = np.argpartition(similar, -model.k, axis=1)[:, -model.k :]
        distances = 1 - np.take_along_axis(similar, nearest, axis=1)
        strength = 1 / np.maximum(distances, 1e-6)
        shares = np.einsum("ij,ijk->ik", strength, model.votes[nearest])
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(shares.dtype).tiny)
        parts.append(np.log(shares + 1e-2))  # so that no class is impossible
    decisions = np.concatenate(parts)
    return decisions[:, 1:] - decisions[:, :1] if decisions.shape[1] == 2 else decisions
