"""What a path learns: classes, labels that do not exclude each other, or numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from ..labels import complete
from ..targets import is_table
from ..wording import count
from .descent import Array, log_probabilities, probabilities, sigmoid
from .path import Path, Targets


def _has_temperature(classifier: PathClassifier) -> bool:
    """Whether there are probabilities; before fitting, whether there usually will be."""
    return hasattr(classifier, "temperature_") or not hasattr(classifier, "classes_")


class PathClassifier(ClassifierMixin, Path):
    """A classifier with a path: of classes, or of labels that a row may have beside others.

    The candidates of the path are compared by cross-validated accuracy, equal ones by likelihood (of labels, all by
    likelihood), and the best is fitted on all rows. The decision values that the folds gave for rows they had not
    seen also calibrate the probabilities: a temperature is fitted to them, which leaves the predicted class as
    it was (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    """

    _multilabel = True  # whether it can learn labels that do not exclude each other

    def decision_function(self, X: ArrayLike) -> Array:
        """Decision values, shape (n, n_classes), or (n,) for two classes, where positive means ``classes_[1]``.

        Of labels, of shape (n, k): positive means that a row has the label.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values = self._decide_checked(X)
        return values[:, 0] if values.shape[1] == 1 else values

    def predict(self, X: ArrayLike) -> Array:
        """Predicted classes, shape (n,); of labels, 0 or 1, shape (n, k).

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values = self._decide_checked(X)
        chosen = _chosen(values, self._of_labels)
        result: Array = chosen.astype(int) if self._of_labels else self.classes_[chosen.astype(int)]
        return result

    @available_if(_has_temperature)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Calibrated probabilities, shape (n, n_classes): softmax of the decision values over the temperature.

        Of labels, of shape (n, k), each for itself. There unless fewer than two classes had two rows (or groups) or
        more, so that nothing could be cross-validated.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values = self._decide_checked(X) / self.temperature_
        return sigmoid(values) if self._of_labels else probabilities(values)

    @property
    def _of_labels(self) -> bool:
        return bool(getattr(self, "multilabel_", False))  # models of earlier versions do not say

    def _check_targets(self, y: ArrayLike) -> Array:
        with warnings.catch_warnings():
            # Many classes of few rows are no reason to think of regression.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            assert_all_finite(y, input_name="y")
            y = complete(y)
            if is_table(y):
                if not self._multilabel:
                    raise ValueError(
                        f"{type(self).__name__} learns one class for each row, and y has a column for each label"
                    )
                table: Array = check_array(y, dtype=np.int8, input_name="y")
                return table
            labels: Array = column_or_1d(y, warn=True)
            check_classification_targets(labels)
        return labels

    def _class_weights(self, y: Array) -> Any:
        weight = getattr(self, "class_weight", None)
        return 1.0 if weight is None else compute_sample_weight(weight, y)

    def _stratified(self, y: Array) -> bool:
        return y.ndim == 1

    def _targets(self, y: Array, dtype: Any) -> Targets:
        self.multilabel_ = y.ndim == 2
        if self.multilabel_:
            if not len(y) or not (y != y[0]).any():
                raise ValueError("a classifier needs a label that some rows have and others have not")
            self.classes_ = np.arange(y.shape[1])
            return Targets(y.astype(dtype), None)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "a classifier needs two classes or more, and the rows that count are of "
                + count(len(self.classes_), "class", "classes")
            )
        columns = np.zeros((len(codes), len(self.classes_)), dtype=dtype)
        columns[np.arange(len(codes)), codes] = 1
        return Targets(columns[:, 1:] if len(self.classes_) == 2 else columns, codes)

    def _rate(self, decisions: Array, targets: Targets) -> Array:
        chosen = _chosen(decisions, targets.codes is None)
        hits: Array = (chosen == targets.columns).all(axis=-1) if targets.codes is None else chosen == targets.codes
        return hits

    def _choose(self, decisions: Array, targets: Targets, weights: Array) -> int:
        means = self.scores_.mean(axis=0)
        equal = np.arange(len(means)) if targets.codes is None else np.flatnonzero(means > means.max() - 1e-9)
        found = [(*temperature_of(decisions[number], targets, weights), int(number)) for number in equal]
        _, self.temperature_, best = min(found)
        return best

    def _choose_nothing(self) -> None:
        if hasattr(self, "temperature_"):
            del self.temperature_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._multilabel
        return tags


class PathRegressor(RegressorMixin, Path):
    """A regressor with a path: the candidates are compared by cross-validated squared error."""

    def predict(self, X: ArrayLike) -> Array:
        """Predicted numbers, shape (n,), or (n, t) if there were several for each row.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        values: Array = self._decide_checked(X) * self.spread_ + self.centre_
        return values[:, 0] if self._single else values

    def _check_targets(self, y: ArrayLike) -> Array:
        values: Array = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        return values

    def _class_weights(self, y: Array) -> Any:
        return 1.0

    def _stratified(self, y: Array) -> bool:
        return False

    def _targets(self, y: Array, dtype: Any) -> Targets:
        if not len(y):
            raise ValueError("no row counts")
        self._single = y.ndim == 1
        columns = y[:, np.newaxis] if self._single else y
        # Numbers of any unit: strengths and widths mean the same for all.
        self.centre_, self.spread_ = columns.mean(axis=0), columns.std(axis=0)
        self.spread_[~(self.spread_ > 0)] = 1
        return Targets(((columns - self.centre_) / self.spread_).astype(dtype), None)

    def _rate(self, decisions: Array, targets: Targets) -> Array:
        """One minus the squared error: its mean is the share of the variance that is explained, R squared."""
        rated: Array = 1 - ((decisions - targets.columns) ** 2).mean(axis=-1)
        return rated

    def _choose(self, decisions: Array, targets: Targets, weights: Array) -> int:
        best = int(self.scores_.mean(axis=0).argmax())
        squares = np.average((decisions[best] - targets.columns) ** 2, axis=0, weights=weights)
        self.deviation_ = np.sqrt(squares) * self.spread_
        return best

    def _choose_nothing(self) -> None:
        self.deviation_ = np.full(len(self.spread_), np.nan)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _chosen(decisions: Array, of_labels: bool) -> Array:
    """Class numbers, shape (..., n); of labels whether each is there, shape (..., n, k)."""
    if of_labels:
        return decisions > 0
    result: Array = decisions[..., 0] > 0 if decisions.shape[-1] == 1 else decisions.argmax(axis=-1)
    return result


def temperature_of(decisions: Array, targets: Targets, weights: Array) -> tuple[float, float]:
    """The least mean of minus the logarithm of the true class' probability, and the temperature that gives it.

    As if two more rows had been of no particular class: where no fold makes a mistake, nothing else would keep the
    probabilities from becoming 0 and 1 (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
    """
    from scipy.optimize import minimize_scalar

    codes = targets.codes
    if codes is None:  # each label of each row is a choice between two
        weights = np.repeat(weights, decisions.shape[1])
        decisions, codes = decisions.reshape(-1, 1), targets.columns.astype(int).ravel()
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
