"""The named heads, and what else may be one.

Every named head chooses its own strength; those that classify give calibrated probabilities (see `PathClassifier`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from ..errors import HeadError
from ..labels import LABELS_COME_FROM, complete
from .auto import AutoHead
from .classifier import PathClassifier, PathRegressor
from .closed import LDAPath, NearestCentroid, RidgePath, RidgeRegressionPath
from .kernel import SVMPath, SVMRegressionPath
from .linear import LinearSVMPath, LogisticRegressionPath
from .neighbours import NearestNeighbours, NearestNeighboursRegression
from .path import Path

HEADS: dict[str, Callable[[], PathClassifier | AutoHead]] = {
    "auto": AutoHead,
    "logreg": LogisticRegressionPath,
    "svm": SVMPath,
    "linear-svm": LinearSVMPath,
    "ridge": RidgePath,
    "lda": LDAPath,
    "knn": NearestNeighbours,
    "centroid": NearestCentroid,
}
"""Name of every head that classifies, and its class."""

REGRESSION_HEADS: dict[str, Callable[[], PathRegressor]] = {
    "ridge": RidgeRegressionPath,
    "svm": SVMRegressionPath,
    "knn": NearestNeighboursRegression,
}
"""Name of every head that predicts numbers, and its class."""

DEFAULT_HEAD = "auto"
"""The head that classifies where none is named."""

_EPOCHS = 5
_BATCH = 1024
_RUN = 128  # rows that lie beside each other
_RUNS = 32  # that are in memory together


def make_head(head: Any, y: ArrayLike, *, regression: bool = False, blocks: Sequence[int] | None = None) -> Any:
    """Make an unfitted head that suits the targets `y`.

    Parameters
    ----------
    head : str or scikit-learn estimator
        A name in `HEADS`, or any classifier; of the latter a clone is returned.
    y : array-like, shape (n,) or (n, k)
        The targets it will be fitted on.
    regression : bool
        Whether they are numbers: then a name in `REGRESSION_HEADS`, or a regressor.
    blocks : sequence of int, optional
        Numbers of the columns of the rows that come from one layer each, for heads that know blocks.

    Returns
    -------
    scikit-learn estimator

    Raises
    ------
    HeadError
        If there is no head of that name, it is of the other kind, or `y` has fewer than two classes.

    Examples
    --------
    >>> make_head("knn", ["cat", "dog"])
    NearestNeighbours()
    """
    from sklearn.base import is_classifier, is_regressor

    labels = np.unique(complete(y))
    if len(labels) < 2 and not regression:
        raise HeadError(
            "a classifier needs at least two classes, and the labels hold "
            f"{'one class: ' + str(labels[0]) if len(labels) else 'none'}. {LABELS_COME_FROM}"
        )
    named: dict[str, Callable[[], Any]] = {**(REGRESSION_HEADS if regression else HEADS)}
    kind = "regressor" if regression else "classifier"
    if isinstance(head, str):
        if head not in named:
            of_numbers = " for numbers" if regression else ""
            raise HeadError(
                f"no head{of_numbers} called {head!r}. There are: {', '.join(named)}; or give a scikit-learn one."
            )
        return set_blocks(named[head](), blocks)
    is_estimator = not isinstance(head, type) and all(hasattr(head, name) for name in ("fit", "predict", "get_params"))
    if not is_estimator or not (is_regressor if regression else is_classifier)(head):
        raise HeadError(f"expected the name of a head or a scikit-learn {kind} (an object), got {head!r}")
    return set_blocks(clone(head), blocks)


def set_blocks(head: Any, blocks: Sequence[int] | None) -> Any:
    """Tell an unfitted head which columns of the rows come from which layer, if it can know and was not told.

    Parameters
    ----------
    head : scikit-learn estimator
        Changed: its parameter `blocks`, if that is there and None. Of featurekit's heads, auto, logreg, svm and lda
        have it.
    blocks : sequence of int or None
        Numbers of the columns of each layer, see :attr:`featurekit.FeatureSpace.widths`.

    Returns
    -------
    head

    Examples
    --------
    >>> set_blocks(LDAPath(), (32, 16)), set_blocks(LDAPath(), (1280,)), set_blocks(NearestCentroid(), (32, 16))
    (LDAPath(blocks=(32, 16)), LDAPath(), NearestCentroid())
    """
    if blocks is None or len(blocks) < 2 or not isinstance(head, Path | AutoHead):
        return head
    if head.get_params(deep=False).get("blocks", ()) is not None:
        return head
    return head.set_params(blocks=tuple(blocks))


def fit_head(
    head: Any, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
) -> Any:
    """Fit a head on rows; a named one is told the groups, by which it chooses its strength.

    Parameters
    ----------
    head : scikit-learn estimator
    X : array-like, shape (n, d)
    y : array-like, shape (n,) or (n, k)
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
    if isinstance(head, Path | AutoHead) and groups is not None:
        options["groups"] = groups
    with _said(head, X):
        return head.fit(X, y, **options)


def fits_in_batches(head: Any) -> bool:
    """Whether a head can be fitted on rows that do not fit into memory."""
    return hasattr(head, "fit_batches") or hasattr(head, "partial_fit")


def fit_head_in_batches(
    head: Any, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None, sample_weight: ArrayLike | None = None
) -> Any:
    """Fit a head on rows of which few are in memory at any time.

    By ``fit_batches`` (see :meth:`featurekit.heads.LDAPath.fit_batches`), or with five epochs of ``partial_fit``
    on shuffled batches of about 1,024 rows.

    Parameters
    ----------
    head : scikit-learn estimator
        One for which :func:`fits_in_batches` holds.
    X : array-like, shape (n, d)
        Whatever gives rows for a slice or a list of numbers, such as ``store.X``.
    y : array-like, shape (n,) or (n, k)
    groups, sample_weight : array-like, shape (n,), optional
        Rows of weight 0 are passed over.

    Returns
    -------
    head

    Raises
    ------
    HeadError
        If the head refuses the rows.

    Examples
    --------
    >>> from sklearn.linear_model import SGDClassifier
    >>> store = getfixture("digits_store")
    >>> fit_head_in_batches(SGDClassifier(random_state=0), store.X, store.y).score(store.X, store.y) > 0.9
    True
    """
    from sklearn.base import is_classifier

    targets, weights = np.asarray(y), None if sample_weight is None else np.asarray(sample_weight)
    for what, given in (("targets", targets), ("groups", groups), ("weights", weights)):
        if given is not None and len(np.asarray(given)) != X.shape[0]:
            raise HeadError(f"{X.shape[0]} rows but {len(np.asarray(given))} {what}")
    with _said(head):
        if hasattr(head, "fit_batches"):
            return head.fit_batches(X, targets, sample_weight=weights, groups=groups)
        counting = np.arange(len(targets)) if weights is None else np.flatnonzero(weights)
        options: dict[str, Any] = {"classes": np.unique(targets[counting])} if is_classifier(head) else {}
        rng = np.random.default_rng(0)
        # Rows that lie beside each other are read together, for single ones all over the disk take ten times as long;
        # and where a source is sorted by class, some runs of each of many classes are mixed before they are learned.
        runs = np.array_split(counting, max(1, len(counting) // _RUN))
        for _ in range(_EPOCHS):
            order = rng.permutation(len(runs))
            for start in range(0, len(order), _RUNS):
                near = np.sort(np.concatenate([runs[number] for number in order[start : start + _RUNS]]))
                rows = X[near]
                mixed = rng.permutation(len(near))
                for part in np.array_split(mixed, max(1, len(near) // _BATCH)):
                    # Heads that know no weights are given none where all are 1.
                    weighted = weights is not None and not (weights[near[part]] == 1).all()
                    more = {"sample_weight": weights[near[part]]} if weights is not None and weighted else {}
                    head.partial_fit(rows[part], targets[near[part]], **options, **more)
        return head


@contextmanager
def _said(head: Any, X: Any = None) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # an estimator of the user's own may raise anything
        why = _fault_of_rows(X) or str(error)
        raise HeadError(f"the head {type(head).__name__} could not be fitted: {why}") from error


def _fault_of_rows(X: Any) -> str:
    """Why no head can be fitted on rows, where that is plain; else empty."""
    rows = np.asarray(X)
    if rows.ndim != 2 or not len(rows) or rows.dtype.kind not in "fiu":
        return ""
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        return f"{len(bad)} of {len(rows)} rows hold numbers that are not finite, the first at position {bad[0]}"
    if (rows == rows[0]).all():
        return f"all {len(rows)} rows are equal, so that nothing tells the images apart"
    return ""


def head_name(head: Any) -> str:
    """Name of a head for people: its name, or the name of its class."""
    return head if isinstance(head, str) else type(head).__name__
