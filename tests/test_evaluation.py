from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from featurekit.errors import HeadError
from featurekit.evaluation import cross_validate_head, evaluate_head, learning_curve
from featurekit.splits import can_be_split, folds, holdout


def test_holdout_is_stratified_reproducible_and_complete():
    y = np.repeat(["a", "b", "c"], [70, 20, 2])
    train, test = holdout(y, 0.3, seed=4)
    assert sorted([*train, *test]) == list(range(92))
    assert [(y[test] == label).sum() for label in "abc"] == [21, 6, 1]
    assert np.array_equal(holdout(y, 0.3, seed=4)[1], test)
    assert not np.array_equal(holdout(y, 0.3, seed=5)[1], test)


def test_a_single_image_stays_in_training():
    train, test = holdout(["a", "a", "b"], 0.5)
    assert 2 in train
    assert len(test) == 1
    with pytest.raises(HeadError, match="single image"):
        holdout(["a", "b"])
    with pytest.raises(ValueError, match="between 0 and 1"):
        holdout(["a", "a"], 1.0)


def test_groups_are_never_on_both_sides():
    rng = np.random.default_rng(0)
    y, groups = rng.choice(["a", "b"], 200), rng.integers(0, 40, 200).astype(str)
    train, test = holdout(y, 0.25, groups=groups)
    assert not set(groups[train]) & set(groups[test])
    assert 0.15 < len(test) / 200 < 0.35
    with pytest.raises(HeadError, match="cannot be split"):
        holdout(y, 0.25, groups=np.zeros(200))


def test_groups_of_another_length_are_refused():
    with pytest.raises(HeadError, match=r"expected a group for each of 40 images, got \(3,\)"):
        holdout(["a", "b"] * 20, groups=np.arange(3))
    with pytest.raises(HeadError, match="expected a group"):
        folds(np.array(["a", "b"] * 20), 5, 0, np.arange(3))


def test_every_class_stays_in_training_whatever_the_groups():
    y = np.array(["a"] * 20 + ["b"] * 4)
    groups = np.array([*range(20), 20, 20, 20, 21])
    for seed in range(20):
        train, test = holdout(y, 0.3, seed=seed, groups=groups)
        assert set(y[train]) == {"a", "b"}
        assert len(test)


class Odd(GaussianNB):
    """Says what it should not."""

    def __init__(self, what="label"):
        super().__init__()
        self.what = what

    def predict(self, X):
        if self.what == "raise":
            raise RuntimeError("no")
        said = super().predict(X)
        return np.full(len(said), "zzz") if self.what == "label" else said

    def predict_proba(self, X):
        return super().predict_proba(X) * (np.nan if self.what == "nan" else 1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("label", "predicts .*zzz.*, which is none of the classes"),
        ("raise", "failed in predict: no"),
        ("nan", "no numbers"),
    ],
)
def test_heads_that_say_what_they_should_not(what, message, digits_store):
    with pytest.raises(HeadError, match=message):
        cross_validate_head(digits_store.X, digits_store.y, Odd(what))


@pytest.mark.parametrize("bad", [{"cv": 1}, {"cv": 0}, {"cv": True}, {"repeats": 0}, {"repeats": 1.5}])
def test_impossible_numbers_of_folds_are_refused(bad, digits_store):
    with pytest.raises(ValueError, match="must be a whole number"):
        cross_validate_head(digits_store.X, digits_store.y, "centroid", **bad)


def test_impossible_shares_are_refused(digits_store):
    for shares in ([], [0.5, 0.2], [0, 1], [2]):
        if shares:
            with pytest.raises(ValueError, match="shares must be ascending"):
                learning_curve(digits_store.X, digits_store.y, "centroid", shares=shares)
    few = learning_curve(digits_store.X, digits_store.y, "centroid", shares=[0.01, 0.02, 1])
    assert [point.rows for point in few] == [6, 48]


def test_groups_of_one_change_nothing():
    y = np.repeat(["a", "b"], [30, 12])
    assert np.array_equal(holdout(y, groups=np.arange(42))[1], holdout(y)[1])
    same = zip(folds(y, 5, 0, np.arange(42)), folds(y, 5, 0, None), strict=True)
    assert all(np.array_equal(a, b) for one, other in same for a, b in zip(one, other, strict=True))


def test_cross_validation_predicts_every_row_without_having_seen_it():
    """Random labels on random rows: whoever sees the test rows gets them right, an honest head does not."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 20)).astype(np.float32), rng.choice(["a", "b"], 200)
    result = cross_validate_head(X, y, "knn")
    assert result.mean < 0.65
    assert result.mean == pytest.approx(np.mean(result.predictions == y), abs=0.01)


def test_leaks_through_groups_are_closed():
    """Each image five times with its random label: without groups that is 'learned', with groups it is not."""
    rng = np.random.default_rng(1)
    X = np.repeat(rng.normal(size=(60, 20)), 5, axis=0).astype(np.float32)
    y, groups = np.repeat(rng.choice(["a", "b"], 60), 5), np.repeat(np.arange(60), 5)
    assert cross_validate_head(X, y, "knn").mean > 0.95
    assert cross_validate_head(X, y, "knn", groups=groups).mean < 0.75


def test_too_few_rows_or_groups_give_no_cross_validation():
    X = np.random.default_rng(0).normal(size=(6, 3))
    assert cross_validate_head(X, ["a"] * 5 + ["b"], "knn") is None
    assert cross_validate_head(X, ["a"] * 3 + ["b"] * 3, "knn", groups=[1, 1, 1, 2, 2, 2]) is None
    assert cross_validate_head(X, ["a"] * 4 + ["b"] * 2, "knn").folds == 4


def test_evaluate_head_scores_a_holdout(digits_store):
    e = evaluate_head(digits_store.X, digits_store.y, "lda", test_size=0.5, seed=1)
    assert (e.n, e.classes) == (30, ["0", "1", "2"])
    assert e.accuracy > 0.9


def test_classes_that_can_be_split():
    labels = np.array(list("aaabbc"))
    assert can_be_split(labels).tolist() == [True] * 5 + [False]
    assert can_be_split(labels, [0, 1, 1, 2, 2, 3]).tolist() == [True] * 3 + [False] * 3
    # The lone c is of one group with an a, and then only one group of a is left.
    assert not can_be_split(labels[[0, 1, 5]], [0, 1, 0]).any()


def test_rows_and_labels_of_different_number():
    X, y = np.eye(60), np.arange(60) % 3
    for call in (cross_validate_head, evaluate_head, learning_curve):
        with pytest.raises(ValueError, match="60 rows but 50 labels"):
            call(X, y[:50], "knn")
        with pytest.raises(ValueError, match="60 rows but 3 groups"):
            call(X, y, "knn", groups=[1, 2, 3])
    for wrong in (2.5, None, "5", 1, True):
        with pytest.raises(ValueError, match="cv must be a whole number from 2, or splits"):
            cross_validate_head(X, y, "knn", cv=wrong)
    for wrong in ({"repeats": 2.0}, {"repeats": float("nan")}, {"seed": None}, {"seed": -1}):
        with pytest.raises(ValueError, match="must be a whole number from"):
            cross_validate_head(X, y, "knn", **wrong)
    with pytest.raises(ValueError, match="shares must be"):
        learning_curve(X, y, "knn", shares=[])
