"""Scores of how well frozen features may serve, without fitting a head. Sees rows, never a network: no torch.

No such score wins everywhere, and cross-validated heads predict at least as well at no more cost (A. Agostinelli et
al., "How stable are transferability metrics evaluations?", 2022): use them beside :func:`featurekit.compare`, not
instead.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEPS = 100
_SETTLED = 1e-6


def logme(X: ArrayLike, y: ArrayLike) -> float:
    """Mean logarithm of the evidence of a Bayesian linear model for each class, per image.

    Each class against the others is a regression with a Gaussian prior on the weights and Gaussian noise; the strengths
    of both are those of the largest evidence. Higher is better; values of different data cannot be compared.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Classes.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there is no row, or not a label for each.

    Notes
    -----
    With fewer rows than numbers in a row, the evidence holds a term that the published fixed-point code leaves out: the
    d - n directions in which the rows say nothing.

    References
    ----------
    K. You et al., "LogME: practical assessment of pre-trained models for transfer learning", 2021.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 50)
    >>> X = rng.normal(size=(100, 5))
    >>> logme(X + 3 * y[:, np.newaxis], y) > logme(X, y)
    True
    """
    rows, classes, codes = _checked(X, y, centred=False)
    n, d = rows.shape
    u, singular, _ = np.linalg.svd(rows, full_matrices=False)
    s = singular**2
    evidence = []
    for number in range(len(classes)):
        target = (codes == number).astype(np.float64)
        evidence.append(_evidence(u.T @ target, float(target @ target), s, n, d))
    return float(np.mean(evidence))


def _evidence(x: NDArray[np.float64], square: float, s: NDArray[np.float64], n: int, d: int) -> float:
    """Of one class, per row: `x` is the target in the directions of the rows, `s` their squared singular values."""
    left = max(square - float(x @ x), 0.0)  # what no direction of the rows explains
    alpha = beta = 1.0
    for _ in range(_STEPS):
        t = alpha / beta
        gamma = float((s / (s + t)).sum())
        m = float((s * x**2 / (t + s) ** 2).sum())
        e = float((x**2 / (1 + s / t) ** 2).sum()) + left
        if m <= 0:  # the rows say nothing of this class: no weights
            return -0.5 * (math.log(2 * math.pi * max(square / n, 1e-12)) + 1)
        alpha, beta = gamma / m, max(n - gamma, 1e-12) / max(e, 1e-12)
        if abs(alpha / beta - t) <= _SETTLED * t:
            break
    fit = d * math.log(alpha) + n * math.log(beta)
    spread = float(np.log(alpha + beta * s).sum()) + (d - len(s)) * math.log(alpha)
    return (0.5 * (fit - spread) - beta * e / 2 - alpha * m / 2 - n / 2 * math.log(2 * math.pi)) / n


def h_score(X: ArrayLike, y: ArrayLike) -> float:
    """How much of the spread of the rows lies between the classes, each direction in units of its own spread.

    ``(1 - a) trace(S_a^-1 B)``: `B` is the covariance of the rows' class means, `S_a` that of the rows, shrunk by the
    share `a` of Ledoit and Wolf. From 0 to the number of classes less one; higher is better.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Classes.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As in :func:`logme`.

    References
    ----------
    Y. Bao et al., "An information-theoretic approach to transferability in task transfer learning", 2019; with
    shrinkage: S. Ibrahim, N. Ponomareva, R. Mazumder, "Newer is not always better: rethinking transferability
    metrics, their peculiarities, stability and performance", 2021.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 50)
    >>> X = rng.normal(size=(100, 5))
    >>> 0 <= h_score(X, y) < h_score(X + 3 * y[:, np.newaxis], y) <= 1
    True
    """
    from sklearn.covariance import ledoit_wolf

    rows, classes, codes = _checked(X, y, centred=True)
    n = len(rows)
    counts = np.bincount(codes, minlength=len(classes))
    means = np.zeros((len(classes), rows.shape[1]))
    np.add.at(means, codes, rows)
    means /= counts[:, np.newaxis]
    covariance, share = ledoit_wolf(rows, assume_centered=True)
    if not np.trace(covariance) > 0:
        return 0.0
    # trace(S^-1 M' W M) = sum over classes of w m S^-1 m': k solutions instead of d.
    try:
        solved = np.linalg.solve(covariance, means.T)
    except np.linalg.LinAlgError:  # nothing was shrunk, and rows lie in a plane
        solved = np.linalg.pinv(covariance, hermitian=True) @ means.T
    return float((1 - share) * np.sum(counts / n * np.einsum("kd,dk->k", means, solved)))


def leep(probabilities: ArrayLike, y: ArrayLike) -> float:
    """Mean log-likelihood of the labels by what a classifier of other classes says, and how often these go together.

    Parameters
    ----------
    probabilities : array-like, shape (n, source classes)
        Of the source classifier, such as that of ImageNet: the softmax of the rows of ``layer="output"``.
    y : array-like, shape (n,)
        Classes.

    Returns
    -------
    float
        At most 0; higher is better.

    Raises
    ------
    ValueError
        If these are no probabilities, or as in :func:`logme`.

    References
    ----------
    C. V. Nguyen et al., "LEEP: a new measure to evaluate transferability of learned representations", 2020.

    Examples
    --------
    >>> leep([[1, 0], [1, 0], [0, 1]], ["a", "a", "b"]), round(leep([[1, 0], [1, 0], [1, 0], [1, 0]], list("aabb")), 4)
    (0.0, -0.6931)
    """
    table = np.asarray(probabilities, dtype=np.float64)
    _, classes, codes = _checked(table, y, centred=False)
    if (table < 0).any() or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
        raise ValueError("expected probabilities: no number below 0, and each row with the sum 1")
    together = np.zeros((len(classes), table.shape[1]))
    np.add.at(together, codes, table)
    total = together.sum(axis=0)
    given = together / np.where(total > 0, total, 1)  # P(class | source class)
    likely = np.einsum("ns,ns->n", table, given[codes])
    return float(np.log(np.maximum(likely, 1e-300)).mean())


_LARGEST = 1e100  # squares of more are no numbers


def _checked(
    X: ArrayLike, y: ArrayLike, *, centred: bool
) -> tuple[NDArray[np.float64], NDArray[np.generic], NDArray[np.intp]]:
    """Rows, without their mean if asked, the classes, and the number of each row's."""
    if np.iscomplexobj(X):
        raise ValueError("rows must be real numbers")
    rows, labels = np.asarray(X, dtype=np.float64), np.asarray(y)
    if rows.ndim != 2 or not rows.size or labels.shape != (len(rows),):
        raise ValueError(f"expected rows (n, d) and a label for each, got shapes {rows.shape} and {labels.shape}")
    if not np.isfinite(rows).all() or np.abs(rows).max() > _LARGEST:
        raise ValueError(f"rows must be finite numbers, of at most {_LARGEST:g}")
    if labels.dtype.kind in "fc" and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise ValueError("labels must be classes, and these are numbers with fractions, or none")
    if labels.dtype.kind == "O" and len({type(label) for label in labels}) > 1:
        raise ValueError("labels must be of one kind, all text or all whole numbers")
    classes, codes = np.unique(labels, return_inverse=True)
    return rows - rows.mean(axis=0) if centred else rows, classes, codes
