from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from featurekit.backbones import LITE, catalog, describe, known, names
from featurekit.errors import BackboneError, WeightsError

TORCHVISION = [("resnet18", None), ("resnet50", "IMAGENET1K_V1"), ("mobilenet_v3_large", None)]
SLOW_TORCHVISION = [("swin_v2_t", None), ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"), ("inception_v3", None)]
SLOW_TORCHVISION += [("efficientnet_b1", "IMAGENET1K_V2")]
TIMM = ["resnet50.a1_in1k"]
SLOW_TIMM = ["convnext_tiny.fb_in22k", "vit_base_patch16_siglip_224.webli", "mixer_b16_224.goog_in21k"]


def slow(each):
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in each]


@pytest.mark.parametrize(("name", "weights"), TORCHVISION + slow(SLOW_TORCHVISION))
def test_facts_are_torchvisions(name, weights):
    import torchvision

    spec = describe(name, weights)
    enum = torchvision.models.get_model_weights(name)
    chosen = enum.DEFAULT if weights is None else enum[weights]
    transforms, pre = chosen.transforms(), spec.preprocessing
    assert (spec.weights, spec.url) == (chosen.name, chosen.url)
    assert chosen.url.endswith(f"/{spec.weights_file}")
    assert (transforms.resize_size, transforms.crop_size) == ([pre.resize], [pre.crop])
    assert transforms.interpolation.value == pre.interpolation
    assert (tuple(transforms.mean), tuple(transforms.std)) == (pre.mean, pre.std)
    assert dict(spec.facts)["ImageNet-1K acc@1"] == f"{chosen.meta['_metrics']['ImageNet-1K']['acc@1']:g}"
    more = {"inception_v3": {"init_weights": False}, "vit_b_16": {"image_size": 384}}
    network = torchvision.models.get_model(name, **more.get(name, {}))
    assert network.get_submodule(spec.classifier[0]).in_features == spec.dim()


@pytest.mark.parametrize("name", TIMM + slow(SLOW_TIMM))
def test_facts_are_timms(name):
    import timm

    spec = describe(f"timm/{name}")
    network = timm.create_model(name, pretrained=False)
    config, pre = timm.data.resolve_model_data_config(network), spec.preprocessing
    assert config["input_size"] == (3, pre.crop, pre.crop)
    assert int(pre.crop / config["crop_pct"]) == pre.resize
    assert (config["interpolation"], config["mean"], config["std"]) == (pre.interpolation, pre.mean, pre.std)
    assert (config["crop_mode"] == "squash") == pre.squash
    assert spec.hub == network.pretrained_cfg["hf_hub_id"]
    assert spec.dim() == timm.create_model(name, pretrained=False, num_classes=0).num_features


def test_the_default_weights_of_timm_are_named():
    assert describe("timm/resnet18").name == describe("timm/resnet18", "a1_in1k").name == "timm/resnet18.a1_in1k"
    assert describe("torchvision/resnet18") == describe("resnet18")


@pytest.mark.slow
def test_names_with_and_without_weights_are_resolved():
    found = names()
    assert found[:3] == list(LITE)
    assert {"resnet50", "vit_b_16", "timm/resnet50.a1_in1k"} < set(found)
    assert len(found) == len(set(found)) > 1000
    facts = known(["efficientnet_lite0", "alexnet", "timm/convnext_base.fb_in22k"])
    assert [spec.weights for spec in facts.values()] == ["ImageNet-1k", "IMAGENET1K_V1", "fb_in22k"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet5O", "Did you mean 'resnet50'"),
        ("convnext_atto", "Did you mean 'timm/convnext_atto'"),
        ("timm/resnext50_32x4", "or 'resnext50_32x4d'"),
        ("zzzzzz", "There are efficientnet_lite0"),
        ("", "or is a torch.nn.Module"),
        (None, "or is a torch.nn.Module"),
        (5, "got 5"),
    ],
)
def test_unknown_names_are_refused_with_suggestions(name, said):
    with pytest.raises(BackboneError, match=said):
        describe(name)


def test_unknown_weights_are_refused_with_a_list():
    with pytest.raises(WeightsError, match="There are: IMAGENET1K_V1, IMAGENET1K_V2"):
        describe("resnet50", "V3")
    with pytest.raises(WeightsError, match=r"timm/resnet18 has no weights 'a9'. There are: a1_in1k, "):
        describe("timm/resnet18.a9")
    with pytest.raises(BackboneError, match="the weights of its package only"):
        describe("efficientnet_lite0", "IMAGENET1K_V1")


CODE = """
import sys
from featurekit.backbones import anatomy, describe
spec = describe("resnet18")
anatomy(spec)
print(spec.dim(), "torch" in sys.modules)
"""


def run(cache):
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | {"FEATUREKIT_CACHE": str(cache)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_what_was_looked_at_is_known_without_torch_from_then_on(tmp_path):
    assert run(tmp_path) == ["512", "True"]
    assert run(tmp_path) == ["512", "False"]
    for path in (tmp_path / "backbones").iterdir():
        path.write_text(path.read_text()[:-30])
    assert run(tmp_path) == ["512", "True"]
    assert run(tmp_path) == ["512", "False"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a file in place of a folder")
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "cache").touch()
    assert run(tmp_path / "cache") == ["512", "True"]


def test_another_version_of_the_library_is_looked_at_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    describe("resnet18")
    (path,) = (tmp_path / "backbones").iterdir()
    kept = json.loads(path.read_text())
    kept["found"]["parameters"] = 1
    kept["sha256"] = catalog._digest(kept["found"])
    path.write_text(json.dumps(kept))
    assert describe("resnet18").parameters == 1
    monkeypatch.setattr(catalog, "_versions", lambda: ["other"])
    assert describe("resnet18").parameters == 11_689_512
