"""An unfitted estimator says which methods the fitted one will have: scikit-learn and cleanlab ask before fitting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import TunedThresholdClassifierCV, cross_val_predict
from sklearn.svm import SVC, LinearSVC

from featurekit import FineTuneClassifier, TransferClassifier
from featurekit.heads import HEADS


@pytest.fixture(scope="module")
def images(digits_folder):
    paths = sorted(str(path) for label in "01" for path in (digits_folder / label).glob("00*.png"))
    return np.array(paths), np.array([path[-9] for path in paths])


@pytest.mark.parametrize("head", HEADS)
def test_a_named_head_is_known_to_give_probabilities(head):
    unfitted = TransferClassifier(head=head)
    assert hasattr(unfitted, "predict_proba")
    assert hasattr(unfitted, "decision_function")


@pytest.mark.parametrize(
    ("head", "probabilities", "decisions"),
    [
        (LogisticRegression(), True, True),
        (RidgeClassifier(), False, True),
        (LinearSVC(), False, True),
        (HEADS["logreg"](), True, True),
        (CalibratedClassifierCV(SVC()), True, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_estimator_as_head_is_asked(head, probabilities, decisions):
    unfitted = TransferClassifier(head=head)
    assert (hasattr(unfitted, "predict_proba"), hasattr(unfitted, "decision_function")) == (probabilities, decisions)


@pytest.mark.parametrize("head", [*HEADS, LogisticRegression(), RidgeClassifier()], ids=str)
def test_the_fitted_classifier_has_the_methods_that_the_unfitted_one_has(head, digits_store):
    unfitted = TransferClassifier(head=head)
    said = [hasattr(unfitted, method) for method in ("predict_proba", "decision_function")]
    fitted = unfitted.fit(digits_store)
    assert [hasattr(fitted, method) for method in ("predict_proba", "decision_function")] == said


def test_a_head_that_does_not_exist_has_no_methods():
    assert not hasattr(TransferClassifier(head="forest"), "predict_proba")


def test_fine_tuning_is_known_to_give_probabilities():
    assert hasattr(FineTuneClassifier(), "predict_proba")
    assert hasattr(FineTuneClassifier(), "decision_function")


def test_probabilities_before_fitting_raise_not_fitted():
    for unfitted in (TransferClassifier(), FineTuneClassifier(), HEADS["logreg"]()):
        with pytest.raises(NotFittedError):
            unfitted.predict_proba(np.zeros((1, 4)))


@pytest.mark.slow
def test_calibration_wraps_a_classifier(images, tmp_path):
    X, y = images
    fitted = CalibratedClassifierCV(TransferClassifier(cache=tmp_path / "cache"), cv=2, ensemble=False).fit(X, y)
    assert fitted.predict_proba(X).shape == (20, 2)


@pytest.mark.slow
def test_a_tuned_threshold_wraps_a_classifier(images, tmp_path):
    X, y = images
    fitted = TunedThresholdClassifierCV(
        TransferClassifier(head="centroid", cache=tmp_path / "cache"), cv=2, response_method="predict_proba"
    )
    assert fitted.fit(X, (y == "1").astype(int)).score(X, (y == "1").astype(int)) > 0.9


@pytest.mark.slow
def test_stacking_stacks_probabilities(images, tmp_path):
    X, y = images
    cache = tmp_path / "cache"
    stack = StackingClassifier(
        [("centroid", TransferClassifier(head="centroid", cache=cache)), ("knn", TransferClassifier(cache=cache))], cv=2
    ).fit(X, y)
    assert stack.stack_method_ == ["predict_proba", "predict_proba"]
    assert stack.score(X, y) > 0.9


def test_out_of_fold_probabilities_as_cleanlab_asks_for_them(images, tmp_path):
    """cleanlab checks for fit, predict and predict_proba, and then calls scikit-learn like this."""
    X, y = images
    unfitted = TransferClassifier(head="centroid", cache=tmp_path / "cache")
    assert all(hasattr(unfitted, method) for method in ("fit", "predict", "predict_proba"))
    assert cross_val_predict(unfitted, X, y, method="predict_proba", cv=2).shape == (20, 2)


def test_cleanlab_finds_a_wrong_label(images, tmp_path):
    classification = pytest.importorskip("cleanlab.classification")
    X, y = images
    labels = (y == "1").astype(int)
    labels[3] = 1 - labels[3]
    learning = classification.CleanLearning(TransferClassifier(head="centroid", cache=tmp_path / "cache"), cv_n_folds=2)
    assert learning.find_label_issues(X, labels)["is_label_issue"].to_numpy()[3]
