from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from featurekit.transferability import h_score, leep, logme


def made(n, d, k=3, apart=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    y[:k] = np.arange(k)
    return rng.normal(size=(n, d)) + apart * rng.normal(size=(k, d))[y], y


def dense_evidence(X, target):
    """Largest log-density of the target under N(0, I / beta + X X' / alpha), per row."""
    n = len(X)
    values, vectors = np.linalg.eigh(X @ X.T)
    seen = (vectors.T @ target) ** 2

    def minus(logs):
        alpha, beta = np.exp(logs)
        spread = 1 / beta + np.maximum(values, 0) / alpha
        return 0.5 * (np.log(spread).sum() + (seen / spread).sum() + n * np.log(2 * np.pi))

    starts = [(a, b) for a in (-2, 2, 6) for b in (-1, 2, 5)]
    return -min(minimize(minus, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts) / n


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200), (100, 100)])
def test_logme_is_the_evidence(n, d):
    X, y = made(n, d)
    expected = np.mean([dense_evidence(X, (y == label).astype(float)) for label in range(3)])
    assert logme(X, y) == pytest.approx(expected, abs=2e-3)


def test_logme_does_not_change_with_columns_of_zeros():
    """These say nothing, and the published code counts them where there are fewer rows than numbers."""
    X, y = made(50, 40)
    padded = np.hstack([X, np.zeros((50, 200))])
    assert logme(padded, y) == pytest.approx(logme(X, y), abs=1e-6)


def test_logme_of_rows_that_say_nothing():
    assert np.isfinite(logme(np.zeros((20, 5)), np.arange(20) % 2))
    X, y = made(200, 10, apart=3.0)
    assert logme(X, y) > logme(X, np.random.default_rng(1).permutation(y))


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200)])
def test_h_score_is_the_dense_one(n, d):
    X, y = made(n, d)
    centred = X - X.mean(axis=0)
    covariance, share = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[y == label].mean(axis=0) for label in y])
    expected = (1 - share) * np.trace(np.linalg.inv(covariance) @ (means.T @ means / n))
    assert h_score(X, y) == pytest.approx(expected, rel=1e-6)
    assert h_score(np.ones((10, 3)), np.arange(10) % 2) == 0


def test_leep_by_its_definition():
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.ones(5), size=40)
    y = rng.integers(0, 3, 40)
    joint = np.zeros((3, 5))
    for probabilities, label in zip(theta, y, strict=True):
        joint[label] += probabilities / 40
    given = joint / joint.sum(axis=0)
    expected = np.mean([np.log(given[label] @ probabilities) for probabilities, label in zip(theta, y, strict=True)])
    assert leep(theta, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("score", [logme, h_score, leep])
def test_what_is_no_table_is_refused(score):
    for X, y in (([[1.0, 0]], [0, 1]), ([1.0, 2], [0, 1]), ([], []), ([[np.nan, 0]], [0])):
        with pytest.raises(ValueError, match=r"expected|finite"):
            score(X, y)
    with pytest.raises(ValueError, match="expected probabilities"):
        leep([[0.5, 0.1]], [0])


def test_rows_that_are_separated_perfectly_have_a_score():
    y = np.repeat([0, 1], 25)
    assert 0.9 < h_score(np.eye(2)[y], y) <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (np.full((4, 2), 1e200), [0, 0, 1, 1], "finite numbers, of at most"),
        (np.ones((4, 2)) + 1j, [0, 0, 1, 1], "real numbers"),
        (np.ones((4, 2)), [0.5, 0.1, 0.2, 0.3], "must be classes"),
        (np.ones((4, 2)), [0, 0, 1, np.nan], "must be classes"),
        (np.ones((4, 2)), np.array(["a", None, "a", "b"], dtype=object), "of one kind"),
    ],
)
def test_what_is_no_class_and_no_row_is_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        logme(rows, labels)
