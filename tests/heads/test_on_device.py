from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurekit.errors import HeadError
from featurekit.heads import OnDevice

X, Y = np.eye(4), [0, 0, 1, 1]


@pytest.mark.slow
def test_with_dispatch():
    """Most tests are in another file and process: SciPy asks for the environment when it is imported."""
    checks = [Path(__file__).with_name("dispatched.py"), Path(inspect.getfile(OnDevice))]
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stdout


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(),
        RidgeClassifier(),
        LogisticRegression(solver="liblinear"),
        LinearDiscriminantAnalysis(solver="lsqr"),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        GridSearchCV(make_pipeline(StandardScaler(), KNeighborsClassifier()), {}),
    ],
)
def test_heads_that_cannot_be_dispatched_are_refused(estimator):
    with pytest.raises(HeadError, match="cannot be computed on a device.*These can: LogisticRegression"):
        OnDevice(estimator).fit(X, Y)


@pytest.mark.parametrize("thing", [Ridge(), LogisticRegression, None, "logreg"])
def test_an_object_that_is_no_classifier_is_refused(thing):
    with pytest.raises(HeadError, match="expected a scikit-learn classifier"):
        OnDevice(thing).fit(X, Y)


def test_the_environment_must_allow_it(monkeypatch):
    monkeypatch.delenv("SCIPY_ARRAY_API", raising=False)
    with pytest.raises(HeadError, match="SCIPY_ARRAY_API=1 before Python starts"):
        OnDevice(LogisticRegression()).fit(X, Y)
