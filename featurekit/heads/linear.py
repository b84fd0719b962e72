"""Linear classifiers with a path that is descended: logistic regression and the linear SVM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .classifier import PathClassifier
from .descent import Array, LabelsLoss, LogisticLoss, Loss, SquaredHingeLoss, descend
from .path import Path, Targets


class Axes(NamedTuple):
    """Rows in principal axes, ``(X - mean) / scale @ axes``; or centred and scaled only."""

    rows: Array
    mean: Array
    scale: Array
    axes: Array | None


class LinearPath(Path):
    """A linear estimator of columns that are scaled to comparable size, or of rows of length 1."""

    blocks: Sequence[int] | None = None
    _unit_rows = False
    _rotated = True

    def _prepare(self, X: Array, weights: Array) -> Axes:
        if self._unit_rows:
            X = unit_length(X)
        share = (weights / weights.sum()).astype(X.dtype)
        mean = share @ X
        centred = X - mean
        scale = np.ones_like(mean) if self._unit_rows else scale_of(share @ (centred * centred), self.blocks)
        centred /= scale
        if not self._rotated:
            return Axes(centred, mean, scale, None)
        axes = _principal_axes(centred)
        return Axes(centred @ axes, mean, scale, axes)

    def _part(self, prepared: Axes, chosen: Array) -> Axes:
        return prepared._replace(rows=prepared.rows[chosen])

    def _apply(self, prepared: Axes, chosen: Array, model: tuple[Array, Array]) -> Array:
        values: Array = prepared.rows[chosen] @ model[0] + model[1]
        return values

    def _keep(self, prepared: Axes, model: tuple[Array, Array], candidate: float) -> None:
        W, b = model
        slopes = (W if prepared.axes is None else prepared.axes @ W).astype(np.float64) / prepared.scale[:, np.newaxis]
        self.coef_ = slopes.T.astype(W.dtype)
        self.intercept_ = (b - prepared.mean @ slopes).astype(W.dtype)
        self.C_ = candidate

    def _decide(self, X: Array) -> Array:
        values: Array = (unit_length(X) if self._unit_rows else X) @ self.coef_.T + self.intercept_
        return values


class LogisticRegressionPath(PathClassifier, LinearPath):
    """Logistic regression with its L2 path: columns scaled, strengths warm-started, the best refitted.

    What ``GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"C": Cs})`` does, in a fraction
    of the time: rows are brought into their principal axes once, and each strength starts near its solution.

    Columns are centred and divided by ``sqrt(variance + mean variance of the columns of their block)``, which blows up
    no channel that is nearly constant. This is done once, by all rows that are given, not once in each inner fold.

    Parameters
    ----------
    Cs : sequence of float
        Inverse strengths, ascending, as scikit-learn's ``C``.
    cv : int, splitter or list of splits, default=5
        How they are compared. Of an int, stratified and shuffled folds; fewer if a class has fewer rows.
    class_weight : {"balanced"}, dict or None
        As in scikit-learn.
    tol : float
        When a strength is solved: largest element of the scaled gradient.
    random_state : int
        Of the folds' shuffling.
    blocks : sequence of int, optional
        Numbers of the columns that come from one layer each, in their order, such as
        :attr:`featurekit.FeatureSpace.widths`. Layers differ in the size of their numbers, so that columns are
        scaled within their block. Default: all columns are one block.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    coef_ : ndarray, shape (n_classes, d), or (1, d) for two
        Of the rows as they are given: the scaling is folded in.
    intercept_ : ndarray, shape (n_classes,) or (1,)
    C_ : float
        The best of `Cs`, or the middle one where a class has a single row.
    scores_ : ndarray, shape (folds, len(Cs))
        Accuracies.
    temperature_ : float
        What divides the decision values before they become probabilities. Not there where nothing could be
        cross-validated.

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, section B.8: the
    usual protocol of linear evaluation.

    Examples
    --------
    >>> from featurekit.heads import LogisticRegressionPath
    >>> store = getfixture("digits_store")
    >>> head = LogisticRegressionPath().fit(store.X[::2], store.y[::2])
    >>> head.score(store.X[1::2], store.y[1::2]) > 0.9, head.coef_.shape, head.scores_.shape
    (True, (3, 816), (5, 10))
    """

    def __init__(
        self,
        Cs: Sequence[float] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        tol: float = 1e-4,
        random_state: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)
        self.tol = tol
        self.blocks = blocks

    def _path(
        self, prepared: Axes, targets: Targets, weights: Array, candidates: Sequence[float]
    ) -> Iterator[tuple[Array, Array]]:
        if not 0 < self.tol < 1:
            raise ValueError(f"tol must lie between 0 and 1, got {self.tol!r}")
        loss = self._loss(of_labels=targets.codes is None)
        return descend(loss, prepared.rows, targets.columns, weights, candidates, self.tol)

    def _loss(self, *, of_labels: bool) -> Loss:
        return LabelsLoss() if of_labels else LogisticLoss()


class LinearSVMPath(LogisticRegressionPath):
    """Linear SVM (squared hinge, one class against the others) with its path, on rows of length 1.

    Parameters (but for `blocks`) and attributes are those of `LogisticRegressionPath`; `coef_` is of rows that were
    divided by their length. That was worth some points to SVMs on three data sets, because rare, noisy channels are
    not blown up.

    Examples
    --------
    >>> from featurekit.heads import LinearSVMPath
    >>> store = getfixture("digits_store")
    >>> LinearSVMPath().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    _unit_rows = True

    def __init__(
        self,
        Cs: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        *,
        cv: Any = 5,
        class_weight: Any = None,
        tol: float = 1e-4,
        random_state: int = 0,
    ) -> None:
        super().__init__(Cs, cv=cv, class_weight=class_weight, tol=tol, random_state=random_state)

    def _loss(self, *, of_labels: bool) -> Loss:
        return SquaredHingeLoss()


def scale_of(variances: Array, blocks: Sequence[int] | None = None) -> Array:
    """What columns of these variances are divided by.

    Parameters
    ----------
    variances : ndarray, shape (d,)
    blocks : sequence of int, optional
        Numbers of the columns of each layer. Default: one block.

    Returns
    -------
    ndarray, shape (d,)

    Raises
    ------
    ValueError
        If the blocks do not make up the columns.

    Notes
    -----
    Divided by its own deviation alone, a channel that is nearly always zero among few images, and is not among the
    next ones, would outweigh all others: that cost up to 7 points and three times the log loss.
    """
    widths = [len(variances)] if blocks is None else list(blocks)
    if not all(hasattr(width, "__index__") and width > 0 for width in widths) or sum(widths) != len(variances):
        raise ValueError(
            f"blocks must be whole numbers above 0 that add up to the {len(variances)} columns of the rows, "
            f"got {blocks!r}"
        )
    means = np.array([part.mean() for part in np.split(variances, np.cumsum(widths)[:-1])], dtype=variances.dtype)
    # A layer whose numbers are all the same varies by rounding only, which must not be blown up.
    means = np.maximum(means, np.finfo(np.float32).eps * means.max()).astype(variances.dtype)
    scale: Array = np.sqrt(variances + np.repeat(means, widths))
    scale[scale == 0] = 1
    return scale


def unit_length(X: Array) -> Array:
    """Rows divided by their length; those of zeros stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", X, X))
    lengths[lengths == 0] = 1
    result: Array = X / lengths[:, np.newaxis].astype(X.dtype)
    return result


def _principal_axes(centred: Array) -> Array:
    """Orthonormal axes of the rows, shape (d, min(n, d)), the strongest last."""
    from scipy.linalg import eigh

    n, d = centred.shape
    axes: Array
    if n >= d:
        axes = eigh(centred.T @ centred)[1]
    else:
        powers, left = eigh(centred @ centred.T)
        keep = powers > powers[-1] * 10 * np.finfo(centred.dtype).eps
        axes = centred.T @ left[:, keep] / np.sqrt(powers[keep])
    return axes
