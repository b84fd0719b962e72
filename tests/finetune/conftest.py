from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small_weights(digits_folder, tmp_path_factory):
    """Random weights of a network that is quick to train, mobilenet_v3_small, with BatchNorm's statistics of digits."""
    import torch
    from PIL import Image

    from featurekit.backbones import describe
    from featurekit.backbones.network import bare

    pictures = [
        Image.open(path).convert("RGB").resize((224, 224)) for path in sorted(digits_folder.glob("*/*.png"))[::2]
    ]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = bare(describe("mobilenet_v3_small"), classifier=True).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
        with torch.no_grad():
            network(images)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture(scope="session")
def labels(paths):
    return np.array([path.split("/")[-2] for path in paths])
