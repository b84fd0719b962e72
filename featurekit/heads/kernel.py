"""The SVM with a Gaussian kernel, with its path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .descent import Array
from .linear import _unit_length
from .path import PathClassifier

_MOST_ROWS = 12_000  # whose kernel, 1.2 GB, is computed at once


class _Kernel(NamedTuple):
    """Squared distances of rows: of `chosen`, to all that are fitted on."""

    rows: Array
    distances: Array
    gamma: float


class SVMPath(PathClassifier):
    """SVM with a Gaussian kernel and its path, on rows of length 1.

    Parameters
    ----------
    Cs : sequence of float
        As scikit-learn's ``C``, ascending.
    gammas : sequence of float
        Widths of the kernel, as multiples of scikit-learn's ``"scale"``; each is tried with each C.
    cv, class_weight, random_state
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    classes_, scores_, temperature_
        As in `LogisticRegressionPath`; `scores_` has a column for each gamma of each C.
    C_, gamma_ : float
        The best ones.
    support_vectors_ : ndarray, shape (m, d)

    Notes
    -----
    The kernel of all rows is computed once, as one matrix product, and libsvm works on it: 30 times as fast as
    computing it row by row. It needs 8 n^2 bytes, so more than 12,000 rows are refused; use ``linear-svm``.

    Examples
    --------
    >>> from featurekit.heads import SVMPath
    >>> store = getfixture("digits_store")
    >>> SVMPath().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2])
    1.0
    """

    def __init__(
        self,
        Cs: Sequence[float] = (1.0, 3.0, 10.0, 100.0),
        *,
        gammas: Sequence[float] = (0.5, 1.0, 2.0),
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)
        self.gammas = gammas
