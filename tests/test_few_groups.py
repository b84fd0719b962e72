"""Intervals of images in few groups: none below 6, and a note below 10."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from featurekit import TransferClassifier, compare, evaluate
from featurekit.advisor.growth import growth
from featurekit.comparison.result import Comparison
from featurekit.evaluation import CurvePoint
from featurekit.metrics import evaluate_predictions
from featurekit.proportions import abstain
from featurekit.report import evaluation_text
from featurekit.report.charts import growing
from featurekit.target_metrics import evaluate_labels, evaluate_numbers

N = 60
RNG = np.random.default_rng(0)
TRUE = np.arange(N) % 3
SAID = np.where(RNG.random(N) < 0.8, TRUE, 0)
LIKELY = RNG.dirichlet(np.ones(3), N)


def scored(groups):
    """Sixty images in so many groups."""
    return evaluate_predictions(TRUE, SAID, LIKELY, [0, 1, 2], np.arange(N) % groups)


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_fewer_than_six_groups_have_no_intervals_and_a_note_says_why(groups):
    found = scored(groups)
    assert (found.low, found.high) == (None, None)
    assert set(found.intervals.values()) == {(None, None)}
    assert found.groups == groups
    assert found.interval_note.startswith(f"{groups} group")
    assert found.interval_note.endswith("too few for 95% intervals; at least 6 are needed")


@pytest.mark.parametrize("groups", [6, 9])
def test_six_to_nine_groups_have_intervals_and_a_note(groups):
    found = scored(groups)
    assert all(low < high for low, high in found.intervals.values())
    assert f"95% intervals of {groups} groups of images are rough" in found.interval_note


def test_ten_groups_have_no_note():
    assert scored(10).interval_note == ""


def test_single_images_keep_the_interval_of_the_accuracy_and_no_other():
    found = evaluate_predictions([0, 0, 1, 1], [0, 1, 1, 1])
    assert found.low < found.accuracy < found.high
    assert found.intervals["macro_f1"] == (None, None)
    assert found.interval_note.startswith("4 images are too few for 95% intervals other than that of the accuracy;")


def test_single_images_keep_the_interval_of_the_top_k_accuracy():
    found = evaluate_predictions([0, 0, 1, 1], [0, 1, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]], [0, 1])
    assert {name for name, (low, _) in found.intervals.items() if low is not None} == {"accuracy", "top_k_accuracy"}
    assert "other than that of the accuracy and the top-2 accuracy;" in found.interval_note


def test_numbers_and_labels_of_few_single_images_promise_no_interval():
    for found in (evaluate_numbers([1.0, 2, 3, 4], [1, 2, 3, 6]), evaluate_labels(np.eye(4), np.eye(4))):
        assert set(found.intervals.values()) == {(None, None)}
        assert found.interval_note == "4 images are too few for 95% intervals; at least 6 are needed"


def test_repeated_predictions_of_few_single_images_have_the_interval_of_the_accuracy():
    found = evaluate_predictions(
        np.tile([0, 0, 0, 1, 1], 2), [0, 0, 1, 1, 1, 0, 0, 0, 1, 0], groups=np.tile(np.arange(5), 2), repeats=2
    )
    assert found.low < found.accuracy < found.high
    assert found.interval_note.startswith("5 images are too few for 95% intervals other than that of the accuracy;")


def test_repeated_predictions_of_images_in_few_groups_have_no_interval():
    found = evaluate_predictions(
        np.tile([0, 0, 0, 1, 1], 2), [0, 0, 1, 1, 1, 0, 0, 0, 1, 0], groups=np.tile([0, 1, 2, 3, 3], 2), repeats=2
    )
    assert found.low is None
    assert found.interval_note.startswith("4 groups of images are too few for 95% intervals;")


def test_text_says_that_there_is_no_interval():
    text = evaluation_text(scored(3))
    assert "(no 95% interval, n = 60)" in text
    assert "\n3 groups of images are too few" in text


def test_json_has_null_for_the_ends():
    found = json.loads(json.dumps(scored(2).to_dict()))
    assert found["low"] is None
    assert found["intervals"]["macro_f1"] == [None, None]
    assert found["groups"] == 2


def test_labels_of_few_groups_have_no_intervals():
    table = np.stack([TRUE == 1, TRUE == 2], axis=1)
    found = evaluate_labels(table, table, groups=np.arange(N) % 2)
    assert set(found.intervals.values()) == {(None, None)}
    assert "no 95% interval" in evaluation_text(found)


def test_numbers_of_few_groups_have_no_intervals():
    found = evaluate_numbers(TRUE, SAID, groups=np.arange(N) % 2)
    assert set(found.intervals.values()) == {(None, None)}
    assert "(no 95% interval)" in evaluation_text(found)
    assert "\n2 groups of images are too few" in evaluation_text(found)


def test_answers_of_few_groups_have_no_interval():
    found = abstain(TRUE, SAID, LIKELY.max(axis=1), 0.5, np.arange(N) % 3)
    assert found.accuracy is not None
    assert found.low is None
    text = evaluation_text(replace(scored(3), abstention=found))
    assert "accuracy there" in text


def test_evaluate_with_groups_that_are_given(digits_store):
    model = TransferClassifier(head="centroid").fit(digits_store)
    found = evaluate(model, digits_store, groups=np.arange(len(digits_store)) % 2)
    assert (found.low, found.groups) == (None, 2)


def test_a_picture_and_a_page_can_be_made_without_intervals(digits_store, tmp_path):
    from featurekit.report import draw_confusion_matrix, write_page

    assert draw_confusion_matrix(scored(2), tmp_path / "matrix.png").exists()
    found = compare(digits_store, heads=["centroid"], cv=2)
    none = [replace(line, evaluation=scored(3)) for line in found.results]
    lacking: Comparison = replace(found, results=none, curve=[CurvePoint(10.0, 0.5, None, None)])
    page = write_page(lacking, tmp_path / "page.html").read_text()
    assert "no 95% interval" in page
    lacking.to_csv(tmp_path / "table.csv")


def test_a_learning_curve_without_intervals_is_drawn():
    assert "<circle" in growing([CurvePoint(10.0, 0.5, None, None), CurvePoint(20.0, 0.6, None, None)], "x")


@pytest.mark.slow
def test_a_curve_of_few_groups_is_not_extrapolated():
    found = growth(RNG.normal(size=(N, 4)), TRUE, "centroid", groups=np.arange(N) % 5)
    assert found.doubled is None
    assert "fewer than 6 groups of images" in found.sentence()
