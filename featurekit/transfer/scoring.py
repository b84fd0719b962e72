"""Scoring a fitted estimator on labelled images."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_regressor

from ..duplicates import group_rows
from ..errors import HeadError
from ..metrics import Evaluation, evaluate_predictions
from ..proportions import abstain
from ..store import FeatureStore
from ..target_metrics import LabelEvaluation, NumberEvaluation, evaluate_labels, evaluate_numbers
from ..targets import label_table, numbers
from .base import TransferEstimator, say


def evaluate(
    estimator: Any, X: Any, y: ArrayLike | None = None, *, abstain_below: float | None = None
) -> Evaluation | LabelEvaluation | NumberEvaluation:
    """Score a fitted classifier or regressor on labelled images.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        Such as a `TransferClassifier`.
    X : sequence of images, or FeatureStore
    y : array-like, shape (n,), or (n, k), optional
        True labels, or numbers. May be left out for a store: then its own are used, and its unlabelled rows are not.

    abstain_below : float, optional
        Also say how good the classifier is where its largest probability is at least this.

    Returns
    -------
    Evaluation
        Or, of a classifier that learned labels beside each other, `LabelEvaluation`; of a regressor,
        `NumberEvaluation`.

    Raises
    ------
    HeadError
        If there is no label.

    Examples
    --------
    >>> from featurekit import TransferClassifier, evaluate
    >>> store = getfixture("digits_store")
    >>> evaluate(TransferClassifier(head="knn").fit(store), store).accuracy
    1.0
    """
    predictions, probabilities = _predicted(estimator, X)
    chosen: Any = slice(None)
    groups = None
    if y is None:
        if not isinstance(X, FeatureStore):
            raise ValueError("y is missing: scoring needs the true label of each image (only a store brings its own)")
        chosen = np.flatnonzero(X.columns.label != b"")
        if not len(chosen):
            raise HeadError(
                "none of these images has a label to score against; labels come from class folders or a manifest"
            )
        of_classes = not is_regressor(estimator) and not getattr(estimator, "multilabel_", False)
        y, groups = X.y[chosen], group_rows(X, chosen, classes=of_classes).ids
        if is_regressor(estimator):
            y = numbers(y)
        elif getattr(estimator, "multilabel_", False):
            y = label_table(y, list(estimator.classes_))
    elif getattr(estimator, "multilabel_", False) and hasattr(y, "columns"):
        y = _in_order(y, [str(name) for name in estimator.classes_])
    said = predictions[chosen]
    likely = None if probabilities is None else probabilities[chosen]
    if abstain_below is not None and (is_regressor(estimator) or said.ndim == 2):
        raise HeadError("only a classifier that gives one class to each image can abstain")
    if is_regressor(estimator):
        return evaluate_numbers(y, said, groups=groups)
    if said.ndim == 2:
        return evaluate_labels(np.asarray(y), said, likely, columns=list(map(str, estimator.classes_)), groups=groups)
    known, given = {str(label) for label in estimator.classes_}, {str(label) for label in np.asarray(y)}
    if not given & known:
        raise HeadError(
            f"the classifier knows none of these labels: {', '.join(sorted(given)[:5])}. It knows: "
            f"{', '.join(sorted(known))}"
        )
    if given - known:
        warnings.warn(
            f"the classifier has never seen {', '.join(sorted(given - known)[:5])}: it is wrong wherever they are true",
            UserWarning,
            stacklevel=2,
        )
    result = evaluate_predictions(y, said, likely, estimator.classes_, groups)
    if abstain_below is None:
        return result
    if likely is None:
        raise HeadError("the head gives no probabilities, so nothing tells where to abstain")
    return replace(result, abstention=abstain(y, said, likely.max(axis=1), abstain_below, groups))


def _in_order(table: Any, names: list[str]) -> NDArray[Any]:
    """The columns of a data frame in the order of the names."""
    given = [str(name) for name in table.columns]
    if sorted(given) != sorted(names):
        raise HeadError(f"expected a column for each of the labels {', '.join(names)}, got {', '.join(given)}")
    values: NDArray[Any] = np.asarray(table)[:, [given.index(name) for name in names]]
    return values


def _predicted(estimator: Any, X: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Predictions, and probabilities if there are any; one of ours looks at the images once."""
    blocks: Iterable[Any] = [X]
    head = estimator
    if isinstance(estimator, TransferEstimator):
        blocks, head = estimator._blocks(X), estimator.head_
    said, likely = [], []
    for rows in blocks:
        said.append(say(head, "predict", rows))
        if hasattr(head, "predict_proba"):
            likely.append(say(head, "predict_proba", rows))
    return np.concatenate(said), np.concatenate(likely) if likely else None
