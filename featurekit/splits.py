"""Splits of labelled rows: a part held out, or folds. Never a group on two sides."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import HeadError

_ATTEMPTS = 10
_MOST_BALANCED = 100_000


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
    ids = _shared(groups, len(labels))
    if ids is not None:
        for splits in _grouped(labels, ids, max(2, round(1 / test_size)), seed):
            return splits[0]
        raise HeadError("these groups cannot be split: no part that could be held out leaves every class in training")
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


def plain_holdout(
    y: ArrayLike, test_size: float = 0.3, seed: int = 0, groups: ArrayLike | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows that are of no classes into a training and a test part.

    Parameters
    ----------
    y : array-like, shape (n, ...)
        Targets; only their number matters.
    test_size, seed, groups
        As in :func:`holdout`; of groups, whole ones are held out until there are enough images.

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
    >>> train, test = plain_holdout(np.arange(10.0), groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    >>> len(train), len(test)
    (6, 4)
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size!r}")
    n = len(np.asarray(y))
    ids = _shared(groups, n)
    members = np.arange(n) if ids is None else np.unique(ids, return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        raise HeadError("nothing can be held out: there is a single image, or a single group")
    order = np.random.default_rng(seed).permutation(len(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), max(1, round(n * test_size)))) + 1
    test = np.flatnonzero(np.isin(members, order[: min(enough, len(sizes) - 1)]))
    return np.setdiff1d(np.arange(n), test), test


def folds(
    labels: NDArray[Any], cv: int, seed: int, groups: NDArray[Any] | None
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Stratified folds of which every training part holds every class, or none if there are none such.

    Parameters
    ----------
    labels : ndarray, shape (n,)
    cv : int
        Folds, 2 or more; fewer if no class has so many members.
    seed : int
        Of the shuffling.
    groups : ndarray, shape (n,), optional
        Members of one group stay in one fold.

    Returns
    -------
    list of (train, test), ndarrays of int

    Examples
    --------
    >>> [len(test) for train, test in folds(np.array(["a"] * 6 + ["b"] * 4), 3, 0, None)]
    [4, 3, 3]
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique(labels, return_counts=True)[1]
    if not len(counts) or counts.min() < 2:
        return []
    ids = _shared(groups, len(labels))
    if ids is not None:
        per_class = max(len(np.unique(ids[labels == label])) for label in np.unique(labels))
        return next(_grouped(labels, ids, min(cv, per_class), seed), [])
    with _without_warnings():
        splitter = StratifiedKFold(min(cv, int(counts.max())), shuffle=True, random_state=seed)
        return list(splitter.split(labels, labels))


def can_be_split(labels: NDArray[Any], groups: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """Which rows are of a class that can be on both sides of a split: it has two images or groups, or more.

    Parameters
    ----------
    labels : ndarray, shape (n,)
    groups : ndarray, shape (n,), optional

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> can_be_split(np.array(["cat", "cat", "dog"])).tolist()
    [True, True, False]
    """
    names, codes = np.unique(labels, return_inverse=True)
    ids = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    able = np.ones(len(labels), dtype=bool)
    while able.any():
        pairs = np.unique(np.stack([codes[able], ids[able]]), axis=1)
        lone = np.bincount(pairs[0], minlength=len(names)) < 2
        fewer = able & ~lone[codes]
        fewer &= ~np.isin(ids, ids[~fewer])  # a group is on one side
        if np.array_equal(fewer, able):
            break
        able = fewer
    return able


def plain_folds(
    n: int, cv: int, seed: int, groups: NDArray[Any] | None
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Shuffled folds of rows that are of no classes, or none if there are too few rows or groups.

    Parameters
    ----------
    n : int
        Rows.
    cv : int
        Folds, 2 or more; fewer if there are fewer rows or groups.
    seed : int
        Of the shuffling.
    groups : ndarray, shape (n,), optional
        Members of one group stay in one fold.

    Returns
    -------
    list of (train, test), ndarrays of int

    Examples
    --------
    >>> [len(test) for train, test in plain_folds(10, 3, 0, None)]
    [4, 3, 3]
    """
    from sklearn.model_selection import GroupKFold, KFold

    ids = _shared(groups, n)
    members = n if ids is None else len(np.unique(ids))
    if members < 2:
        return []
    kind = KFold if ids is None else GroupKFold
    return list(kind(min(cv, members), shuffle=True, random_state=seed).split(np.empty(n), groups=ids))


def _grouped(
    labels: NDArray[Any], ids: NDArray[Any], most: int, seed: int
) -> Iterator[list[tuple[NDArray[np.intp], NDArray[np.intp]]]]:
    """Folds of whole groups, `most` or fewer, of which every training part holds every class."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    # Of so many rows any folds hold much the same shares of each class, and to balance them takes minutes.
    kind = StratifiedGroupKFold if len(labels) <= _MOST_BALANCED else GroupKFold
    classes = len(np.unique(labels))
    if min(len(np.unique(ids[labels == label])) for label in np.unique(labels)) < 2:
        return
    for number in range(min(most, len(np.unique(ids))), 1, -1):
        for attempt in range(_ATTEMPTS):
            with _without_warnings():
                splitter = kind(number, shuffle=True, random_state=seed + attempt)
                splits = list(splitter.split(labels, labels, ids))
            if all(len(test) and len(np.unique(labels[train])) == classes for train, test in splits):
                yield splits


@contextmanager
def _without_warnings() -> Iterator[None]:
    """scikit-learn warns where a class has fewer images than there are folds: it is missing in some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _shared(groups: ArrayLike | None, n: int) -> NDArray[Any] | None:
    """The groups, or None where each has a single member: then the plain splitters balance the classes better."""
    if groups is None:
        return None
    ids = np.asarray(groups)
    if ids.shape != (n,):
        raise HeadError(f"expected a group for each of {n} images, got {ids.shape}")
    return None if len(np.unique(ids)) == n else ids
