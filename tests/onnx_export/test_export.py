"""Whole files: the real network with a head behind it, in ONNX Runtime."""

from __future__ import annotations

import copy
import json
import re
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifier

import featurekit
from featurekit import FeatureStore, TransferClassifier
from featurekit.backbones import find
from featurekit.errors import BackboneError, BundleError, FeatureSpaceError, HeadError, MissingExtraError, StoreError
from featurekit.fidelity import Fidelity
from featurekit.images import prepare
from featurekit.onnx_export import agreement, export_onnx, run
from featurekit.runtime import load_runtime

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def one_network():
    """PyTorch exports the network of a layer once for all tests in here; a file changes its own copy."""
    original = run.network_model
    export = lru_cache(original)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "network_model", lambda backbone: copy.deepcopy(export(backbone)))
        yield original


@pytest.fixture(scope="module")
def classifier(digits_store_path):
    with FeatureStore(digits_store_path) as store:
        return TransferClassifier(head="logreg", decoder="auto").fit(store)


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    return export_onnx(classifier, tmp_path_factory.mktemp("onnx") / "m.onnx")


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def pixels_of(pictures, preprocessing):
    pre = preprocessing
    return np.stack([prepare(each.convert("RGB"), pre.resize, pre.crop, pre.interpolation) for each in pictures])


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.slow
def test_any_number_of_images_gives_what_the_classifier_gives(exported, classifier, photos, n):
    pre = classifier.space_.preprocessing
    pixels = pixels_of(photos[:n], pre)
    features, decisions, probabilities = session_of(exported.path).run(None, {"pixels": pixels})
    rows = load_runtime(find("efficientnet_lite0", layer=None)).submit(pixels).result()
    assert Fidelity.of(features, rows).relative_error < 1e-5
    np.testing.assert_allclose(decisions, classifier.head_.decision_function(rows), atol=1e-4)
    np.testing.assert_allclose(probabilities, classifier.head_.predict_proba(rows), atol=1e-5)
    # From the pictures themselves: other pixels by rounding, the same labels.
    assert classifier.classes_[probabilities.argmax(1)].tolist() == classifier.predict(photos[:n]).tolist()


@pytest.mark.slow
def test_the_file_is_checked_complete_and_says_what_it_is(exported, classifier):
    assert exported.path.name == "m.onnx"
    assert [path.name for path in exported.path.parent.iterdir()] == ["m.onnx"]  # no external data, nothing left over
    assert exported.path.stat().st_size == exported.nbytes
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert str(ROOT).encode() not in exported.path.read_bytes()  # PyTorch notes lines of source
    session = session_of(exported.path)
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(uint8)", ["n", 224, 224, 3])
    assert {output.name: (output.type, output.shape) for output in session.get_outputs()} == {
        "features": ("tensor(float)", ["n", 816]),
        "decisions": ("tensor(float)", ["n", 3]),
        "probabilities": ("tensor(float)", ["n", 3]),
    }
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == exported.classes == ["0", "1", "2"]
    assert about["fingerprint"] == classifier.space_.fingerprint
    assert about["space"] == classifier.space_.to_json()
    assert about["featurekit"] == featurekit.__version__
    assert about["head"] == "logreg"
    pre = json.loads(about["preprocessing"])
    assert (pre["resize"], pre["crop"], pre["interpolation"], exported.crop) == (256, 224, "bicubic", 224)


@pytest.mark.slow
def test_how_far_it_is_from_featurekit_is_said(exported):
    found = exported.agreement
    assert found.images == 6
    assert found.same_labels
    assert 0 < found.features < 1e-5
    assert found.decisions < 1e-5
    assert found.probabilities < 1e-5


@pytest.mark.slow
def test_two_classes_rows_of_length_one_and_no_probabilities(digits_store, tmp_path):
    chosen = digits_store.y != "2"
    paths = [digits_store.root / path if hasattr(digits_store, "root") else path for path in digits_store.paths]
    assert len(paths) == 60
    X, y = digits_store.X[chosen], digits_store.y[chosen]
    for number, (head, outputs) in enumerate([("linear-svm", 3), (RidgeClassifier(), 2)]):
        two = TransferClassifier(head=head).fit(digits_store)
        two.head_ = type(two.head_)().fit(X, y)
        two.classes_ = two.head_.classes_
        found = export_onnx(two, tmp_path / f"{number}.onnx")
        got = session_of(found.path).run(None, {"pixels": np.zeros((2, 224, 224, 3), np.uint8)})
        assert [each.shape for each in got] == [(2, 816), (2, 1), (2, 2)][:outputs]
        assert found.classes == ["0", "1"]
        assert (found.agreement.probabilities is None) == (outputs == 2)


@pytest.mark.slow
def test_another_layer_is_exported(digits_folder, tmp_path, photos):
    paths = sorted(digits_folder.glob("*/*.png"))[::4]
    classifier = TransferClassifier(head="ridge", layer="blocks.4", runtime="torch")
    classifier.fit(paths, [path.parent.name for path in paths])
    found = export_onnx(classifier, tmp_path / "m.onnx")
    assert found.agreement.features < 1e-5
    pixels = pixels_of(photos[:1], classifier.space_.preprocessing)
    (features,) = session_of(found.path).run(["features"], {"pixels": pixels})
    assert features.shape == (1, classifier.space_.dim) == (1, 112)


@pytest.mark.slow
def test_a_saved_model_and_the_lines_of_the_readme(classifier, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_onnx(classifier.save("model"), "model.onnx")
    photos[1].save("photo.jpg")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = [block for block in blocks if "onnxruntime" in block]
    names = {}
    exec(lines, names)
    with Image.open("photo.jpg") as photo:
        assert np.array_equal(names["pixels"], pixels_of([photo], classifier.space_.preprocessing)[0])
    assert names["label"] == classifier.predict(["photo.jpg"])[0]


@pytest.mark.slow
def test_a_file_that_computes_something_else_gets_no_name(classifier, tmp_path, monkeypatch):
    properly = run.read_head

    def wrong_temperature(head):
        found = properly(head)
        object.__setattr__(found, "temperature", found.temperature * 1.1)
        return found

    monkeypatch.setattr(run, "read_head", wrong_temperature)
    with pytest.raises(
        BundleError, match=r"does not compute what featurekit does, and was not written.*same_labels=True"
    ):
        export_onnx(classifier, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("difference", "fine"),
    [({}, True), ({"probabilities": None}, True), ({"same_labels": False}, False)]
    + [({name: value}, False) for name in ("features", "decisions", "probabilities") for value in (2e-4, np.nan)],
)
def test_agreement_needs_small_differences_and_the_same_labels(difference, fine):
    numbers = {"images": 6, "features": 1e-6, "decisions": 1e-6, "probabilities": 1e-6, "same_labels": True}
    found = agreement.Agreement(**(numbers | difference))
    if fine:
        found.check()
    else:
        with pytest.raises(BundleError):
            found.check()


@pytest.mark.slow
def test_export_refuses_with_a_reason(classifier, digits_store, tmp_path, monkeypatch):
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "nothing")
    for name, message in {
        "m.txt": r"ends in \.onnx, got 'm\.txt'",
        "there.onnx": "is there already. Nothing was changed",
        "link.onnx": "is there already",
        "no/m.onnx": "no such folder",
    }.items():
        with pytest.raises(BundleError, match=message):
            export_onnx(classifier, tmp_path / name)
    assert (tmp_path / "there.onnx").read_text() == "mine"
    output = tmp_path / "m.onnx"
    with pytest.raises(HeadError, match="NearestNeighbours"):
        export_onnx(TransferClassifier(head="knn").fit(digits_store), output)
    with pytest.raises(BundleError, match="no saved model"):
        export_onnx(tmp_path / "none", output)
    lower, other = copy.deepcopy(classifier), copy.deepcopy(classifier)
    object.__setattr__(lower.extractor_.space_, "precision", "bfloat16")
    with pytest.raises(BackboneError, match="computes in float32, .* precision bfloat16"):
        export_onnx(lower, output)
    object.__setattr__(other.extractor_.space_, "weights", "0" * 64)
    with pytest.raises(FeatureSpaceError, match="another feature space: weights"):
        export_onnx(other, output)

    def full(target, data):
        raise StoreError("cannot write")

    monkeypatch.setattr(run, "replace_file", full)
    with pytest.raises(StoreError, match="cannot write"):
        export_onnx(classifier, output)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"'onnxscript', which is not installed.*pip install onnxscript"):
        export_onnx(classifier, output)
    assert not output.exists()


def test_what_pytorch_cannot_export_is_said(one_network, monkeypatch):
    import torch

    def fail(*arguments, **options):
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(BackboneError, match="^efficientnet_lite0 cannot be exported to ONNX: no such operator$"):
        one_network(find("efficientnet_lite0"))
