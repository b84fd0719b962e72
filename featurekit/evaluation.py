"""Splits of stored rows, and heads scored on them. Sees rows, never a network: no torch."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import HeadError
from .heads import make_head
from .metrics import Evaluation, evaluate_predictions


class CrossValidation(NamedTuple):
    """Mean and standard deviation of the accuracy over the folds, each of them 0..1, and their number."""

    mean: float
    std: float
    folds: int


def holdout(
    y: ArrayLike, test_size: float = 0.3, seed: int = 0, groups: ArrayLike | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split into a training and a test part, stratified by class.

    Parameters
    ----------
    y : array-like, shape (n,)
        Labels.
    test_size : float
        Fraction of each class that is held out, between 0 and 1. At least one image of a class stays in
        training, and with two or more at least one is held out.
    seed : int
        Of the shuffling.
    groups : array-like, shape (n,), optional
        Images of one group are never on both sides. Then the test part is one fold of scikit-learn's
        ``StratifiedGroupKFold``, about ``test_size`` large.

    Returns
    -------
    train, test : ndarray of int
        Sorted indices.

    Raises
    ------
    HeadError
        If nothing can be held out.

    Examples
    --------
    >>> train, test = holdout(["a"] * 10 + ["b"] * 10, test_size=0.3)
    >>> len(train), len(test)
    (14, 6)
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size!r}")
    labels = np.asarray(y)
    if groups is not None:
        from sklearn.model_selection import StratifiedGroupKFold

        folds = max(2, round(1 / test_size))
        try:
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            train, test = next(splitter.split(labels, labels, np.asarray(groups)))
        except ValueError as error:
            raise HeadError(f"these groups cannot be split: {error}") from error
        return train, test
    rng = np.random.default_rng(seed)
    chosen: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(len(members) * test_size)), len(members) - 1)
        chosen.append(members[:count])
    test = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.intp)
    if not len(test):
        raise HeadError("nothing can be held out: every class has a single image")
    return np.setdiff1d(np.arange(len(labels)), test), test


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
        As in :func:`holdout`.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> evaluate_head(store.X, store.y, "knn").n
    20
    """
    train, test = holdout(y, test_size, seed, groups)
    rows, labels = np.asarray(X), np.asarray(y)
    fitted = make_head(head, labels[train]).fit(rows[train], labels[train])
    return evaluate_predictions(labels[test], fitted.predict(rows[test]))


def cross_validate_head(
    X: ArrayLike, y: ArrayLike, head: Any = "logreg", *, cv: int = 5, seed: int = 0, groups: ArrayLike | None = None
) -> CrossValidation | None:
    """Accuracy of a head by stratified cross-validation.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    head : str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    cv : int
        Folds; fewer if the smallest class has fewer images.
    seed : int
        Of the shuffling.
    groups : array-like, shape (n,), optional
        Images of one group stay in one fold.

    Returns
    -------
    CrossValidation or None
        None if a class has a single image: then no fold can both train and test on it.
    """
    rows, labels = np.asarray(X), np.asarray(y)
    counts = np.unique(labels, return_counts=True)[1]
    folds = min(cv, int(counts.min())) if len(counts) else 0
    if groups is not None:
        folds = min(folds, len(np.unique(np.asarray(groups))))
    if folds < 2:
        return None
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # some folds may lack a class: groups allow no better
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            splits = iter(list(splitter.split(rows, labels, np.asarray(groups))))
    scores = []
    for train, test in splits:
        fitted = make_head(head, labels[train]).fit(rows[train], labels[train])
        scores.append(float(np.mean(fitted.predict(rows[test]) == labels[test])))
    return CrossValidation(float(np.mean(scores)), float(np.std(scores)), folds)
