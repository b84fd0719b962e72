"""Estimators with a path: a few strengths of regularisation, cross-validated together, the best refitted on all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..splits import can_be_split, folds, plain_folds
from .descent import Array

Split = tuple[Array, Array]

_LEAST_WEIGHT = 1e-100


class Targets(NamedTuple):
    """What is learned from the rows.

    `columns`, shape (n, c): 0 or 1 for each class (of two classes only for the second) or for each label, or numbers.
    `codes`, shape (n,): numbers of the classes, where each row is of one.
    """

    columns: Array
    codes: Array | None

    def part(self, chosen: Any) -> Targets:
        """Those of some of the rows."""
        return Targets(self.columns[chosen], None if self.codes is None else self.codes[chosen])


class Problem(NamedTuple):
    """Rows that count, what is learned from them, how much each counts, folds, and what is compared."""

    targets: Targets
    weights: Array
    splits: list[Split]
    candidates: Sequence[Any]


class Path(BaseEstimator):
    """What the estimators with a path have in common. A subclass says what is fitted, and on what."""

    _warm_start = True  # whether a candidate is found sooner by way of those before it

    def __init__(self, Cs: Sequence[float], cv: Any, class_weight: Any, random_state: int) -> None:
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Cross-validate the path and fit the best candidate.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Rows; float32 is computed in float32.
        y : array-like, shape (n,), or (n, k)
            Of a classifier: labels of any type, or of shape (n, k) a column of 0 or 1 for each label that a row may
            have beside others. Of a regressor: numbers.
        sample_weight : array-like, shape (n,), optional
            How much each row counts, in the fit and in the scores that choose the candidate.
        groups : array-like, shape (n,), optional
            Rows of one group stay in one fold.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the rows or targets cannot be used, or the path is empty or not positive and ascending.
        """
        rows = validate_data(self, X, dtype=[np.float32, np.float64])
        counting, problem = self._begin(y, len(rows), rows.dtype, sample_weight, groups)
        targets, weights, splits, candidates = problem
        with own_threads() as pool:
            prepared = self._prepare(rows[counting], weights)
            # What is fitted on all rows in the end is fitted beside the folds, where that is no detour.
            whole = pool.submit(self._all, prepared, targets, weights, candidates) if self._warm_start else None
            fitted = pool.map(lambda split: self._decisions(prepared, targets, weights, candidates, *split), splits)
            decisions = list(fitted)
            best = len(candidates) // 2
            self.scores_ = np.full((len(splits), len(candidates)), np.nan)
            if splits:
                for number, (decided, (_, test)) in enumerate(zip(decisions, splits, strict=True)):
                    each = self._rate(decided, targets.part(test))
                    self.scores_[number] = np.average(each, axis=1, weights=weights[test])
                held_out = np.concatenate([test for _, test in splits])
                unseen = np.concatenate(decisions, axis=1)
                best = self._choose(unseen, targets.part(held_out), weights[held_out])
            else:
                self._choose_nothing()
            if whole is not None:
                model = whole.result()[best]
            else:
                (model,) = self._path(prepared, targets, weights, candidates[best : best + 1])
        self.best_index_ = best
        self._keep(prepared, model, candidates[best])
        return self

    @property
    def best_scores_(self) -> Array:
        """Score of the chosen candidate in each fold, shape (folds,); empty where nothing could be cross-validated."""
        scores: Array = self.scores_
        if not len(scores):
            return np.empty(0)
        # Heads that an earlier version fitted do not say which candidate they chose.
        best = getattr(self, "best_index_", int(scores.mean(axis=0).argmax()))
        chosen: Array = scores[:, best]
        return chosen

    def _begin(
        self, y: ArrayLike, n: int, dtype: Any, sample_weight: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[Array, Problem]:
        """Which rows count, and everything about them but themselves."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        given = self._check_targets(y)
        check_consistent_length(np.empty(n), given, groups)
        candidates = self._candidates()
        weights = _check_sample_weight(
            sample_weight, np.empty((n, 1), dtype=np.float64), dtype=np.float64, ensure_non_negative=True
        )
        weights = weights * self._class_weights(given)
        if not (weights >= 0).all():
            raise ValueError("weights must not be negative")
        if weights.size and 0 < weights.max() < _LEAST_WEIGHT:
            raise ValueError(f"the largest weight is {weights.max():g}: too small to compute with")
        counting = np.flatnonzero(weights)
        targets = self._targets(given[counting], dtype)
        splits = self._splits(given, groups, counting)
        return counting, Problem(targets, weights[counting], splits, candidates)

    def _splits(self, y: Array, groups: ArrayLike | None, counting: Array) -> list[Split]:
        """The folds, of the rows that count only."""
        ids = None if groups is None else np.asarray(groups)
        if isinstance(self.cv, int | np.integer):
            known = None if ids is None else ids[counting]
            if self._stratified(y):
                return _folds(y[counting], int(self.cv), self.random_state, known)
            return plain_folds(len(counting), int(self.cv), self.random_state, known)
        place = np.full(len(y), -1)
        place[counting] = np.arange(len(counting))
        given = self.cv.split(y, y, ids) if hasattr(self.cv, "split") else self.cv
        moved = [tuple(place[np.asarray(part)] for part in split) for split in given]
        return [(train[train >= 0], test[test >= 0]) for train, test in moved]

    def _decisions(
        self, prepared: Any, targets: Targets, weights: Array, candidates: Sequence[Any], train: Array, test: Array
    ) -> Array:
        """Decision values of every candidate for rows that it was not fitted on, shape (candidates, n, c)."""
        models = self._path(self._part(prepared, train), targets.part(train), weights[train], candidates)
        return np.stack([self._apply(prepared, test, model) for model in models])

    def _all(self, prepared: Any, targets: Targets, weights: Array, candidates: Sequence[Any]) -> list[Any]:
        return list(self._path(prepared, targets, weights, candidates))

    def _decide_checked(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        return self._decide(validate_data(self, X, dtype=[np.float32, np.float64], reset=False))

    def _checked_Cs(self) -> list[float]:
        Cs = [float(C) for C in np.atleast_1d(self.Cs)]
        if not Cs or not all(0 < a < b for a, b in zip(Cs, [*Cs[1:], np.inf], strict=True)):
            raise ValueError(f"Cs must be positive and ascending, got {self.Cs!r}")
        return Cs

    def _candidates(self) -> Sequence[Any]:
        """What is compared, from the most regularised; the middle one is taken where nothing can be compared."""
        return self._checked_Cs()

    # What is learned: a classifier or a regressor says.

    @abstractmethod
    def _check_targets(self, y: ArrayLike) -> Array:
        """The targets as an array of shape (n,) or (n, c)."""

    @abstractmethod
    def _class_weights(self, y: Array) -> Any:
        """What the weight of each row is multiplied by."""

    @abstractmethod
    def _targets(self, y: Array, dtype: Any) -> Targets:
        """The targets of the rows that count, as they are fitted."""

    @abstractmethod
    def _stratified(self, y: Array) -> bool:
        """Whether folds hold alike shares of each class."""

    @abstractmethod
    def _rate(self, decisions: Array, targets: Targets) -> Array:
        """How good the decision values of each candidate for each row are, shape (candidates, n); their mean counts."""

    @abstractmethod
    def _choose(self, decisions: Array, targets: Targets, weights: Array) -> int:
        """The best candidate, by `scores_` and by the decision values for rows that it has not seen."""

    @abstractmethod
    def _choose_nothing(self) -> None:
        """Nothing could be cross-validated."""

    # How it is learned: a subclass says.

    @abstractmethod
    def _prepare(self, X: Array, weights: Array) -> Any:
        """The rows in the form that is fitted."""

    @abstractmethod
    def _part(self, prepared: Any, chosen: Array) -> Any:
        """Some of the rows, to be fitted on."""

    @abstractmethod
    def _path(self, prepared: Any, targets: Targets, weights: Array, candidates: Sequence[Any]) -> Iterator[Any]:
        """Fit the candidates, one after the other."""

    @abstractmethod
    def _apply(self, prepared: Any, chosen: Array, model: Any) -> Array:
        """Decision values of some of the prepared rows, shape (n, c)."""

    @abstractmethod
    def _keep(self, prepared: Any, model: Any, candidate: Any) -> None:
        """Set the fitted attributes."""

    @abstractmethod
    def _decide(self, X: Array) -> Array:
        """Decision values of new rows, shape (n, c)."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _folds(labels: Array, cv: int, seed: int, groups: Array | None) -> list[Split]:
    """Folds, in which a class of a single image or group is always trained on and never held out."""
    able = can_be_split(labels, groups)
    if able.all():
        return folds(labels, cv, seed, groups)
    inside, always = np.flatnonzero(able), np.flatnonzero(~able)
    if len(np.unique(labels[inside])) < 2:
        return []
    splits = folds(labels[inside], cv, seed, None if groups is None else groups[inside])
    return [(np.sort(np.concatenate([inside[train], always])), inside[test]) for train, test in splits]


@contextmanager
def own_threads() -> Iterator[ThreadPoolExecutor]:
    """One thread for each processor, each with a BLAS of one thread.

    Folds side by side need no waiting for each other. Threads inside of every small product wait at each of
    them, and where other processes want the processors, too, they wait for most of the time.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(joblib.cpu_count(), thread_name_prefix="featurekit-head") as pool:
        yield pool
