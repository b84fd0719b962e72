from __future__ import annotations

import re

import numpy as np
import pytest

from featurekit import compare
from featurekit.importance import layer_importance
from featurekit.report import charts


@pytest.fixture(scope="module")
def rows():
    """Classes that the second of three layers alone tells apart."""
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 40)
    X = rng.normal(size=(120, 9)).astype(np.float32)
    X[:, 3:5] += 4 * np.unique(y, return_inverse=True)[1][:, np.newaxis]
    return X, y


LAYERS = [("first", 3), ("second", 2), ("third", 4)]


@pytest.mark.parametrize("head", ["auto", "knn"])
def test_the_layer_that_tells_the_classes_apart_is_important(rows, head):
    first, second, third = layer_importance(*rows, LAYERS, head)
    assert (second.layer, second.columns) == ("second", 2)
    assert second.low > 0
    assert second.low < second.drop < second.high
    assert max(first.drop, third.drop) < second.drop / 2


def test_importance_is_the_same_again(rows):
    assert layer_importance(*rows, LAYERS, "centroid") == layer_importance(*rows, LAYERS, "centroid")


def test_layers_of_other_rows_are_refused(rows):
    with pytest.raises(ValueError, match=r"the layers have 8 columns, and the rows have the shape \(120, 9\)"):
        layer_importance(*rows, [("first", 8)])


def test_compare_keeps_the_importance_of_each_layer(digits_store, tmp_path):
    found = compare(digits_store, heads=["centroid"], output=tmp_path, curve=True)
    assert [each.layer for each in found.importance] == list(digits_store.space.columns)
    assert found.to_dict()["importance"][0]["columns"] == 32
    (kept,) = (tmp_path / "results").glob("*.layers.npz")
    before = kept.read_bytes()
    assert compare(digits_store, heads=["centroid"], output=tmp_path, curve=True).importance == found.importance
    assert kept.read_bytes() == before
    assert compare(digits_store, heads=["centroid"], output=tmp_path).importance == []


def test_bars_lie_to_both_sides_of_zero():
    drawn = charts.bars([("up", 0.2, 0.1, 0.3), ("down <b>", -0.1, None, None)], "Said")
    places = [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)"[^>]* width="([\d.]+)"', drawn)]
    (up, _), (down, width) = places
    assert down + width == pytest.approx(up)
    assert 'aria-label="Said. up: +20.0; down &lt;b&gt;: -10.0"' in drawn
