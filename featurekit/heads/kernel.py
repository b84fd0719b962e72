"""SVMs with a Gaussian kernel, with their path: of classes, of labels, of numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from .classifier import PathClassifier, PathRegressor
from .descent import Array
from .linear import scale_of, unit_length
from .path import Path, Targets

MOST_ROWS = 12_000
"""Rows whose kernel takes 1.2 GB; more are refused."""
_BLOCK = 4096  # rows that are decided at once
STEEPNESS = 4.0
"""What the values of machines for pairs of classes are multiplied by before they are softened to votes."""


# Where the best widths lie for rows of length 1, and for scaled columns: see tests/benchmarks/svm_grid.py.
_GAMMAS_UNIT = (0.5, 1.0, 2.0)
_GAMMAS_SCALED = (0.125, 0.25, 0.5)


class _Kernel(NamedTuple):
    """All rows, their squared distances, the width of the kernel, and which of them are fitted on."""

    rows: Array
    distances: Array
    gamma: float
    chosen: Array


class KernelPath(Path):
    """What works on the Gaussian kernel of rows: of one layer, of length 1; of several, with scaled columns."""

    blocks: Sequence[int] | None = None

    def _prepare(self, X: Array, weights: Array) -> _Kernel:
        if len(X) > MOST_ROWS:
            classes = "linear-svm" if self.blocks is None else "logreg"
            raise ValueError(
                f"the kernel of {len(X)} rows would take {8 * len(X) ** 2 / 1e9:.0f} GB; more than {MOST_ROWS} rows "
                f"are refused. Use the head {'ridge' if isinstance(self, PathRegressor) else classes}"
            )
        for name in ("mean_", "scale_"):
            if hasattr(self, name):  # of an earlier fit
                delattr(self, name)
        if self.blocks is not None:
            share = (weights / weights.sum()).astype(X.dtype)
            self.mean_ = share @ X
            centred = X - self.mean_
            self.scale_ = scale_of(share @ (centred * centred), self.blocks)
        rows = self._scaled(X)
        spread = float(rows.var())
        gamma = 1 / (X.shape[1] * spread) if spread else 1.0
        return _Kernel(rows, _squared_distances(rows, rows), gamma, np.arange(len(rows)))

    def _scaled(self, X: Array) -> Array:
        if not hasattr(self, "mean_"):
            return unit_length(X)
        result: Array = (X - self.mean_) / self.scale_
        return result

    def _part(self, prepared: _Kernel, chosen: Array) -> _Kernel:
        return prepared._replace(chosen=chosen)

    def _candidates(self) -> list[tuple[float, float]]:
        usual = _GAMMAS_UNIT if self.blocks is None else _GAMMAS_SCALED
        gammas = np.atleast_1d(usual if self.gammas is None else self.gammas)
        if not len(gammas) or not (np.asarray(gammas, dtype=float) > 0).all():
            raise ValueError(f"gammas must be positive, got {self.gammas!r}")
        return [(C, float(factor)) for C in self._checked_Cs() for factor in gammas]

    def _path(
        self, prepared: _Kernel, targets: Targets, weights: Array, candidates: Sequence[tuple[float, float]]
    ) -> Iterator[_Model]:
        distances = prepared.distances[np.ix_(prepared.chosen, prepared.chosen)]
        models = {}
        for factor in dict.fromkeys(factor for _, factor in candidates):
            gamma = factor * prepared.gamma
            kernel = _gaussian(distances, gamma)  # It does not depend on C.
            for C in (C for C, other in candidates if other == factor):
                models[C, factor] = _Model(self._machines(C, kernel, targets, weights), gamma, prepared.chosen)
        return iter([models[candidate] for candidate in candidates])

    @abstractmethod
    def _machines(self, C: float, kernel: Array, targets: Targets, weights: Array) -> list[Any]:
        """Fitted machines of libsvm: one, or one for each column; a number is a machine that always says it."""

    def _apply(self, prepared: _Kernel, chosen: Array, model: _Model) -> Array:
        kernel = _gaussian(prepared.distances[np.ix_(chosen, model.chosen)], model.gamma)
        return _decisions(model.machines, kernel)

    def _keep(self, prepared: _Kernel, model: _Model, candidate: tuple[float, float]) -> None:
        self.C_, self.gamma_ = candidate[0], model.gamma
        self.machines_ = model.machines
        supports = [machine.support_ for machine in model.machines if not isinstance(machine, float)]
        self.support_ = np.unique(np.concatenate([np.empty(0, dtype=np.intp), *supports]))
        self.rows_fitted_ = len(model.chosen)
        self.support_vectors_ = prepared.rows[self.support_]

    def _decide(self, X: Array) -> Array:
        rows, machines = self._scaled(X), self.machines_
        values = []
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            # libsvm looks only at the columns of the support vectors.
            kernel = np.zeros((len(part), self.rows_fitted_))
            kernel[:, self.support_] = _gaussian(_squared_distances(part, self.support_vectors_), self.gamma_)
            values.append(_decisions(machines, kernel))
        return np.concatenate(values)


class SVMPath(PathClassifier, KernelPath):
    """SVM with a Gaussian kernel and its path.

    Rows of one layer are divided by their length. Where `blocks` says that a row has several layers, its columns are
    scaled within their block instead (see `LogisticRegressionPath`), because layers differ in the size of their
    numbers. ``tests/benchmarks/whole_network.py`` compares both.

    Parameters
    ----------
    Cs : sequence of float
        As scikit-learn's ``C``, ascending.
    gammas : sequence of float, optional
        Widths of the kernel, as multiples of scikit-learn's ``"scale"``; each is tried with each C. Default: 0.5, 1
        and 2; with `blocks` 0.125, 0.25 and 0.5.
    cv, class_weight, random_state, blocks
        As in `LogisticRegressionPath`.

    Attributes
    ----------
    classes_, scores_, temperature_
        As in `LogisticRegressionPath`; `scores_` has a column for each gamma of each C.
    C_, gamma_ : float
        The best ones.
    support_vectors_ : ndarray, shape (m, d)
        Of length 1, or scaled.
    mean_, scale_ : ndarray, shape (d,)
        What is subtracted from a row, and what divides it then. There if `blocks` is given.

    Notes
    -----
    The kernel of all rows is computed once, as one matrix product, and libsvm works on it: 30 times as fast as
    computing it row by row. It takes 8 n^2 bytes, so more than 12,000 rows are refused; use ``linear-svm``.

    Examples
    --------
    >>> from featurekit.heads import SVMPath
    >>> store = getfixture("digits_store")
    >>> SVMPath().fit(store.X[::2], store.y[::2]).score(store.X[1::2], store.y[1::2]) > 0.9
    True
    """

    def __init__(
        self,
        Cs: Sequence[float] = (3.0, 30.0),
        *,
        gammas: Sequence[float] | None = None,
        cv: Any = 5,
        class_weight: Any = None,
        random_state: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Cs, cv, class_weight, random_state)
        self.gammas = gammas
        self.blocks = blocks

    def _machines(self, C: float, kernel: Array, targets: Targets, weights: Array) -> list[Any]:
        from sklearn.svm import SVC

        answers = targets.columns.T if targets.codes is None else [targets.codes]
        machine = SVC(C=C, kernel="precomputed", decision_function_shape="ovo")
        return [
            # Of a label that all of these rows have, or none, there is nothing to learn.
            clone(machine).fit(kernel, answer, sample_weight=weights)
            if answer.min() < answer.max()
            else float(2 * answer[0] - 1)
            for answer in answers
        ]


class SVMRegressionPath(PathRegressor, KernelPath):
    """Regression by an SVM with a Gaussian kernel and its path, on rows as in `SVMPath`.

    Parameters
    ----------
    Cs, gammas, cv, random_state, blocks
        As in `SVMPath`.
    epsilon : float
        Errors below it do not count; in standard deviations of the targets.

    Attributes
    ----------
    scores_, deviation_
        As in `RidgeRegressionPath`.
    C_, gamma_, support_vectors_, mean_, scale_
        As in `SVMPath`.

    Examples
    --------
    >>> from featurekit.heads import SVMRegressionPath
    >>> store = getfixture("digits_store")
    >>> SVMRegressionPath().fit(store.X[::2], store.y[::2].astype(float)).predict(store.X[1::2]).shape
    (30,)
    """

    def __init__(
        self,
        Cs: Sequence[float] = (1.0, 3.0, 10.0, 30.0),
        *,
        gammas: Sequence[float] | None = None,
        epsilon: float = 0.1,
        cv: Any = 5,
        random_state: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        self.blocks = blocks
        self.Cs = Cs
        self.gammas = gammas
        self.epsilon = epsilon
        self.cv = cv
        self.random_state = random_state

    def _machines(self, C: float, kernel: Array, targets: Targets, weights: Array) -> list[Any]:
        from sklearn.svm import SVR

        machine = SVR(C=C, kernel="precomputed", epsilon=self.epsilon)
        return [clone(machine).fit(kernel, column, sample_weight=weights) for column in targets.columns.T]


class _Model(NamedTuple):
    """Fitted machines, the width of their kernel, and the rows that they were fitted on."""

    machines: list[Any]
    gamma: float
    chosen: Array


def _squared_distances(a: Array, b: Array) -> Array:
    """Between the rows of one table and those of another, shape (n, m)."""
    squares = np.einsum("ij,ij->i", a, a)[:, np.newaxis] + np.einsum("ij,ij->i", b, b)
    result: Array = np.maximum(squares - 2 * (a @ b.T), 0)
    return result


def _gaussian(distances: Array, gamma: float) -> Array:
    result: Array = np.exp(-gamma * distances).astype(np.float64)
    return result


def _decisions(machines: list[Any], kernel: Array) -> Array:
    """A column for each machine; of one for many classes, for each class its evidence against the others.

    libsvm counts their votes, and from whole numbers no probability can be read. Each machine's vote is softened
    to the logarithm of a sigmoid: on two data sets that is as accurate, with a log loss lower by a third.
    """
    said = [_said(machine, kernel) for machine in machines]
    if said[0].ndim == 1:
        return np.stack(said, axis=1)
    (machine,), (values,) = machines, said
    number = len(machine.classes_)
    result = np.zeros((len(values), number))
    for pair, (first, second) in enumerate(zip(*np.triu_indices(number, 1), strict=True)):
        result[:, first] -= np.logaddexp(0, -STEEPNESS * values[:, pair])
        result[:, second] -= np.logaddexp(0, STEEPNESS * values[:, pair])
    return result


def _said(machine: Any, kernel: Array) -> Array:
    values: Array
    if isinstance(machine, float):
        values = np.full(len(kernel), machine)
    else:
        values = machine.decision_function(kernel) if hasattr(machine, "decision_function") else machine.predict(kernel)
    return values
