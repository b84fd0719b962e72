"""What a head computes: steps on the rows, products, and what makes decision values probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import HeadError
from ..heads import AutoHead, PathClassifier, SVMPath
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

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.coef.shape[1])


@dataclass(frozen=True, slots=True)
class KernelHead:
    """A head with a Gaussian kernel in numbers: ``exp(-gamma * squared distance) @ coef.T + intercept``.

    Attributes
    ----------
    support : ndarray, shape (m, d)
        What rows are compared with, after the steps.
    gamma : float
    coef : ndarray, shape (k, m)
        One row for each machine.
    intercept : ndarray, shape (k,)
    votes : ndarray, shape (classes, k), or None
        Of machines for pairs of classes: 1 where a machine speaks for a class by a positive value, -1 where by a
        negative one, else 0. The decision value of a class is minus the sum of ``softplus(-4 * vote * value)``. None
        where the values of the machines are the decision values.
    link, temperature, steps
        As in `LinearHead`.
    """

    support: NDArray[Any]
    gamma: float
    coef: NDArray[Any]
    intercept: NDArray[Any]
    votes: NDArray[Any] | None
    link: Literal["softmax", "sigmoid"] | None
    temperature: float = 1.0
    steps: tuple[Standardise | Normalise, ...] = ()

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.support.shape[1])


def read_head(head: Any) -> LinearHead | KernelHead:
    """Read the numbers of a fitted head.

    Parameters
    ----------
    head : fitted classifier

    Returns
    -------
    LinearHead or KernelHead

    Raises
    ------
    HeadError
        If it is none whose arithmetic is known.

    Examples
    --------
    >>> from featurekit.heads import SVMPath
    >>> store = getfixture("digits_store")
    >>> read_head(SVMPath().fit(store.X, store.y)).votes.tolist()
    [[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, -1.0, -1.0]]
    """
    if isinstance(head, AutoHead):
        return read_head(head.estimator_)
    return _kernel_head(head) if isinstance(head, SVMPath) else linear_head(head)


def _kernel_head(head: SVMPath) -> KernelHead:
    """Support vectors and coefficients of all machines, with the columns of those that they do not use filled by 0."""
    place = np.full(head.rows_fitted_, -1)
    place[head.support_] = np.arange(len(head.support_))
    coefs, intercepts = [], []
    for machine in head.machines_:
        if isinstance(machine, float):  # it says the same of every row
            coefs.append(np.zeros(len(head.support_)))
            intercepts.append(machine)
            continue
        ends = np.cumsum([0, *machine.n_support_])
        number = len(machine.n_support_)
        for pair, (first, second) in enumerate(zip(*np.triu_indices(number, 1), strict=True)):
            coef = np.zeros(len(head.support_))
            for one, other in ((first, second - 1), (second, first)):
                part = slice(ends[one], ends[one + 1])
                coef[place[machine.support_[part]]] = machine.dual_coef_[other, part]
            coefs.append(coef)
            intercepts.append(machine.intercept_[pair])
    votes = None
    if len(head.machines_) == 1 and len(head.classes_) > 2:
        pairs = list(zip(*np.triu_indices(len(head.classes_), 1), strict=True))
        votes = np.zeros((len(head.classes_), len(pairs)))
        for pair, (first, second) in enumerate(pairs):
            votes[first, pair], votes[second, pair] = 1, -1
    scaled = hasattr(head, "mean_")
    return KernelHead(
        head.support_vectors_,
        head.gamma_,
        np.stack(coefs),
        np.array(intercepts),
        votes,
        *_calibration(head),
        (Standardise(head.mean_, head.scale_),) if scaled else (Normalise("l2"),),
    )


def _calibration(head: PathClassifier) -> tuple[Literal["softmax", "sigmoid"] | None, float]:
    """Link and temperature of a fitted head; no link where nothing could be cross-validated."""
    if not hasattr(head, "temperature_"):
        return None, 1.0
    return "sigmoid" if head.multilabel_ else "softmax", head.temperature_


def linear_head(head: Any) -> LinearHead:
    """Read the numbers of a fitted linear head.

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
    ((3, 816), 'softmax', (Normalise(norm='l2'),))
    """
    from sklearn.pipeline import Pipeline

    if isinstance(head, Pipeline):
        *before, last = _flat(head)
        found = linear_head(last)
        return replace(found, steps=tuple(_step(each) for each in before) + found.steps)
    if isinstance(head, LinearPath) and isinstance(head, PathClassifier):
        link, temperature = _calibration(head)
        return replace(
            _numbers(head, link),
            temperature=temperature,
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
        "the heads auto, logreg, svm, linear-svm, ridge, lda and centroid; scikit-learn's LogisticRegression, "
        "LinearDiscriminantAnalysis, LinearSVC, RidgeClassifier, SGDClassifier or Perceptron; or a Pipeline of "
        "StandardScaler and Normalizer before one of them. Fit the model with another head: "
        "featurekit fit PHOTOS --head auto."
    )
