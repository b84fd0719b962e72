from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featurekit.errors import FeaturekitError
from featurekit.metrics import evaluate_predictions
from featurekit.report import draw_confusion_matrix, evaluation_text, failures_text, table


def test_text_holds_every_number():
    e = evaluate_predictions(list("aaabbc"), list("aabbbc"))
    text = evaluation_text(e)
    for expected in (
        "0.8333",
        "0.8889",
        "a",
        "0.667",
        "n = 6",
        "a                 2  1  0",
        "c                 0  0  1",
    ):
        assert expected in text


def test_many_classes_have_no_matrix_in_text():
    labels = [f"c{i}" for i in range(40)]
    assert "too wide for text" in evaluation_text(evaluate_predictions(labels, labels))


def test_tables_align():
    lines = table(["a", "long name"], [["x", "1"], ["yyy", "22"]]).splitlines()
    assert lines == ["a    long name", "x            1", "yyy         22"]


def test_long_lists_of_failures_are_cut():
    text = failures_text([(f"{i}.jpg", "empty") for i in range(30)], limit=10)
    assert text.count("\n") == 10
    assert "and 20 more" in text


@pytest.mark.parametrize("classes", [2, 12, pytest.param(60, marks=pytest.mark.slow)])
def test_the_picture_shows_the_matrix(tmp_path, classes):
    """Right predictions only: dark cells on the diagonal and light ones beside it, names with $ and _ and all."""
    labels = [f"$name_{i}^" for i in range(classes)]
    path = draw_confusion_matrix(evaluate_predictions(labels, labels), tmp_path / "cm.png", title="$x_")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 60).sum()
    assert blue > 500


def test_pictures_that_cannot_be_written(tmp_path):
    e = evaluate_predictions(["a"], ["a"])
    for name in ("none/cm.png", "cm.nonsense"):
        with pytest.raises(FeaturekitError, match="cannot write"):
            draw_confusion_matrix(e, tmp_path / name)
