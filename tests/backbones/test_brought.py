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
from featurekit.backbones.network import load_network
from featurekit.errors import BackboneError, BundleError, TrainingError, WeightsError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=5).eval()


@pytest.fixture(scope="module")
def paths(digits_folder):
    return sorted(digits_folder.glob("*/*.png"))[::6]


def test_its_rows_are_what_its_classifier_saw(network, tmp_path, paths):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    got = FeatureExtractor(network).fit_transform(paths)
    named = FeatureExtractor("resnet18", weights=tmp_path / "w.pth")
    # The default weights of resnet18 and ImageNet's usual preprocessing are the same.
    assert np.allclose(got, named.fit_transform(paths), atol=1e-4)
    inner = FeatureExtractor(network, layer="layer2", pooling="max", image_size=96).fit_transform(paths)
    assert inner.shape == (len(paths), 128)


def test_the_network_is_left_as_it_is(network, paths):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    FeatureExtractor(network).fit_transform(paths[:2])
    assert network.training
    assert isinstance(network.fc, nn.Linear)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()


def test_it_does_what_the_others_do(network, tmp_path, digits_folder):
    images = sorted(digits_folder.glob("*/*.png"))[::3]
    y = [path.parent.name for path in images]
    fitted = clone(TransferClassifier(network, head="lda", cache=tmp_path / "cache", image_size=64)).fit(images, y)
    assert fitted.score(images, y) > 0.6
    with pytest.raises(BundleError, match=r"save this with joblib\.dump"):
        fitted.save(tmp_path / "m")
    with pytest.raises(TrainingError, match="must have a name"):
        FineTuneClassifier(network).fit(images, y)
    store = extract(images, output=tmp_path / "s.h5", backbone=network, image_size=64)
    assert (store.X.shape, store.space.backbone) == ((len(images), 512), "resnet")
    assert FeatureExtractor(network, image_size=64).fit(store).space_ == store.space


def test_what_it_is_is_its_weights(network):
    first = find(network).space
    assert find(network).space == first
    other = torchvision.models.resnet18(num_classes=5)
    assert find(other).space.weights != first.weights


def test_timms_bring_their_preprocessing():
    found = find(timm.create_model("vit_tiny_patch16_224"))
    assert (found.preprocessing.mean, found.preprocessing.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert found.space.dim == 192


def test_networks_without_a_classifier_and_with_what_is_none():
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert find(convolutions).space.dim == 8
    assert load_network(find(convolutions))(torch.zeros(1, 3, 9, 9)).shape == (1, 8)
    with pytest.raises(BackboneError, match=r"puts out \(8, 222, 222\) for an image"):
        find(nn.Sequential(nn.Conv2d(3, 8, 3)))
    with pytest.raises(BackboneError, match="does not take images"):
        find(nn.Linear(3, 4))
    with pytest.raises(WeightsError, match="brings its weights"):
        find(convolutions, "w.pth")
