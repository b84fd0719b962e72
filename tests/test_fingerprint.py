from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from featurekit.backbones import find
from featurekit.fingerprint import FeatureSpace, content_hash, file_sha256, pixel_hash

SPACE = find("efficientnet_lite0").space


def test_json_round_trip_keeps_the_fingerprint():
    again = FeatureSpace.from_json(SPACE.to_json())
    assert again == SPACE
    assert again.fingerprint == SPACE.fingerprint


@pytest.mark.parametrize("field", ["backbone", "weights", "layer", "pooling", "precision", "dim"])
def test_every_part_changes_the_fingerprint(field):
    other = dataclasses.replace(SPACE, **{field: 7 if field == "dim" else "other"})
    assert other.fingerprint != SPACE.fingerprint
    (difference,) = SPACE.differences(other)
    assert difference.startswith(f"{field}: ")


def test_preprocessing_changes_the_fingerprint_and_is_named():
    pre = dataclasses.replace(SPACE.preprocessing, resize=300)
    other = dataclasses.replace(SPACE, preprocessing=pre)
    assert other.fingerprint != SPACE.fingerprint
    assert SPACE.differences(other) == ["preprocessing.resize: 256, not 300"]


def test_the_fingerprint_is_a_promise():
    """Stores in the wild carry it: it may only change together with the schema's version."""
    assert SPACE.fingerprint == "8ab7ab2dd67dbd54d77bfe0ca8c11a1af56ba74874860b85b942eb4873223193"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("layer"),
        lambda d: d.update(more=1),
        lambda d: d.update(dim="many"),
        lambda d: d["preprocessing"].update(mean=[1, 2]),
        lambda d: d.update(preprocessing=None),
    ],
)
def test_foreign_json_is_a_value_error(spoil):
    data = json.loads(SPACE.to_json())
    spoil(data)
    with pytest.raises(ValueError, match="feature space"):
        FeatureSpace.from_json(json.dumps(data))
    with pytest.raises(ValueError, match="not a feature space"):
        FeatureSpace.from_json("[]")


def test_hashes_depend_on_bytes_and_on_pixels_in_their_order(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == content_hash(b"abc").hex()
    pixels = np.arange(12, dtype=np.uint8)
    assert pixel_hash(pixels.reshape(3, 4)) != pixel_hash(pixels.reshape(4, 3))
    assert pixel_hash(pixels.reshape(3, 4)[:, ::-1]) != pixel_hash(pixels.reshape(3, 4))
