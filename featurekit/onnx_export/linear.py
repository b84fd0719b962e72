"""What a linear head computes: steps on the rows, one product, and what makes decision values probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import HeadError
from ..heads import PathClassifier
from ..heads.linear import LinearPath


class Standardise(NamedTuple):
    """``(row - mean) / scale``, column by column."""

    mean: NDArray[Any]
    scale: NDArray[Any]


class Normalise(NamedTuple):
    """A row divided by its length; one of zeros stays."""

    norm: Literal["l1", "l2", "max"]


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear head in numbers.

    Attributes
    ----------
    coef : ndarray, shape (k, d)
        k is the number of classes, or 1 for two classes: then positive decision values mean the second.
    intercept : ndarray, shape (k,)
    link : {"softmax", "sigmoid", None}
        What makes decision values probabilities: softmax, which of a single value is the sigmoid; of labels that do not
        exclude each other, the sigmoid of each. None: there are none.
    temperature : float
        What divides the decision values before that.
    steps : tuple of Standardise and Normalise
        What happens to a row before the product, in this order.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    link: Literal["softmax", "sigmoid"] | None
    temperature: float = 1.0
    steps: tuple[Standardise | Normalise, ...] = ()


def linear_head(head: Any) -> LinearHead:
    """Read the numbers of a fitted head.

    Parameters
    ----------
    head : fitted classifier

    Returns
    -------
    LinearHead

    Raises
    ------
    HeadError
        If it is not one of the linear ones whose arithmetic is known.

    Examples
    --------
    >>> from featurekit.heads import RidgePath
    >>> store = getfixture("digits_store")
    >>> found = linear_head(RidgePath().fit(store.X, store.y))
    >>> found.coef.shape, found.link, found.steps
    ((3, 1280), 'softmax', (Normalise(norm='l2'),))
    """
    from sklearn.pipeline import Pipeline

    if isinstance(head, Pipeline):
        *before, last = _flat(head)
        found = linear_head(last)
        return replace(found, steps=tuple(_step(each) for each in before) + found.steps)
    if isinstance(head, LinearPath) and isinstance(head, PathClassifier):
        calibrated = hasattr(head, "temperature_")
        return replace(
            _numbers(head, ("sigmoid" if head.multilabel_ else "softmax") if calibrated else None),
            temperature=head.temperature_ if calibrated else 1.0,
            steps=(Normalise("l2"),) if head._unit_rows else (),
        )
    with_softmax, without = _of_sklearn()
    if isinstance(head, with_softmax):
        return _numbers(head, "softmax")
    if isinstance(head, without):
        return _numbers(head, None)
    raise _not_linear(head)


def _of_sklearn() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """scikit-learn's linear classifiers: whose probabilities are softmax or sigmoid, and the others.

    SGDClassifier's, where it has any, are the sigmoids of the classes divided by their sum, with a rule of its own
    where all of them are zero; they are not calibrated either, so it counts as having none.
    """
    from sklearn import discriminant_analysis, linear_model, svm

    return (
        (
            linear_model.LogisticRegression,  # LogisticRegressionCV is one
            discriminant_analysis.LinearDiscriminantAnalysis,
        ),
        (
            svm.LinearSVC,
            linear_model.Perceptron,
            linear_model.RidgeClassifier,
            linear_model.RidgeClassifierCV,
            linear_model.SGDClassifier,
        ),
    )


def _numbers(head: Any, link: Literal["softmax", "sigmoid"] | None) -> LinearHead:
    coef = np.atleast_2d(head.coef_)
    k, classes = len(coef), len(head.classes_)
    if k != classes and (k, classes) != (1, 2):
        raise HeadError(
            f"the head {type(head).__name__} cannot be exported: expected one decision value for each of its "
            f"{classes} classes, and it has {k}."
        )
    return LinearHead(coef, np.broadcast_to(head.intercept_, k), link)


def _flat(pipeline: Any) -> Iterator[Any]:
    """The steps of a pipeline and of those inside it, without those that do nothing."""
    for _, step in pipeline.steps:
        if hasattr(step, "steps"):
            yield from _flat(step)
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            yield step


def _step(step: Any) -> Standardise | Normalise:
    from sklearn.preprocessing import Normalizer, StandardScaler

    if isinstance(step, Normalizer):
        return Normalise(step.norm)
    if isinstance(step, StandardScaler):
        d = step.n_features_in_
        mean = step.mean_ if step.with_mean else np.zeros(d)
        return Standardise(mean, step.scale_ if step.with_std else np.ones(d))
    raise _not_linear(step)


def _not_linear(part: Any) -> HeadError:
    return HeadError(
        f"the head cannot be exported to ONNX: {type(part).__name__} is not one of the parts that can. Expected one of "
        "the heads logreg, linear-svm, ridge, lda and centroid; scikit-learn's LogisticRegression, "
        "LinearDiscriminantAnalysis, LinearSVC, RidgeClassifier, SGDClassifier or Perceptron; or a Pipeline of "
        "StandardScaler and Normalizer before one of them. Fit the model with a linear head: "
        "featurekit fit PHOTOS --head logreg."
    )
