"""What needs SCIPY_ARRAY_API=1 before SciPy is imported: test_on_device.py runs these in a process of their own."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featurekit.bundle import write_bundle
from featurekit.errors import HeadError
from featurekit.heads import OnDevice

SUPPORTED = [
    LogisticRegression(tol=1e-6),
    RidgeClassifier(solver="svd"),
    RidgeClassifierCV(),
    LinearDiscriminantAnalysis(),
    GaussianNB(),
    make_pipeline(StandardScaler(), LogisticRegression(tol=1e-6)),
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3),
]
NAMES = [type(each).__name__ + str(i) for i, each in enumerate(SUPPORTED)]


def rows(number, dtype=np.float32):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, number, 300)
    X = rng.normal(size=(300, 20))
    X[np.arange(300), codes] += 2
    return X.astype(dtype), codes


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("estimator", SUPPORTED, ids=NAMES)
def test_results_are_those_of_the_plain_estimator(estimator, number):
    X, codes = rows(number)
    y = np.array(["cat", "dog", "owl"])[codes]
    plain, mine = clone(estimator).fit(X, y), OnDevice(estimator, device="cpu").fit(X, y)
    assert mine.classes_.tolist() == sorted(set(y))
    assert (mine.predict(X) == plain.predict(X)).mean() > 0.99
    for method in ("predict_proba", "decision_function"):
        assert hasattr(mine, method) == hasattr(plain, method)
        if hasattr(plain, method):
            found, expected = getattr(mine, method)(X), getattr(plain, method)(X)
            assert type(found) is np.ndarray
            assert np.abs(found - expected).max() < 2e-3 * max(1, np.abs(expected).max())
    assert b"torch" not in pickle.dumps(mine)


def test_the_estimator_is_fitted_on_tensors(monkeypatch):
    seen, original = [], LogisticRegression.fit

    def fit(self, X, y, sample_weight=None):
        seen.append((type(X), X.dtype, type(y), type(sample_weight)))
        return original(self, X, y, sample_weight)

    monkeypatch.setattr(LogisticRegression, "fit", fit)
    X, y = rows(3)
    weighted = OnDevice(LogisticRegression(), device="cpu").fit(X, y, sample_weight=np.arange(300) % 3)
    assert seen == [(torch.Tensor, torch.float32, torch.Tensor, torch.Tensor)]
    assert weighted.estimator_.coef_.dtype == np.float32
    plain = LogisticRegression().fit(X, y, sample_weight=np.arange(300) % 3)
    assert weighted.predict_proba(X) == pytest.approx(plain.predict_proba(X), abs=1e-2)


def test_it_is_saved_and_predicts_without_torch(tmp_path):
    X, y = rows(3)
    head = OnDevice(make_pipeline(StandardScaler(), LogisticRegression()), device="cpu").fit(X, y)
    write_bundle(tmp_path / "m", {}, head, "")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import os, sys; os.environ.pop('SCIPY_ARRAY_API'); import numpy; from featurekit.bundle import read_bundle\n"
        f"os.chdir({str(tmp_path)!r}); print(*read_bundle('m', [])[1].predict(numpy.load('X.npy')))\n"
        "assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(label) for label in head.predict(X)]


def test_one_class():
    with pytest.raises(HeadError, match="the labels hold one class: a"):
        OnDevice(GaussianNB(), device="cpu").fit(np.ones((4, 2)), ["a"] * 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of CUDA")
@pytest.mark.parametrize("estimator", SUPPORTED, ids=NAMES)
def test_on_a_gpu(estimator):
    X, y = rows(3)
    mine = OnDevice(estimator).fit(X, y)
    assert (mine.predict(X) == clone(estimator).fit(X, y).predict(X)).mean() > 0.99
    assert b"torch" not in pickle.dumps(mine)


@parametrize_with_checks([OnDevice(LogisticRegression(), device="cpu")])
def test_the_checks_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check(estimator)
