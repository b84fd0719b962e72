from __future__ import annotations

import shutil
import sys

import pytest

from featurekit.backbones import DEFAULT_BACKBONE, LITE, describe, find, find_local
from featurekit.backbones.weights import hub_checkpoints
from featurekit.errors import BackboneError, FeaturekitError, WeightsError


@pytest.mark.parametrize("name", list(LITE))
def test_facts_equal_timms(name):
    import timm

    spec = describe(name)
    network = timm.create_model(spec.architecture, pretrained=False)
    config, pre = timm.data.resolve_model_data_config(network), spec.preprocessing
    assert config["input_size"] == (3, pre.crop, pre.crop)
    assert int(pre.crop / config["crop_pct"]) == pre.resize
    assert (config["interpolation"], config["mean"], config["std"]) == (pre.interpolation, pre.mean, pre.std)
    assert sum(p.numel() for p in network.parameters()) == spec.parameters
    assert network.get_submodule(spec.classifier[0]).in_features == spec.dim()


def test_the_default_is_installed_and_found_without_torch():
    backbone = find(DEFAULT_BACKBONE)
    assert backbone.found_in == "package"
    assert backbone.space.dim == 1280


def test_weights_are_looked_for_in_the_cache_of_torch(monkeypatch, tmp_path):
    import torch

    for variable, value in (("TORCH_HOME", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path / "x"))):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(variable, value)
        assert str(hub_checkpoints()) == f"{torch.hub.get_dir()}/checkpoints"


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(BackboneError, match="Did you mean 'resnet50'"):
        find("resnet5O")
    with pytest.raises(BackboneError, match="There are efficientnet_lite0"):
        find("zzz")
    with pytest.raises(BackboneError):
        find(None)


def test_offline_says_which_file_to_copy_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        find("resnet50", offline=True)
    message = str(caught.value)
    assert "resnet50-11ad3fa6.pth" in message
    assert str(tmp_path) in message
    assert "Usable offline now: efficientnet_lite0" in message


def test_the_environment_forbids_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("FEATUREKIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match="switched off"):
        find("resnet18")


def test_a_file_in_the_hub_cache_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert find_local(describe("resnet18")) is None
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"cut short")
    backbone = find("resnet18", offline=True)
    assert backbone.found_in == "torch hub cache"
    with pytest.raises(WeightsError, match="damaged"):
        _ = backbone.space


def test_damaged_weights_of_the_package_are_noticed(monkeypatch, tmp_path):
    spec = describe(DEFAULT_BACKBONE)
    copy = tmp_path / spec.package
    (copy / "models").mkdir(parents=True)
    (copy / "__init__.py").touch()
    source = find(DEFAULT_BACKBONE).weights_path
    shutil.copy(source, copy / "models" / spec.weights_file)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, spec.package, raising=False)
    good = find(DEFAULT_BACKBONE)
    assert good.weights_path.parent.parent == copy
    assert good.space.dim == 1280
    data = bytearray(source.read_bytes())
    data[100_000] ^= 1
    good.weights_path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        _ = find(DEFAULT_BACKBONE).space


@pytest.mark.parametrize("options", [{"weights": 5}, {"crop": [1]}, {"crop": "1"}, {"image_size": "96"}])
def test_options_of_the_wrong_type_are_refused(options):
    with pytest.raises(FeaturekitError, match="must be"):
        find("efficientnet_lite0", **options)


def test_a_missing_weight_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match="no such weight file"):
        find("resnet18", tmp_path / "none.pth")
