"""Messages on splits, before anything is computed; no network runs."""

from __future__ import annotations

import csv

import made_stores
import pytest


@pytest.fixture
def of_lines(run, tmp_path):
    """Calls a verb on a table of these lines: path, label and part of a split."""

    def of_lines(verb, lines, *arguments):
        with open(tmp_path / "list.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *lines])
        code, _, said = run(verb, "list.csv", *arguments)
        return code, said

    return of_lines


def test_a_test_size_is_told_before_the_parts_are_looked_at(of_lines):
    lines = [("a.png", "x", "train"), ("a.png", "x", "test"), ("b.png", "x", "")]
    code, said = of_lines("evaluate", lines, "--head", "centroid", "--test-size", "0.3")
    assert "--test-size is given: the column 'split' is not followed" in said
    assert "two parts" not in said
    assert (code, "two classes" in said) == (1, True)


def test_an_image_in_a_part_and_in_none_is_told(of_lines):
    code, said = of_lines("evaluate", [("a.png", "x", "train"), ("a.png", "x", "")], "--head", "centroid")
    assert code == 1
    assert "a.png is in two parts of the split, 'train' and no part (the column 'split')" in said


def test_parts_of_which_one_is_needed_are_named_with_or(of_lines):
    _, said = of_lines("evaluate", [("a.png", "x", "train")], "--head", "centroid", "--split-column", "split")
    assert "the column 'split' puts no labeled image into the part test or validation." in said


def test_a_model_that_knows_no_label_of_the_scored_part_is_refused_before_the_extraction(of_lines, run, tmp_path):
    made_stores.write(tmp_path / "made.h5", 30)
    assert run("fit", "made.h5", "-o", "model", "--head", "centroid", "--cv", "0")[0] == 0
    lines = [("a.png", "label 0", "train"), ("b.png", "new", "test")]
    code, said = of_lines("evaluate", lines, "--model", "model")
    assert code == 1
    assert "the classifier knows none of these labels: new" in said


def test_a_store_without_a_split_is_told_in_one_sentence(run, tmp_path):
    made_stores.write(tmp_path / "made.h5", 30)
    code, _, said = run("fit", "made.h5", "-o", "model", "--split", "train")
    assert code == 1
    assert (
        said == "featurekit: error: made.h5 holds no split. Leave --split out: then every labeled image is learned.\n"
    )


@pytest.mark.parametrize(("parts", "known"), [(("train", "test"), True), (("fold0", "fold1"), False)])
def test_only_test_images_are_told_to_have_been_seen(of_lines, parts, known):
    code, said = of_lines("compare", [("a.png", "x", parts[0]), ("b.png", "x", parts[1])])
    assert code == 1  # two classes are needed
    assert "the column 'split' is not followed: every labeled image is compared" in said
    assert ("has seen the test images, too" in said) == known
