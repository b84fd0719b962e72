"""Options that name the columns of a manifest, its split, and several images for predict."""

from __future__ import annotations

import csv
import json

import pytest
from featurekit_cli.main import main

from featurekit import FeatureStore


@pytest.fixture(scope="module")
def table(digits_folder, tmp_path_factory):
    """Forty digits of two classes in a table with columns of other names, and their features."""
    folder = tmp_path_factory.mktemp("table")
    lines = []
    for label in ("0", "1"):
        for i, path in enumerate(sorted((digits_folder / label).glob("*.png"))):
            part = ("train", "train", "val", "test")[i % 4]
            lines.append((path, f"digit {label}", f"writer {i // 2}", part, "odd"[: i % 3]))
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "class", "writer", "split", "part"), *lines])
    assert main(["extract", str(folder / "list.csv"), "-o", str(folder / "list.h5"), *COLUMNS]) == 0
    return folder


COLUMNS = ["--path-column", "file", "--label-column", "class", "--group-column", "writer"]


def run(capsys, *arguments, code=0):
    """What a command said on standard output and standard error."""
    capsys.readouterr()
    try:
        found = main(list(map(str, arguments)))
    except SystemExit as error:
        found = error.code
    said = capsys.readouterr()
    assert found == code, said.err
    return said.out, said.err


def test_extract_reads_the_columns_that_are_named(table):
    with FeatureStore(table / "list.h5") as store:
        assert set(store.y) == {"digit 0", "digit 1"}
        assert store.groups[0] == "writer 0"


def test_a_column_that_is_not_there_is_a_message(table, capsys):
    _, said = run(capsys, "extract", table / "list.csv", "-o", table / "x.h5", "--path-column", "name", code=1)
    assert "has no column 'name'" in said
    assert "--path-column" in said


def test_columns_of_a_store_are_refused(table, capsys):
    _, said = run(capsys, "fit", table / "list.h5", "-o", table / "m", "--label-column", "class", code=2)
    assert "--label-column is for manifests" in said


def evaluate(table, capsys, *more, code=0):
    arguments = ["evaluate", table / "list.csv", "--store", table / "list.h5", *COLUMNS, "--json", *more]
    return run(capsys, *arguments, code=code)


def test_evaluate_fits_on_train_and_scores_on_test(table, capsys):
    text, said = evaluate(table, capsys, "--head", "knn")
    assert json.loads(text)["n"] == 10
    assert "Split by the column 'split': fitted on 20 (train), scored on 10 (test); 10 left out." in said


def test_a_split_in_a_column_of_another_name_must_be_one(table, capsys):
    _, said = evaluate(table, capsys, "--head", "knn", "--split-column", "part", code=1)
    assert "the column 'part' holds 'o', 'od'; expected train, validation (or val) and test" in said


def test_a_test_size_that_is_given_wins_and_a_note_says_so(table, capsys):
    text, said = evaluate(table, capsys, "--head", "knn", "--test-size", "0.5")
    assert json.loads(text)["n"] != 10
    assert "--test-size is given: the column 'split' is not followed" in said


def test_a_saved_model_is_scored_on_the_test_images(table, capsys):
    run(capsys, "fit", table / "list.h5", "-o", table / "model", "--head", "knn", "--cv", "0")
    text, said = evaluate(table, capsys, "--model", table / "model")
    assert json.loads(text)["n"] == 10
    assert "scored on 10 (test); 30 left out" in said


@pytest.fixture
def other(table, tmp_path):
    """Makes a table of the same images whose split is another."""

    def make(part_of):
        with open(table / "list.csv", newline="") as file:
            head, *lines = csv.reader(file)
        with open(tmp_path / "list.csv", "w", newline="") as file:
            csv.writer(file).writerows([head, *([*line[:3], part_of(i), ""] for i, line in enumerate(lines))])
        (tmp_path / "list.h5").write_bytes((table / "list.h5").read_bytes())
        return tmp_path

    return make


def test_validation_is_scored_where_there_is_no_test(other, capsys):
    folder = other(lambda i: "val" if i % 2 else "train")
    arguments = ["evaluate", folder / "list.csv", "--head", "knn", "--store", folder / "new.h5", *COLUMNS, "--json"]
    text, said = run(capsys, *arguments)
    assert json.loads(text)["n"] == 20
    assert "scored on 20 (validation)" in said
    assert "20 of 20 scored images are duplicates of images that the head is fitted on, or of a group with them" in said


def test_a_column_split_of_other_values_is_not_followed_and_a_note_says_so(other, capsys):
    folder = other(lambda i: "AB"[i % 2])
    _, said = run(capsys, "evaluate", folder / "list.csv", "--head", "knn", "--store", folder / "new.h5", *COLUMNS)
    assert "the column 'split' holds 'A', 'B'" in said
    assert "It is not followed: a part of 30%, drawn at random, is scored" in said


def test_an_image_in_two_parts_is_a_message(table, tmp_path, capsys):
    with open(table / "list.csv", newline="") as file:
        head, first, *lines = csv.reader(file)
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, first, [*first[:3], "test", ""], *lines])
    arguments = ["evaluate", tmp_path / "list.csv", "--head", "knn", "--store", tmp_path / "new.h5", *COLUMNS]
    _, said = run(capsys, *arguments, code=1)
    assert "is in two parts of the split, 'train' and 'test'" in said


@pytest.mark.slow
def test_finetune_follows_the_split(table, capsys, tmp_path):
    arguments = ["finetune", table / "list.csv", "-o", tmp_path / "tuned", "--store", tmp_path / "own.h5", *COLUMNS]
    text, said = run(capsys, *arguments, "--epochs", "1", "--unfreeze", "1", "--json")
    found = json.loads(text)
    assert (found["n"], found["comparison"]["n"]) == (20, 10)
    assert "trained on 20 (train), the epoch is chosen by 10 (validation); 10 left out" in said


def test_predict_takes_several_images(table, digits_folder, capsys):
    run(capsys, "fit", table / "list.h5", "-o", table / "several", "--head", "centroid", "--cv", "0")
    images = sorted(digits_folder.glob("0/*.png"))[:2]
    text, _ = run(capsys, "predict", *images, "-m", table / "several")
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == list(map(str, images))
    text, said = run(capsys, "predict", images[0], digits_folder, "-m", table / "several")
    assert "a directory" in text.splitlines()[2]
    assert f"{digits_folder} is no image file" in said
