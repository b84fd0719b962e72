"""Scoring a fitted estimator on labelled images."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_regressor

from ..duplicates import find_duplicates, group_rows
from ..errors import HeadError
from ..extractor import ImageFeatures
from ..images import check_sequence
from ..labels import as_array, complete, connected_ids, is_missing
from ..metrics import Evaluation, evaluate_predictions
from ..proportions import abstain
from ..store import FeatureStore
from ..target_metrics import LabelEvaluation, NumberEvaluation, evaluate_labels, evaluate_numbers
from ..targets import LabelTable, as_classes, as_numbers, label_table, numbers
from .base import TransferEstimator, nothing_to_learn, say
from .telling import label_findings


def evaluate(
    estimator: Any,
    X: Any,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    abstain_below: float | None = None,
) -> Evaluation | LabelEvaluation | NumberEvaluation:
    """Score a fitted classifier or regressor on labelled images.

    Parameters
    ----------
    estimator : fitted classifier or regressor
        Such as a `TransferClassifier`.
    X : sequence of images, or FeatureStore
    y : array-like, shape (n,), or (n, k), optional
        True labels, or numbers. May be left out for a store: then its own are used, and its unlabelled rows are not.
    groups : array-like, shape (n,), optional
        Of each image, what it belongs to, such as a patient; empty or missing where it belongs to nothing. Intervals
        count a group once. Duplicates, and the groups of a store, are known without it; groups that are given come on
        top of these. With fewer than 6 groups there are no intervals (None), but those of the accuracy and the top-k
        accuracy where no image belongs to a group; with fewer than 10 they are mostly too narrow. `interval_note` of
        the result says so.
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
        If there is no label, or one is missing.

    Warns
    -----
    LabelWarning
        If a picture is there under several labels, or names of classes differ in form only.

    Examples
    --------
    >>> from featurekit import TransferClassifier, evaluate
    >>> store = getfixture("digits_store")
    >>> evaluate(TransferClassifier(head="knn").fit(store), store).accuracy
    1.0
    """
    target = _target_of(estimator)
    chosen, y = _truth(X, y, target, estimator)
    together = None if groups is None else _given_groups(groups, len(X))[chosen]
    predictions, probabilities, features = _predicted(estimator, X)
    contents = None
    # Nothing is split here, so near duplicates are one draw whatever their class.
    if isinstance(X, FeatureStore):
        found, contents = group_rows(X, chosen, classes=False), X.columns.sha256[chosen]
    elif features is not None:  # without a store, every image is chosen
        contents = features.contents
        found = find_duplicates(features.perceptual, contents=contents)
    if contents is not None:
        together = found.ids if together is None else _joined(found.ids, together)
        label_findings(X, y, contents, chosen, pairs=found.pairs, target=target).warn()
    said = predictions[chosen]
    likely = None if probabilities is None else probabilities[chosen]
    if abstain_below is not None and (is_regressor(estimator) or said.ndim == 2):
        raise HeadError("only a classifier that gives one class to each image can abstain")
    if target == "number":
        return evaluate_numbers(y, said, groups=together)
    if said.ndim == 2:
        return evaluate_labels(np.asarray(y), said, likely, columns=list(map(str, estimator.classes_)), groups=together)
    if unknown := check_known(estimator, y):
        warnings.warn(
            f"the classifier has never seen {', '.join(unknown[:5])}: it is wrong wherever they are true",
            UserWarning,
            stacklevel=2,
        )
    result = evaluate_predictions(y, said, likely, estimator.classes_, together)
    if abstain_below is None:
        return result
    if likely is None:
        raise HeadError("the head gives no probabilities, so nothing tells where to abstain")
    return replace(result, abstention=abstain(y, said, likely.max(axis=1), abstain_below, together))


def check_known(classifier: Any, labels: ArrayLike) -> list[str]:
    """Return the labels that a fitted classifier has never seen, sorted; raise HeadError if these are all."""
    known, given = {str(label) for label in classifier.classes_}, {str(label) for label in np.asarray(labels)}
    if not given & known:
        raise HeadError(
            f"the classifier knows none of these labels: {', '.join(sorted(given)[:5])}. It knows: "
            f"{', '.join(sorted(known))}"
        )
    return sorted(given - known)


def _target_of(estimator: Any) -> str:
    """What an estimator says of an image: its class, labels, or a number."""
    if is_regressor(estimator):
        return "number"
    return "labels" if getattr(estimator, "multilabel_", False) else "class"


def _truth(X: Any, y: Any, target: str, estimator: Any) -> tuple[NDArray[np.intp], Any]:
    """The images that have a label, by number, and what is true of them."""
    if not isinstance(X, FeatureStore):
        check_sequence(X)
    if y is not None:
        if target == "labels" and hasattr(y, "columns"):
            y = LabelTable(as_classes(_in_order(y, [str(name) for name in estimator.classes_])), estimator.classes_)
        elif target == "labels":
            y = as_classes(y) if as_array(y).ndim == 2 else label_table(y, list(estimator.classes_))
        else:
            y = as_numbers(y) if target == "number" else complete(y)
        if len(y) != len(X):
            raise ValueError(f"{len(X)} images but {len(y)} labels")
        return np.arange(len(X)), y
    if not isinstance(X, FeatureStore):
        raise ValueError("y is missing: scoring needs the true label of each image (only a store brings its own)")
    chosen = np.flatnonzero(X.columns.label != b"")
    if not len(chosen):
        raise nothing_to_learn(X)
    if target == "number":
        return chosen, numbers(X.y[chosen])
    return chosen, X.y[chosen] if target == "class" else label_table(X.y[chosen], list(estimator.classes_))


def _given_groups(groups: Any, n: int) -> NDArray[np.intp]:
    """A number for each group; one of its own where an image belongs to none."""
    given = as_array(groups, "groups")
    if given.shape != (n,):
        raise ValueError(f"{n} images but groups of shape {given.shape}")
    names = [
        f"{i} alone" if is_missing(name) or name == "" else f"group {name}" for i, name in enumerate(given.tolist())
    ]
    ids: NDArray[np.intp] = np.unique(names, return_inverse=True)[1].astype(np.intp)
    return ids


def _joined(first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """Groups in which two images are if they are together in either."""
    size = int(first.max()) + 1
    return connected_ids(size + int(second.max()) + 1, [(first, size + second)])[first]


def _in_order(table: Any, names: list[str]) -> NDArray[Any]:
    """The columns of a data frame in the order of the names."""
    given = [str(name) for name in table.columns]
    if sorted(given) != sorted(names):
        raise HeadError(f"expected a column for each of the labels {', '.join(names)}, got {', '.join(given)}")
    values: NDArray[Any] = np.asarray(table)[:, [given.index(name) for name in names]]
    return values


def _predicted(estimator: Any, X: Any) -> tuple[NDArray[Any], NDArray[Any] | None, ImageFeatures | None]:
    """Predictions; probabilities if there are any; features of images if known, which are read once."""
    blocks: Iterable[Any] = [X]
    head, features = estimator, None
    if isinstance(estimator, TransferEstimator):
        head = estimator.head_
        if isinstance(X, FeatureStore):
            blocks = estimator._blocks(X)
        else:
            features = estimator._fitted_extractor()._features(X)
            blocks = [features.rows]
    said, likely = [], []
    for rows in blocks:
        said.append(say(head, "predict", rows))
        if hasattr(head, "predict_proba"):
            likely.append(say(head, "predict_proba", rows))
    return np.concatenate(said), np.concatenate(likely) if likely else None, features
