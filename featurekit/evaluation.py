"""Heads scored on stored rows. Sees rows, never a network: no torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import HeadError
from .heads import DEFAULT_HEAD, fit_head, make_head
from .labels import LABELS_COME_FROM, complete
from .metrics import Evaluation, evaluate_predictions
from .splits import folds, holdout, plain_holdout
from .target_metrics import LabelEvaluation, NumberEvaluation, evaluate_labels, evaluate_numbers


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Predictions for every row by heads that were fitted without it.

    Attributes
    ----------
    y : ndarray, shape (n,)
        True labels.
    classes : ndarray, shape (k,)
        Sorted.
    predictions : ndarray, shape (repeats, n)
        Labels.
    probabilities : ndarray of float32, shape (repeats, n, k), or None
        If the head gives any.
    scores : ndarray, shape (repeats * folds,)
        Accuracy of each fold.
    groups : ndarray of int, shape (n,)
        Rows with the same number were kept on one side.
    fit_seconds, predict_seconds : float
        Median over the folds of the time of one fit, and of one prediction of a row.
    """

    y: NDArray[Any]
    classes: NDArray[Any]
    predictions: NDArray[Any]
    probabilities: NDArray[np.float32] | None
    scores: NDArray[np.float64]
    groups: NDArray[np.intp]
    fit_seconds: float
    predict_seconds: float

    @property
    def folds(self) -> int:
        """Folds of one repeat."""
        return len(self.scores) // len(self.predictions)

    @property
    def mean(self) -> float:
        """Mean accuracy of the folds."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the folds' accuracies."""
        return float(self.scores.std())

    def evaluate(self) -> Evaluation:
        """All scores, with intervals that take each group of rows as one draw.

        They are of the folds' heads on other images, and leave out that other training images would have given other
        heads. With 300 rows of photographs they held the true accuracy 89 or 90 times of 100, averaged over four
        heads, and the true log loss 85 or 86, where 93 or 94 were possible (``tests/benchmarks/coverage.py``): they are
        narrower than they should be by a tenth to a fifth. A head that is fitted to all rows is on average better
        than they say, because it has seen more. Intervals of :func:`featurekit.metrics.paired_difference` suffer
        less: 90 to 98.

        References
        ----------
        Y. Bengio and Y. Grandvalet, "No unbiased estimator of the variance of k-fold cross-validation", 2004.

        S. Bates, T. Hastie and R. Tibshirani, "Cross-validation: what does it estimate and how well does it do it?",
        2023.
        """
        repeats = len(self.predictions)
        table = None if self.probabilities is None else self.probabilities.reshape(-1, len(self.classes))
        return evaluate_predictions(
            np.tile(self.y, repeats),
            self.predictions.ravel(),
            table,
            self.classes,
            np.tile(self.groups, repeats),
            repeats=repeats,
        )


def evaluate_head(
    X: ArrayLike,
    y: ArrayLike,
    head: Any = DEFAULT_HEAD,
    *,
    test_size: float = 0.3,
    seed: int = 0,
    groups: ArrayLike | None = None,
    blocks: Sequence[int] | None = None,
    regression: bool = False,
    split: tuple[ArrayLike, ArrayLike] | None = None,
) -> Evaluation | LabelEvaluation | NumberEvaluation:
    """Fit a head on a part of the rows and score it on the rest.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,), or (n, k)
        Classes; or a :class:`~featurekit.targets.LabelTable`, or numbers.
    head : str or scikit-learn estimator
        As in :func:`featurekit.heads.make_head`.
    test_size, seed, groups
        As in :func:`featurekit.splits.holdout`.
    blocks : sequence of int, optional
        Numbers of the columns of each layer, for heads that know blocks.
    regression : bool
        Whether `y` are numbers.
    split : pair of arrays of int, optional
        Indices of the rows to fit on and of those to score, instead of `test_size` and `seed`.

    Returns
    -------
    Evaluation
        Or, of a table of labels, `LabelEvaluation`; of numbers, `NumberEvaluation`.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> evaluate_head(store.X, store.y, "knn").n
    18
    """
    rows, labels, ids = np.asarray(X), complete(y), None if groups is None else np.asarray(groups)
    _check_lengths(rows, labels, ids)
    stratified = labels.ndim == 1 and not regression
    if split is None:
        train, test = (holdout if stratified else plain_holdout)(labels, test_size, seed, ids)
    else:
        train, test = (np.asarray(part, dtype=np.intp) for part in split)
    known, tested = (None, None) if ids is None else (ids[train], ids[test])
    fitted = fit_head(
        make_head(head, labels[train], regression=regression, blocks=blocks), rows[train], labels[train], groups=known
    )
    said = fitted.predict(rows[test])
    if regression:
        return evaluate_numbers(labels[test], said, groups=tested)
    likely = fitted.predict_proba(rows[test]) if hasattr(fitted, "predict_proba") else None
    if not stratified:
        names = list(map(str, getattr(y, "columns", range(labels.shape[1]))))
        return evaluate_labels(labels[test], said, likely, columns=names, groups=tested)
    return evaluate_predictions(labels[test], said, likely, fitted.classes_, tested)


def cross_validate_head(
    X: ArrayLike,
    y: ArrayLike,
    head: Any = DEFAULT_HEAD,
    *,
    cv: int | Sequence[tuple[ArrayLike, ArrayLike]] = 5,
    repeats: int = 1,
    seed: int = 0,
    groups: ArrayLike | None = None,
    blocks: Sequence[int] | None = None,
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
    cv : int or list of (train, test)
        Folds, 2 or more; fewer if no class has so many images. Or the splits themselves, whose test parts hold
        every row once.
    repeats : int
        How many times, with other folds each time.
    seed : int
        Of the shuffling: equal labels, `cv`, `seed` and `groups` give equal folds.
    groups : array-like, shape (n,), optional
        Images of one group stay in one fold, also of those by which a head chooses its strength.
    blocks : sequence of int, optional
        Numbers of the columns of each layer, for heads that know blocks.

    Returns
    -------
    CrossValidation or None
        None if that is impossible: a class has a single image, or a single group.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> result = cross_validate_head(store.X, store.y, "knn", repeats=2)
    >>> result.predictions.shape, result.folds, result.evaluate().accuracy > 0.9
    ((2, 60), 5, True)
    """
    rows, labels = np.asarray(X), complete(y)
    _check_lengths(rows, labels, groups)
    for name, value, least in (("repeats", repeats, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
    ids = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    classes, codes = np.unique(labels, return_inverse=True)
    predictions: NDArray[np.intp] = np.zeros((repeats, len(labels)), dtype=np.intp)
    table: NDArray[np.float32] | None = np.zeros((repeats, len(labels), len(classes)), dtype=np.float32)
    scores, fitting, predicting = [], [], []
    for repeat in range(repeats):
        splits = _splits(labels, cv, seed + repeat, ids)
        if not splits:
            return None
        for train, test in splits:
            begun = time.perf_counter()
            known = None if ids is None else ids[train]
            fitted = fit_head(make_head(head, labels[train], blocks=blocks), rows[train], labels[train], groups=known)
            between = time.perf_counter()
            predictions[repeat, test] = _numbers(classes, _of_head(fitted, "predict", rows[test]))
            fitting.append(between - begun)
            predicting.append((time.perf_counter() - between) / len(test))
            if table is not None and hasattr(fitted, "predict_proba"):
                columns = _numbers(classes, fitted.classes_)
                table[repeat, test[:, np.newaxis], columns] = _of_head(fitted, "predict_proba", rows[test])
            else:
                table = None
            scores.append(float(np.mean(predictions[repeat, test] == codes[test])))
    return CrossValidation(
        y=labels,
        classes=classes,
        predictions=classes[predictions],
        probabilities=table,
        scores=np.array(scores),
        groups=np.arange(len(labels)) if ids is None else ids,
        fit_seconds=float(np.median(fitting)),
        predict_seconds=float(np.median(predicting)),
    )


class CurvePoint(NamedTuple):
    """Accuracy with a part of the training rows: how many there were (mean over the folds), and a 95% interval.

    The ends of the interval are None where there are too few groups of images for one.
    """

    rows: float
    accuracy: float
    low: float | None
    high: float | None


def learning_curve(
    X: ArrayLike,
    y: ArrayLike,
    head: Any = DEFAULT_HEAD,
    *,
    shares: Sequence[float] = (0.1, 0.2, 0.4, 0.7, 1.0),
    cv: int = 5,
    seed: int = 0,
    groups: ArrayLike | None = None,
    blocks: Sequence[int] | None = None,
) -> list[CurvePoint]:
    """Accuracy over the number of training rows, which tells whether more images would help.

    The test parts are the folds of :func:`cross_validate_head`; of each training part a share is drawn, of every
    class alike, and a larger share holds the smaller ones.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    head : str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    shares : sequence of float
        Of the training rows, ascending, above 0 and up to 1. A class keeps at least 2 rows.
    cv, seed, groups, blocks
        As in :func:`cross_validate_head`.

    Returns
    -------
    list of CurvePoint
        Empty if nothing can be cross-validated.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> [point.rows for point in learning_curve(store.X, store.y, "centroid", shares=[0.25, 1])]
    [12.0, 48.0]
    """
    rows, labels = np.asarray(X), complete(y)
    _check_lengths(rows, labels, groups)
    if not len(shares) or not all(0 < a < b for a, b in zip(shares, [*shares[1:], 1.0000001], strict=True)):
        raise ValueError(f"shares must be ascending, above 0 and up to 1, got {shares!r}")
    ids = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    splits = _splits(labels, cv, seed, ids)
    points: list[CurvePoint] = []
    for share in shares if splits else ():
        predictions, counts = np.empty_like(labels), []
        for number, (train, test) in enumerate(splits):
            rng = np.random.default_rng([seed, number])
            part = np.concatenate(
                [
                    rng.permutation(members)[: max(2, round(share * len(members)))]
                    for members in (train[labels[train] == label] for label in np.unique(labels))
                ]
            )
            known = None if ids is None else ids[part]
            fitted = fit_head(make_head(head, labels[part], blocks=blocks), rows[part], labels[part], groups=known)
            predictions[test] = _of_head(fitted, "predict", rows[test])
            counts.append(len(part))
        if points and points[-1].rows == np.mean(counts):
            continue  # so few images that a larger share is no more
        scored = evaluate_predictions(labels, predictions, groups=ids)
        points.append(CurvePoint(float(np.mean(counts)), scored.accuracy, scored.low, scored.high))
    return points


def _check_lengths(rows: NDArray[Any], labels: NDArray[Any], groups: ArrayLike | None) -> None:
    for name, given in (("labels", labels), ("groups", groups)):
        if given is not None and len(np.asarray(given)) != len(rows):
            raise ValueError(f"{len(rows)} rows but {len(np.asarray(given))} {name}")
    if not len(rows):
        raise HeadError(f"there is no row with a label. {LABELS_COME_FROM}")


def _of_head(fitted: Any, method: str, rows: NDArray[Any]) -> NDArray[Any]:
    """What a head says; one of the user's own may raise anything, or say what is no number."""
    try:
        said = np.asarray(getattr(fitted, method)(rows))
    except Exception as error:
        raise HeadError(f"the head {type(fitted).__name__} failed in {method}: {error}") from error
    if said.dtype.kind == "f" and not np.isfinite(said).all():
        raise HeadError(f"the head {type(fitted).__name__} gives values in {method} that are no numbers")
    return said


def _numbers(classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """The numbers of labels among the classes."""
    places = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    if (unknown := np.asarray(labels)[classes[places] != labels]).size:
        raise HeadError(f"the head predicts {unknown[0]!r}, which is none of the classes")
    return places


def _splits(
    labels: NDArray[Any], cv: int | Sequence[tuple[ArrayLike, ArrayLike]], seed: int, ids: NDArray[Any] | None
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    if isinstance(cv, int | np.integer):
        if cv < 2 or isinstance(cv, bool):
            raise ValueError(f"cv must be a whole number from 2, or splits, got {cv!r}")
        return list(folds(labels, int(cv), seed, ids))
    if isinstance(cv, str | float) or not hasattr(cv, "__iter__"):
        raise ValueError(f"cv must be a whole number from 2, or splits, got {cv!r}")
    splits = [(np.asarray(train), np.asarray(test)) for train, test in cv]
    tested = np.sort(np.concatenate([test for _, test in splits])) if splits else np.empty(0)
    if not np.array_equal(tested, np.arange(len(labels))):
        raise HeadError("the test parts of the given splits must hold every row once")
    return splits
