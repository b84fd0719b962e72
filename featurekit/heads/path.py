"""Classifiers with a path: a few strengths of regularisation, cross-validated together, the best refitted on all."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..splits import folds
from .descent import Array, log_probabilities, probabilities


def _has_temperature(classifier: PathClassifier) -> bool:
    check_is_fitted(classifier)
    return hasattr(classifier, "temperature_")


class PathClassifier(ClassifierMixin, BaseEstimator):
    """What the classifiers with a path have in common. A subclass says what is fitted, and on what.

    The candidates of the path are compared by cross-validated accuracy, equal ones by likelihood, and the best is
    fitted on all rows. The decision values that the folds gave for rows they had not
    seen also calibrate the probabilities: a temperature is fitted to them, which leaves the predicted class as
    it was (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    """

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
        y : array-like, shape (n,)
            Labels of any type.
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
            If the rows or labels cannot be used, or the path is empty or not positive and ascending.
        """
        with warnings.catch_warnings():
            # Many classes of few rows are no reason to think of regression.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            rows, labels = validate_data(self, X, y, dtype=[np.float32, np.float64])
            check_classification_targets(labels)
        check_consistent_length(rows, groups)
        candidates = self._candidates()
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
        if getattr(self, "class_weight", None) is not None:
            weights = weights * compute_sample_weight(self.class_weight, labels)
        if not (weights >= 0).all():
            raise ValueError("weights must not be negative")
        counting = np.flatnonzero(weights)
        if len(np.unique(labels[counting])) < 2:
            raise ValueError("a classifier needs two classes or more, and the rows that count are of one class or none")
        splits = self._splits(labels, groups, counting)
        rows, labels, weights = rows[counting], labels[counting], weights[counting]
        self.classes_, codes = np.unique(labels, return_inverse=True)
        with _own_threads() as pool:
            prepared = self._prepare(rows, weights)
            # What is fitted on all rows in the end is fitted beside the folds, where that is no detour.
            whole = pool.submit(self._all, prepared, codes, weights, candidates) if self._warm_start else None
            fitted = pool.map(lambda split: self._decisions(prepared, codes, weights, candidates, *split), splits)
            decisions = list(fitted)
            best, temperature = len(candidates) // 2, None
            self.scores_ = np.full((len(splits), len(candidates)), np.nan)
            if splits:
                for number, (decided, (_, test)) in enumerate(zip(decisions, splits, strict=True)):
                    hits = _chosen(decided) == codes[test]
                    self.scores_[number] = np.average(hits, axis=1, weights=weights[test])
                held_out = np.concatenate([test for _, test in splits])
                unseen = np.concatenate(decisions, axis=1)
                means = self.scores_.mean(axis=0)
                best, temperature = _likeliest(
                    np.flatnonzero(means > means.max() - 1e-9), unseen, codes[held_out], weights[held_out]
                )
            if whole is not None:
                model = whole.result()[best]
            else:
                (model,) = self._path(prepared, codes, weights, candidates[best : best + 1])
        if temperature is not None:
            self.temperature_ = temperature
        elif hasattr(self, "temperature_"):
            del self.temperature_
        self._keep(prepared, model, candidates[best])
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Decision values, shape (n, n_classes), or (n,) for two classes, where positive means ``classes_[1]``.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        check_is_fitted(self)
        values = self._decide(validate_data(self, X, dtype=[np.float32, np.float64], reset=False))
        return values[:, 0] if values.shape[1] == 1 else values

    def predict(self, X: ArrayLike) -> Array:
        """Predicted labels, shape (n,).

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values = self.decision_function(X)
        chosen: Array = self.classes_[(values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)]
        return chosen

    @available_if(_has_temperature)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Calibrated probabilities, shape (n, n_classes): softmax of the decision values over the temperature.

        There unless a class had a single row (or group), so that nothing could be cross-validated.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values = self.decision_function(X)
        return probabilities((values[:, np.newaxis] if values.ndim == 1 else values) / self.temperature_)

    def _splits(self, y: Array, groups: ArrayLike | None, counting: Array) -> list[tuple[Array, Array]]:
        """The folds, of the rows that count only."""
        ids = None if groups is None else np.asarray(groups)
        if isinstance(self.cv, int | np.integer):
            return folds(y[counting], int(self.cv), self.random_state, None if ids is None else ids[counting])
        place = np.full(len(y), -1)
        place[counting] = np.arange(len(counting))
        given = self.cv.split(y, y, ids) if hasattr(self.cv, "split") else self.cv
        moved = [tuple(place[np.asarray(part)] for part in split) for split in given]
        return [(train[train >= 0], test[test >= 0]) for train, test in moved]

    def _decisions(
        self, prepared: Any, codes: Array, weights: Array, candidates: Sequence[Any], train: Array, test: Array
    ) -> Array:
        """Decision values of every candidate for rows that it was not fitted on, shape (candidates, n, c)."""
        models = self._path(self._part(prepared, train), codes[train], weights[train], candidates)
        return np.stack([self._apply(prepared, test, model) for model in models])

    def _all(self, prepared: Any, codes: Array, weights: Array, candidates: Sequence[Any]) -> list[Any]:
        return list(self._path(prepared, codes, weights, candidates))

    def _checked_Cs(self) -> list[float]:
        Cs = [float(C) for C in np.atleast_1d(self.Cs)]
        if not Cs or not all(0 < a < b for a, b in zip(Cs, [*Cs[1:], np.inf], strict=True)):
            raise ValueError(f"Cs must be positive and ascending, got {self.Cs!r}")
        return Cs

    def _candidates(self) -> Sequence[Any]:
        """What is compared, from the most regularised; the middle one is taken where nothing can be compared."""
        return self._checked_Cs()

    @abstractmethod
    def _prepare(self, X: Array, weights: Array) -> Any:
        """The rows in the form that is fitted."""

    @abstractmethod
    def _part(self, prepared: Any, chosen: Array) -> Any:
        """Some of the rows, to be fitted on."""

    @abstractmethod
    def _path(self, prepared: Any, codes: Array, weights: Array, candidates: Sequence[Any]) -> Iterator[Any]:
        """Fit the candidates, one after the other."""

    @abstractmethod
    def _apply(self, prepared: Any, chosen: Array, model: Any) -> Array:
        """Decision values of some of the prepared rows, shape (n, c); c is 1 for two classes."""

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


def targets_of(codes: Array, number: int, dtype: Any) -> Array:
    """Class numbers as a column of zeros and ones for each class; for two classes only for the second."""
    columns = np.zeros((len(codes), number), dtype=dtype)
    columns[np.arange(len(codes)), codes] = 1
    return columns[:, 1:] if number == 2 else columns


@contextmanager
def _own_threads() -> Iterator[ThreadPoolExecutor]:
    """One thread for each processor, each with a BLAS of one thread.

    Folds side by side need no waiting for each other. Threads inside of every small product wait at each of
    them, and where other processes want the processors, too, they wait for most of the time.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(joblib.cpu_count(), thread_name_prefix="featurekit-head") as pool:
        yield pool


def _chosen(decisions: Array) -> Array:
    """Class numbers, shape (candidates, n)."""
    result: Array = decisions[..., 0] > 0 if decisions.shape[-1] == 1 else decisions.argmax(axis=-1)
    return result


def _likeliest(equal: Array, decisions: Array, codes: Array, weights: Array) -> tuple[int, float]:
    """Of candidates that score equally, the one with the likeliest probabilities; and its temperature."""
    found = [(*_temperature(decisions[number], codes, weights), int(number)) for number in equal]
    _, temperature, best = min(found)
    return best, temperature


def _temperature(decisions: Array, codes: Array, weights: Array) -> tuple[float, float]:
    """The least mean of minus the logarithm of the true class' probability, and the temperature that gives it.

    As if two more rows had been of no particular class: where no fold makes a mistake, nothing else would keep the
    probabilities from becoming 0 and 1 (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
    """
    from scipy.optimize import minimize_scalar

    decisions = decisions.astype(np.float64)
    doubt = 2 / (len(codes) + 2)

    def mean_loss(log_temperature: float) -> float:
        logs = log_probabilities(decisions / np.exp(log_temperature))
        true = (1 - doubt) * logs[np.arange(len(codes)), codes] + doubt * logs.mean(axis=1)
        return float(np.average(-true, weights=weights))

    # Decision values are of any scale: a first guess makes the range a matter of shape.
    size = np.log(float(np.abs(decisions).mean()) or 1.0)
    found = minimize_scalar(mean_loss, bounds=(size - 7, size + 7), method="bounded")
    return float(found.fun), float(np.exp(found.x))
