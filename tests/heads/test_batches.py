"""Labels that do not exclude each other, numbers, and rows that are read a part at a time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedShuffleSplit, TimeSeriesSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_path import classes_of, scaled

from featurekit.errors import HeadError
from featurekit.heads import (
    HEADS,
    REGRESSION_HEADS,
    LDAPath,
    LogisticRegressionPath,
    NearestCentroid,
    RidgePath,
    RidgeRegressionPath,
    SVMRegressionPath,
    fit_head_in_batches,
    fits_in_batches,
)

_EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "the folds that choose the strength count rows, not weights: "
    "a row that is repeated may lie in two of them, and one of weight 2 may not"
}
LABELS = ["logreg", "svm", "linear-svm", "ridge", "knn"]


@parametrize_with_checks(
    [head() for head in REGRESSION_HEADS.values()],
    expected_failed_checks=lambda head: _EXPECTED if isinstance(head, SVMRegressionPath) else {},
)
def test_the_checks_of_scikit_learn(estimator, check):
    if "cv" in estimator.get_params():
        estimator.set_params(cv=2)  # Each fold is a fit for each strength.
    check(estimator)


def labels_of(n=300, d=30, k=4, seed=0):
    """Labels that depend on the rows, each on another direction."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, (X[:, :k] * 2 + rng.normal(size=(n, k)) > [[-1, 0, 1, 2][:k]]).astype(int)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "svm" else n for n in LABELS])
def test_labels_that_do_not_exclude_each_other(name):
    X, Y = labels_of(800)
    head = HEADS[name]().fit(X[:500], Y[:500])
    predicted, given = head.predict(X[500:]), head.predict_proba(X[500:])
    assert predicted.shape == given.shape == head.decision_function(X[500:]).shape == (300, 4)
    assert head.classes_.tolist() == [0, 1, 2, 3]
    assert np.array_equal(predicted, (given > 0.5).astype(int))
    constant = (Y[500:] == Y[:500].mean(axis=0).round()).mean()
    assert (predicted == Y[500:]).mean() > constant + 0.03
    losses = [log_loss(Y[500:, i], given[:, i], labels=[0, 1]) for i in range(4)]
    base = [log_loss(Y[500:, i], np.full(300, Y[:500, i].mean()), labels=[0, 1]) for i in range(4)]
    assert np.mean(losses) < np.mean(base)


def test_labels_are_fitted_as_by_one_against_the_rest():
    X, Y = labels_of()
    mine = LogisticRegressionPath([0.3], tol=1e-9).fit(X, Y)
    theirs = OneVsRestClassifier(LogisticRegression(C=0.3, tol=1e-10, max_iter=5000)).fit(scaled(X), Y)
    assert mine.decision_function(X) == pytest.approx(theirs.decision_function(scaled(X)), abs=1e-3)


@pytest.mark.parametrize("name", LABELS)
def test_a_label_that_all_have_or_none(name):
    X, Y = labels_of(60)
    Y[:, 2], Y[:, 3] = 1, 0
    head = HEADS[name]().fit(X, Y)
    assert head.predict(X)[:, 2].all()
    assert not head.predict(X)[:, 3].any()
    assert (head.predict_proba(X)[:, 2] > 0.5).all()


@pytest.mark.parametrize("name", ["lda", "centroid"])
def test_heads_of_one_class_for_each_row_refuse_labels(name):
    with pytest.raises(ValueError, match="learns one class for each row"):
        HEADS[name]().fit(*labels_of())


def test_labels_that_say_nothing():
    X, Y = labels_of()
    with pytest.raises(ValueError, match="a label that some rows have and others have not"):
        LogisticRegressionPath().fit(X, np.ones_like(Y))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "svm" else n for n in REGRESSION_HEADS]
)
@pytest.mark.parametrize("several", [False, True])
def test_numbers_of_any_unit(name, several):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 20)) + 2
    y = X[:, :2] @ [[1.0, 2.0], [3.0, -1.0]] + 0.3 * rng.normal(size=(400, 2))
    if not several:
        y = y[:, 0]
    head = REGRESSION_HEADS[name]().fit(X[:300], y[:300])
    predicted = head.predict(X[300:])
    assert predicted.shape == y[300:].shape
    assert r2_score(y[300:], predicted) > (0.3 if name == "knn" else 0.8)
    assert head.scores_.mean(axis=0).max() == pytest.approx(r2_score(y[300:], predicted), abs=0.15)
    error = np.sqrt(((predicted - y[300:]) ** 2).mean(axis=0))
    assert np.allclose(head.deviation_, error, rtol=0.3)
    other = REGRESSION_HEADS[name]().fit(X[:300], 1000 * y[:300] - 5e6).predict(X[300:])
    assert other == pytest.approx(1000 * predicted - 5e6, rel=1e-5)


def test_ridge_regression_is_that_of_scikit_learn():
    X, _ = classes_of(2)
    y = X @ np.arange(30) + np.random.default_rng(0).normal(size=200)
    mine = RidgeRegressionPath([2.0]).fit(X, y)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert mine.predict(X) == pytest.approx(Ridge(alpha=0.5).fit(unit, y).predict(unit))


def test_groups_of_numbers_stay_in_one_fold():
    rng = np.random.default_rng(0)
    X, y, groups = (
        np.repeat(rng.normal(size=(60, 40)), 4, axis=0),
        np.repeat(rng.normal(size=60), 4),
        np.arange(240) // 4,
    )
    knn = REGRESSION_HEADS["knn"]
    assert knn().fit(X, y).scores_.mean(axis=0).max() > 0.9
    assert knn().fit(X, y, groups=groups).scores_.mean(axis=0).max() < 0.3


class Counted:
    """Rows that note how many were asked for at once."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.most = X, X.shape, X.dtype, 0

    def __getitem__(self, key):
        part = self.X[key]
        self.most = max(self.most, len(part))
        return part


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("head", [LDAPath(), RidgePath(), NearestCentroid(), LDAPath(class_weight="balanced")])
@pytest.mark.parametrize("grouped", [False, True])
def test_batches_give_what_fit_gives(head, number, grouped):
    X, y = classes_of(number, 400, spread=0.4)
    weights = np.random.default_rng(0).uniform(0.5, 2, 400) * (np.arange(400) % 7 > 0)
    groups = np.arange(400) // 3 if grouped else None
    whole = head.fit(X, y, weights, groups)
    expected = whole.decision_function(X), whole.scores_.copy(), whole.temperature_, whole.intercept_
    counted = Counted(X)
    parts = head.fit_batches(counted, y, weights, groups, batch_size=64)
    assert counted.most == 64
    assert parts.decision_function(X) == pytest.approx(expected[0], rel=1e-6, abs=1e-8)
    assert parts.scores_ == pytest.approx(expected[1])
    assert parts.temperature_ == pytest.approx(expected[2], rel=1e-4)
    assert parts.n_features_in_ == 30


def test_batches_of_float32_far_from_zero():
    """Sums of squares lose what is left when the mean is taken away; about a point amid the rows they do not."""
    X, y = classes_of(3, 500)
    X = (X + 1000).astype(np.float32)
    whole, parts = LDAPath().fit(X, y), LDAPath().fit_batches(X, y, batch_size=50)
    assert (whole.predict(X) == parts.predict(X)).mean() > 0.99


def test_batches_of_numbers_and_of_labels():
    X, Y = labels_of()
    for head, target in ((RidgeRegressionPath(), X[:, 0] + 5), (RidgePath(), Y)):
        expected = head.fit(X, target).predict(X)
        assert head.fit_batches(X, target, batch_size=50).predict(X) == pytest.approx(expected)


def test_the_temperature_is_found_from_some_rows_if_there_are_many(monkeypatch):
    from featurekit.heads import batches

    X, y = classes_of(3, 3000, spread=0.4)
    whole = LDAPath().fit(X, y)
    expected, scores = whole.temperature_, whole.scores_.copy()
    monkeypatch.setattr(batches, "_MOST_KEPT", 1)
    parts = whole.fit_batches(X, y)
    assert parts.scores_ == pytest.approx(scores)
    assert parts.temperature_ != expected
    assert parts.temperature_ == pytest.approx(expected, rel=0.4)


def test_partial_fit_in_epochs():
    X, y = classes_of(3, 3000, spread=1)
    weights = (y != "c").astype(float)
    head = fit_head_in_batches(SGDClassifier(random_state=0), Counted(X), y, sample_weight=weights)
    assert head.classes_.tolist() == ["a", "b"]
    assert head.score(X[y != "c"], y[y != "c"]) > 0.8
    assert [name for name in HEADS if fits_in_batches(HEADS[name]())] == ["ridge", "lda", "centroid"]


def test_rows_that_are_no_numbers_are_refused_in_batches():
    X, y = classes_of(2)
    X[150, 3] = np.nan
    with pytest.raises(HeadError, match="LDAPath could not be fitted: Input X contains NaN"):
        fit_head_in_batches(LDAPath(), X, y)


def test_weights_of_a_batch_are_its_own():
    """Batches whose weights are all 1 were given those of an earlier batch."""
    seen = []

    class Watched(SGDClassifier):
        def partial_fit(self, X, y, classes=None, sample_weight=None):
            seen.append((X[:, 0], sample_weight))
            return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight)

    n = 3001
    X, y, weights = np.random.default_rng(0).normal(size=(n, 3)), np.arange(n) % 2, np.ones(n)
    X[:, 0], weights[0] = np.arange(n), 1000
    fit_head_in_batches(Watched(random_state=0), X, y, sample_weight=weights)
    assert any(given is None for _, given in seen)
    assert all(given is None or np.array_equal(given, weights[rows.astype(int)]) for rows, given in seen)


def test_rows_and_labels_of_different_length_are_refused():
    with pytest.raises(HeadError, match="60 rows but 50 targets"):
        fit_head_in_batches(SGDClassifier(), np.eye(60), np.arange(50) % 2)
    with pytest.raises(HeadError, match="60 rows but 3 weights"):
        fit_head_in_batches(SGDClassifier(), np.eye(60), np.arange(60) % 2, sample_weight=np.ones(3))


@pytest.mark.parametrize(
    "cv", [StratifiedShuffleSplit(3, test_size=0.5), TimeSeriesSplit(3), RepeatedStratifiedKFold(n_repeats=2)]
)
def test_splits_that_are_not_folds_are_refused(cv):
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    with pytest.raises(ValueError, match="fit_batches needs folds"):
        RidgePath(cv=cv).fit_batches(X, y)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        RidgePath().fit_batches(X, y, batch_size=-1)
