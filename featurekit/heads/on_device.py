"""A scikit-learn classifier that is fitted on a GPU, by scikit-learn's own dispatch on torch tensors."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..errors import HeadError
from .descent import Array

_KNOWN = (
    "LogisticRegression (solver 'lbfgs'), RidgeClassifier (solver 'svd'), RidgeClassifierCV, "
    "LinearDiscriminantAnalysis (solver 'svd'), GaussianNB, pipelines that end in one of them, and searches over them"
)
_SOLVERS = {"LogisticRegression": "lbfgs", "RidgeClassifier": "svd", "LinearDiscriminantAnalysis": "svd"}


def _estimator_has(method: str) -> Any:
    return available_if(lambda self: hasattr(getattr(self, "estimator_", self.estimator), method))


class OnDevice(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit a classifier of scikit-learn on a GPU.

    Rows go to the device as a torch tensor, scikit-learn computes there, and what it has found comes back as NumPy
    arrays. So the fitted classifier is saved, loaded and used without torch and without a GPU: predictions are computed
    by NumPy, as to move the rows would often take longer than to multiply them.

    SciPy must be told before Python starts: set ``SCIPY_ARRAY_API=1`` in the environment. That is for `fit` only.

    Parameters
    ----------
    estimator : scikit-learn classifier
        One that supports the array API: `LogisticRegression`, `RidgeClassifier`, `LinearDiscriminantAnalysis`,
        `GaussianNB`, a pipeline such as of `StandardScaler` and one of them, or a search over one. It is cloned.
    device : str, default="auto"
        A torch device, such as ``"cuda:0"`` or ``"cpu"``. ``"auto"``: a GPU of CUDA, or the CPU where there is none.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    estimator_ : scikit-learn classifier
        Fitted on the positions of the labels in `classes_`. Its arrays are those of NumPy.

    Notes
    -----
    float32 is computed in float32. The named heads do without: they are no estimators that scikit-learn dispatches.

    Examples
    --------
    >>> environment = getfixture("scipy_array_api")  # where it is set
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    >>> from featurekit.heads import OnDevice
    >>> X, y = load_iris(return_X_y=True)
    >>> OnDevice(LinearDiscriminantAnalysis()).fit(X, y).score(X, y)
    0.98
    """

    def __init__(self, estimator: Any, device: str = "auto") -> None:
        self.estimator = estimator
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone of the estimator on the device.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Rows; float32 is computed in float32.
        y : array-like, shape (n,)
            Labels of any type.
        sample_weight : array-like, shape (n,), optional
            If the estimator knows weights.

        Returns
        -------
        self

        Raises
        ------
        HeadError
            If the estimator, or a part of it, is not one that can be dispatched, or the environment does not allow it.
        """
        _check_supported(self.estimator)
        if os.environ.get("SCIPY_ARRAY_API") != "1":
            raise HeadError(
                "scikit-learn computes on a device only where SciPy was told before it was imported: set the "
                "environment variable SCIPY_ARRAY_API=1 before Python starts, as in: SCIPY_ARRAY_API=1 python train.py"
            )
        rows, labels = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise HeadError(f"a classifier needs at least two classes, and the labels hold one class: {labels[0]}")
        import torch

        try:
            from sklearn.utils._array_api import move_estimator_to
        except ImportError as error:
            raise HeadError("heads on a device need scikit-learn 1.9 or newer: pip install -U scikit-learn") from error
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"

        def moved(array: Array) -> Any:
            return torch.tensor(array, device=device)  # a copy: not all arrays may be written to, and torch warns

        options = {}
        if sample_weight is not None:
            options["sample_weight"] = moved(_check_sample_weight(sample_weight, rows, dtype=rows.dtype))
        with config_context(array_api_dispatch=True):
            fitted = clone(self.estimator).fit(moved(rows), moved(codes), **options)
            self.estimator_ = move_estimator_to(fitted, np, "cpu")
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Predicted labels, shape (n,).

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        codes = self._apply("predict", X)
        labels: Array = self.classes_[codes]
        return labels

    @_estimator_has("predict_proba")
    def predict_proba(self, X: ArrayLike) -> Array:
        """Probability of each class, shape (n, n_classes), where the estimator has it.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        return self._apply("predict_proba", X)

    @_estimator_has("decision_function")
    def decision_function(self, X: ArrayLike) -> Array:
        """Decision values, shape (n, n_classes), or (n,) for two classes, where the estimator has them.

        Parameters
        ----------
        X : array-like, shape (n, d)
        """
        return self._apply("decision_function", X)

    def _apply(self, method: str, X: ArrayLike) -> Array:
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        values: Array = getattr(self.estimator_, method)(rows)
        return values


def _check_supported(estimator: Any) -> None:
    """Of what cannot be dispatched some raises far inside of scikit-learn, and some computes with NumPy in silence."""
    if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not is_classifier(estimator):
        raise HeadError(f"expected a scikit-learn classifier (an object), got {estimator!r}")
    for part in _parts(estimator):
        name = type(part).__name__
        # RidgeClassifier can, and its tag does not say so; others' tags do not say which of their solvers cannot.
        able = get_tags(part).array_api_support or name == "RidgeClassifier"
        if not able or (name in _SOLVERS and part.solver != _SOLVERS[name]):
            raise HeadError(f"{part!r} cannot be computed on a device by this scikit-learn. These can: {_KNOWN}.")


def _parts(estimator: Any) -> list[Any]:
    """What computes, of a pipeline or a search."""
    if isinstance(estimator, BaseSearchCV):
        return _parts(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return [part for _, step in estimator.steps if step not in (None, "passthrough") for part in _parts(step)]
    return [estimator]
