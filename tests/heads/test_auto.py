"""The head that chooses among three, and heads that know which columns come from one layer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from featurekit.errors import HeadError
from featurekit.evaluation import cross_validate_head
from featurekit.heads import (
    AutoHead,
    LDAPath,
    LogisticRegressionPath,
    NearestCentroid,
    RidgePath,
    SVMPath,
    SVMRegressionPath,
    make_head,
)
from featurekit.heads.linear import scale_of

KINDS = {"logreg": LogisticRegressionPath, "svm": SVMPath, "lda": LDAPath}


def rows_of(classes=3, n=90, d=12, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = random.normal(random.normal(0, 1.5, (classes, d))[y], 2).astype(np.float32)
    return X, np.array(list("abcdefg"))[y]


def circles(n=160):
    """Two classes that no plane separates."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    angle = random.uniform(0, 2 * np.pi, n)
    radius = 1 + 2 * y + random.normal(0, 0.2, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), y


def test_scores_are_those_of_the_three_heads_on_the_same_folds():
    X, y = rows_of()
    groups = np.arange(len(y)) // 2
    auto = AutoHead(cv=3).fit(X, y, groups=groups)
    alone = {name: kind(cv=3).fit(X, y, groups=groups) for name, kind in KINDS.items()}
    expected = {name: head.scores_.mean(axis=0).max() for name, head in alone.items()}
    assert auto.candidates_ == pytest.approx(expected)
    best = alone[auto.name_]
    assert auto.candidates_[auto.name_] == max(auto.candidates_.values())
    np.testing.assert_array_equal(auto.predict_proba(X), best.predict_proba(X))
    np.testing.assert_array_equal(auto.decision_function(X), best.decision_function(X))
    np.testing.assert_array_equal(auto.scores_, best.scores_)


def test_the_svm_is_chosen_where_no_plane_separates():
    X, y = circles()
    auto = AutoHead(blocks=(1, 1)).fit(X, y)
    assert auto.name_ == "svm"
    assert auto.score(X, y) > 0.95
    assert auto.candidates_["logreg"] < 0.7


def test_of_equal_scores_logistic_regression_is_chosen():
    X, y = rows_of()
    X[:, 3:] = 0
    X[:, :3] = 10 * (y[:, np.newaxis] == list("abc"))
    auto = AutoHead().fit(X, y)
    assert auto.candidates_ == {"logreg": 1.0, "svm": 1.0, "lda": 1.0}
    assert auto.name_ == "logreg"


def test_labels_that_may_be_there_together_are_not_tried_with_lda():
    X, y = rows_of()
    auto = AutoHead().fit(X, np.stack([y == "a", y != "b"], axis=1).astype(int))
    assert list(auto.candidates_) == ["logreg", "svm"]
    assert auto.multilabel_


def test_many_rows_are_not_tried_with_the_svm(monkeypatch):
    monkeypatch.setattr("featurekit.heads.auto._MOST_FOR_SVM", 80)
    X, y = rows_of()
    assert list(AutoHead().fit(X, y).candidates_) == ["logreg", "lda"]


def test_where_nothing_can_be_cross_validated_it_is_logistic_regression():
    X, y = rows_of()
    y[1:] = "a"
    y[0] = "b"
    auto = AutoHead().fit(X, y)
    assert auto.name_ == "logreg"
    assert np.isnan(list(auto.candidates_.values())).all()
    assert not hasattr(auto, "predict_proba")


def test_splits_that_are_given_serve_all_heads():
    X, y = rows_of()
    splits = StratifiedKFold(3).split(X, y)
    assert len(AutoHead(cv=splits).fit(X, y).candidates_) == 3


def test_the_name_makes_it_and_numbers_have_none():
    _, y = rows_of()
    assert isinstance(make_head("auto", y), AutoHead)
    with pytest.raises(HeadError, match="no head for numbers called 'auto'"):
        make_head("auto", np.arange(len(y)), regression=True)


def test_cross_validation_chooses_anew_in_each_fold():
    X, y = circles()
    found = cross_validate_head(X, y, "auto", cv=3, blocks=(1, 1))
    assert found.mean > 0.9


@pytest.mark.parametrize("kind", [LogisticRegressionPath, SVMPath, LDAPath, AutoHead])
def test_the_scale_of_a_block_changes_nothing(kind):
    """A layer whose numbers are a hundred times as large weighs no more, if the head knows that it is a layer."""
    X, y = rows_of(d=12)
    larger = X * np.repeat(np.float32([1, 128]), [4, 8])
    plain, scaled = (kind(blocks=(4, 8)).fit(rows, y) for rows in (X, larger))
    np.testing.assert_allclose(scaled.decision_function(larger), plain.decision_function(X), rtol=2e-3, atol=2e-3)


def test_columns_are_scaled_within_their_block():
    variances = np.array([1.0, 3.0, 100.0, 300.0])
    np.testing.assert_allclose(scale_of(variances, (2, 2)), np.sqrt([3.0, 5.0, 300.0, 500.0]))
    np.testing.assert_allclose(scale_of(variances), np.sqrt(variances + 101.0))


@pytest.mark.parametrize("blocks", [(4, 4), (12, 1), (0, 12), (), (-1, 13), (4.5, 7.5)])
def test_blocks_that_are_not_the_columns_are_refused(blocks):
    X, y = rows_of(d=12)
    with pytest.raises(ValueError, match="blocks must be whole numbers above 0 that add up to the 12 columns"):
        LogisticRegressionPath(blocks=blocks).fit(X, y)


def test_heads_are_told_the_blocks_once():
    y = ["a", "b"]
    assert make_head("svm", y, blocks=(32, 16)).blocks == (32, 16)
    assert make_head("svm", y, blocks=(48,)).blocks is None
    assert make_head(LDAPath(blocks=(40, 8)), y, blocks=(32, 16)).blocks == (40, 8)
    assert isinstance(make_head("centroid", y, blocks=(32, 16)), NearestCentroid)
    assert isinstance(make_head(RidgePath(), y, blocks=(32, 16)), RidgePath)
    given = LDAPath()
    make_head(given, y, blocks=(32, 16))
    assert given.blocks is None
    assert make_head("svm", [1.0, 2.0], regression=True, blocks=(2, 2)).blocks == (2, 2)
    assert isinstance(make_head("svm", [1.0, 2.0], regression=True), SVMRegressionPath)


def test_an_svm_of_one_layer_takes_rows_of_length_1():
    X, y = rows_of()
    head = SVMPath().fit(X, y)
    assert not hasattr(head, "mean_")
    np.testing.assert_allclose(head.decision_function(3 * X), head.decision_function(X), rtol=1e-4)


def test_a_fitted_svm_keeps_its_scaling_whatever_its_parameters_become():
    X, y = rows_of()
    head = SVMPath(blocks=(4, 8)).fit(X, y)
    expected = head.predict_proba(X)
    np.testing.assert_array_equal(head.set_params(blocks=None).predict_proba(X), expected)
    assert not hasattr(head.fit(X, y), "mean_")


def test_folds_that_are_drawn_anew_are_drawn_once():
    X, y = rows_of(d=3)
    folds = StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(0))
    auto = AutoHead(cv=folds).fit(X, y)
    assert len({repr(head.cv) for head in (auto.estimator_,)}) == 1
    splits = list(StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(0)).split(X, y))
    expected = {name: kind(cv=splits).fit(X, y).best_scores_.mean() for name, kind in KINDS.items()}
    assert auto.candidates_ == pytest.approx(expected)


def test_the_score_is_that_of_the_candidate_that_was_chosen():
    """Of labels, a path chooses by likelihood: the highest accuracy may be another candidate's."""
    X, y = rows_of(n=60, d=4)
    table = np.stack([y == "a", y != "b"], axis=1).astype(int)
    auto = AutoHead().fit(X, table)
    head = LogisticRegressionPath().fit(X, table)
    assert auto.candidates_["logreg"] == head.scores_[:, list(head.Cs).index(head.C_)].mean()


def test_rounding_noise_of_a_constant_layer_is_not_blown_up():
    scale = scale_of(np.array([1e-14, 1e-14, 1.0, 2.0]), (2, 2))
    assert scale[0] > 1e-4


def test_a_parameter_of_another_meaning_is_left_alone():
    class Foreign(NearestCentroid):
        def __init__(self, blocks=None):
            super().__init__()
            self.blocks = blocks

    from sklearn.naive_bayes import GaussianNB

    class Stranger(GaussianNB):
        def __init__(self, blocks=None):
            super().__init__()
            self.blocks = blocks

    assert make_head(Foreign(), ["a", "b"], blocks=(2, 2)).blocks == (2, 2)
    assert make_head(Stranger(), ["a", "b"], blocks=(2, 2)).blocks is None
