"""Fitting on rows that are read a part at a time, because they do not fit into memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from .descent import Array
from .linear import Axes, LinearPath, scale_of, unit_length
from .path import Problem, Targets, own_threads

_MOST_KEPT = 2_000_000  # decision values from which the temperature is found
_NOTHING = np.empty(0)


class Moments(NamedTuple):
    """Weighted sums over rows, in float64: all that ridge regression and LDA need to know of them.

    `mass`: of the weights. `rows`, shape (d,); `squares`, shape (d, d), of the rows' outer products (or empty);
    `answers`, shape (c,), and `products`, shape (d, c), of rows by answers. `dtype`: of the rows, in which is solved.
    """

    mass: float
    rows: Array
    squares: Array
    answers: Array
    products: Array
    dtype: Any

    @classmethod
    def of(cls, X: Array, answers: Array, weights: Array, *, squares: bool = True) -> Moments:
        """Those of some rows."""
        weighted = X * weights.astype(X.dtype)[:, np.newaxis]
        return cls(
            float(weights.sum()),
            weighted.sum(axis=0, dtype=np.float64),
            (weighted.T @ X).astype(np.float64) if squares else _NOTHING,
            weights @ answers.astype(np.float64),
            (weighted.T @ answers).astype(np.float64),
            X.dtype,
        )

    def add(self, other: Moments, sign: int = 1) -> Moments:
        """Those of the rows of both; with a sign of -1, without the rows of the other."""
        return self._replace(
            mass=self.mass + sign * other.mass,
            rows=self.rows + sign * other.rows,
            squares=self.squares + sign * other.squares,
            answers=self.answers + sign * other.answers,
            products=self.products + sign * other.products,
        )

    def about(self, point: Array) -> Moments:
        """Those of the rows minus a point."""
        squares = self.squares
        if squares.size:
            squares = squares - np.outer(point, self.rows) - np.outer(self.rows, point)
            squares += self.mass * np.outer(point, point)
        products = self.products - np.outer(point, self.answers)
        return self._replace(rows=self.rows - self.mass * point, squares=squares, products=products)

    def scaled(self, scale: Array) -> Moments:
        """Those of the rows divided by `scale`."""
        squares = self.squares / np.outer(scale, scale) if self.squares.size else self.squares
        rows, products = self.rows / scale, self.products / scale[:, np.newaxis]
        return self._replace(rows=rows, squares=squares, products=products)

    @property
    def mean(self) -> Array:
        """Of the rows, shape (d,)."""
        result: Array = self.rows / self.mass
        return result

    @property
    def means(self) -> Array:
        """Of the rows of each answer, where these are 0 or 1, shape (c, d)."""
        result: Array = self.products.T / np.maximum(self.answers, np.finfo(float).tiny)[:, np.newaxis]
        return result

    def centred(self) -> Array:
        """Sum of the outer products of the rows without their mean, shape (d, d), in the dtype of the rows."""
        result: Array = (self.squares - np.outer(self.rows, self.mean)).astype(self.dtype)
        return result


class FitsInBatches(LinearPath):
    """A linear estimator that can be fitted on rows that are read a part at a time."""

    _needs_squares = True

    def fit_batches(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        batch_size: int = 4096,
    ) -> Self:
        """Fit on rows that are read twice, from the first to the last, and of which few are in memory at any time.

        The fit, the folds, and the choice are those of `fit`, to rounding: from the first pass come the sums of each
        fold, and the training rows of a fold are all but its own. From the second come the scores.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Whatever gives rows for a slice: ``store.X`` of a :class:`~featurekit.FeatureStore`, a ``numpy.memmap``,
            a dataset of h5py.
        y : array-like, shape (n,) or (n, k)
            Targets, as in `fit`.
        sample_weight : array-like, shape (n,), optional
            Rows of weight 0 are passed over.
        groups : array-like, shape (n,), optional
            As in `fit`.
        batch_size : int
            Rows that are read at once.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`.

        Examples
        --------
        >>> from featurekit.heads import LDAPath
        >>> store = getfixture("digits_store")
        >>> LDAPath().fit_batches(store.X, store.y, batch_size=16).score(store.X, store.y) > 0.9
        True
        """
        n, d = X.shape
        dtype = np.float64 if X.dtype == np.float64 else np.float32
        counting, problem = self._begin(y, n, dtype, sample_weight, groups)
        targets, weights, splits, candidates = problem
        self.n_features_in_ = d
        place = np.full(n, -1)
        place[counting] = np.arange(len(counting))
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size!r}")
        fold = np.full(len(counting), -1)
        for number, (train, test) in enumerate(splits):
            if (fold[test] >= 0).any() or len(train) + len(test) != len(counting) or np.intersect1d(train, test).size:
                raise ValueError(
                    "fit_batches needs folds: every row is held out at most once, and all others are trained on. Take "
                    "a number of folds, or fit on rows in memory"
                )
            fold[test] = number
        reading = _Reading(X, place, batch_size, dtype, self._unit_rows)
        # Sums of squares about a point amid the rows: about zero, rounding would be that of the mean.
        centre = reading.first().mean(axis=0, dtype=np.float64).astype(dtype)
        answers, sums = self._answers(targets), dict[int, Moments]()
        for rows, where in reading:
            rows -= centre
            for number in np.unique(fold[where]):
                here = fold[where] == number
                part = where[here]
                found = Moments.of(rows[here], answers[part], weights[part], squares=self._needs_squares)
                sums[number] = sums[number].add(found) if number in sums else found
        parts = list(sums.values())
        total = parts[0]
        for other in parts[1:]:
            total = total.add(other)
        scale = np.ones(d, dtype=dtype)
        if not self._unit_rows:
            variances = np.diag(total.squares) / total.mass - total.mean**2
            scale = scale_of(np.maximum(variances, 0).astype(dtype), self.blocks)
        mean = total.mean
        total = total.about(mean).scaled(scale)
        sums = {number: found.about(mean).scaled(scale) for number, found in sums.items()}
        prepared = Axes(_NOTHING, (centre + mean).astype(dtype), scale, None)
        with own_threads() as pool:
            training = (total.add(sums[number], -1) for number in range(len(splits)))
            models = list(pool.map(lambda moments: list(self._solve(moments, candidates)), training))
        best = len(candidates) // 2
        self.scores_ = np.full((len(splits), len(candidates)), np.nan)
        if splits:
            best = self._score_batches(reading, prepared, problem, fold, models)
        else:
            self._choose_nothing()
        (model,) = self._solve(total, candidates[best : best + 1])
        self.best_index_ = best
        self._keep(prepared, model, candidates[best])
        return self

    def _score_batches(
        self, reading: _Reading, prepared: Axes, problem: Problem, fold: Array, models: list[list[tuple[Array, Array]]]
    ) -> int:
        """Set the scores of each fold, and choose."""
        targets, weights, _, candidates = problem
        n, width = targets.columns.shape
        most = max(1000, _MOST_KEPT // (len(candidates) * width))
        rng = np.random.default_rng(self.random_state)
        chosen = fold >= 0 if n <= most else (fold >= 0) & (rng.random(n) < most / n)
        sums, masses, kept, held = np.zeros_like(self.scores_), np.zeros(len(models)), [], []
        for rows, where in reading:
            rows -= prepared.mean
            rows /= prepared.scale
            for number in np.unique(fold[where][fold[where] >= 0]):
                here = fold[where] == number
                part = where[here]
                decided = np.stack([rows[here] @ W + b for W, b in models[number]])
                sums[number] += self._rate(decided, targets.part(part)) @ weights[part]
                masses[number] += weights[part].sum()
                kept.append(decided[:, chosen[part]])
                held.append(part[chosen[part]])
        self.scores_ = sums / masses[:, np.newaxis]
        held_out = np.concatenate(held)
        return self._choose(np.concatenate(kept, axis=1), targets.part(held_out), weights[held_out])

    @abstractmethod
    def _answers(self, targets: Targets) -> Array:
        """What the rows are related to, shape (n, c)."""

    @abstractmethod
    def _solve(self, moments: Moments, candidates: Sequence[Any]) -> Iterator[tuple[Array, Array]]:
        """Fit the candidates from the moments."""


class _Reading:
    """The rows that count, a part at a time, with their numbers among these; as often as asked."""

    def __init__(self, X: Any, place: Array, batch_size: int, dtype: Any, unit_rows: bool) -> None:
        self._X, self._place, self._batch_size, self._dtype, self._unit_rows = X, place, batch_size, dtype, unit_rows

    def first(self) -> Array:
        """The first rows."""
        return next(iter(self))[0]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, len(self._place), self._batch_size):
            where = self._place[start : start + self._batch_size]
            if (where >= 0).any():
                rows = np.asarray(self._X[start : start + self._batch_size])[where >= 0]
                checked = check_array(rows, dtype=self._dtype, input_name="X")
                yield unit_length(checked) if self._unit_rows else checked, where[where >= 0]
