"""Selections of no rows, labels that are one number in two spellings, and names of images in memory."""

from __future__ import annotations

import numpy as np
import pytest

from featurekit import FineTuneClassifier, TransferClassifier, compare, evaluate, extract
from featurekit.errors import HeadError, ImageError, SourceError
from featurekit.labels import LabelFindings, find_alike
from featurekit.transfer import label_findings

NOTHING = "the selection of .* has no rows"


@pytest.fixture
def nothing(digits_store):
    """No rows of a store."""
    return digits_store.select(digits_store.y == "seven")


def test_fitting_on_no_rows_says_that_none_is_selected(nothing):
    with pytest.raises(HeadError, match=NOTHING):
        TransferClassifier().fit(nothing)


def test_comparing_on_no_rows_says_that_none_is_selected(nothing):
    with pytest.raises(HeadError, match=NOTHING):
        compare(nothing)


def test_scoring_and_predicting_no_rows_say_that_none_is_selected(nothing, digits_store):
    model = TransferClassifier(head="centroid").fit(digits_store)
    for function in (model.predict, model.predict_proba, lambda store: evaluate(model, store)):
        with pytest.raises(HeadError, match=NOTHING):
            function(nothing)


@pytest.mark.parametrize(
    "names",
    [
        ("02", "2"),
        ("+3", "3"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("7.", "7"),
        ("12345678901234567890", "012345678901234567890"),
    ],
)
def test_two_spellings_of_a_number_are_alike(names):
    assert find_alike([*names, "99"]) == (tuple(sorted(names)),)


def test_other_numbers_and_texts_are_not_alike():
    names = ["2", "20", "2.5", "v2", "v02", "1e3", "1000", "0x2", "12345678901234567890", "12345678901234567891"]
    assert find_alike(names) == ()


def test_the_sentence_on_alike_labels_names_numbers():
    (said,) = LabelFindings(alike=(("02", "2"),)).sentences()
    assert "or in how a number is written" in said
    assert "'02' and '2'" in said


def test_images_in_memory_are_named_by_their_place_in_the_list(tmp_path):
    with pytest.raises(SourceError, match="image 0 of the list: .*\n  image 1 of the list: "):
        extract([b"no image", b"none"], output=tmp_path / "x.h5")


def test_a_training_names_images_in_memory_by_their_place_in_the_list():
    with pytest.raises(ImageError, match="images? cannot be read: image 1 of the list: ") as caught:
        FineTuneClassifier(pretrained=False).fit([np.zeros((20, 20, 3), np.uint8), b"no image"], ["a", "b"])
    assert caught.value.failures[0][:2] == (1, "image-0000001")


def test_contradicting_images_in_memory_are_named_by_their_place_in_the_list():
    pixels = np.zeros((20, 20, 3), np.uint8)
    contents = [b"a" * 32, b"b" * 32, b"a" * 32]
    (said,) = label_findings([pixels, pixels + 1, pixels], ["cat", "dog", "dog"], contents).sentences()
    assert "image 0 of the list (cat), image 2 of the list (dog)" in said
