from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from featurekit_cli.main import main
from safetensors.torch import load, save_file

from featurekit import FeatureExtractor, FeatureStore, FineTuneClassifier
from featurekit.finetune.weights import weights_file


def test_damage_of_the_same_length_is_mended(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    path = weights_file(b"a network" * 100)
    assert path.parent == tmp_path / "trained"
    path.write_bytes(b"A network" * 100)
    assert weights_file(b"a network" * 100) == path
    assert path.read_bytes() == b"a network" * 100


@pytest.mark.slow
def test_what_was_trained_here_is_a_backbone_in_another_process(digits_folder, tmp_path):
    """From safetensors, and from a .pth file as training programs write it: the rows of the trained model."""
    options = {"image_size": 64, "runtime": "torch"}
    paths = sorted(digits_folder.glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    model = FineTuneClassifier(pretrained=False, epochs=1, **options).fit(paths, labels)
    state = load(model.network_)
    save_file(state, tmp_path / "trained.safetensors")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "trained.pth")
    rows = []
    for file in ("trained.safetensors", "trained.pth"):
        arguments = ["extract", digits_folder, "-q", "--image-size", 64, "--runtime", "torch", "--layer", "penultimate"]
        arguments = [
            str(each)
            for each in [
                *arguments,
                "--layer",
                "penultimate",
                "--weights",
                tmp_path / file,
                "-o",
                tmp_path / f"{file}.h5",
            ]
        ]
        if file.endswith(".pth"):
            assert main(arguments) == 0
        else:
            subprocess.run([sys.executable, "-m", "featurekit_cli", *arguments], check=True)
        with FeatureStore(tmp_path / f"{file}.h5") as store:
            rows.append(store.X[:])
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], model.extractor_.transform(paths))
    with FeatureStore(tmp_path / "trained.pth.h5") as store:
        frozen = FeatureExtractor(layer="penultimate", **options).fit_transform(paths)
        assert np.abs(store.X[:] - frozen).max() > 1e-3
