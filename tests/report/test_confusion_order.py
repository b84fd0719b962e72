"""The order of classes in reports, and their names over the confusion matrix."""

from __future__ import annotations

import re

import pytest

from featurekit import compare, extract
from featurekit.metrics import evaluate_predictions
from featurekit.report import draw_confusion_matrix, evaluation_text, write_page
from featurekit.report.order import natural_order, short_forms


def in_order(names):
    return [names[i] for i in natural_order(names)]


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10"],
        ["-1", "0.25", "0.5", "10"],
        ["size 2", "size 10", "size 10 b"],
        ["Apple", "apple", "Banana"],
        ["007", "7", "8"],
        ["1", "2", "a"],
        ["a", "²"],
    ],
)
def test_natural_order(names):
    assert in_order(names[::-1]) == names
    assert in_order(sorted(names)) == names


@pytest.mark.parametrize("width", [4, 6, 12])
def test_short_forms_differ_and_fit(width):
    names = [f"golden retriever {kind}" for kind in ("pup", "adult", "old")] + ["cat", "golden~", "gold~"]
    forms = short_forms(names, width)
    assert len(set(forms)) == len(names)
    assert max(map(len, forms)) <= width
    assert "cat" in forms


def matrix_of(text):
    lines = text.split("\n\n")[-1].splitlines()
    return lines[0], lines[1:]


def test_numeric_classes_head_their_own_columns_in_natural_order():
    names = [str(i) for i in range(1, 11)]
    header, rows = matrix_of(evaluation_text(evaluate_predictions([*names, "10"], [*names, "2"])))
    assert header.split() == ["true", "\\", "predicted", *names]
    assert [row.split()[0] for row in rows] == names
    assert rows[-1].split() == ["10", "0", "1", *"0000000", "1"]


def test_the_table_of_classes_is_in_natural_order():
    names = ["10", "9", "1"]
    text = evaluation_text(evaluate_predictions(names, names)).split("\n\n")[1]
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["1", "9", "10"]


def test_long_names_are_cut_over_the_columns_and_whole_in_the_rows():
    names = [f"a very long name of a class, number {i}" for i in range(12)]
    header, rows = matrix_of(evaluation_text(evaluate_predictions(names, names)))
    assert len(header) < 120
    assert len(set(header.split()[3:])) == 12
    assert all(row.startswith(name) for row, name in zip(rows, names, strict=True))


def test_classes_of_a_result_stay_sorted_as_text():
    assert evaluate_predictions(["1", "10", "2"], ["1", "10", "2"]).classes == ["1", "10", "2"]


def test_the_picture_has_classes_in_natural_order(tmp_path):
    found = evaluate_predictions(["1", "10", "2"], ["1", "10", "2"])
    text = draw_confusion_matrix(found, tmp_path / "x.svg").read_text()
    names = re.findall(r"<!-- (1|2|10) -->", text)
    assert names[:3] == ["1", "2", "10"]


@pytest.mark.slow
def test_the_page_has_classes_in_natural_order(digits_folder, tmp_path):
    names = {"0": "10", "1": "9", "2": "1"}
    paths = sorted(digits_folder.glob("*/00*.png"))
    store = extract(paths, output=tmp_path / "x.h5", labels=[names[path.parent.name] for path in paths])
    page = write_page(compare(store, heads=["centroid"], cv=2), tmp_path / "report.html").read_text()
    store.close()
    matrix = page.split("<h2>Confusion")[1]
    assert re.findall(r"<th scope=.row.[^>]*>(\d+)</th>", matrix)[:3] == ["1", "9", "10"]
