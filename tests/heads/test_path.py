"""The heads with a path: the minima they claim, the choice they make, scikit-learn's contract."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from featurekit.errors import HeadError
from featurekit.heads import (
    HEADS,
    LinearSVMPath,
    LogisticRegressionPath,
    NearestCentroid,
    NearestNeighbours,
    RidgePath,
    SVMPath,
)

_CHOSEN_BY_FOLDS = {
    "check_sample_weight_equivalence_on_dense_data": "the folds that choose the strength count rows, not weights: "
    "a row that is repeated may lie in two of them, and one of weight 2 may not"
}
_SCALED_BY_FOLDS = {
    "check_sample_weight_equivalence_on_dense_data": "the folds whose scores give the temperature of the probabilities "
    "count rows, not weights: a row that is repeated may lie in two of them, and one of weight 2 may not"
}
_EXPECTED = {
    "AutoHead": _CHOSEN_BY_FOLDS,
    "RidgePath": _SCALED_BY_FOLDS,
    "LDAPath": _SCALED_BY_FOLDS,
    "NearestNeighbours": _SCALED_BY_FOLDS,
    "NearestCentroid": _SCALED_BY_FOLDS,
    "LogisticRegressionPath": _CHOSEN_BY_FOLDS,
    "SVMPath": _CHOSEN_BY_FOLDS,
    "LinearSVMPath": _CHOSEN_BY_FOLDS,
}


@parametrize_with_checks(
    [head() for head in HEADS.values()], expected_failed_checks=lambda head: _EXPECTED.get(type(head).__name__, {})
)
def test_the_checks_of_scikit_learn(estimator, check):
    if "cv" in estimator.get_params():
        estimator.set_params(cv=2)  # Each fold is a fit for each strength.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check(estimator)


def classes_of(number, n=200, d=30, seed=0, spread=1.0):
    """Overlapping classes in a few correlated directions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, number, n)
    mixing = rng.normal(size=(d, d)) / np.sqrt(d)
    return (rng.normal(size=(number, d))[y] * spread + rng.normal(size=(n, d)) @ mixing * 2 + 3), np.array(
        list("abcd")
    )[y]


def scaled(X, weights=None):
    """As the heads scale their columns."""
    scaler = StandardScaler().fit(X, sample_weight=weights)
    return (X - scaler.mean_) / np.sqrt(scaler.var_ + scaler.var_.mean())


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(("n", "d"), [(200, 30), (40, 90)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("C", [0.003, 1.0])
def test_the_minimum_is_that_of_scikit_learn(number, n, d, weighted, C):
    X, y = classes_of(number, n, d)
    weights = np.random.default_rng(1).uniform(0.1, 2, n) if weighted else None
    mine = LogisticRegressionPath([C / 10, C], tol=1e-9).fit(X, y, sample_weight=weights)
    # Refitted at the end of the path, whatever the folds chose.
    Z = scaled(X, weights)
    other = LogisticRegression(C=mine.C_, tol=1e-10, max_iter=10000).fit(Z, y, sample_weight=weights)
    ours, theirs = mine.decision_function(X), other.decision_function(Z)
    if number > 2:  # softmax does not see what is added to all
        ours, theirs = (values - values.mean(axis=1, keepdims=True) for values in (ours, theirs))
    assert np.abs(ours - theirs).max() < 1e-3 * max(1, np.abs(theirs).max())


def test_linear_svm_ridge_and_svm_are_those_of_scikit_learn():
    X, y = classes_of(3)
    unit = Normalizer().fit_transform(X)
    svm = LinearSVMPath([3.0], tol=1e-9).fit(X, y)
    theirs = LinearSVC(C=3.0, intercept_scaling=1e4, tol=1e-8, max_iter=200000).fit(unit, y)
    assert np.abs(svm.decision_function(X) - theirs.decision_function(unit)).max() < 0.02
    ridge = RidgePath([2.0]).fit(X, y)
    assert ridge.decision_function(X) == pytest.approx(RidgeClassifier(alpha=0.5).fit(unit, y).decision_function(unit))
    gaussian = SVMPath([10.0], gammas=[1.0]).fit(X, y)
    theirs = SVC(C=10.0).fit(unit, y)
    assert (gaussian.predict(X) == theirs.predict(unit)).mean() > 0.98
    two = y != "c"
    gaussian, theirs = gaussian.fit(X[two], y[two]), SVC(C=10.0).fit(unit[two], y[two])
    assert gaussian.decision_function(X) == pytest.approx(theirs.decision_function(unit), abs=1e-5)


def test_an_svm_of_several_layers_is_that_of_scikit_learn_on_scaled_columns():
    X, y = classes_of(3)
    two = y != "c"
    X, y, Z = X[two], y[two], scaled(X[two])
    gaussian, theirs = SVMPath([10.0], gammas=[1.0], blocks=(X.shape[1],)).fit(X, y), SVC(C=10.0).fit(Z, y)
    assert gaussian.decision_function(X) == pytest.approx(theirs.decision_function(Z), abs=1e-5)


def test_scores_are_those_of_a_grid_search():
    X, y = classes_of(3, spread=0.3)
    splits = list(StratifiedKFold(5, shuffle=True, random_state=3).split(X, y))
    Cs = [1e-3, 1e-2, 1e-1, 1.0]
    mine = LogisticRegressionPath(Cs, cv=splits).fit(X, y)
    Z = scaled(X)
    theirs = [
        [LogisticRegression(C=C, max_iter=5000).fit(Z[train], y[train]).score(Z[test], y[test]) for C in Cs]
        for train, test in splits
    ]
    assert mine.scores_ == pytest.approx(np.array(theirs), abs=0.03)
    assert Cs[int(mine.scores_.mean(axis=0).argmax())] == mine.C_


def test_equal_scores_go_to_the_likelier():
    X, y = classes_of(2, spread=20)
    head = LogisticRegressionPath().fit(X, y)
    assert (head.scores_.mean(axis=0) == 1).sum() > 1
    assert head.Cs[0] < head.C_


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in {"auto", "svm"} else name
        for name in HEADS
        if name != "centroid"
    ],
)
def test_probabilities_are_calibrated(name):
    X, y = classes_of(3, n=1200, spread=0.4)
    head = HEADS[name]().fit(X[:800], y[:800])
    given = head.predict_proba(X[800:])
    surest = given.max(axis=1)
    hit = head.predict(X[800:]) == y[800:]
    assert abs(surest.mean() - hit.mean()) < 0.06
    # No other temperature would have been much better.
    odds = np.log(given + 1e-12)
    least = min(
        log_loss(y[800:], np.exp(odds / t) / np.exp(odds / t).sum(axis=1, keepdims=True)) for t in np.geomspace(0.3, 3)
    )
    assert log_loss(y[800:], given) < least + 0.03


def test_groups_stay_in_one_fold_when_the_strength_is_chosen():
    """Copies with random labels: who sees them on both sides believes in no regularisation at all."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(60, 40)), 4, axis=0)
    y, groups = np.repeat(rng.integers(0, 2, 60), 4), np.repeat(np.arange(60), 4)
    assert NearestNeighbours().fit(X, y).scores_.mean(axis=0).max() > 0.95
    assert NearestNeighbours().fit(X, y, groups=groups).scores_.mean(axis=0).max() < 0.75


@pytest.mark.parametrize("name", list(HEADS))
def test_probabilities_stay_below_one_without_a_mistake_in_the_folds(name):
    """30 rows of two classes that are far apart; the next ones are not as clear."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 15)
    X = rng.normal(size=(30, 20)) + 8 * np.outer(2 * y - 1, np.ones(20)) / np.sqrt(20)
    head = HEADS[name]().fit(X, y)
    assert head.scores_.mean(axis=0).max() == 1
    assert 0.9 < head.predict_proba(X).max() < 0.9999
    truth = np.repeat([0, 1], 200)
    new = rng.normal(size=(400, 20)) + np.outer(2 * truth - 1, np.ones(20)) / np.sqrt(20)
    assert log_loss(truth, head.predict_proba(new)) < 1.1


@pytest.mark.parametrize("name", list(HEADS))
def test_rows_of_weight_zero_change_nothing(name):
    X, y = classes_of(3)
    weights = np.where(y == "c", 0.0, 1.0)
    head = HEADS[name]().fit(X, y, sample_weight=weights)
    assert head.classes_.tolist() == ["a", "b"]
    assert set(head.predict(X)) <= {"a", "b"}
    part = y != "c"
    assert np.array_equal(head.predict(X), HEADS[name]().fit(X[part], y[part]).predict(X))


def test_impossible_weights_and_groups_are_refused():
    X, y = classes_of(2)
    with pytest.raises(ValueError, match="weights must not be negative"):
        LogisticRegressionPath(class_weight={"a": -1, "b": 1}).fit(X, y)
    with pytest.raises(ValueError, match="two classes or more"):
        LogisticRegressionPath(class_weight={"a": 0, "b": 1}).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LogisticRegressionPath().fit(X, y, groups=np.arange(5))
    with pytest.raises(ValueError, match="gammas must be positive"):
        SVMPath(gammas=[-1]).fit(X, y)


def test_given_splits_and_rows_of_no_weight():
    X, y = classes_of(2)
    weights = (np.arange(len(y)) % 3 > 0).astype(float)
    splits = list(StratifiedKFold(4).split(X, y))
    head = LogisticRegressionPath(cv=splits).fit(X, y, sample_weight=weights)
    assert head.scores_.shape[0] == 4


def test_many_classes_of_few_rows_are_fitted_without_a_warning():
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.repeat(np.arange(30), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NearestCentroid().fit(X, y)


def test_class_weights_help_the_rare():
    X, y = classes_of(2, n=400, spread=0.2)
    keep = np.flatnonzero((y == "a") | (np.arange(400) % 10 == 0))
    plain, balanced = (LogisticRegressionPath([1e-2], class_weight=w).fit(X[keep], y[keep]) for w in (None, "balanced"))
    rare = X[y == "b"]
    assert (balanced.predict(rare) == "b").mean() > (plain.predict(rare) == "b").mean() + 0.2


def test_nothing_to_cross_validate():
    X, y = classes_of(2)
    alone = np.where(np.arange(len(y)) == 0, "z", "a")
    head = LogisticRegressionPath().fit(X, alone)
    assert head.Cs[len(head.Cs) // 2] == head.C_
    assert head.scores_.shape == (0, 10)
    assert not hasattr(head, "predict_proba")
    again = head.fit(X, y)
    assert hasattr(again, "predict_proba")
    assert not hasattr(again.fit(X, alone), "predict_proba")


@pytest.mark.parametrize("Cs", [[], [1.0, 0.1], [0.0, 1.0], [-1.0], [np.nan]])
def test_bad_strengths_are_refused(Cs):
    X, y = classes_of(2)
    for head in (LogisticRegressionPath(Cs), SVMPath(Cs)):
        with pytest.raises(ValueError, match="Cs must be positive and ascending"):
            head.fit(X, y)
    with pytest.raises(ValueError, match="ks must be positive and descending"):
        NearestNeighbours([int(np.nan_to_num(C)) for C in Cs]).fit(X, y)


@pytest.mark.slow
def test_float32_stays_and_agrees():
    X, y = classes_of(3, spread=0.4)
    for make in HEADS.values():
        double, single = make().fit(X, y), make().fit(X.astype(np.float32), y)
        assert single.decision_function(X.astype(np.float32)).dtype in (np.float32, np.float64)
        assert (double.predict(X) == single.predict(X)).mean() > 0.97


def test_too_many_rows_for_a_kernel_are_refused():
    with pytest.raises(ValueError, match=r"more than 12000 rows\s+are refused. Use the head linear-svm"):
        SVMPath().fit(*classes_of(2, 12_001, 2))


@pytest.mark.slow
def test_a_fit_is_deterministic_and_leaves_the_thread_pools_alone():
    X, y = classes_of(3)
    before = [pool["num_threads"] for pool in threadpool_info()]
    for make in HEADS.values():
        first, second = (clone(make()).fit(X, y).decision_function(X) for _ in range(2))
        assert np.array_equal(first, second)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_centroid_is_the_nearest_mean():
    X, y = classes_of(3)
    unit = Normalizer().fit_transform(X)
    means = np.array([unit[y == label].mean(axis=0) for label in "abc"])
    nearest = np.linalg.norm(unit[:, None] - means, axis=2).argmin(axis=1)
    assert (NearestCentroid().fit(X, y).predict(X) == np.array(list("abc"))[nearest]).all()


def test_scaling_is_folded_in():
    X, y = classes_of(3)
    X[:, 3] = 7.5  # constant: says nothing, and is not blown up
    head = LogisticRegressionPath().fit(X, y)
    assert head.decision_function(X) == pytest.approx(X @ head.coef_.T + head.intercept_)
    assert np.abs(head.coef_[:, 3]).max() < 1e-9
    piped = make_pipeline(StandardScaler(), LogisticRegressionPath()).fit(X, y)
    assert (piped.predict(X) == head.predict(X)).mean() > 0.95


def test_a_channel_that_is_nearly_constant_outweighs_nothing():
    """Zero in training but for dust, and large in the next image."""
    X, y = classes_of(3, spread=2)
    X[:, 5] = 1e-4 * np.random.default_rng(0).random(len(X))
    head = LogisticRegressionPath().fit(X, y)
    after = X.copy()
    after[:, 5] = 1.0
    assert (head.predict(after) == head.predict(X)).mean() > 0.95


@pytest.mark.parametrize("name", list(HEADS))
def test_a_class_of_one_row_leaves_the_others_calibrated(name):
    """It is trained on in every fold and held out of none; before, nothing was calibrated and nothing chosen."""
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 20 + ["lone"])
    X = rng.normal(size=(41, 8)) + 3 * (y[:, np.newaxis] == np.array(["a", "b", "lone"] + [""] * 5))
    head = HEADS[name]().fit(X, y)
    assert head.classes_.tolist() == ["a", "b", "lone"]
    assert head.predict_proba(X).shape == (41, 3)
    assert head.scores_.shape[0] == 5
    assert head.score(X, y) > 0.9


def test_tables_hold_0_and_1_only():
    X = np.random.default_rng(0).normal(size=(12, 4))
    for wrong in (-1, 2, 0.4, 256):
        table = np.where(np.arange(24).reshape(12, 2) % 3 == 0, wrong, 1)
        with pytest.raises(HeadError, match="expected a table of 0 and 1"):
            HEADS["logreg"]().fit(X, table)


@pytest.mark.parametrize("tol", [-1, 0, np.inf, np.nan])
def test_bad_tolerances_are_refused(tol):
    with pytest.raises(ValueError, match="tol must lie between 0 and 1"):
        LogisticRegressionPath(tol=tol).fit(np.eye(4), [0, 0, 1, 1])


def test_weights_that_are_next_to_nothing():
    with pytest.raises(ValueError, match="too small to compute with"):
        LogisticRegressionPath().fit(np.eye(4), [0, 0, 1, 1], np.full(4, 1e-300))
