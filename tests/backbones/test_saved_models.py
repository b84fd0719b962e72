"""A saved model is a backbone, too."""

from __future__ import annotations

import json

import pytest

from featurekit import FeatureExtractor, TransferClassifier
from featurekit.backbones import find
from featurekit.errors import BackboneError, BundleError


def test_the_backbone_of_a_frozen_model_is_its_own(digits_store, tmp_path):
    TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "m")
    found = find(str(tmp_path / "m"))
    assert found.spec.name == "efficientnet_lite0"
    assert found.space == digits_store.space
    assert FeatureExtractor(tmp_path / "m").fit([]).space_ == digits_store.space


def test_models_that_say_nothing(digits_store, tmp_path):
    TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": []}))
    with pytest.raises(BackboneError, match="does not say what its backbone is"):
        find(str(tmp_path / "m"))
    path.write_text("{")
    with pytest.raises(BundleError, match="cannot read"):
        find(str(tmp_path / "m"))
