"""Intervals of evaluate count a group once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featurekit import TransferClassifier, TransferRegressor, evaluate


def width(found):
    return found.high - found.low


@pytest.fixture
def half(digits_store, digits_store_path):
    """A classifier that is wrong now and then: a third of its labels are moved."""
    y = digits_store.y.copy()
    y[::3] = np.roll(y, 20)[::3]
    return TransferClassifier(head="knn", cache=digits_store_path).fit(digits_store, y)


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pd.Categorical])
def test_images_of_a_group_widen_the_interval(container, half, digits_folder, digits_store):
    paths = [digits_folder / path for path in digits_store.paths]
    alone = evaluate(half, paths, digits_store.y)
    grouped = evaluate(half, paths, digits_store.y, groups=container([f"p{i // 6}" for i in range(60)]))
    assert grouped.accuracy == alone.accuracy
    assert width(grouped) > width(alone)


def test_images_without_a_group_stand_alone(half, digits_folder, digits_store):
    paths = [digits_folder / path for path in digits_store.paths]
    alone = evaluate(half, paths, digits_store.y)
    for nothing in ([""] * 60, [None] * 60):
        assert evaluate(half, paths, digits_store.y, groups=nothing).intervals == alone.intervals


def test_groups_of_a_store_come_on_top_of_its_own(half, digits_store):
    alone = evaluate(half, digits_store)
    assert width(evaluate(half, digits_store, groups=np.arange(60) // 6)) > width(alone)


def test_groups_widen_the_intervals_of_numbers(digits_store):
    fitted = TransferRegressor(head="knn").fit(digits_store, digits_store.y.astype(float)[::-1])
    alone = evaluate(fitted, digits_store)
    grouped = evaluate(fitted, digits_store, groups=np.arange(60) // 10)
    assert np.ptp(grouped.intervals["mean_absolute_error"]) != np.ptp(alone.intervals["mean_absolute_error"])


@pytest.mark.parametrize("groups", [["a"], np.zeros((60, 2)), "abc"])
def test_groups_of_another_length_are_refused(groups, half, digits_store):
    with pytest.raises(ValueError, match="60 images but groups of shape|groups must be a sequence"):
        evaluate(half, digits_store, groups=groups)


def test_labels_of_another_length_are_refused(half, digits_store):
    with pytest.raises(ValueError, match="60 images but 59 labels"):
        evaluate(half, digits_store, digits_store.y[1:])
