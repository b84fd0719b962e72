from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """Random weights of a network that is quick to train: mobilenet_v3_small."""
    import torch

    from featurekit.backbones import SPECS
    from featurekit.backbones.network import _architecture

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = _architecture(SPECS["mobilenet_v3_small"])
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture(scope="session")
def labels(paths):
    return np.array([path.split("/")[-2] for path in paths])
