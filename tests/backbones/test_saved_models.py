"""A saved model is a backbone, too."""

from __future__ import annotations

import json

import pytest

from featurekit import FeatureExtractor, TransferClassifier, load_model
from featurekit.backbones import find, with_rows
from featurekit.errors import BackboneError, BundleError


def test_the_backbone_of_a_frozen_model_is_its_own(digits_store, tmp_path):
    TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "m")
    found = find(str(tmp_path / "m"))
    assert found.spec.name == "efficientnet_lite0"
    assert with_rows(found, None).space == digits_store.space
    assert FeatureExtractor(tmp_path / "m").fit([]).space_ == digits_store.space


@pytest.mark.slow
def test_the_size_of_its_images_is_the_models(digits_folder, tmp_path):
    paths = sorted(digits_folder.glob("*/*.png"))[::4]
    y = [path.parent.name for path in paths]
    TransferClassifier(head="centroid", image_size=64, runtime="torch").fit(paths, y).save(tmp_path / "m")
    assert find(str(tmp_path / "m")).preprocessing.crop == 64
    assert find(str(tmp_path / "m"), image_size=96).preprocessing.crop == 96


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data["settings"].update(weights=5),
        lambda data: data["space"]["preprocessing"].update(resize=0),
        lambda data: data["space"]["preprocessing"].update(crop=10**9),
        lambda data: data.update(space=None),
    ],
)
def test_models_that_were_changed(digits_store, tmp_path, spoil):
    TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    data = json.loads(path.read_text())
    spoil(data)
    path.write_text(json.dumps(data))
    with pytest.raises(BackboneError, match="is damaged|does not say"):
        find(str(tmp_path / "m"))
    with pytest.raises(BundleError, match="is damaged"):
        load_model(tmp_path / "m")


def test_models_without_a_backbone_are_refused(digits_store, tmp_path):
    TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": []}))
    with pytest.raises(BackboneError, match="does not say what its backbone is"):
        find(str(tmp_path / "m"))
    path.write_text("{")
    with pytest.raises(BundleError, match="cannot read"):
        find(str(tmp_path / "m"))
