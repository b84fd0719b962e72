"""Checkpoints as training programs write them, and files that are none or mean harm."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from featurekit.backbones import find
from featurekit.backbones.network import load_network
from featurekit.errors import WeightsError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=7)


@pytest.fixture(scope="module")
def expected(network, images):
    bare = torchvision.models.resnet18(num_classes=7)
    bare.load_state_dict(network.state_dict())
    bare.fc = torch.nn.Identity()
    with torch.no_grad():
        return bare.eval()(images)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def features(path, images):
    with torch.no_grad():
        return load_network(find("resnet18", path))(images)


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


WRAPPED = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": lambda s: {"model": s, "arch": "resnet18"},
    "averaged": lambda s: {"state_dict": {k: v * 0 for k, v in s.items()}, "state_dict_ema": s},
    "nested": lambda s: {"checkpoint": 1, "model": {"state_dict": s}},
    "distributed": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "lightning": lambda s: {
        "state_dict": prefixed(s, "model.") | {"loss.weight": torch.ones(2)} if False else prefixed(s, "model.")
    },
    "both": lambda s: {"state_dict": prefixed(s, "module.model.")},
    "no counters": lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    "half": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_checkpoints_of_training_programs_load(how, network, expected, images, tmp_path):
    torch.save(WRAPPED[how](network.state_dict()), tmp_path / "w.pth")
    assert torch.allclose(features(tmp_path / "w.pth", images), expected, atol=1e-6)


def test_safetensors_files_load(network, expected, images, tmp_path):
    save_file(prefixed(network.state_dict(), "module."), tmp_path / "w.safetensors")
    assert torch.equal(features(tmp_path / "w.safetensors", images), expected)


def test_weights_for_grey_images_see_the_luminance(tmp_path, images):
    torch.manual_seed(0)
    grey = torchvision.models.resnet18()
    grey.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(grey.state_dict(), tmp_path / "w.pth")
    grey.fc = torch.nn.Identity()
    luminance = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    with torch.no_grad():
        assert torch.allclose(features(tmp_path / "w.pth", images), grey.eval()(luminance), atol=1e-5)


MARK = "/tmp/featurekit-was-here"


class Hostile:
    def __reduce__(self):
        return os.system, (f"touch {MARK}",)


def archive(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


STATE = torchvision.models.resnet18(num_classes=7).state_dict()
MALFORMED = {
    "empty": b"",
    "text": b"not a checkpoint\n" * 50,
    "web page": b"<!DOCTYPE html><html>404</html>",
    "cut short": saved(STATE)[:500_000],
    "zip of something": archive({"a.txt": b"hello"}),
    "plain pickle that runs code": pickle.dumps(Hostile()),
    "torch file that runs code": saved({"conv1.weight": Hostile()}),
    "archive with a pickle that runs code": archive({"w/data.pkl": pickle.dumps(Hostile()), "w/version": b"3"}),
    "whole module": saved(torchvision.models.resnet18()),
    "list": saved([1, 2]),
    "no tensors": saved({"epoch": 3, "args": {"lr": 0.1}}),
    "nested without end": saved({"model": {"model": {"model": {"model": {"model": STATE}}}}}),
    "of another network": saved(torchvision.models.mobilenet_v3_small().state_dict()),
    "other shapes": saved(
        {name: value.repeat(2, *[1] * (value.dim() - 1)) if value.dim() else value for name, value in STATE.items()}
    ),
    "not finite": saved({name: value / 0 if value.is_floating_point() else value for name, value in STATE.items()}),
    "some missing": saved({name: value for name, value in STATE.items() if not name.startswith("layer3")}),
    "safetensors with a wrong length": (2**60).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_files_without_weights_are_refused_and_run_nothing(what, tmp_path):
    path = tmp_path / ("w.safetensors" if what.startswith("safetensors") else "w.pth")
    path.write_bytes(MALFORMED[what])
    with pytest.raises(
        WeightsError, match=r"cannot read the weight file|holds no state dict|are not those of"
    ) as caught:
        load_network(find("resnet18", path))
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 900  # no wall of keys
    assert not os.path.exists(MARK)


@pytest.mark.parametrize("name", ["timm/dla46_c", pytest.param("timm/convnext_atto", marks=pytest.mark.slow)])
def test_weights_of_another_network_are_refused_for_timm(name, tmp_path):
    """Some of its builders ask for no more than what happens to fit."""
    torch.save(STATE, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="are not those of"):
        load_network(find(name, tmp_path / "w.pth"))


def test_a_small_file_that_claims_huge_tensors_is_refused(tmp_path):
    torch.save(dict(STATE) | {"conv1.weight": torch.zeros(1).expand(2**45)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"1 of another shape \(conv1.weight"):
        load_network(find("resnet18", tmp_path / "w.pth"))


@pytest.mark.slow
def test_timm_is_not_asked_about_integers(tmp_path):
    import timm

    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    torch.save({name: (value * 100).to(torch.int8) for name, value in state.items()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not of ordinary finite numbers"):
        load_network(find("timm/vit_tiny_patch16_224", tmp_path / "w.pth"))


def test_what_does_not_fit_is_listed_in_a_few_words(tmp_path):
    state = dict(STATE)
    del state["layer1.0.conv1.weight"]
    state["more"] = torch.ones(3)
    state["conv1.weight"] = torch.ones(64, 3, 5, 5)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_network(find("resnet18", tmp_path / "w.pth"))
    for said in (
        "1 missing (layer1.0.conv1.weight)",
        "1 unexpected (more)",
        "1 of another shape (conv1.weight (64, 3, 5, 5) instead of (64, 3, 7, 7))",
    ):
        assert said in str(caught.value)
