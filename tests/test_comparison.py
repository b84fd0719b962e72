"""Comparisons: the same folds for all, nothing computed twice, every number one of the library's own."""

from __future__ import annotations

import csv
import importlib
import json
import linecache
import shutil
import sys

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from featurekit import FeatureStore, compare, extract
from featurekit.comparison import run
from featurekit.errors import FeaturekitError, HeadError, SourceError
from featurekit.evaluation import cross_validate_head
from featurekit.metrics import paired_difference
from featurekit.report import comparison_text, write_page

NAMES = ["efficientnet_lite0", "efficientnet_lite1"]
# To convert a network for OpenVINO takes longer than to run it over these images.
SMALL = {"image_size": 64, "runtime": "torch"}


@pytest.fixture(scope="module")
def both(digits_folder, tmp_path_factory):
    """Two backbones, two heads, on 60 digits."""
    home = tmp_path_factory.mktemp("compare")
    return home, compare(digits_folder, backbones=NAMES, heads=["lda", "centroid"], output=home, repeats=2, **SMALL)


@pytest.mark.slow
def test_each_line_is_what_cross_validation_gives(both):
    home, result = both
    assert (result.n, result.folds, result.repeats, len(result.results)) == (60, 5, 2, 4)
    scores = [line.evaluation.accuracy for line in result.results]
    assert scores == sorted(scores, reverse=True)
    for line in result.results:
        store = FeatureStore(home / f"{line.backbone}.stages.h5")
        found = cross_validate_head(
            store.X, store.y, line.head, repeats=2, groups=result.groups.ids, blocks=store.space.widths
        )
        assert np.array_equal(found.predictions, line.folded.predictions)
        assert found.evaluate() == line.evaluation
        best = result.best.folded.predictions
        assert line.difference == paired_difference(
            np.tile(store.y, 2), found.predictions.ravel(), best.ravel(), np.tile(result.groups.ids, 2)
        )
    assert result.best.difference == (0, 0, 0)


def test_a_second_run_computes_nothing(both, digits_folder, monkeypatch):
    home, result = both
    monkeypatch.setattr(run, "cross_validate_head", None)
    lines = []
    options = {"heads": ["lda", "centroid"], "repeats": 2, "say": lines.append, **SMALL}
    again = compare(digits_folder, backbones=NAMES, output=home, **options)
    assert all(line.reused for line in again.results)
    assert not any(line.reused for line in result.results)
    assert all("of an earlier run" in line for line in lines)
    assert [line.evaluation for line in again.results] == [line.evaluation for line in result.results]
    assert [store.summary.computed for store in again.stores] == [0, 0]


@pytest.mark.parametrize("change", [{"seed": 1}, {"cv": 4}, {"repeats": 1}, {"heads": [GaussianNB()]}])
def test_other_questions_get_other_answers(both, change):
    home, _ = both
    stores = [FeatureStore(home / f"{name}.stages.h5") for name in NAMES]
    options = {"heads": ["centroid"], "repeats": 2} | change
    assert not any(line.reused for line in compare(stores, output=home, **options).results)


class Remembering(GaussianNB):
    """With a parameter that is an array, or something that cannot be pickled."""

    def __init__(self, values=None):
        super().__init__()
        self.values = values


def test_results_are_kept_by_the_whole_state_of_a_head(digits_store, tmp_path):
    first, second = np.zeros(2000), np.zeros(2000)
    second[1000] = 3
    for values, reused in ((first, False), (second, False), (first.copy(), True)):
        assert compare(digits_store, heads=[Remembering(values)], output=tmp_path).best.reused is reused
    for _ in range(2):  # nothing tells one from another: computed each time
        assert not compare(digits_store, heads=Remembering(lambda: 0), output=tmp_path).best.reused


@pytest.mark.slow
def test_results_are_kept_by_type_of_rows_and_not_of_numbers(digits_folder, digits_store, tmp_path):
    half = extract(digits_folder, output=tmp_path / "half.h5", dtype="float16")
    assert not compare(digits_store, heads="centroid", output=tmp_path / "o").best.reused
    assert not compare(half, heads="centroid", output=tmp_path / "o").best.reused
    assert compare(half, heads="centroid", output=tmp_path / "o", cv=np.int64(5), seed=np.int64(0)).best.reused


@pytest.mark.slow
def test_other_labels_get_other_answers(digits_folder, tmp_path):
    paths = sorted(digits_folder.glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    first = compare(paths, labels=labels, heads=["centroid"], output=tmp_path)
    assert first.best.evaluation.accuracy > 0.9
    other = compare(paths, labels=labels[::-1], heads=["centroid"], output=tmp_path)
    assert not other.best.reused
    assert compare(paths, labels=labels, heads=["centroid"], output=tmp_path).best.reused


@pytest.mark.slow
def test_interrupted_and_damaged_results(digits_store, tmp_path, monkeypatch):
    def until_the_second(rows, y, head, **options):
        if head == "centroid":
            raise KeyboardInterrupt
        return cross_validate_head(rows, y, head, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run, "cross_validate_head", until_the_second)
        with pytest.raises(KeyboardInterrupt):
            compare(digits_store, heads=["lda", "centroid"], output=tmp_path)
    result = compare(digits_store, heads=["lda", "centroid"], output=tmp_path)
    assert {line.head: line.reused for line in result.results} == {"lda": True, "centroid": False}
    files = sorted(path for path in (tmp_path / "results").iterdir() if ".groups" not in path.name)
    assert len(files) == 2
    whole = files[0].read_bytes()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], files[1].read_bytes()[:-1]):
        for file in files:
            file.write_bytes(damaged)
        again = compare(digits_store, heads=["lda", "centroid"], output=tmp_path)
        assert not any(line.reused for line in again.results)
        assert [line.evaluation for line in again.results] == [line.evaluation for line in result.results]


@pytest.mark.slow
def test_duplicates_are_on_one_side(digits_folder, tmp_path):
    """Every image twice, with random labels: nothing can be learnt, and only copies could be recognised."""
    paths = sorted(digits_folder.glob("*/*.png")) * 2
    labels = [*np.random.default_rng(0).choice(["a", "b"], 60)] * 2
    store = extract(paths, labels=labels, output=tmp_path / "s.h5")
    result = compare(store, heads=["knn"])
    assert result.groups.exact == 60
    assert result.best.evaluation.accuracy < 0.7
    assert cross_validate_head(store.X, store.y, "knn").mean > 0.9
    assert result.best.evaluation.high - result.best.evaluation.low > 0.2  # of 60 images, not of 120
    assert "60 equal files" in comparison_text(result)


@pytest.mark.slow
def test_unlabelled_rows_are_left_out(digits_folder, tmp_path):
    paths = sorted(digits_folder.glob("*/*.png"))
    labels = ["" if i % 4 == 0 else path.parent.name for i, path in enumerate(paths)]
    store = extract(paths, labels=labels, output=tmp_path / "s.h5")
    assert compare(store, heads=["centroid"]).n == 45


def test_objects_without_probabilities_and_what_is_said(digits_store):
    from sklearn.svm import SVC

    result = compare(digits_store, heads=["lda", KNeighborsClassifier(), SVC()])
    by_head = {line.head: line for line in result.results}
    assert by_head["SVC"].evaluation.log_loss is None
    text = comparison_text(result)
    assert "Not to be told apart from the best" in text
    assert all(name in text for name in by_head)
    data = json.loads(json.dumps(result.to_dict()))
    first = data["results"][0]
    assert {"backbone", "head", "score", "low", "high", "difference_to_best", "fit_seconds"} <= set(first)
    assert data["seconds"] >= data["phases"]["heads"] > 0


class Picky(GaussianNB):
    """Takes whole training parts only."""

    def fit(self, X, y):
        if len(X) < 48:
            raise ValueError("too few rows")
        return super().fit(X, y)


class Refusing(GaussianNB):
    """Cannot be fitted."""

    def fit(self, X, y):
        raise ValueError("no such matrix")


def test_one_head_that_cannot_be_fitted_takes_nothing_from_the_others(digits_store, tmp_path):
    lines = []
    result = compare(digits_store, heads=[Refusing(), "centroid"], say=lines.append)
    assert [line.head for line in result.results] == ["centroid"]
    ((features, head, reason),) = result.failures
    assert (features, head) == ("efficientnet_lite0.stages", "Refusing")
    assert "no such matrix" in reason
    assert any("no such matrix" in line for line in lines)
    for text in (comparison_text(result), write_page(result, tmp_path / "r.html").read_text()):
        assert "no such matrix" in text
    assert result.to_dict()["failed"][0]["head"] == "Refusing"


def test_no_head_that_can_be_fitted_is_an_error(digits_store):
    with pytest.raises(HeadError, match=r"none of the heads could be fitted. Refusing: .*no such matrix"):
        compare(digits_store, heads=[Refusing()])


def test_a_head_that_needs_all_rows_has_no_learning_curve(digits_store):
    lines = []
    picky = compare(digits_store, heads=[Picky()], curve=True, say=lines.append)
    assert (picky.curve, picky.importance) == ([], [])
    assert lines[-2:] == [
        f"no {what}: the head Picky could not be fitted: too few rows"
        for what in ("learning curve", "importance of the layers")
    ]


def test_the_csv_is_the_table(both, tmp_path):
    _, result = both
    result.to_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["accuracy"]) for line in lines] == [line.evaluation.accuracy for line in result.results]
    assert all(float(line["log_loss_low"]) <= float(line["log_loss"]) for line in lines)
    with pytest.raises(FeaturekitError, match="cannot write .*there is no folder"):
        result.to_csv(tmp_path / "no" / "t.csv")


def test_impossible_comparisons_are_refused(digits_store, digits_folder, photos, tmp_path):
    with pytest.raises(SourceError, match="output is missing"):
        compare(digits_folder)
    with pytest.raises(HeadError, match="no head called 'tree'"):
        compare(digits_store, heads=["lda", "tree"])
    with pytest.raises(HeadError, match="different names, got: lda, lda"):
        compare(digits_store, heads=["lda", "lda"])
    with pytest.raises(HeadError, match="got: none"):
        compare(digits_store, heads=[])
    with pytest.raises(TypeError, match="labels: these are for the extraction of images"):
        compare(digits_store, labels=["a"])
    other = extract(photos, labels=["a"] * 4 + ["b"] * 4, output=tmp_path / "o.h5")
    with pytest.raises(SourceError, match="hold different images"):
        compare([digits_store, other])
    with pytest.raises(SourceError, match="the same features"):
        compare([digits_store, digits_store])
    single = extract(photos, labels=["a"] * 7 + ["b"], output=tmp_path / "p.h5")
    with pytest.raises(HeadError, match="nothing can be cross-validated: fewer than two classes"):
        compare(single, heads=["knn"])
    (tmp_path / "file").write_text("")
    with pytest.raises(FeaturekitError, match="cannot keep the results"):
        compare(digits_store, heads=["centroid"], output=tmp_path / "file")


def test_a_store_is_compared_by_its_path(digits_store_path):
    assert compare(str(digits_store_path), heads=["centroid"]).n == 60


def test_an_estimator_whose_code_was_changed(digits_store, tmp_path, monkeypatch):
    """Its parameters are the same, and what it does is not."""
    source = tmp_path / "of_mine.py"
    text = (
        "import numpy as np\nfrom sklearn.base import BaseEstimator, ClassifierMixin\n"
        "class Mine(ClassifierMixin, BaseEstimator):\n"
        "    def fit(self, X, y):\n        self.classes_ = np.unique(y)\n        return self\n"
        "    def predict(self, X):\n        return np.full(len(X), self.classes_[WHICH])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for which in ("0", "0", "1"):
        source.write_text(text.replace("WHICH", which))
        sys.modules.pop("of_mine", None)
        importlib.invalidate_caches()
        linecache.checkcache()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        module = importlib.import_module("of_mine")
        seen.append(compare(digits_store, heads=[module.Mine()], output=tmp_path / "o").best.reused)
    assert seen == [False, True, False]
