from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from featurekit.bootstrap import grouped, percentiles, resampled


def test_each_draw_is_of_as_many_groups_with_replacement():
    times = resampled(np.eye(40))
    assert times.shape == (500, 40)
    assert (times.sum(axis=1) == 40).all()
    assert times.max() > 2
    assert times.mean(axis=0) == pytest.approx(np.ones(40), abs=0.3)


def test_sparse_and_dense_tables_are_alike():
    rng = np.random.default_rng(0)
    table, ids = rng.random((60, 3)), rng.permutation(np.arange(60) // 4)
    dense = resampled(table, ids)
    assert resampled(csr_array(table), ids) == pytest.approx(dense)
    assert resampled(grouped(table, ids)) == pytest.approx(dense)


def test_draws_that_do_not_fit_into_memory_at_once_are_the_same():
    """Those of 10,000 images come in five blocks and more; the draws are those of one."""
    table = np.random.default_rng(0).random((10_000, 2))
    drawn = np.random.default_rng(0).integers(0, 10_000, (500, 10_000))
    assert resampled(table) == pytest.approx(table[drawn].sum(axis=1))


def test_groups_are_drawn_whole():
    totals = resampled(np.repeat([[1.0], [10.0]], 5, axis=0), np.repeat([0, 1], 5))
    assert set(totals.ravel()) == {10.0, 55.0, 100.0}


def test_percentiles():
    assert percentiles({"score": np.arange(1001) / 1000})["score"] == pytest.approx((0.025, 0.975))
