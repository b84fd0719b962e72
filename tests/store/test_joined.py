"""Several stores read as one."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featurekit import extract
from featurekit.errors import FeatureSpaceError
from featurekit.store import JoinedStores, joined, merge


@pytest.fixture(scope="module")
def folder(digits_store_path, tmp_path_factory):
    target = tmp_path_factory.mktemp("folder") / "digits"
    merge([digits_store_path], target).close()
    return target


def test_rows_of_many(folder, digits_store, monkeypatch):
    """Of more stores than may be open, those that were not used for longest are closed."""
    monkeypatch.setattr(joined, "_OPEN_STORES", 2)
    many = JoinedStores([folder] * 6)

    def opened():
        return [i for i, store in enumerate(many.stores) if store._handle is not None]

    assert (len(many), opened()) == (360, [4, 5])
    order = np.random.default_rng(0).permutation(360)
    assert np.array_equal(many.X[order], digits_store.X[:][order % 60])
    assert opened() == [4, 5]
    assert np.array_equal(many.X[[70, 10]], digits_store.X[[10, 10]])
    assert opened() == [0, 1]
    assert many.y.tolist() == digits_store.y.tolist() * 6
    assert many.groups.tolist() == digits_store.groups.tolist() * 6
    assert len(opened()) <= 2
    assert np.array_equal(pickle.loads(pickle.dumps(many)).X[300:], many.X[300:])


def test_threads_may_read_different_things(folder, digits_store, monkeypatch):
    """A store that one thread closes, as others were used, is not closed under another's hands."""
    monkeypatch.setattr(joined, "_OPEN_STORES", 1)
    many = JoinedStores([folder] * 6)
    expected = np.tile(digits_store.X[:], (6, 1))

    def read(seed):
        order = np.random.default_rng(seed).permutation(360)[:40]
        assert np.array_equal(many.X[order], expected[order])
        return many._of_each(lambda store: store.y)

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(read, range(40)):
            assert [y.tolist() for y in found] == [digits_store.y.tolist()] * 6


def test_what_was_read_of_a_closed_one_is_forgotten(folder, monkeypatch):
    monkeypatch.setattr(joined, "_OPEN_STORES", 2)
    many = JoinedStores([folder] * 6)
    assert len(many.X[:]) == len(many.y) == 360
    assert sum("columns" in store.__dict__ or "places" in store.__dict__ for store in many.stores) <= 2


def test_what_does_not_fit(folder, digits_folder, tmp_path):
    with pytest.raises(ValueError, match="a list of one or more"):
        JoinedStores(str(folder))
    with pytest.raises(ValueError, match="a list of one or more"):
        JoinedStores([])
    with pytest.raises(FileNotFoundError, match="no such store"):
        JoinedStores([folder, folder / "nothing"])
    other = extract(digits_folder / "0", output=tmp_path / "other.h5", image_size=64)
    with pytest.raises(FeatureSpaceError, match="Extract all parts with the same options"):
        JoinedStores([folder, other])
