"""The head alone: ONNX Runtime on its few nodes against the head itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from featurekit.errors import HeadError
from featurekit.heads import HEADS
from featurekit.onnx_export.graph import OPSET, head_graph
from featurekit.onnx_export.linear import read_head

NAMED = [HEADS[name] for name in ("auto", "logreg", "svm", "linear-svm", "ridge", "lda", "centroid")]
OTHERS = [
    LogisticRegression,
    LinearDiscriminantAnalysis,
    LinearSVC,
    RidgeClassifier,
    Perceptron,
    lambda: SGDClassifier(loss="log_loss", random_state=0),
    lambda: LinearSVC(fit_intercept=False),
    lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    lambda: make_pipeline(StandardScaler(with_mean=False), Normalizer("l1"), "passthrough", RidgeClassifier()),
    lambda: make_pipeline(Normalizer("max"), StandardScaler(with_std=False), LogisticRegression()),
    lambda: make_pipeline(make_pipeline(None, StandardScaler()), HEADS["centroid"]()),
]
WITHOUT_PROBABILITIES = (LinearSVC, RidgeClassifier, Perceptron, SGDClassifier)


def rows_of(classes, n=120, d=16):
    random = np.random.default_rng(classes)
    y = np.arange(n) % classes
    X = random.normal(random.normal(0, 3, (classes, d))[y], 2).astype(np.float32)
    return X, np.array([f"c{code}" for code in y])


def run(head, X):
    """What ONNX Runtime makes of the head."""
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(head_graph(read_head(head)), opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": X}), strict=True))


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("make", [*NAMED, *OTHERS])
def test_a_head_and_its_nodes_are_equal(make, classes):
    X, y = rows_of(classes)
    if "None" in repr(made := make()):
        pytest.importorskip("sklearn")
    head = made.fit(X, y)
    X = np.concatenate([X[:30] * 0.7, np.zeros((1, X.shape[1]), np.float32)])  # a row of zeros has no length
    got = run(head, X)
    decisions = head.decision_function(X).reshape(len(X), -1)
    assert got["decisions"].shape == decisions.shape == (31, 1 if classes == 2 else classes)
    np.testing.assert_allclose(got["decisions"], decisions, rtol=1e-4, atol=1e-5 * np.abs(decisions).max())
    last = head[-1] if hasattr(head, "steps") else head
    assert ("probabilities" in got) == (not isinstance(last, WITHOUT_PROBABILITIES))
    if "probabilities" in got:
        assert got["probabilities"].shape == (31, classes)
        np.testing.assert_allclose(got["probabilities"], head.predict_proba(X), atol=1e-5)


def test_a_head_that_could_not_be_calibrated_has_no_probabilities():
    X, y = rows_of(2)
    y[:] = y[0]
    y[-1] = "alone"
    head = HEADS["logreg"]().fit(X, y)
    assert not hasattr(head, "predict_proba")
    assert set(run(head, X)) == {"decisions"}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (HEADS["knn"], "NearestNeighbours"),
        (lambda: SVC(kernel="linear"), "SVC"),  # one class against one: not a value for each class
        (DecisionTreeClassifier, "DecisionTreeClassifier"),
        (lambda: make_pipeline(PCA(2), LogisticRegression()), "PCA"),
        (lambda: make_pipeline(StandardScaler(), DecisionTreeClassifier()), "DecisionTreeClassifier"),
    ],
)
def test_others_are_refused_by_name(make, name):
    X, y = rows_of(3)
    with pytest.raises(HeadError, match=rf"to ONNX: {name} is not one .* logreg, svm.*--head auto"):
        read_head(make().fit(X, y))


@pytest.mark.parametrize("blocks", [None, (10, 6)])
@pytest.mark.parametrize("make", [HEADS["auto"], HEADS["svm"]])
def test_a_kernel_head_of_labels_is_exported(make, blocks):
    X, y = rows_of(3)
    table = np.stack([y == "c0", y != "c1", np.ones(len(y), bool)], axis=1).astype(int)
    head = make().set_params(blocks=blocks).fit(X, table)
    got = run(head, X)
    np.testing.assert_allclose(got["decisions"], head.decision_function(X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got["probabilities"], head.predict_proba(X), atol=1e-5)


def test_several_values_for_two_classes_are_refused():
    X, y = rows_of(3)
    head = LogisticRegression().fit(X, y)
    head.classes_ = head.classes_[:2]
    with pytest.raises(HeadError, match="one decision value for each of its 2 classes, and it has 3"):
        read_head(head)
