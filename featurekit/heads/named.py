"""Heads: the scikit-learn classifiers that take the place of the network's removed last layer.

A head sees rows of shape (n, d), never a network: nothing in here imports torch.

Every named head gives probabilities. SVMs and ridge regression have none of their own, so theirs come
from temperature scaling of the decision values, cross-validated, which leaves the predicted class as it
was (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import HeadError

_CALIBRATION_FOLDS = 3


def _logreg() -> Any:
    from sklearn.linear_model import LogisticRegression

    # C=0.1: frozen features are many (d is often near n) and scaled, so mild shrinkage pays.
    return _scaled(LogisticRegression(C=0.1, max_iter=2000))


def _svm() -> Any:
    from sklearn.svm import SVC

    return _unit_length(SVC(C=10.0))


def _linear_svm() -> Any:
    from sklearn.svm import LinearSVC

    return _unit_length(LinearSVC(C=3.0, max_iter=5000, random_state=0))


def _ridge() -> Any:
    from sklearn.linear_model import RidgeClassifier

    return _unit_length(RidgeClassifier(alpha=0.3))


def _lda() -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _knn() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    # Cosine: the length of an embedding says more about contrast than about content.
    return KNeighborsClassifier(n_neighbors=10, metric="cosine", weights="distance")


def _scaled(classifier: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), classifier)


def _unit_length(classifier: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    # Rows of length 1 instead of standardised columns: it was worth 3 to 8 points to the RBF kernel on
    # three data sets, because rare, noisy channels are not blown up.
    return make_pipeline(Normalizer(), classifier)


HEADS: dict[str, Callable[[], Any]] = {
    "logreg": _logreg,
    "svm": _svm,
    "linear-svm": _linear_svm,
    "ridge": _ridge,
    "lda": _lda,
    "knn": _knn,
}
"""Name of every head and the function that makes one, unfitted."""

_WITHOUT_PROBABILITIES = frozenset({"svm", "linear-svm", "ridge"})


def make_head(head: Any, y: ArrayLike) -> Any:
    """Make an unfitted head that suits the labels `y`.

    Parameters
    ----------
    head : str or scikit-learn classifier
        A name in `HEADS`, or any classifier; of the latter a clone is returned.
    y : array-like, shape (n,)
        The labels it will be fitted on. Of a class with fewer than 3 images no cross-validated
        probabilities can be had; then ``svm``, ``linear-svm`` and ``ridge`` give none.

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
    KNeighborsClassifier(metric='cosine', n_neighbors=2, weights='distance')
    """
    labels, counts = np.unique(np.asarray(y), return_counts=True)
    if len(labels) < 2:
        raise HeadError(
            f"a classifier needs at least two classes, and the labels hold {len(labels)}: "
            f"{', '.join(map(str, labels)) or 'none'}. Labels come from the class folders or from the "
            "column 'label' of a manifest."
        )
    if isinstance(head, str):
        if head not in HEADS:
            raise HeadError(f"no head called {head!r}. There are: {', '.join(HEADS)}; or give a scikit-learn one.")
        made = HEADS[head]()
        if head == "knn" and (total := int(counts.sum())) < made.n_neighbors:
            made.set_params(n_neighbors=total)
        if head in _WITHOUT_PROBABILITIES and counts.min() >= _CALIBRATION_FOLDS:
            from sklearn.calibration import CalibratedClassifierCV

            return CalibratedClassifierCV(made, method="temperature", cv=_CALIBRATION_FOLDS, ensemble=False)
        return made
    from sklearn.base import clone, is_classifier

    is_estimator = not isinstance(head, type) and all(hasattr(head, name) for name in ("fit", "predict", "get_params"))
    if not is_estimator or not is_classifier(head):
        raise HeadError(f"expected the name of a head or a scikit-learn classifier (an object), got {head!r}")
    return clone(head)


def head_name(head: Any) -> str:
    """Name of a head for people: its name, or the name of its class."""
    return head if isinstance(head, str) else type(head).__name__
