"""Leave-one-out nearest neighbour: the cheapest look at what rows are worth. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..bootstrap import WithInterval
from ..proportions import grouped_wilson

_BLOCK = 1024


def nearest_neighbour(X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> WithInterval:
    """Share of rows whose nearest other row, by cosine, has the same label, with a 95% interval.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    groups : array-like, shape (n,), optional
        A row of the same group is no neighbour.

    Returns
    -------
    accuracy : float
    low, high : float or None
        None with fewer than 6 groups, unless each image is one.

    Examples
    --------
    >>> nearest_neighbour([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 1, 1])[0]
    1.0
    """
    rows, labels = np.asarray(X, dtype=np.float32), np.asarray(y)
    n = len(rows)
    ids: NDArray[np.intp] = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    hit = np.zeros(n, dtype=bool)
    for start in range(0, n, _BLOCK):
        near = unit[start : start + _BLOCK] @ unit.T
        near[ids[start : start + _BLOCK, np.newaxis] == ids] = -np.inf
        hit[start : start + _BLOCK] = labels[near.argmax(axis=1)] == labels[start : start + _BLOCK]
    return float(hit.mean()), *grouped_wilson(hit, ids)
