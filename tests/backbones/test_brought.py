"""A network that the user brings."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from sklearn.base import clone
from torch import nn

from featurekit import FeatureExtractor, FineTuneClassifier, TransferClassifier, extract
from featurekit.backbones import find
from featurekit.backbones.network import LayerRows, load_network
from featurekit.errors import BackboneError, BundleError, TrainingError, WeightsError
from featurekit.images.decode import open_image, prepare


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=5).eval()


@pytest.fixture(scope="module")
def paths(digits_folder):
    return sorted(digits_folder.glob("*/*.png"))[::6]


@pytest.mark.slow
def test_rows_of_a_module_equal_those_of_the_named_backbone(network, tmp_path, paths):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    # One by OpenVINO, one by PyTorch.
    got = FeatureExtractor(network, image_size=64).fit_transform(paths)
    named = FeatureExtractor("resnet18", weights=tmp_path / "w.pth", runtime="torch", image_size=64)
    # The default weights of resnet18 and ImageNet's usual preprocessing are the same.
    assert np.allclose(got, named.fit_transform(paths), atol=1e-4)


@pytest.mark.slow
def test_an_inner_layer_of_a_module_is_pooled(network, paths):
    options = {"layer": "layer2", "pooling": "max", "image_size": 96, "runtime": "torch"}
    inner = FeatureExtractor(network, **options).fit_transform(paths)
    assert inner.shape == (len(paths), 128)


@pytest.mark.slow
def test_a_module_is_left_unchanged(network, paths):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    FeatureExtractor(network, runtime="torch").fit_transform(paths[:2])
    assert network.training
    assert isinstance(network.fc, nn.Linear)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()


@pytest.mark.slow
def test_a_module_can_be_extracted_and_fitted_and_not_saved(network, tmp_path, digits_folder):
    images = sorted(digits_folder.glob("*/*.png"))[::3]
    y = [path.parent.name for path in images]
    options = {"image_size": 64, "runtime": "torch"}
    fitted = clone(TransferClassifier(network, head="lda", cache=tmp_path / "cache", **options)).fit(images, y)
    assert fitted.score(images, y) > 0.6
    with pytest.raises(BundleError, match=r"save this with joblib\.dump"):
        fitted.save(tmp_path / "m")
    with pytest.raises(TrainingError, match="must have a name"):
        FineTuneClassifier(network).fit(images, y)
    store = extract(images, output=tmp_path / "s.h5", backbone=network, **options)
    assert (store.X.shape, store.space.backbone) == ((len(images), 1024), "resnet")
    assert FeatureExtractor(network, **options).fit(store).space_ == store.space


def test_the_feature_space_of_a_module_follows_its_weights(network):
    first = find(network).space
    assert find(network).space == first
    other = torchvision.models.resnet18(num_classes=5)
    assert find(other).space.weights != first.weights


@pytest.mark.slow
def test_a_module_of_timm_brings_its_preprocessing():
    found = find(timm.create_model("vit_tiny_patch16_224"))
    assert (found.preprocessing.mean, found.preprocessing.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert found.space.dim == 192


@pytest.mark.slow
def test_modules_of_equal_weights_and_other_settings_are_told_apart():
    torch.manual_seed(0)
    first = timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="avg", depth=1)
    second = timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="max", depth=1)
    second.load_state_dict(first.state_dict())
    assert find(first).space.fingerprint != find(second).space.fingerprint

    class Scaled(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor, self.mean = factor, torch.zeros(1, 3, 1, 1)

        def forward(self, images):
            return ((images - self.mean) * self.factor).mean((2, 3))

    assert find(Scaled(2.0)).space.dim == 3  # its mean is neither parameter nor buffer
    assert find(Scaled(2.0)).space == find(Scaled(2.0)).space != find(Scaled(3.0)).space


@pytest.mark.parametrize("name", ["efficientvit_b0", "inception_next_atto"])
def test_timms_without_their_classifier_keep_all_that_is_left(name):
    bare = timm.create_model(name, num_classes=0).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(load_network(find(bare))(images), bare(images))


def test_a_last_layer_that_is_followed_by_others_is_no_classifier():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), nn.ReLU())
    assert find(network).spec.classifier == ()
    assert find(network[:-1]).spec.classifier == ("3",)


@pytest.mark.slow
def test_an_inner_layer_is_read_before_later_layers_write_into_it():
    """The ReLU that follows writes into it."""
    torch.manual_seed(0)
    network = torchvision.models.alexnet().eval()
    seen = {}
    network.features[10].register_forward_hook(lambda module, inputs, out: seen.update(out=out.clone()))
    images = torch.rand(2, 3, 224, 224)
    for pooling in ("avg", "flatten"):
        found = find(network, layer="features.10", pooling=pooling)
        rows = LayerRows(load_network(found), [found.rows]).eval()
        with torch.no_grad():
            network(images)
            expected = seen["out"].flatten(1) if pooling == "flatten" else seen["out"].mean((2, 3))
            assert torch.allclose(rows(images), expected, atol=1e-5)
        assert expected.min() < 0


def test_hooks_change_the_feature_space_and_empty_parameters_are_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = find(network).space
    handle = network[0].register_forward_hook(lambda module, inputs, out: out * 10)
    assert find(network).space != before
    handle.remove()
    assert find(network).space == before
    for empty in (nn.Sequential(nn.LazyConv2d(4, 3)), nn.Conv2d(3, 4, 3, device="meta")):
        with pytest.raises(BackboneError, match="parameters without values"):
            find(empty)


def test_half_precision_modules_are_taken_and_classes_are_refused():
    assert find(torchvision.models.squeezenet1_1().half()).space.dim == 1000
    with pytest.raises(BackboneError, match=r"or is a torch\.nn\.Module; got"):
        find(torchvision.models.AlexNet)
    with pytest.raises(BackboneError, match="does not take images"):
        find(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))


def test_modules_without_a_classifier_are_taken_as_they_are():
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert find(convolutions).space.dim == 8
    assert load_network(find(convolutions))(torch.zeros(1, 3, 9, 9)).shape == (1, 8)
    with pytest.raises(BackboneError, match=r"puts out \(8, 222, 222\) for an image"):
        find(nn.Sequential(nn.Conv2d(3, 8, 3)))
    with pytest.raises(BackboneError, match="does not take images"):
        find(nn.Linear(3, 4))
    with pytest.raises(WeightsError, match="brings its weights"):
        find(convolutions, "w.pth")


@pytest.mark.parametrize(
    "make",
    [lambda: timm.create_model("resnet18", in_chans=1), lambda: _small(1)],
)
@pytest.mark.slow
def test_a_network_for_grey_images_sees_the_luminance(make, paths):
    torch.manual_seed(0)
    module = make().eval()
    found = find(module, image_size=64)
    pre = found.space.preprocessing
    assert len(set(pre.mean)) == len(set(pre.std)) == 1
    options = {"layer": "penultimate", "image_size": 64, "decoder": "pillow", "runtime": "torch"}
    rows = FeatureExtractor(module, **options).fit_transform(paths)
    grey = []
    for path in paths:
        pixels = prepare(open_image(path.read_bytes()), pre.resize, pre.crop, pre.interpolation) / 255
        grey.append((pixels @ [0.299, 0.587, 0.114] - pre.mean[0]) / pre.std[0])
    last = {"resnet": "fc", "sequential": "3"}[found.spec.name]
    setattr(module, last, nn.Identity())
    expected = module(torch.tensor(np.array(grey), dtype=torch.float32)[:, None]).detach().numpy()
    assert np.allclose(rows, expected, atol=1e-4 * np.abs(expected).max())


def test_other_numbers_of_channels_are_named():
    with pytest.raises(BackboneError, match=r"takes images of 5 channels \(its first convolution, 0\)"):
        find(_small(5))


def _small(channels):
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
