"""L2-regularised linear models along a path of strengths: L-BFGS that starts near the solution and in good coordinates.

Three things make it fast, and none of them changes the minimum. Rows are given in their principal axes,
where the Hessian is nearly diagonal, and at most min(n, d) of them are needed. Each strength starts from a
linear extrapolation of the last two solutions. And each is solved in coordinates scaled by the Hessian's
diagonal at the last solution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_MEMORY = 10
_MOST_STEPS = 1000


class Loss(Protocol):
    """A convex loss of the decision values, row by row."""

    def gradient(self, decisions: Array, targets: Array) -> tuple[Array, Array]:
        """Loss of each row, shape (n,), and its derivative by each decision value, shape (n, k)."""

    def curvature(self, decisions: Array, targets: Array) -> Array:
        """Second derivative by each decision value, or a bound of it, shape (n, k)."""


class LogisticLoss:
    """Minus the logarithm of the true class' probability: softmax, or the sigmoid of a single decision value."""

    def gradient(self, decisions: Array, targets: Array) -> tuple[Array, Array]:
        """As in `Loss`; `targets` are 0 or 1, one column for each decision value."""
        if decisions.shape[1] == 1:
            return LabelsLoss().gradient(decisions, targets)
        shifted = decisions - decisions.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=1, keepdims=True)
        loss = np.log(total[:, 0]) - np.einsum("ij,ij->i", shifted, targets)
        exponentials /= total
        exponentials -= targets
        return loss, exponentials

    def curvature(self, decisions: Array, targets: Array) -> Array:
        """As in `Loss`."""
        p = probabilities(decisions)[:, -decisions.shape[1] :]
        bent: Array = p * (1 - p)
        return bent


class LabelsLoss:
    """The sum over labels that do not exclude each other of minus the logarithm of the true answer's probability."""

    def gradient(self, decisions: Array, targets: Array) -> tuple[Array, Array]:
        """As in `Loss`; `targets` are 0 or 1, one column for each label."""
        loss: Array = (np.logaddexp(0, decisions) - targets * decisions).sum(axis=1)
        return loss, sigmoid(decisions) - targets

    def curvature(self, decisions: Array, targets: Array) -> Array:
        """As in `Loss`."""
        p = sigmoid(decisions)
        bent: Array = p * (1 - p)
        return bent


class SquaredHingeLoss:
    """Squared distance to the margin, summed over the classes: a linear SVM for each class against the others."""

    def gradient(self, decisions: Array, targets: Array) -> tuple[Array, Array]:
        """As in `Loss`; `targets` are 0 or 1."""
        signs = 2 * targets - 1
        missing = np.maximum(1 - signs * decisions, 0)
        return np.einsum("ij,ij->i", missing, missing), -2 * signs * missing

    def curvature(self, decisions: Array, targets: Array) -> Array:
        """As in `Loss`."""
        bent: Array = 2 * ((2 * targets - 1) * decisions < 1).astype(decisions.dtype)
        return bent


def descend(
    loss: Loss, rows: Array, targets: Array, weights: Array, Cs: Sequence[float], tol: float
) -> Iterator[tuple[Array, Array]]:
    """Minimise ``C * sum(weights * loss) + ||W||^2 / 2`` for each C, from the smallest.

    Parameters
    ----------
    loss : Loss
    rows : ndarray of float, shape (n, k)
        In principal axes. Their dtype is that of the arithmetic.
    targets : ndarray, shape (n, c)
        1 where a row is of the class of a column, else 0.
    weights : ndarray, shape (n,)
    Cs : sequence of float
        Inverse strengths of the regularisation, ascending.
    tol : float
        Largest element of the gradient of the mean loss, in scaled coordinates.

    Yields
    ------
    W : ndarray, shape (k, c)
    b : ndarray, shape (c,)
        The intercept, which is not regularised.
    """
    from scipy.optimize import minimize

    k, c = rows.shape[1], targets.shape[1]
    total = float(weights.sum())
    share = (weights / total).astype(rows.dtype)[:, np.newaxis]
    squares = rows * rows
    solution = before = np.zeros((k + 1, c), dtype=rows.dtype)  # the last line is the intercept
    for number, C in enumerate(Cs):
        strength = 1 / (C * total)
        bends = loss.curvature(rows @ solution[:-1] + solution[-1], targets) * share
        diagonal = np.vstack([squares.T @ bends + strength, bends.sum(axis=0) + 1e-6])
        scale = (1 / np.sqrt(diagonal)).astype(rows.dtype)

        def objective(
            point: Array, scale: Array = scale, strength: float = strength
        ) -> tuple[float, Array]:  # defaults: of this C
            at = point.reshape(k + 1, c).astype(rows.dtype) * scale
            losses, slopes = loss.gradient(rows @ at[:-1] + at[-1], targets)
            slopes *= share
            gradient = np.vstack([rows.T @ slopes + strength * at[:-1], slopes.sum(axis=0)])
            value = float(np.vdot(share[:, 0], losses)) + strength / 2 * float(np.vdot(at[:-1], at[:-1]))
            return value, (gradient * scale).ravel().astype(np.float64)

        # The path is nearly straight over the logarithm of C.
        step = np.log(C / Cs[number - 1]) / np.log(Cs[number - 1] / Cs[number - 2]) if number > 1 else 1.0
        start = solution + rows.dtype.type(step) * (solution - before)
        found = minimize(
            objective,
            (start / scale).ravel().astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "maxcor": _MEMORY, "gtol": tol, "ftol": tol / 1000},
        )
        before, solution = solution, found.x.reshape(k + 1, c).astype(rows.dtype) * scale
        yield solution[:-1], solution[-1]


def sigmoid(values: Array) -> Array:
    """``1 / (1 + exp(-values))``, without overflow."""
    from scipy.special import expit

    result: Array = expit(values)
    return result


def log_probabilities(decisions: Array) -> Array:
    """Logarithms of :func:`probabilities`, finite where these are 0."""
    logs: Array
    if decisions.shape[1] == 1:
        logs = -np.logaddexp(0, np.hstack([decisions, -decisions]))
    else:
        shifted = decisions - decisions.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def probabilities(decisions: Array) -> Array:
    """Decision values of shape (n, c) as probabilities of shape (n, max(2, c)): softmax, or sigmoid of one column."""
    if decisions.shape[1] == 1:
        positive = sigmoid(decisions)
        return np.hstack([1 - positive, positive])
    exponentials = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
