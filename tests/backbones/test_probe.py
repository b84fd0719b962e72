from __future__ import annotations

import pytest
import torch
from torch import nn

from featurekit.backbones import anatomy, describe, described
from featurekit.backbones.probe import probe
from featurekit.errors import BackboneError

# A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019, counts the
# last pooling of VGG (16 more) and of AlexNet (32 more), too.
PUBLISHED = {
    "inception_v3": ("Mixed_7c", 1311),
    "vgg16": ("features.30", 212),
    "alexnet": ("features.12", 195),
    "mobilenet_v2": ("features.18", 491),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "swin_t")]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in {"inception_v3", "mobilenet_v2"} else n for n in PUBLISHED]
)
def test_receptive_fields_are_the_published_ones(name):
    layer, field = PUBLISHED[name]
    assert anatomy(describe(name)).layer(layer).field == field


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", *SLOW, "vit_b_16"])
def test_costs_are_torchvisions(name):
    import torchvision

    spec = describe(name)
    meta = torchvision.models.get_model_weights(name)[spec.weights].meta
    assert spec.parameters == meta["num_params"]
    assert spec.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.01, abs=0.001)


class Small(nn.Module):
    """Convolutions of all kinds, with weights that are all positive: what a place depends on is where slopes are."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, (3, 5), stride=2, padding=(1, 2))
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.third = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.last = nn.AvgPool2d(3, 1, 1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)

    def forward(self, images):
        maps = self.pool(self.second(self.first(images)))
        return self.last(self.up(self.third(maps) + maps))


@pytest.mark.parametrize("layer", ["first", "second", "third"])
def test_a_receptive_field_is_where_gradients_are_not_zero(layer):
    network = Small().eval()
    found = probe(network, 96).layer(layer)
    seen = {}
    network.get_submodule(layer).register_forward_hook(lambda module, inputs, out: seen.update(out=out))
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    network(images)
    out = seen["out"]
    # A maximum has a slope at one place only, so all places around are asked.
    middle = out.shape[2] // 2
    touched = torch.zeros(96, 96, dtype=torch.bool)
    for _ in range(40):
        images = torch.rand(1, 3, 96, 96, requires_grad=True)
        network(images)
        seen["out"][0, :, middle, middle].sum().backward()
        touched |= images.grad[0].abs().sum(0) > 0
    rows, columns = touched.any(1).sum().item(), touched.any(0).sum().item()
    assert max(rows, columns) == found.field
    assert 96 // out.shape[2] == found.stride


def test_a_network_is_left_as_it_is():
    network = Small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe(network, 32)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.first._forward_hooks


@pytest.mark.slow
def test_layouts_of_transformers():
    swin, vit = anatomy(describe("swin_t")), anatomy(describe("vit_b_16"))
    assert (swin.stages[-1].layout, swin.stages[-1].channels) == ("map-last", 768)
    block = vit.stages[-1]
    assert (block.layout, block.shape, block.prefix, block.field) == ("tokens", (197, 768), 1, None)
    assert vit.classifier == "heads.head"


@pytest.mark.slow
def test_channels_that_are_as_many_as_places():
    """swin_t on 384 pixels has 96 x 96 places of 96 numbers."""
    found = anatomy(described("swin_t", image_size=384))
    assert found.layer("features.1").shape == (96, 96, 96)
    assert found.layer("features.1").layout == "map-last"
    assert found.layer("features.0.0").layout == "map"


def test_what_takes_no_such_images_or_gives_no_tensor():
    with pytest.raises(BackboneError, match="does not take images of 8 x 8 pixels"):
        probe(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), 8)

    class Two(nn.Module):
        def forward(self, images):
            return images, images

    with pytest.raises(BackboneError, match="puts out tuple"):
        probe(Two(), 8)


def test_what_runs_between_two_calls_of_a_module_is_not_its_own():
    found = anatomy(describe("resnet18"))
    assert found.layer("layer1.0.relu").multiply_adds == 0
    assert found.layer("layer1.0").multiply_adds == sum(found.layer(f"layer1.0.conv{i}").multiply_adds for i in (1, 2))
