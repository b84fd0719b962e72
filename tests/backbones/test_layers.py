"""Rows of any layer, with any pooling, against what torchvision, timm and plain formulas give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from featurekit.backbones import Rows, describe, find
from featurekit.backbones.network import LayerRows, load_network, pooled
from featurekit.errors import BackboneError

# Architecture, the node before the classifier in torchvision's graph, and an inner layer.
TORCHVISION = [
    pytest.param("alexnet", "classifier.5", "features.9", marks=pytest.mark.slow),
    pytest.param("resnet34", "flatten", "layer3.1", marks=pytest.mark.slow),
    pytest.param("densenet121", "flatten", "features.denseblock2", marks=pytest.mark.slow),
    ("squeezenet1_1", "features.12", "features.7"),
    pytest.param("mobilenet_v2", "classifier.0", "features.13.conv.2", marks=pytest.mark.slow),
    pytest.param("convnext_tiny", "classifier.1", "features.5", marks=pytest.mark.slow),
    pytest.param("googlenet", "flatten", "inception4c", marks=pytest.mark.slow),
    pytest.param("inception_v3", "flatten", "Mixed_6b", marks=pytest.mark.slow),
    pytest.param("swin_t", "flatten", "features.3", marks=pytest.mark.slow),
]
TIMM = [
    pytest.param("resnet26", "layer3", marks=pytest.mark.slow),
    pytest.param("efficientnet_b0", "blocks.4", marks=pytest.mark.slow),
    ("convnext_atto", "stages.2"),
    pytest.param("vit_tiny_patch16_224", "blocks.5", marks=pytest.mark.slow),
    pytest.param("deit_tiny_distilled_patch16_224", "blocks.5", marks=pytest.mark.slow),
    pytest.param("swin_tiny_patch4_window7_224", "layers.2", marks=pytest.mark.slow),
    # Its head is more than a linear layer.
    pytest.param("efficientvit_m0", "stages.1", marks=pytest.mark.slow),
]


def weights_file(folder, network):
    with torch.no_grad():
        for parameter in network.parameters():  # zeros as first scales would hide whole blocks
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.0)
    torch.save(network.state_dict(), folder / "w.pth")
    return folder / "w.pth"


def rows_of(name, file, **options):
    backbone = find(name, file, **options)
    network = LayerRows(load_network(backbone), [backbone.rows], flip=backbone.flip).eval()
    side = backbone.preprocessing.crop
    with torch.no_grad():
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
        rows = network(images)
        assert torch.equal(rows, network(images))
    assert rows.shape == (2, backbone.rows.dim) == (2, backbone.space.dim)
    assert torch.isfinite(rows).all()
    return images, rows


def averaged(out):
    return out.mean((1, 2)) if out.shape[1] == out.shape[2] != out.shape[3] else out.mean((2, 3))


def close(got, expected):
    return torch.allclose(got, expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "before", "inner"), TORCHVISION, ids=lambda value: str(value))
def test_layers_are_torchvisions(name, before, inner, tmp_path):
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    more = {"init_weights": False, "transform_input": True} if name in {"inception_v3", "googlenet"} else {}
    network = torchvision.models.get_model(name, **more)
    file = weights_file(tmp_path, network)
    with warnings.catch_warnings(action="ignore"):  # some have other nodes while they train
        reference = create_feature_extractor(network.eval(), {before: "last", inner: "inner"})
    size = {"image_size": 96} if name not in {"inception_v3", "alexnet"} else {}
    images, rows = rows_of(name, file, **size)
    with torch.no_grad():
        expected = reference(images)
    last = expected["last"]
    assert close(rows, last if last.dim() == 2 else last.mean((2, 3)) if last.shape[2] > 1 else last.flatten(1))
    assert close(rows_of(name, file, layer=inner, **size)[1], averaged(expected["inner"]))


@pytest.mark.parametrize(("name", "inner"), TIMM, ids=lambda value: str(value))
def test_layers_are_timms(name, inner, tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    file = weights_file(tmp_path, network)
    size = {"image_size": 96} if name in {"resnet26", "efficientnet_b0", "convnext_atto"} else {}
    images, rows = rows_of(f"timm/{name}", file, **size)
    bare = timm.create_model(name, num_classes=0).eval()
    bare.load_state_dict({key: value for key, value in network.state_dict().items() if key in bare.state_dict()})
    with torch.no_grad():
        assert close(rows, bare(images))
        assert close(rows, network.forward_head(network.forward_features(images), pre_logits=True))
        seen = {}
        network.get_submodule(inner).register_forward_hook(lambda module, inputs, out: seen.update(out=out))
        logits = network(images)
    out = seen["out"]
    prefix = getattr(network, "num_prefix_tokens", 0)
    expected = out[:, prefix:].mean(1) if out.dim() == 3 else averaged(out)
    assert close(rows_of(f"timm/{name}", file, layer=inner, **size)[1], expected)
    if logits.shape[1] == 1000 and "distilled" not in name:
        assert close(rows_of(f"timm/{name}", file, layer="output", **size)[1], logits)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    import timm

    torch.manual_seed(0)
    return weights_file(tmp_path_factory.mktemp("vit"), timm.create_model("vit_tiny_patch16_224"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    import torchvision

    torch.manual_seed(0)
    return weights_file(tmp_path_factory.mktemp("resnet"), torchvision.models.resnet18())


def output_of(name, file, layer, images):
    network = load_network(find(name, file))
    seen = {}
    network.get_submodule(layer).register_forward_hook(lambda module, inputs, out: seen.update(out=out))
    with torch.no_grad():
        network(images)
    return seen["out"]


POOLED = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.flatten(2).max(2).values,
    "avg+max": lambda x: torch.cat([x.mean((2, 3)), x.flatten(2).max(2).values], 1),
    "gem": lambda x: (x.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3),
    "flatten": lambda x: x.flatten(1),
    "grid2": lambda x: functional.avg_pool2d(x, x.shape[2] // 2).flatten(1),
}


SOME = [name if name in {"avg", "flatten"} else pytest.param(name, marks=pytest.mark.slow) for name in POOLED]


@pytest.mark.parametrize("pooling", SOME)
def test_poolings_of_maps(pooling, resnet):
    images, rows = rows_of("resnet18", resnet, layer="layer3", pooling=pooling, image_size=64)
    assert close(rows, POOLED[pooling](output_of("resnet18", resnet, "layer3", images)))


@pytest.mark.parametrize("pooling", SOME)
def test_poolings_of_tokens(pooling, vit):
    images, rows = rows_of("timm/vit_tiny_patch16_224", vit, layer="blocks.3", pooling=pooling)
    out = output_of("timm/vit_tiny_patch16_224", vit, "blocks.3", images)
    places = out[:, 1:].transpose(1, 2).reshape(2, 192, 14, 14)
    assert close(rows, POOLED[pooling](places))


@pytest.mark.slow
def test_cls_pooling_gives_the_class_token(vit):
    images, rows = rows_of("timm/vit_tiny_patch16_224", vit, layer="blocks.3", pooling="cls")
    assert torch.equal(rows, output_of("timm/vit_tiny_patch16_224", vit, "blocks.3", images)[:, 0])


@pytest.mark.slow
def test_mirror_images_and_unit_length(resnet):
    images, rows = rows_of("resnet18", resnet, layer="layer4", image_size=64, flip=True)
    network = load_network(find("resnet18", resnet))
    with torch.no_grad():
        both = (network(images) + network(images.flip(3))) / 2
    assert close(rows, both)
    _, unit = rows_of("resnet18", resnet, layer="layer4", image_size=64, flip=True, l2=True)
    assert torch.allclose(unit, both / both.norm(dim=1, keepdim=True), atol=1e-5)
    assert np.allclose(unit.norm(dim=1), 1)


def test_half_precision_does_not_overflow():
    out = torch.full((1, 2, 3, 3), 50.0, dtype=torch.float16)
    assert pooled(out, Rows("x", 2, "gem", layout="map")).tolist() == [[50.0, 50.0]]


@pytest.mark.slow
def test_tokens_that_are_fewer_than_the_prefix():
    assert describe("timm/vit_so150m_patch16_reg4_map_256").dim() > 0


@pytest.mark.slow
def test_a_row_is_known_beforehand():
    assert find("efficientnet_lite0", layer="blocks.3.1.conv_dw", pooling="grid3").space.dim == 480 * 9
    assert find("efficientnet_lite0", layer="blocks.3", pooling="flatten").space.dim == 80 * 14 * 14
    assert find("efficientnet_lite0", layer="blocks.3", pooling="flatten", image_size=320).space.dim == 80 * 20 * 20
    assert find("efficientnet_lite0", layer="output").space.dim == 1000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "blocks.9"}, "Did you mean 'blocks.6'|Did you mean 'blocks.0'|Did you mean"),
        ({"layer": "block.4"}, "no layer of efficientnet_lite0 called 'block.4'. Did you mean 'blocks.4'"),
        ({"layer": "blocks.3", "pooling": "mean"}, "no pooling called 'mean'"),
        ({"layer": "blocks.3", "pooling": "grid0"}, "no pooling called 'grid0'"),
        ({"layer": "blocks.3", "pooling": "grid15"}, "14 x 14 places, of which no 15 x 15 parts"),
        ({"layer": "blocks.3", "pooling": "cls"}, "no class token"),
        ({"pooling": "max"}, "name the layer whose output is to be pooled, such as 'blocks.6'"),
        ({"image_size": 4}, "from 8 to 8192"),
        ({"image_size": 224.5}, "from 8 to 8192"),
        ({"image_size": True}, "from 8 to 8192"),
        ({"crop": 1.5}, "from 0.05 to 1"),
        ({"crop": "big"}, "from 0.05 to 1"),
    ],
)
def test_impossible_layers_poolings_and_sizes_are_refused(options, said):
    with pytest.raises(BackboneError, match=said):
        find("efficientnet_lite0", **options)


@pytest.mark.slow
def test_transformers_take_sizes_of_whole_patches_only():
    """Transformers can be given another size, of whole patches."""
    assert (
        find("timm/vit_tiny_patch16_224", __file__, image_size=112, layer="blocks.3", pooling="flatten").rows.dim
        == 192 * 49
    )
    assert (
        find("vit_b_16", __file__, image_size=112, layer="encoder.layers.encoder_layer_3", pooling="cls").rows.dim
        == 768
    )
    with pytest.raises(BackboneError, match="cannot be made for images of 15 x 15"):
        find("timm/vit_tiny_patch16_224", __file__, image_size=15, layer="blocks.3")
    with pytest.raises(BackboneError, match="cannot be made for images of 100 x 100 pixels"):
        find("vit_b_16", __file__, image_size=100, layer="encoder.layers.encoder_layer_3")


def test_a_transformer_runs_at_another_size(vit):
    images, rows = rows_of("timm/vit_tiny_patch16_224", vit, image_size=112)
    assert images.shape[2] == 112
    assert rows.shape == (2, 192)


def test_sizes_change_the_feature_space_and_come_back():
    usual = find("efficientnet_lite0")
    assert find("efficientnet_lite0", image_size=224).space == usual.space
    assert find("efficientnet_lite0", crop=224 / 256).space == usual.space
    other = find("efficientnet_lite0", image_size=320, crop=0.9, flip=True, l2=True, layer="blocks.5", pooling="gem")
    assert (other.preprocessing.crop, other.preprocessing.resize) == (320, 356)
    assert other.space.fingerprint != usual.space.fingerprint
    assert find("efficientnet_lite0", **other.space.options).space == other.space
    assert describe("efficientnet_lite0").preprocessing == usual.preprocessing
