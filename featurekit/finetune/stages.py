"""A network in stages: what may be trained or frozen, from the top. Importing this imports torch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones import BackboneSpec
from ..errors import BackboneError
from ..fingerprint import PENULTIMATE

ALL = "all"


class Stages(nn.Module):
    """The stages of a backbone, one after the other, and a linear layer on top.

    The modules are those of the network itself, so what is trained here is trained there. A stage's module that the
    user knows by its name (``blocks.6``, ``layer4``) takes with it what comes before the first of them (the stem) and
    after the last (the last convolution, the pooling).

    Parameters
    ----------
    network : torch.nn.Module
        From :func:`featurekit.backbones.network.load_network`: its classifier is an identity.
    spec : BackboneSpec
    classes : int
        Outputs of the linear layer.
    scale : float
        What features are divided by before the linear layer, so that a step of a given learning rate moves decision
        values alike whatever the size of a network's features. A power of 2 changes no rounding.

    Attributes
    ----------
    names : list of str
        Of the stages, from the image to the top.
    """

    def __init__(self, network: nn.Module, spec: BackboneSpec, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        parts = _stages(network, spec)
        self.names = list(parts)
        self.stages = nn.ModuleList(parts.values())
        self.head = nn.Linear(spec.dim(), classes)
        self.scale = scale
        pre = spec.preprocessing
        self.register_buffer("mean", torch.tensor(pre.mean).mul(255).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pre.std).mul(255).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def below(self, images: Tensor, stop: int) -> Tensor:
        """What enters stage number `stop`: of uint8 images of shape (n, height, width, 3)."""
        # NHWC in memory seen as NCHW is channels_last: no copy.
        maps: Tensor = (images.permute(0, 3, 1, 2).to(self.head.weight.dtype) - self.mean) / self.std
        for stage in self.stages[:stop]:
            maps = stage(maps)
        return maps

    def above(self, maps: Tensor, start: int) -> Tensor:
        """Decision values, shape (n, classes), of what enters stage number `start`."""
        for stage in self.stages[start:]:
            maps = stage(maps)
        values: Tensor = self.head(maps.flatten(1) / self.scale)
        return values

    def forward(self, images: Tensor) -> Tensor:
        """Decision values, shape (n, classes), of uint8 images of shape (n, height, width, 3)."""
        return self.above(self.below(images, 0), 0)

    def first_trained(self, unfreeze: int | str) -> int:
        """The number of the lowest stage that is trained.

        Parameters
        ----------
        unfreeze : int or str
            So many stages from the top (0: the linear layer alone), ``"all"``, or the name of the lowest one.

        Raises
        ------
        BackboneError
            If there are fewer, or none of that name.
        """
        if unfreeze == ALL:
            return 0
        if isinstance(unfreeze, str) and unfreeze in self.names:
            return self.names.index(unfreeze)
        if isinstance(unfreeze, int) and not isinstance(unfreeze, bool) and 0 <= unfreeze <= len(self.names):
            return len(self.names) - unfreeze
        raise BackboneError(
            f"cannot unfreeze {unfreeze!r}: expected a number of stages from 0 to {len(self.names)}, 'all', or the "
            f"name of the lowest one to train, from the image to the top: {', '.join(self.names)}."
        )


def _stages(network: nn.Module, spec: BackboneSpec) -> OrderedDict[str, nn.Sequential]:
    """The modules of the network in the order in which it runs them, by the stage that they belong to."""
    names = [name for name, _ in spec.layers if name != PENULTIMATE]
    parts: OrderedDict[str, list[nn.Module]] = OrderedDict((name, []) for name in names)
    reached = 0
    for path, module in _in_order(network, names):
        if path in parts:
            reached = names.index(path)
        parts[names[reached]].append(module)
        if path == "avgpool":  # torchvision's networks flatten here, in their forward
            parts[names[reached]].append(nn.Flatten(1))
    return OrderedDict((name, nn.Sequential(*modules)) for name, modules in parts.items())


def _in_order(module: nn.Module, names: list[str], prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Children, and of those that hold stages their children."""
    found: list[tuple[str, Any]] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        holds = any(stage.startswith(f"{path}.") for stage in names)
        found += _in_order(child, names, f"{path}.") if holds else [(path, child)]
    return found
