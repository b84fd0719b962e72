from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from featurekit_cli.main import main

from featurekit import TransferClassifier, load_model
from featurekit.errors import BundleError
from featurekit.transfer import share_seen, sketch_of


def hashes(numbers):
    return [hashlib.sha256(str(number).encode()).digest() for number in numbers]


def test_the_share_is_estimated_from_few_hashes():
    many = sketch_of(hashes(range(20_000)))
    assert len(many) == 256
    for first, expected in ((0, 1.0), (10_000, 0.5), (20_000, 0.0)):
        assert share_seen(many, hashes(range(first, first + 20_000))) == pytest.approx(expected, abs=0.1)
    few = sketch_of(hashes(range(100)))
    assert share_seen(few, hashes(range(75, 175))) == 0.25
    assert share_seen([], hashes(range(3))) == share_seen(few, []) == 0


def test_two_sets_are_joined():
    assert sketch_of(hashes(range(500)), sketch_of(hashes(range(500, 1000)))) == sketch_of(hashes(range(1000)))


def test_a_model_that_is_scored_on_its_training_images(digits_store, digits_folder, tmp_path, capsys):
    paths = sorted(digits_folder.glob("*/*.png"))
    stored = TransferClassifier(head="centroid").fit(digits_store)
    listed = TransferClassifier(head="centroid", cache=digits_store.path).fit(
        paths, [path.parent.name for path in paths]
    )
    assert stored.seen_ == listed.seen_
    half = TransferClassifier(head="centroid", cache=digits_store.path).fit(
        paths[::2], [path.parent.name for path in paths[::2]]
    )
    for model, said in ((stored, "100%"), (half, "50%")):
        place = model.save(tmp_path / said)
        assert load_model(place).seen_ == model.seen_
        assert main(["evaluate", str(digits_store.path), "--model", str(place)]) == 0
        assert f"note: {said} of these images are among those that the model learned from" in capsys.readouterr().err
    elsewhere = TransferClassifier(head="centroid").fit(
        [np.full((40, 40, 3), 40 * i, dtype=np.uint8) for i in range(6)], list("012012")
    )
    assert main(["evaluate", str(digits_store.path), "--model", str(elsewhere.save(tmp_path / "other"))]) == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize("given", ["x", ["0123"], ["f" * 16, "0" * 16], [1], ["0" * 16] * 2])
def test_damaged_sketches_are_refused(given, digits_store, tmp_path):
    place = TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "model")
    manifest = json.loads((place / "model.json").read_text())
    (place / "model.json").write_text(json.dumps(manifest | {"seen": given}))
    with pytest.raises(BundleError, match="what tells its training images"):
        load_model(place)
