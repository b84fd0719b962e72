"""Several stores read as one."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small import extract

from featurekit.errors import FeatureSpaceError
from featurekit.store import JoinedStores, joined, merge


@pytest.fixture(scope="module")
def folder(small_store_path, tmp_path_factory):
    target = tmp_path_factory.mktemp("folder") / "digits"
    merge([small_store_path], target).close()
    return target


MANY = 5  # more than are open at once here


@pytest.fixture(autouse=True)
def three_open(monkeypatch):
    """Three stores instead of eight are open at once."""
    monkeypatch.setattr(joined, "_OPEN_STORES", 3)


def test_stores_that_were_not_used_for_longest_are_closed(folder, small_store):
    many = JoinedStores([folder] * MANY)

    def opened():
        return [i for i, store in enumerate(many.stores) if store._handle is not None]

    assert (len(many), opened()) == (60 * MANY, [2, 3, 4])
    order = np.random.default_rng(0).permutation(60 * MANY)
    assert np.array_equal(many.X[order], small_store.X[:][order % 60])
    assert opened() == [2, 3, 4]
    assert np.array_equal(many.X[[70, 10]], small_store.X[[10, 10]])
    assert opened() == [0, 1, 4]


def test_labels_and_groups_of_many_stores_are_one_after_the_other(folder, small_store):
    many = JoinedStores([folder] * MANY)
    assert many.y.tolist() == small_store.y.tolist() * MANY
    assert many.groups.tolist() == small_store.groups.tolist() * MANY


def test_joined_stores_are_pickled(folder):
    many = JoinedStores([folder] * MANY)
    assert np.array_equal(pickle.loads(pickle.dumps(many)).X[600:], many.X[600:])


def test_a_store_is_not_closed_while_another_thread_reads_it(folder, small_store):
    many = JoinedStores([folder] * MANY)
    expected = np.tile(small_store.X[:], (MANY, 1))

    def read(seed):
        order = np.random.default_rng(seed).permutation(60 * MANY)[:40]
        assert np.array_equal(many.X[order], expected[order])
        return many._of_each(lambda store: store.y)

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(read, range(6)):
            assert [y.tolist() for y in found] == [small_store.y.tolist()] * MANY


def test_what_was_read_of_a_closed_store_is_forgotten(folder):
    many = JoinedStores([folder] * MANY)
    assert len(many.X[:]) == len(many.y) == 60 * MANY
    assert sum("columns" in store.__dict__ or "places" in store.__dict__ for store in many.stores) <= 3


def test_a_list_of_stores_is_expected(folder):
    for wrong in (str(folder), []):
        with pytest.raises(ValueError, match="a list of one or more"):
            JoinedStores(wrong)


def test_a_store_that_is_missing_is_named(folder):
    with pytest.raises(FileNotFoundError, match="no such store"):
        JoinedStores([folder, folder / "nothing"])


@pytest.mark.slow
def test_stores_of_another_feature_space_are_refused(folder, digits_folder, tmp_path):
    other = extract(digits_folder / "0", output=tmp_path / "other.h5", image_size=96, runtime="torch")
    with pytest.raises(FeatureSpaceError, match="Extract all parts with the same options"):
        JoinedStores([folder, other])
