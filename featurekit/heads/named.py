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


def head_name(head: Any) -> str:
    """Name of a head for people: its name, or the name of its class."""
    return head if isinstance(head, str) else type(head).__name__
