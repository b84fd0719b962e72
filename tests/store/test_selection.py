"""Some rows of a store, as a store."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from featurekit import FeatureStore, TransferClassifier, TransferRegressor, compare, evaluate, extract
from featurekit.duplicates import group_rows
from featurekit.store import JoinedStores


@pytest.fixture
def odd(digits_store):
    """Every second row."""
    return digits_store.select(np.arange(60) % 2 == 1)


def test_a_selection_has_the_rows_labels_paths_and_groups_of_its_mask(digits_store, odd):
    chosen = np.arange(1, 60, 2)
    assert len(odd) == 30
    assert np.array_equal(odd.X, digits_store.X[chosen])
    assert odd.y.tolist() == digits_store.y[chosen].tolist()
    assert odd.paths == [digits_store.paths[i] for i in chosen]
    assert odd.groups.tolist() == [""] * 30
    assert odd.columns.same_as(digits_store.columns.take(chosen))
    assert odd.class_counts == {"0": 10, "1": 10, "2": 10}
    assert (odd.space, odd.dtype, odd.fingerprint) == (digits_store.space, digits_store.dtype, digits_store.fingerprint)


@pytest.mark.parametrize("rows", [[59, 0, 7], np.array([59, 0, 7]), (59, 0, 7), [-1, 0, 7]])
def test_numbers_of_rows_keep_their_order(rows, digits_store):
    found = digits_store.select(rows)
    assert np.array_equal(found.X[...], digits_store.X[[59, 0, 7]])


def test_a_slice_selects(digits_store):
    assert digits_store.select(slice(10, 20)).paths == digits_store.paths[10:20]


@pytest.mark.parametrize("rows", [[60], [-61], np.ones(59, dtype=bool), [0.5], ["a"]])
def test_rows_that_are_not_there_are_refused(rows, digits_store):
    with pytest.raises(IndexError, match="out of range|does not fit|are indexed with"):
        digits_store.select(rows)


def test_a_selection_can_be_selected_from(odd, digits_store):
    assert odd.select([2, 0]).paths == [digits_store.paths[5], digits_store.paths[1]]


def test_an_empty_selection_has_no_rows(digits_store):
    assert digits_store.select([]).X.shape == (0, 816)


def test_batches_are_of_the_selected_rows(odd):
    X, y = zip(*odd.iter_batches(8, seed=0), strict=True)
    assert np.concatenate(X).shape == (30, 816)
    assert sorted(np.concatenate(y)) == sorted(odd.y)


def test_an_image_is_found_among_the_selected_rows(odd, digits_store):
    assert odd.find(digits_store.paths[3]) == 1
    with pytest.raises(KeyError, match="none of the selected rows"):
        odd.find(digits_store.paths[2])


def test_the_ledger_holds_the_selected_images(odd):
    assert odd.ledger_counts == {"stored": 30}
    assert [odd.paths[entry.row] for entry in odd.ledger] == [entry.path for entry in odd.ledger]


def test_a_selection_survives_pickling(odd):
    again = pickle.loads(pickle.dumps(odd))
    assert np.array_equal(again.X, odd.X)
    assert again.paths == odd.paths


def test_closing_a_selection_leaves_it_readable(odd):
    odd.close()
    assert odd.X[0].shape == (816,)
    odd.release()
    assert odd.y[0] == "0"


def test_a_classifier_learns_one_part_and_is_scored_on_the_other(digits_store, odd):
    even = digits_store.select(np.arange(60) % 2 == 0)
    found = evaluate(TransferClassifier(head="centroid").fit(even), odd)
    assert found.n == 30
    assert found.accuracy > 0.9


def test_a_regressor_learns_a_selection(odd):
    assert TransferRegressor().fit(odd).predict(odd).shape == (30,)


def test_a_selection_is_compared(odd):
    found = compare(odd, heads=["centroid"], cv=2)
    assert found.n == 30


def test_duplicates_are_looked_for_among_the_selected_rows(odd):
    assert len(group_rows(odd).ids) == 30


def test_selections_are_joined(digits_store, odd):
    both = JoinedStores([odd, digits_store.select([0, 1])])
    assert both.X.shape == (32, 816)
    assert both.y[-2:].tolist() == ["0", "0"]


@pytest.mark.slow
def test_a_folder_store_is_selected_from(digits_folder, tmp_path):
    with extract(digits_folder, output=tmp_path / "folder") as store:
        chosen = store.select([50, 3])
        assert np.array_equal(chosen.X, store.X[[50, 3]])
        assert len(chosen.places.row) == 2


def test_a_store_that_was_reopened_is_selected_from(digits_store_path):
    with FeatureStore(digits_store_path) as store:
        chosen = store.select(store.y == "2")
    assert np.array_equal(chosen.y, ["2"] * 20)  # the files are opened again
    chosen.close()
