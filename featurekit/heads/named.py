"""The named heads, and what else may be one.

Every named head chooses its own strength and gives calibrated probabilities (see `PathClassifier`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import HeadError
from .closed import LDAPath, NearestCentroid, RidgePath
from .kernel import SVMPath
from .linear import LinearSVMPath, LogisticRegressionPath
from .neighbours import NearestNeighbours
from .path import PathClassifier

HEADS: dict[str, Callable[[], PathClassifier]] = {
    "logreg": LogisticRegressionPath,
    "svm": SVMPath,
    "linear-svm": LinearSVMPath,
    "ridge": RidgePath,
    "lda": LDAPath,
    "knn": NearestNeighbours,
    "centroid": NearestCentroid,
}
"""Name of every head, and its class."""


def make_head(head: Any, y: ArrayLike) -> Any:
    """Make an unfitted head that suits the labels `y`.

    Parameters
    ----------
    head : str or scikit-learn classifier
        A name in `HEADS`, or any classifier; of the latter a clone is returned.
    y : array-like, shape (n,)
        The labels it will be fitted on.

    Returns
    -------
    scikit-learn classifier

    Raises
    ------
    HeadError
        If there is no head of that name, it is not a classifier, or `y` has fewer than two classes.

    Examples
    --------
    >>> make_head("knn", ["cat", "dog"])
    NearestNeighbours()
    """
    labels = np.unique(np.asarray(y))
    if len(labels) < 2:
        raise HeadError(
            f"a classifier needs at least two classes, and the labels hold {len(labels)}: "
            f"{', '.join(map(str, labels)) or 'none'}. Labels come from the class folders or from the "
            "column 'label' of a manifest."
        )
    if isinstance(head, str):
        if head not in HEADS:
            raise HeadError(f"no head called {head!r}. There are: {', '.join(HEADS)}; or give a scikit-learn one.")
        return HEADS[head]()
    from sklearn.base import clone, is_classifier

    is_estimator = not isinstance(head, type) and all(hasattr(head, name) for name in ("fit", "predict", "get_params"))
    if not is_estimator or not is_classifier(head):
        raise HeadError(f"expected the name of a head or a scikit-learn classifier (an object), got {head!r}")
    return clone(head)


def fit_head(
    head: Any, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
) -> Any:
    """Fit a head on rows; a named one is told the groups, by which it chooses its strength.

    Parameters
    ----------
    head : scikit-learn classifier
    X : array-like, shape (n, d)
    y : array-like, shape (n,)
    groups, sample_weight : array-like, shape (n,), optional

    Returns
    -------
    head

    Raises
    ------
    HeadError
        If the head refuses the rows.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> fit_head(make_head("centroid", store.y), store.X, store.y).classes_.tolist()
    ['0', '1', '2']
    """
    options = {} if sample_weight is None else {"sample_weight": sample_weight}
    if isinstance(head, PathClassifier) and groups is not None:
        options["groups"] = groups
    try:
        return head.fit(X, y, **options)
    except Exception as error:  # an estimator of the user's own may raise anything
        raise HeadError(f"the head {type(head).__name__} could not be fitted: {error}") from error


def head_name(head: Any) -> str:
    """Name of a head for people: its name, or the name of its class."""
    return head if isinstance(head, str) else type(head).__name__
