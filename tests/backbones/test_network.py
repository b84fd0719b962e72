from __future__ import annotations

import os
import pickle
import socket

import numpy as np
import pytest
import torch

from featurekit.backbones import describe, find
from featurekit.backbones.network import load_network
from featurekit.backbones.weights import download
from featurekit.errors import WeightsError

TORCHVISION = ["resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large"]
NAMES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", *TORCHVISION]


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """Random weights of every torchvision backbone, as a user would keep real ones: name -> file."""
    import torchvision

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for name in TORCHVISION:
        files[name] = folder / f"{name}.pth"
        torch.save(torchvision.models.get_model(name).state_dict(), files[name])
    return files


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "resnet50" else n for n in NAMES])
def test_networks_are_frozen_and_give_penultimate_features(name, weight_files):
    network = load_network(find(name, weight_files.get(name)))
    assert not network.training
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(2, 3, 64, 64)
    features = network(images)
    assert features.shape == (2, describe(name).dim())
    assert torch.equal(features, network(images))
    # BatchNorm's running statistics, too, stay as they were.
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "resnet50" else n for n in TORCHVISION]
)
def test_features_equal_torchvisions_own_extractor(name, weight_files):
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    original = torchvision.models.get_model(name)
    original.load_state_dict(torch.load(weight_files[name], weights_only=True))
    node = {"fc": "flatten", "classifier.3": "classifier.2"}[describe(name).classifier[0]]
    reference = create_feature_extractor(original.eval(), {node: "features"})
    images = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        expected = reference(images)["features"]
        got = load_network(find(name, weight_files[name]))(images)
    assert torch.allclose(got, expected, atol=1e-5)


def test_lite0_gives_the_logits_of_its_package(photos):
    """The classifier that was removed, put back, gives ImageNet's classes: the weights are in the right places."""
    backbone = find("efficientnet_lite0")
    state = torch.load(backbone.weights_path, weights_only=True)
    weight, bias = list(state.values())[-2:]
    from featurekit.images import prepare
    from featurekit.runtime import load_runtime

    pixels = np.stack([prepare(photo, 256, 224, "bicubic") for photo in photos])
    logits = load_runtime(backbone, "cpu").submit(pixels).result() @ weight.numpy().T + bias.numpy()
    # scikit-learn's photos show the Summer Palace (ImageNet class 698, palace) and a dahlia (985, daisy).
    top = logits.argmax(axis=1)
    assert top[:3].tolist() == [698, 698, 698]
    assert top[[4, 5, 7]].tolist() == [985, 985, 985]


def test_safetensors_and_another_number_of_classes(tmp_path, weight_files):
    import torchvision
    from safetensors.torch import save_file

    network = torchvision.models.resnet18(num_classes=7)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    loaded = load_network(find("resnet18", tmp_path / "w.safetensors"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        network.eval().fc = torch.nn.Identity()
        assert torch.equal(loaded(images), network(images))


def test_the_file_of_the_package_can_be_named_as_well():
    given = find("efficientnet_lite0", find("efficientnet_lite0").weights_path)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(load_network(given)(images), load_network(find("efficientnet_lite0"))(images))


def test_weights_of_another_network_are_refused(weight_files):
    with pytest.raises(WeightsError, match=r"not those of resnet50.*Is the file of another network"):
        load_network(find("resnet50", weight_files["resnet18"]))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/featurekit-was-here",)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"a": 1}), pickle.dumps(Hostile())],
    ids=["empty", "text", "plain pickle", "hostile pickle"],
)
def test_foreign_files_are_refused_and_run_nothing(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot read|no state dict"):
        load_network(find("resnet18", path))
    path.rename(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="cannot read"):
        load_network(find("resnet18", tmp_path / "w.safetensors"))
    assert not os.path.exists("/tmp/featurekit-was-here")


def test_a_torch_file_that_runs_code_is_refused(tmp_path):
    torch.save({"conv1.weight": Hostile()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="cannot read"):
        load_network(find("resnet18", tmp_path / "w.pth"))
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        load_network(find("resnet18", tmp_path / "w.pth"))
    assert not os.path.exists("/tmp/featurekit-was-here")


def test_a_failed_download_says_what_to_copy_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    # Also where a network is at hand, as on a developer's own machine.
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(WeightsError, match=r"the download from https://.* failed .*Copy resnet18-f37072fd\.pth"):
        download(describe("resnet18"))
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


def test_a_download_is_checked_and_takes_its_name_when_complete(tmp_path, monkeypatch):
    """torch's real download function, over a real (file) URL."""
    import hashlib
    from dataclasses import replace

    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()[:8]
    (tmp_path / "remote.pth").write_bytes(content)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    url = (tmp_path / "remote.pth").as_uri()
    spec = replace(describe("resnet18"), url=url, weights_file=f"resnet18-{digest}.pth")
    assert download(spec)[0].read_bytes() == content
    with pytest.raises(WeightsError, match="invalid hash"):
        download(replace(spec, weights_file="resnet18-00000000.pth"))
    assert [path.name for path in (tmp_path / "home" / "hub" / "checkpoints").iterdir()] == [f"resnet18-{digest}.pth"]


@pytest.mark.parametrize("setting", [(torch.set_default_dtype, torch.bfloat16), (torch.set_default_device, "meta")])
def test_settings_of_the_user_do_not_touch_the_weights(setting):
    change, value = setting
    before = torch.get_default_dtype(), torch.get_default_device()
    expected = load_network(find("efficientnet_lite0")).state_dict()
    try:
        change(value)
        got = load_network(find("efficientnet_lite0")).state_dict()
    finally:
        torch.set_default_dtype(before[0])
        torch.set_default_device(None)
    assert all(torch.equal(got[name], tensor) and got[name].dtype == tensor.dtype for name, tensor in expected.items())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensor: tensor * float("nan"),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.int8),
    ],
    ids=["not a number", "complex", "int8"],
)
def test_weights_that_are_no_ordinary_numbers_are_refused(spoil, tmp_path, weight_files):
    state = torch.load(weight_files["resnet18"])
    state["conv1.weight"] = spoil(state["conv1.weight"])
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"1 not of ordinary finite numbers \(conv1\.weight\)"):
        load_network(find("resnet18", tmp_path / "w.pth"))
