"""Targets other than one class for each image, in Python; and stores that are larger than memory should hold."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from featurekit import FeatureStore, TransferClassifier, TransferRegressor, evaluate, load_model
from featurekit.errors import BundleError, HeadError
from featurekit.target_metrics import evaluate_labels, evaluate_numbers
from featurekit.targets import LabelTable, label_table, numbers


@pytest.fixture(scope="module")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture(scope="module")
def digits(paths):
    return np.array([int(path.split("/")[-2]) for path in paths])


@pytest.fixture(scope="module")
def table(digits):
    return pandas.DataFrame({"even": digits % 2 == 0, "zero": digits == 0}).astype(int)


@pytest.mark.parametrize("head", ["logreg", "knn", KNeighborsClassifier()])
def test_labels(paths, table, digits_store_path, tmp_path, head):
    classifier = TransferClassifier(head=head, cache=digits_store_path).fit(paths, table)
    assert classifier.classes_.tolist() == ["even", "zero"]
    given = classifier.predict_proba(paths)
    assert classifier.predict(paths).shape == given.shape == (60, 2)
    again = load_model(classifier.save(tmp_path / "model")).set_params(cache=digits_store_path)
    assert again.classes_.tolist() == ["even", "zero"]
    assert np.array_equal(again.predict_proba(paths), given)
    scored = evaluate(again, paths, table)
    assert [label.label for label in scored.per_label] == ["even", "zero"]
    assert scored.exact_match == classifier.score(paths, table)


def test_an_array_of_labels_has_numbers_for_names(paths, table, digits_store_path):
    classifier = TransferClassifier(head="ridge", cache=digits_store_path).fit(paths, table.to_numpy())
    assert classifier.classes_.tolist() == [0, 1]


@pytest.mark.parametrize("head", ["ridge", "svm", KNeighborsRegressor()])
def test_numbers(paths, digits, digits_store_path, tmp_path, head):
    regressor = TransferRegressor(head=head, cache=digits_store_path).fit(paths, digits + 0.25)
    predicted = regressor.predict(paths)
    assert regressor.score(paths, digits + 0.25) > 0.7
    again = load_model(regressor.save(tmp_path / "model")).set_params(cache=digits_store_path)
    assert isinstance(again, TransferRegressor)
    assert np.array_equal(again.predict(paths), predicted)
    assert evaluate(again, paths, digits + 0.25).r2 == pytest.approx(regressor.score(paths, digits + 0.25))


def test_a_store_whose_labels_are_numbers(digits_store, digits):
    regressor = TransferRegressor().fit(digits_store)
    scored = evaluate(regressor, digits_store)
    assert scored.r2 > 0.8
    assert scored.root_mean_squared_error < 0.4
    with pytest.raises(HeadError, match="no head for numbers called 'lda'"):
        TransferRegressor(head="lda").fit(digits_store)
    with pytest.raises(HeadError, match="a scikit-learn regressor"):
        TransferRegressor(head=RidgeClassifier()).fit(digits_store)


def test_a_model_that_says_it_predicts_something_else(digits_store, tmp_path):
    model = TransferRegressor().fit(digits_store).save(tmp_path / "model")
    text = (model / "model.json").read_text()
    for other, message in (("class", "its head does not predict 'class'"), ("fate", "it predicts 'fate'")):
        (model / "model.json").write_text(text.replace('"target": "number"', f'"target": "{other}"'))
        with pytest.raises(BundleError, match=message):
            load_model(model)


def test_labels_and_numbers_are_read_from_text():
    assert label_table(["b; a", "", "b"], ["a", "b", "c"]).table.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(HeadError, match="the label 'd' is none of those that the model knows: a, b"):
        label_table(["d"], ["a", "b"])
    for wrong in ("seven", "nan", "inf", ""):
        with pytest.raises(HeadError, match="expected a number as the label of each image"):
            numbers(["1", wrong])


def test_scores_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    true, predicted, likely = rng.random((3, 200, 3))
    t, p = true > 0.5, predicted > 0.4
    scored = evaluate_labels(t, p, likely)
    assert scored.exact_match == metrics.accuracy_score(t, p)
    assert scored.micro_f1 == pytest.approx(metrics.f1_score(t, p, average="micro"))
    assert scored.macro_f1 == pytest.approx(metrics.f1_score(t, p, average="macro"))
    assert scored.mean_average_precision == pytest.approx(metrics.average_precision_score(t, likely))
    assert scored.log_loss == pytest.approx(np.mean([metrics.log_loss(t[:, i], likely[:, i]) for i in range(3)]))
    numbers = evaluate_numbers(true, predicted)
    assert numbers.r2 == pytest.approx(metrics.r2_score(true, predicted))
    assert numbers.mean_absolute_error == pytest.approx(metrics.mean_absolute_error(true, predicted))
    assert numbers.root_mean_squared_error == pytest.approx(metrics.root_mean_squared_error(true, predicted))
    for result in (scored, numbers):
        for name, (low, high) in result.intervals.items():
            assert low < getattr(result, name) < high
    doubled = evaluate_numbers(np.repeat(true, 2, 0), np.repeat(predicted, 2, 0), groups=np.arange(400) // 2)
    assert doubled.intervals["r2"] == pytest.approx(numbers.intervals["r2"])


@pytest.mark.parametrize("head", ["lda", "logreg"])
def test_a_large_store_is_fitted_a_part_at_a_time(digits_store_path, monkeypatch, head):
    """Unlabelled rows and groups are what they are when all is in memory; a head that cannot takes all rows."""
    from featurekit.store.reader import RowView
    from featurekit.transfer import base

    with FeatureStore(digits_store_path) as store:
        expected = TransferClassifier(head=head).fit(store)
        monkeypatch.setattr(base, "_MOST_BYTES", 1)
        whole = []
        original = RowView.__getitem__
        monkeypatch.setattr(
            RowView, "__getitem__", lambda self, key: whole.append(key is Ellipsis) or original(self, key)
        )
        parts = TransferClassifier(head=head).fit(store)
        assert np.allclose(parts.head_.coef_, expected.head_.coef_, atol=1e-4)
        assert np.array_equal(parts.predict(store), expected.predict(store))
    assert parts.head_.scores_ == pytest.approx(expected.head_.scores_)
    assert len(whole) > 0


def test_a_single_label_is_a_choice_between_two_classes():
    with pytest.raises(HeadError, match="they name 'tag' only. That is a choice between two classes"):
        label_table(["tag", ";", "tag"])
    with pytest.raises(HeadError, match="no image has any"):
        label_table([";", ";"])


@pytest.mark.parametrize("text", ["1_0", "nan", "inf", "seven", ""])
def test_labels_that_are_not_numbers_are_refused(text):
    with pytest.raises(HeadError, match="expected a number as the label of each image"):
        numbers(["1", text])


def test_numbers_too_large_to_square(paths, digits_store_path):
    with pytest.raises(HeadError, match="expected numbers of at most 1e\\+100"):
        numbers(["1e308"])
    with pytest.raises(HeadError, match="expected numbers of at most"):
        TransferRegressor(cache=digits_store_path).fit(paths, np.arange(60) * 1e300)


def test_labels_as_texts_and_columns_in_another_order(paths, digits, digits_store_path):
    texts = [{"0": "even;round", "1": ";", "2": "even"}[str(digit)] for digit in digits]
    classifier = TransferClassifier(cache=digits_store_path).fit(paths, texts, target="labels")
    assert classifier.classes_.tolist() == ["even", "round"]
    named = label_table(texts)
    turned = LabelTable(named.table[:, ::-1], named.columns[::-1])
    assert evaluate(classifier, paths, turned).exact_match == evaluate(classifier, paths, named).exact_match > 0.9
    with pytest.raises(HeadError, match="expected a column for each of the labels"):
        evaluate(classifier, paths, LabelTable(named.table, ["x", "y"]))


def test_scores_of_what_is_no_number():
    with pytest.raises(ValueError, match="expected finite numbers"):
        evaluate_numbers([np.nan] * 3, [1, 2, 3])
    with pytest.raises(ValueError, match="expected tables of 0 and 1"):
        evaluate_labels([[-1, 1]], [[0, 1]])
