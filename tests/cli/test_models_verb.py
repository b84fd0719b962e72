from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from featurekit import TransferClassifier
from featurekit.backbones import describe, find_local


@pytest.fixture(autouse=True)
def empty_homes(monkeypatch, tmp_path):
    """No weights were ever downloaded here."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))


def listed(run, *arguments):
    code, out, _ = run("models", *arguments, "--json")
    assert code == 0
    return {entry["name"]: entry for entry in json.loads(out)["models"]}


@pytest.mark.slow
def test_the_list_names_default_and_offline_weights(run):
    code, out, _ = run("models")
    assert code == 0
    assert "efficientnet_lite0 (default)" in out
    assert "yes (package)" in out
    assert "resnet50 " in out
    assert "timm/" not in out.split("\n\n")[0]
    data = listed(run)
    assert data["efficientnet_lite0"]["offline"]
    assert data["efficientnet_lite0"]["multiply_adds"] == 385_187_552
    assert not data["resnet50"]["offline"]
    assert data["resnet50"]["facts"]["ImageNet-1K acc@1"] == "80.858"


def test_patterns_and_filters(run):
    assert set(listed(run, "resnet1*", "--source", "torchvision")) == {"resnet18", "resnet101", "resnet152"}
    found = listed(run, "timm/resnet18.*")
    assert "timm/resnet18.a1_in1k" in found
    assert all(name.startswith("timm/resnet18.") for name in found)
    assert set(listed(run, "--offline")) == {f"efficientnet_lite{i}" for i in range(3) if listed(run, "--offline")}
    fast = listed(run, "--source", "torchvision", "--speed", "fast")
    assert "mobilenet_v3_small" in fast
    assert "resnet50" not in fast
    code, _, err = run("models", "zzz*")
    assert (code, "no backbone is called like 'zzz*'" in err) == (1, True)


@pytest.mark.slow
def test_a_file_and_a_saved_model_are_shown(run, tmp_path):
    file = find_local(describe("efficientnet_lite0")).weights_path
    code, out, _ = run("models", "show", "efficientnet_lite0", "--weights", file)
    assert (code, f"usable offline: yes (file): {file}" in out) == (0, True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    TransferClassifier(head="knn", image_size=96, runtime="torch").fit(list(pixels), [0, 1] * 6).save("model")
    code, out, _ = run("models", "show", "model")
    assert (code, "images: shorter side 110" in out) == (0, True), out


@pytest.mark.slow
def test_a_list_that_was_made_before_needs_no_torch():
    code = (
        "import sys\nfrom featurekit_cli.main import main\nassert main(['models']) == 0\nassert main(['models', "
        "'show', 'resnet18']) == 0\nprint('torch' in sys.modules, file=sys.stderr)"
    )
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stderr.split()[-1] == "False"


def test_show_prints_the_stages_and_what_trains(run):
    code, out, _ = run("models", "show", "resnet18", "--unfreeze", "1")
    assert code == 0
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert lines["layer4"] == "layer4 Sequential 512 x 7 x 7 8,393,728 411.0 M 435 32 trains".split()
    assert lines["layer3"][-1] == "frozen"
    assert lines["fc"][-1] == "removed"
    assert "11.7 M parameters, 1.81 G multiply-adds" in out
    assert "trains layer4, 8.39 M" in out
    for unfreeze, said in (("all", "the whole network"), ("layer2", "layer2 and layer3 and layer4"), ("0", "no stage")):
        assert f"trains {said}" in run("models", "show", "resnet18", "--unfreeze", unfreeze)[1]


def test_show_as_json_of_other_sizes_weights_and_layers(run):
    code, out, _ = run("models", "show", "resnet50", "--weights", "IMAGENET1K_V1", "--image-size", "448", "--json")
    assert code == 0
    shown = json.loads(out)
    assert (shown["weights"], shown["weights_file"]) == ("IMAGENET1K_V1", "resnet50-0676ba61.pth")
    assert shown["stages"][-1]["shape"] == [2048, 14, 14]
    layers = json.loads(run("models", "show", "resnet18", "--layers", "--json")[1])["stages"]
    assert "layer1.0.conv1" in {layer["name"] for layer in layers}
    assert "layer1.0.conv1" in run("models", "show", "resnet18", "--layers")[1]


def test_show_draws_a_picture(run, tmp_path):
    assert run("models", "show", "timm/vit_tiny_patch16_224", "--png", tmp_path / "vit.png")[0] == 0
    with Image.open(tmp_path / "vit.png") as picture:
        assert picture.width > picture.height > 200


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show"], 2, "takes the name of one backbone"),
        (["show", "resnet18", "resnet50"], 2, "takes the name of one backbone"),
        (["resnet18", "resnet50"], 2, "one pattern at a time"),
        (["show", "resnet5O"], 1, "Did you mean 'resnet50'"),
        (["show", "resnet18", "--unfreeze", "9"], 2, "a number of stages up to 4"),
        (["show", "resnet18", "--weights", "V9"], 1, "There are: IMAGENET1K_V1"),
        (["show", "vit_b_16", "--image-size", "100"], 1, "cannot be made for images of 100 x 100"),
    ],
)
def test_mistakes_with_models_have_one_message(run, arguments, code, said):
    got, _, err = run("models", *arguments)
    assert got == code
    assert said in err
    assert "Traceback" not in err


def test_options_of_show_go_with_show(run):
    for option in (("--layers",), ("--png", "a.png"), ("--unfreeze", "1")):
        code, _, errors = run("models", "resnet18", *option)
        assert (code, "goes with: featurekit models show NAME" in errors) == (2, True)


@pytest.mark.slow
def test_models_of_unknown_cost_are_counted(run, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path / "cache"))
    code, _, errors = run("models", "timm/convnext_atto*", "--speed", "fast")
    assert code == 0
    assert "is not known before a first 'featurekit models show NAME'" in errors
