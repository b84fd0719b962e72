"""``featurekit export``, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny import SIDE, TINY, tiny_weights


@pytest.fixture
def model(run, digits_store_path):
    assert run("fit", digits_store_path, "-o", "model", "--cv", 0, "--head", "lda")[0] == 0
    return "model"


@pytest.fixture
def tiny(run, digits_folder, tmp_path):
    """A model whose network is exported in a second; that of the package is in tests/onnx_export."""
    network = ("--backbone", TINY, "--weights", tiny_weights(tmp_path / "tiny.pth"))
    assert run("fit", digits_folder, *network, "-o", "tiny", "--cv", 0, "--head", "lda")[0] == 0
    return "tiny"


@pytest.mark.slow
def test_export_in_a_process_of_its_own(tiny):
    done = subprocess.run(
        [sys.executable, "-m", "featurekit_cli", "export", tiny, "-o", "m.onnx"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"m.onnx: {TINY} and lda, 3 classes, ")
    assert last.startswith("compared with featurekit on 6 images: same labels, probabilities differ by at most ")
    assert done.stderr == f"featurekit: Exporting {TINY} to ONNX, which takes some seconds\n"
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    (probabilities,) = onnxruntime.InferenceSession("m.onnx").run(["probabilities"], {"pixels": pixels})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_export_as_json(run, tiny):
    code, out, err = run("export", tiny, "-o", "m.onnx", "--json", "-q")
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert (data["output"], data["classes"], data["crop"]) == ("m.onnx", ["0", "1", "2"], SIDE)
    assert data["bytes"] == Path("m.onnx").stat().st_size
    assert data["agreement"]["probabilities"] < 1e-5


def test_export_refuses_with_one_message(run, model, digits_store_path, monkeypatch):
    assert run("fit", digits_store_path, "-o", "knn", "--cv", 0, "--head", "knn")[0] == 0
    Path("m.pkl").write_bytes(b"\x80\x04.")
    Path("there.onnx").write_text("mine")
    for arguments, message in {
        ("none", "-o", "m.onnx"): "no saved model in none",
        ("m.pkl", "-o", "m.onnx"): "A pickle can run any code",
        ("knn", "-o", "m.onnx"): "NearestNeighbours is not one of the parts that can",
        (model, "-o", "there.onnx"): "there.onnx is there already",
        (model, "-o", "no/m.onnx"): "no such folder: no",
        (model, "-o", "m.onnx", "--weights", "no.pth"): "no.pth",
    }.items():
        code, out, err = run("export", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("featurekit: error: ")
        assert message in err
    for arguments in ([model], [model, "-o", "m.txt"]):
        assert run("export", *arguments)[0] == 2
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = run("export", model, "-o", "m.onnx")
    assert code == 1
    assert "pip install onnx" in err
    assert not Path("m.onnx").exists()
