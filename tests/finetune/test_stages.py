from __future__ import annotations

import numpy as np
import pytest
import torch

from featurekit import FeatureExtractor
from featurekit.backbones import describe, find
from featurekit.backbones.network import bare, load_network
from featurekit.errors import BackboneError
from featurekit.finetune.inputs import usual_size
from featurekit.finetune.optimizer import thaw
from featurekit.finetune.pictures import Pictures, View
from featurekit.finetune.stages import Stages
from featurekit.heads import LogisticRegressionPath
from featurekit.heads.layer import layer_of
from featurekit.images import items_from
from featurekit.runtime import load_decoder


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


CHAINS = [
    *("efficientnet_lite0", "resnet18", "mobilenet_v3_small", "squeezenet1_1", "timm/convnext_atto"),
    *slow("resnet50", "efficientnet_b0", "vgg11", "timm/resnet18", "convnext_tiny"),
]
WHOLES = ["timm/vit_tiny_patch16_224", *slow("densenet121", "timm/deit_tiny_distilled_patch16_224")]


@pytest.mark.parametrize("name", CHAINS)
def test_stages_one_after_the_other_are_the_network(name, images):
    spec = describe(name)
    network = bare(spec).eval()
    stages = Stages(network, spec, 3).eval()
    assert stages.can_be_cut
    assert stages.names == [layer for layer, _ in spec.layers[:-1]]
    pre = spec.preprocessing
    normal = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(pre.mean).view(1, 3, 1, 1)) / torch.tensor(pre.std).view(
        1, 3, 1, 1
    )
    with torch.no_grad():
        rows = network(normal)
        assert stages(images) == pytest.approx(stages.head(rows).numpy(), rel=1e-4, abs=1e-4)
        for cut in (1, len(stages.names) - 2, len(stages.names)):
            assert stages.above(stages.below(images, cut), cut) == pytest.approx(stages(images).numpy(), abs=1e-6)
    everything = sum(p.numel() for p in stages.parameters()) - sum(p.numel() for p in stages.head.parameters())
    assert everything == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", WHOLES)
def test_networks_that_cannot_be_cut_run_as_a_whole(name):
    spec = describe(name)
    network = bare(spec).eval()
    stages = Stages(network, spec, 3).eval()
    assert not stages.can_be_cut
    assert stages.names == spec.stages
    side = spec.preprocessing.crop
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8))
    with torch.no_grad():
        normal = stages.below(images, 2)
        assert normal.shape == (2, 3, side, side)
        assert torch.allclose(stages(images), stages.head(network(normal)), atol=1e-5)
    # Each parameter belongs to one stage, and those of the upper stages train alone.
    inside = [id(parameter) for stage in stages.stages for parameter in stage.parameters()]
    assert sorted(inside) == sorted(id(parameter) for parameter in network.parameters())
    thaw(stages, stages.first_trained(1), batch_norm="frozen", training=True)
    stages(images).sum().backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained
    assert not any(name.startswith(f"{spec.stages[0]}.") for name in trained)


def test_unfreeze_names_stages_by_number_and_name():
    spec = describe("efficientnet_lite0")
    stages = Stages(load_network(find(spec.name)), spec, 2)
    assert [stages.first_trained(each) for each in (0, 1, 2, 7, "all", "blocks.5")] == [7, 6, 5, 0, 0, 5]
    for wrong in (8, -1, True, "blocks.9", 1.5, None):
        with pytest.raises(BackboneError, match=r"cannot unfreeze .* from 0 to 7, 'all', or the name .*blocks.6"):
            stages.first_trained(wrong)


def test_the_modules_are_the_networks_own():
    spec = describe("efficientnet_lite0")
    network = load_network(find(spec.name))
    before = network.conv_head.weight.clone()
    stages = Stages(network, spec, 2)
    with torch.no_grad():
        next(p for n, p in stages.stages[-1].named_parameters() if p.shape == before.shape).add_(1)
    assert torch.equal(network.conv_head.weight, before + 1)


@pytest.mark.slow
def test_before_the_first_step_it_says_what_the_frozen_classifier_says(digits_store, paths):
    spec = describe("efficientnet_lite0")
    rows = FeatureExtractor(layer="penultimate").fit_transform(paths)
    head = LogisticRegressionPath().fit(rows, digits_store.y)
    weight, bias = layer_of(head)
    scale = usual_size(rows)
    stages = Stages(load_network(find(spec.name)), spec, 3, scale).eval()
    with torch.no_grad():
        stages.head.weight.copy_(torch.from_numpy(weight * scale))
        stages.head.bias.copy_(torch.from_numpy(bias))
        with Pictures(items_from(paths), load_decoder("auto", "cpu")) as pictures:
            (pixels,) = pictures.batches([(np.arange(60), [View(spec.preprocessing)] * 60)])
        said = torch.softmax(stages(torch.from_numpy(pixels)), 1).numpy()
    assert np.abs(said - head.predict_proba(rows)).max() < 1e-5
