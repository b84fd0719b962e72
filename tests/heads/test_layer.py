from __future__ import annotations

import numpy as np
import pytest

from featurekit.errors import HeadError
from featurekit.heads import HEADS, LogisticRegressionPath
from featurekit.heads.layer import calibrate, head_of, layer_of


def softmax(values):
    grown = np.exp(values - values.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def rows(classes, n=90):
    rng = np.random.default_rng(0)
    codes = np.arange(n) % classes
    return (rng.normal(size=(n, 12)) + 2 * np.eye(12)[codes]).astype(np.float32), np.array(list("abcdef"))[codes], codes


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_layer_says_what_the_head_says_and_back(classes):
    X, y, codes = rows(classes)
    head = LogisticRegressionPath().fit(X, y)
    weight, bias = layer_of(head)
    assert weight.shape == (classes, 12)
    decisions = X @ weight.T + bias
    assert softmax(decisions) == pytest.approx(head.predict_proba(X), abs=1e-6)
    again = head_of(weight, bias, head.classes_)
    assert (again.predict(X) == head.predict(X)).all()
    assert not hasattr(again, "predict_proba")
    calibrated = calibrate(again, decisions, codes)
    assert calibrated.predict_proba(X).shape == (len(X), classes)
    colder = calibrate(head_of(10 * weight, 10 * bias, head.classes_), 10 * decisions, codes)
    assert colder.temperature_ == pytest.approx(10 * calibrated.temperature_, rel=1e-2)
    assert colder.predict_proba(X) == pytest.approx(calibrated.predict_proba(X), abs=1e-3)


def test_other_heads_are_no_layer():
    X, y, _ = rows(3)
    for head in (HEADS["lda"]().fit(X, y), HEADS["knn"]().fit(X, y)):
        with pytest.raises(HeadError, match="can start as the head 'logreg' of one class"):
            layer_of(head)
    with pytest.raises(HeadError, match="of one class for each image"):
        layer_of(LogisticRegressionPath().fit(X, np.eye(3, dtype=int)[np.arange(90) % 3][:, :2]))
