from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from featurekit.advisor.similarity import similarity
from featurekit.backbones import find
from featurekit.images import items_from


def crops(number, side=160):
    """Of scikit-learn's two photographs."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    corners = [
        (photos[i % 2], int(rng.integers(0, 640 - side)), int(rng.integers(0, 427 - side))) for i in range(number)
    ]
    return [Image.fromarray(photo[y : y + side, x : x + side]) for photo, x, y in corners]


@pytest.mark.slow
def test_photographs_are_nearer_than_noise():
    backbone = find("efficientnet_lite0")
    photos = similarity(backbone, items_from(crops(24)))
    noise = np.random.default_rng(0).integers(0, 256, (24, 96, 96, 3), dtype=np.uint8)
    far = similarity(backbone, items_from(list(noise)))
    assert list(photos.shift) == ["stem", *(f"blocks.{i}" for i in range(7)), "top"]
    assert photos.distance < far.distance
    assert photos.probability > far.probability
    assert photos.images == 24
    assert photos.probabilities.shape == (24, 1000)
    assert f"{photos.distance:.2f} spreads" in photos.sentence()
    assert photos.to_dict()["shift"] == photos.shift


def test_statistics_that_are_those_of_the_images_are_no_shift():
    images = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    backbone = find(network, image_size=32, crop=1)
    assert similarity(backbone, items_from(list(images))).distance > 0.2
    pre = backbone.spec.preprocessing
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    shown = (pixels / 255 - torch.tensor(pre.mean).view(1, 3, 1, 1)) / torch.tensor(pre.std).view(1, 3, 1, 1)
    network[1].momentum = 1.0
    network.train()(shown)
    found = similarity(find(network.eval(), image_size=32, crop=1), items_from(list(images)))
    assert found.distance == pytest.approx(0, abs=0.02)


def test_a_network_without_batchnorm():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    found = similarity(find(network, image_size=32), items_from(crops(4)))
    assert found.distance is None
    assert found.nearer_than is None
