"""Between heads and linear layers of networks: the same numbers, in the form that each of them has."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import HeadError
from .auto import AutoHead
from .classifier import temperature_of
from .linear import LogisticRegressionPath
from .path import Targets


def layer_of(head: LogisticRegressionPath | AutoHead) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and biases of a linear layer whose softmax is the head's `predict_proba`.

    Scaling and temperature are folded in.

    Parameters
    ----------
    head : LogisticRegressionPath or AutoHead
        Fitted, on classes; what `auto` chose must be logistic regression.

    Returns
    -------
    weight : ndarray, shape (n_classes, d)
    bias : ndarray, shape (n_classes,)

    Raises
    ------
    HeadError
        If it is another head.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> weight, bias = layer_of(LogisticRegressionPath().fit(store.X, store.y))
    >>> weight.shape, bias.shape
    ((3, 816), (3,))
    """
    if isinstance(head, AutoHead):
        head = head.estimator_
    if type(head) is not LogisticRegressionPath or head._of_labels:
        raise HeadError(
            f"a network's last layer can start as the head 'logreg' of one class for each image, and this is {head!r}"
        )
    temperature = getattr(head, "temperature_", 1.0)
    weight, bias = head.coef_.astype(np.float64) / temperature, np.asarray(head.intercept_, np.float64) / temperature
    if len(weight) == 1:  # of two classes, one value: half of it for the second, and against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def head_of(weight: ArrayLike, bias: ArrayLike, classes: ArrayLike) -> LogisticRegressionPath:
    """The head that computes what a linear layer does.

    Parameters
    ----------
    weight : array-like, shape (n_classes, d)
    bias : array-like, shape (n_classes,)
    classes : array-like, shape (n_classes,)

    Returns
    -------
    LogisticRegressionPath
        As if fitted, without a temperature: see :func:`calibrate`.
    """
    coef, intercept = np.asarray(weight, dtype=np.float32), np.asarray(bias, dtype=np.float32)
    if len(coef) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    head = LogisticRegressionPath()
    head.classes_ = np.asarray(classes)
    head.multilabel_ = False
    head.coef_, head.intercept_, head.n_features_in_ = coef, intercept, coef.shape[1]
    return head


def calibrate(head: LogisticRegressionPath, decisions: ArrayLike, codes: ArrayLike) -> LogisticRegressionPath:
    """Fit the temperature of a head to decision values for images that it was not fitted on.

    Parameters
    ----------
    head : LogisticRegressionPath
    decisions : array-like, shape (n, n_classes)
    codes : array-like of int, shape (n,)
        Numbers of the true classes.
    """
    head.temperature_ = calibrated_loss(decisions, codes)[1]
    return head


def calibrated_loss(decisions: ArrayLike, codes: ArrayLike) -> tuple[float, float]:
    """The log loss of decision values at the temperature that makes it least, and that temperature.

    Parameters
    ----------
    decisions : array-like, shape (n, n_classes)
    codes : array-like of int, shape (n,)
        Numbers of the true classes.
    """
    values, truth = np.asarray(decisions), np.asarray(codes)
    return temperature_of(values, Targets(np.eye(values.shape[1])[truth], truth), np.ones(len(truth)))
