"""scikit-learn's contract: its checks, its output containers, its metadata routing and its searches."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from featurekit import FeatureExtractor, TransferClassifier, TransferRegressor
from featurekit.heads import LDAPath


class _Pictured:
    """Every row of numbers becomes a picture of as many stripes.

    scikit-learn's checks bring tables of numbers, which are no images. So that all of them run on the estimators as
    they are, network included, this stands before them; it validates what a check expects to be validated.
    """

    def _pictures(self, X: Any, *, reset: bool) -> list[np.ndarray]:
        X = validate_data(self, X, reset=reset, dtype=np.float64)
        grey = np.rint(255 / (1 + np.exp(-X / 4))).astype(np.uint8)
        return [np.tile(row, (len(row), 1)) for row in grey]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        tags.no_validation = False
        return tags


class PicturedExtractor(_Pictured, FeatureExtractor):
    def fit(self, X, y=None):
        return super().fit(self._pictures(X, reset=True), y)

    def transform(self, X):
        check_is_fitted(self, "space_")
        return super().transform(self._pictures(X, reset=False))


class PicturedClassifier(_Pictured, TransferClassifier):
    def fit(self, X, y=None, *, groups=None, sample_weight=None):
        return super().fit(self._pictures(X, reset=True), y, groups=groups, sample_weight=sample_weight)

    def _blocks(self, X):
        check_is_fitted(self, "head_")
        return super()._blocks(self._pictures(X, reset=False))


class PicturedRegressor(_Pictured, TransferRegressor):
    def fit(self, X, y=None, *, groups=None, sample_weight=None):
        return super().fit(self._pictures(X, reset=True), y, groups=groups, sample_weight=sample_weight)

    def _blocks(self, X):
        check_is_fitted(self, "head_")
        return super()._blocks(self._pictures(X, reset=False))


_FOLDS = {
    "check_sample_weight_equivalence_on_dense_data": "the folds that choose the strength count rows, not weights: "
    "a row that is repeated may lie in two of them, and one of weight 2 may not"
}
_EXPECTED = {
    "PicturedClassifier": _FOLDS,
    "PicturedExtractor": {
        "check_transformer_preserve_dtypes": "rows are float32, whatever kind of numbers an image is made of",
    },
    "PicturedRegressor": _FOLDS
    | {
        "check_methods_subset_invariance": "products of float32 rows depend on how many there are, by some 1e-7",
    },
}


@parametrize_with_checks(
    [each() for each in (PicturedExtractor, PicturedClassifier, PicturedRegressor)],
    expected_failed_checks=lambda estimator: _EXPECTED.get(type(estimator).__name__, {}),
)
def test_the_checks_of_scikit_learn(estimator, check):
    # Small images and few features, because what is checked is the estimator. A cache on the disk would be slower than
    # the network: the checks fit hundreds of times, and each fit would add a shard that each prediction opens.
    estimator.set_params(image_size=32, layer="blocks.1", pooling="grid4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check(estimator)


@pytest.fixture(scope="module")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture(scope="module")
def labels(paths):
    return np.array([path.split("/")[-2] for path in paths])


@pytest.mark.parametrize("kind", [str, int, float, object, bool])
def test_labels_of_any_type(paths, labels, digits_store_path, kind):
    y = {bool: labels == "1", object: labels.astype(object)}.get(kind)
    y = labels.astype(kind) if y is None else y
    classifier = TransferClassifier(head="centroid", cache=digits_store_path).fit(paths, y)
    assert classifier.classes_.tolist() == sorted(set(y.tolist()))
    assert classifier.predict(paths).tolist()[:3] == y.tolist()[:3]


def test_output_containers_and_names(paths, digits_store_path):
    pipe = make_pipeline(FeatureExtractor(cache=digits_store_path), StandardScaler()).set_output(transform="pandas")
    frame = pipe.fit_transform(paths)
    assert list(frame.columns) == list(pipe.get_feature_names_out())
    assert frame.columns[7] == "efficientnet_lite0.bn1.7"


def test_metadata_is_routed(paths, labels, digits_store_path, monkeypatch):
    """Weights and groups arrive at the head, through a classifier and through a pipeline in a search."""
    groups, weights = np.arange(60) // 2, np.linspace(1, 2, 60)
    seen = []
    original = LDAPath._begin

    def note(self, y, n, dtype, sample_weight, groups):
        seen.append((n, sample_weight is not None, groups is not None))
        return original(self, y, n, dtype, sample_weight, groups)

    monkeypatch.setattr(LDAPath, "_begin", note)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = TransferClassifier(head="lda", cache=digits_store_path)
        classifier.set_fit_request(groups=True, sample_weight=True).set_score_request(sample_weight=True)
        given = {"groups": groups, "sample_weight": weights}
        found = cross_validate(classifier, paths, labels, cv=GroupKFold(3), params=given)
        assert seen == [(40, True, True)] * 3
        assert found["test_score"].min() > 0.5
        seen.clear()
        head = LDAPath().set_fit_request(groups=True, sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(FeatureExtractor(cache=digits_store_path), scaler, head)
        GridSearchCV(pipe, {"ldapath__cv": [2, 3]}, cv=GroupKFold(2)).fit(paths, labels, **given)
        assert seen == [(30, True, True)] * 4 + [(60, True, True)]


def test_a_search_over_rows_on_the_disk(digits_store):
    """Workers are given the name of the file, not the rows; each reads what a fold needs."""
    assert len(digits_store.y) == len(digits_store.ledger) == 60  # has been read
    assert len(pickle.dumps(digits_store.X)) < 3000
    candidates = {"logisticregression__C": [0.01, 1]}
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipe, candidates, cv=3, n_jobs=2).fit(digits_store.X, digits_store.y)
    memory = GridSearchCV(pipe, candidates, cv=3).fit(digits_store.X[...], digits_store.y)
    assert np.array_equal(search.cv_results_["mean_test_score"], memory.cv_results_["mean_test_score"])
