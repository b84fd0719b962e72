from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurekit.errors import HeadError
from featurekit.heads import HEADS, head_name, make_head


@pytest.mark.parametrize("name", list(HEADS))
def test_named_heads_learn_and_give_probabilities(name, digits_store):
    X, y = digits_store.X[...], digits_store.y
    head = make_head(name, y[::2]).fit(X[::2], y[::2])
    assert (head.predict(X[1::2]) == y[1::2]).mean() > 0.9
    probabilities = head.predict_proba(X[1::2])
    assert probabilities.shape == (30, 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (head.classes_[probabilities.argmax(axis=1)] == head.predict(X[1::2])).all()


@pytest.mark.parametrize("name", ["svm", "linear-svm", "ridge"])
def test_calibration_leaves_the_prediction_as_it_was(name, digits_store):
    X, y = digits_store.X[...], digits_store.y
    calibrated = make_head(name, y[::2]).fit(X[::2], y[::2])
    bare = HEADS[name]().fit(X[::2], y[::2])
    assert (calibrated.predict(X) == bare.predict(X)).all()


@pytest.mark.parametrize("name", list(HEADS))
def test_two_images_of_each_class_are_enough(name, digits_store):
    X, y = digits_store.X[[0, 1, 20, 21]], digits_store.y[[0, 1, 20, 21]]
    head = make_head(name, y).fit(X, y)
    assert set(head.predict(X)) <= set(y)


def test_a_classifier_is_cloned():
    mine = make_pipeline(StandardScaler(), LogisticRegression())
    made = make_head(mine, ["a", "b"])
    assert made is not mine
    assert head_name(mine) == "Pipeline"
    assert head_name("knn") == "knn"


def test_objects_that_are_not_heads_are_refused():
    with pytest.raises(HeadError, match="no head called 'tree'. There are: auto, logreg"):
        make_head("tree", ["a", "b"])
    for thing in (LogisticRegression, BaseEstimator(), StandardScaler(), None, 3):
        with pytest.raises(HeadError, match="expected the name of a head or a scikit-learn classifier"):
            make_head(thing, ["a", "b"])


def test_too_few_classes():
    with pytest.raises(HeadError, match="at least two classes, and the labels hold one class: a"):
        make_head("logreg", ["a", "a"])
    with pytest.raises(HeadError, match="the labels hold none"):
        make_head("logreg", [])


def test_the_command_line_offers_the_same_heads_and_default():
    from featurekit_cli import _common

    from featurekit.backbones import DEFAULT_BACKBONE

    assert tuple(HEADS) == _common.HEADS
    assert _common.DEFAULT_BACKBONE == DEFAULT_BACKBONE
