"""Steps of one command that look at the same rows, or at fewer of them, share one search for near duplicates."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from calls import lengths
from made_stores import SPACE, make_rows

from featurekit import FeatureStore, compare, duplicates
from featurekit.duplicates import group_rows
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish

pytestmark = pytest.mark.filterwarnings("ignore::featurekit.errors.LabelWarning")


@pytest.fixture
def make(tmp_path):
    """Writes thirty pictures with these labels, of which some look the same as others."""

    def make(labels, same=((7, 0),)):
        columns, rows = make_rows(30)
        hashes = np.random.default_rng(0).integers(0, 256, (30, 64), dtype=np.uint8)
        for copy, original in same:
            hashes[copy] = hashes[original]
        split = encode([("train", "test")[i % 2] for i in range(30)])
        columns = replace(columns, perceptual=hashes, label=encode(labels), split=split)
        ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
        publish(tmp_path / "rows.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
        return tmp_path / "rows.h5"

    return make


@pytest.fixture
def searches(monkeypatch):
    """The numbers of rows among which near duplicates were searched; the real search runs."""
    return lengths(monkeypatch, duplicates, "near_pairs")


THREE = [f"label {i % 3}" for i in range(30)]


def test_fit_with_a_score_searches_once(make, searches, run):
    code, out, _ = run("fit", make(THREE), "--split", "all", "--head", "centroid", "--cv", "3", "--json", "-o", "m")
    assert (code, json.loads(out)["cv_folds"], searches) == (0, 3, [30])


@pytest.mark.parametrize(("split", "n"), [("all", 30), ("test", 15)])
def test_evaluate_of_a_model_searches_once_with_json(make, searches, run, split, n):
    store = make(THREE, same=[(7, 3)])
    assert run("fit", store, "--split", "all", "--head", "centroid", "--cv", "0", "-o", "m")[0] == 0
    searches.clear()
    code, out, _ = run("evaluate", store, "--model", "m", "--split", split, "--json")
    found = json.loads(out)
    assert (code, len(found["near_contradictions"]), searches) == (0, 1, [n])


def test_compare_searches_once_after_a_class_was_left_out(make, searches):
    labels = [*THREE[:29], "alone"]
    with FeatureStore(make(labels, same=[(7, 0), (20, 9)])) as store:
        found = compare(store, heads=["centroid"], cv=3, say=lambda line: None)
        again = group_rows(FeatureStore(store.path), np.arange(29))
    assert (found.n, searches[:1]) == (29, [30])
    assert searches == [30, 29]  # the second is the one of this test
    assert found.groups.pairs == again.pairs == [(0, 7), (9, 20)]
    assert np.array_equal(found.groups.ids, again.ids)
    assert (found.groups.near, found.groups.kept) == (again.near, again.kept) == (4, True)


def test_stores_do_not_share_results(make, searches):
    path = make(THREE)
    for _ in range(2):
        with FeatureStore(path) as store:
            assert group_rows(store).pairs == [(0, 7)]
    assert searches == [30, 30]
