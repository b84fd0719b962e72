from __future__ import annotations

import numpy as np
import pytest
import torch

from featurekit.backbones import SPECS, find
from featurekit.backbones.network import _architecture, load_network
from featurekit.errors import BackboneError
from featurekit.finetune.stages import Stages


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", list(SPECS))
def test_stages_one_after_the_other_are_the_network(name, images):
    spec = SPECS[name]
    network = _architecture(spec).eval()
    parent, _, last = spec.classifier.rpartition(".")
    setattr(network.get_submodule(parent), last, torch.nn.Identity())
    stages = Stages(network, spec, 3).eval()
    assert stages.names == [layer for layer, _ in spec.layers[:-1]]
    pre = spec.preprocessing
    normal = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(pre.mean).view(1, 3, 1, 1)) / torch.tensor(pre.std).view(
        1, 3, 1, 1
    )
    with torch.no_grad():
        rows = network(normal)
        assert stages(images) == pytest.approx(stages.head(rows).numpy(), rel=1e-4, abs=1e-4)
        for cut in range(len(stages.names) + 1):
            assert stages.above(stages.below(images, cut), cut) == pytest.approx(stages(images).numpy(), abs=1e-6)
    everything = sum(p.numel() for p in stages.parameters()) - sum(p.numel() for p in stages.head.parameters())
    assert everything == sum(p.numel() for p in network.parameters())


def test_what_is_unfrozen():
    spec = SPECS["efficientnet_lite0"]
    stages = Stages(load_network(find(spec.name)), spec, 2)
    assert [stages.first_trained(each) for each in (0, 1, 2, 7, "all", "blocks.5")] == [7, 6, 5, 0, 0, 5]
    for wrong in (8, -1, True, "blocks.9", 1.5, None):
        with pytest.raises(BackboneError, match=r"cannot unfreeze .* from 0 to 7, 'all', or the name .*blocks.6"):
            stages.first_trained(wrong)


def test_the_modules_are_the_networks_own():
    spec = SPECS["efficientnet_lite0"]
    network = load_network(find(spec.name))
    before = network.conv_head.weight.clone()
    stages = Stages(network, spec, 2)
    with torch.no_grad():
        next(p for n, p in stages.stages[-1].named_parameters() if p.shape == before.shape).add_(1)
    assert torch.equal(network.conv_head.weight, before + 1)
