"""Heads scored on stored rows. Sees rows, never a network: no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .heads import make_head
from .metrics import Evaluation, evaluate_predictions
from .splits import folds, holdout


class CrossValidation(NamedTuple):
    """Accuracy over the folds (mean and standard deviation, 0..1), their number, and all predictions."""

    mean: float
    std: float
    folds: int
    predictions: NDArray[Any]


def evaluate_head(
    X: ArrayLike,
    y: ArrayLike,
    head: Any = "logreg",
    *,
    test_size: float = 0.3,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Evaluation:
    """Fit a head on a part of the rows and score it on the rest.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    head : str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    test_size, seed, groups
        As in :func:`featurekit.splits.holdout`.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> evaluate_head(store.X, store.y, "knn").n
    18
    """
    train, test = holdout(y, test_size, seed, groups)
    rows, labels = np.asarray(X), np.asarray(y)
    fitted = make_head(head, labels[train]).fit(rows[train], labels[train])
    return evaluate_predictions(labels[test], fitted.predict(rows[test]))


def cross_validate_head(
    X: ArrayLike, y: ArrayLike, head: Any = "logreg", *, cv: int = 5, seed: int = 0, groups: ArrayLike | None = None
) -> CrossValidation | None:
    """Predict every row with a head that was fitted without it, by stratified cross-validation.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    head : str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    cv : int
        Folds, 2 or more; fewer if no class has so many images.
    seed : int
        Of the shuffling: equal labels, `cv`, `seed` and `groups` give equal folds.
    groups : array-like, shape (n,), optional
        Images of one group stay in one fold.

    Returns
    -------
    CrossValidation or None
        None if that is impossible: a class has a single image, or a single group.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> result = cross_validate_head(store.X, store.y, "knn")
    >>> len(result.predictions), result.folds
    (60, 5)
    """
    rows, labels = np.asarray(X), np.asarray(y)
    splits = folds(labels, cv, seed, None if groups is None else np.asarray(groups))
    if not splits:
        return None
    predictions = np.empty_like(labels)
    scores = []
    for train, test in splits:
        predictions[test] = make_head(head, labels[train]).fit(rows[train], labels[train]).predict(rows[test])
        scores.append(np.mean(predictions[test] == labels[test]))
    return CrossValidation(float(np.mean(scores)), float(np.std(scores)), len(splits), predictions)
