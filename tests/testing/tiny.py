"""A network that is converted and exported in a second or two, for tests of what happens around that."""

from __future__ import annotations

TINY, SIDE = "timm/test_resnet", 160  # of timm's own tests


def tiny_weights(path, seed=0):
    """Random weights of it, in a file."""
    import timm
    import torch

    torch.manual_seed(seed)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path
