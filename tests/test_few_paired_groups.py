"""Paired differences of images in fewer than 6 groups have no interval, and nothing is told apart by them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_stores import SPACE, make_rows
from sklearn.dummy import DummyClassifier

from featurekit import FeatureStore, compare
from featurekit.advisor.pilot import Pilot
from featurekit.advisor.result import Alternative, Evidence
from featurekit.advisor.run import _options
from featurekit.evaluation import cross_validate_head
from featurekit.metrics import paired_difference
from featurekit.report import comparison_text, write_page
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Sixty images of two classes and three patients; one head learns the classes, and the other one does not."""
    path = tmp_path_factory.mktemp("few") / "rows.h5"
    columns, rows = make_rows(60)
    label = np.arange(60) % 2
    rows[:, 0] += 6 * label
    columns = replace(columns, label=encode(list(map(str, label))), group=encode([str(i // 2 % 3) for i in range(60)]))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(path, SPACE, {"root": "/x"}, columns, ledger, [rows])
    return compare(FeatureStore(path), heads=["centroid", DummyClassifier()], cv=3)


def test_five_groups_have_no_interval_and_six_have_one():
    true, groups = np.ones(60), np.arange(60)
    assert paired_difference(true, true, np.arange(60) % 2, groups % 5) == (0.5, None, None)
    assert paired_difference(true[:5], true[:5], np.arange(5) % 2)[1:] == (None, None)
    difference, low, high = paired_difference(true, true, np.arange(60) % 2, groups % 6)
    assert low < difference < high


def test_lines_of_few_groups_cannot_be_told_apart(comparison):
    best, other = comparison.results
    assert best.evaluation.accuracy > other.evaluation.accuracy + 0.3
    assert other.difference[1:] == (None, None)
    assert comparison.equals == [other]
    text = comparison_text(comparison)
    assert "(no interval)" in text
    assert "Not to be told apart from the best: DummyClassifier" in text


def test_json_and_page_say_that_there_is_no_interval(comparison, tmp_path):
    line = json.loads(json.dumps(comparison.to_dict()))["results"][1]
    assert line["difference_to_best"] < -0.3
    assert (line["difference_low"], line["difference_high"]) == (None, None)
    assert "(no interval)" in write_page(comparison, tmp_path / "page.html").read_text()


def test_the_advisor_takes_no_other_features_by_a_difference_without_an_interval(comparison):
    other = Alternative("stage3", {"backbone": "b", "layer": "stage3"}, 0.9, 0.1, None, None)
    assert other.sentence() == "stage3: 90.0%, +10.0 points (no interval, paired)"
    assert _options(Evidence(alternatives=[other]), comparison, "transfer")["layer"] == comparison.best.layer


def test_a_pilot_without_an_interval_tells_nothing():
    pilot = Pilot(2, 30, 10, 1, 0, 0.8, 0.9, 0.1, None, None, 1.0)
    assert pilot.standard_error == np.inf
    assert "+10.0 points (no interval, paired)" in pilot.sentence()


def test_repeats_of_few_single_images_keep_the_interval_of_the_accuracy():
    X = np.array([[0.0], [0.1], [0.2], [3.0], [3.1]])
    found = cross_validate_head(X, list("aaabb"), "centroid", cv=2, repeats=2, groups=np.arange(5)).evaluate()
    assert found.low < found.accuracy <= found.high
    assert found.interval_note.startswith("5 images are too few")
