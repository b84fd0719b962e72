from __future__ import annotations

import numpy as np

from featurekit.fidelity import Fidelity


def test_equal_rows_are_perfect():
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    found = Fidelity.of(rows, rows)
    assert np.allclose([found.cosine, found.mean_cosine], 1)
    assert (found.relative_error, found.images) == (0.0, 5)


def test_against_a_computation_by_hand():
    rows = np.array([[1.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    reference = np.array([[1.0, 1.0], [3.0, 4.0]], dtype=np.float32)
    found = Fidelity.of(rows, reference)
    assert np.isclose(found.cosine, np.sqrt(0.5))
    assert np.isclose(found.mean_cosine, (1 + np.sqrt(0.5)) / 2)
    assert np.isclose(found.relative_error, np.sqrt(0.5))
    assert str(found) == "cosine 0.707107 or more (mean 0.853553), relative error 0.71 or less, on 2 images"


def test_rows_of_zeros_are_alike_and_what_is_not_finite_is_as_bad_as_can_be():
    zeros = np.zeros((2, 3), dtype=np.float32)
    assert Fidelity.of(zeros, zeros).cosine == 1
    broken = zeros.copy()
    broken[0, 0] = np.nan
    found = Fidelity.of(broken, np.ones((2, 3), dtype=np.float32))
    assert found.cosine == -1
    assert found.relative_error == np.inf
    assert Fidelity.of(np.full((1, 3), np.inf, np.float32), np.ones((1, 3), np.float32)).cosine == -1
