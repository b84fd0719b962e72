"""A network in stages: what may be trained or frozen, from the top. Importing this imports torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones import BackboneSpec
from ..errors import BackboneError

ALL = "all"


class Stages(nn.Module):
    """The stages of a backbone, one after the other, and a linear layer on top.

    The modules are those of the network itself, so what is trained here is trained there. A stage's module that the
    user knows by its name (``blocks.6``, ``layer4``) takes with it what comes before the first of them (the stem) and
    after the last (the last convolution, the pooling).

    Networks that do more than to run their stages one after the other (skipped connections across stages, class tokens)
    cannot be cut between them: they run as a whole, and what is frozen takes part in every epoch.

    Parameters
    ----------
    network : torch.nn.Module
        From :func:`featurekit.backbones.network.load_network`, without its classifier.
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
    can_be_cut : bool
        Whether they run one after the other.
    """

    def __init__(self, network: nn.Module, spec: BackboneSpec, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        if not spec.stages:
            raise BackboneError(f"{spec.name} has no stages that could be trained by themselves")
        chain = _chain(network, spec)
        self.can_be_cut = chain is not None
        parts = chain or _parts(network, spec)
        self.names = list(parts)
        self.stages = nn.ModuleList(parts.values())
        self.whole = nn.Identity() if self.can_be_cut else network
        self.head = nn.Linear(spec.dim(), classes)
        self.scale = scale
        pre = spec.preprocessing
        self.register_buffer("mean", torch.tensor(pre.mean).mul(255).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pre.std).mul(255).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def below(self, images: Tensor, stop: int) -> Tensor:
        """What enters stage number `stop`: of uint8 images of shape (n, height, width, 3).

        Of a network that cannot be cut, the normalised images.
        """
        # NHWC in memory seen as NCHW is channels_last: no copy.
        maps: Tensor = (images.permute(0, 3, 1, 2).to(self.head.weight.dtype) - self.mean) / self.std
        if self.can_be_cut:
            for stage in self.stages[:stop]:
                maps = stage(maps)
        return maps

    def above(self, maps: Tensor, start: int) -> Tensor:
        """Decision values, shape (n, classes), of what enters stage number `start`."""
        for stage in self.stages[start:] if self.can_be_cut else (self.whole,):
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


def _chain(network: nn.Module, spec: BackboneSpec) -> OrderedDict[str, nn.Module] | None:
    """The stages as modules that run one after the other; None if that is not what the network does."""
    images = torch.rand((1, 3, spec.preprocessing.crop, spec.preprocessing.crop), device="cpu") * 2 - 1
    with torch.no_grad():
        expected = network(images)
        # torchvision's networks flatten in their forward, after a module of this name.
        for flat in ((), ("avgpool",)):
            parts = {name: nn.Sequential(*modules) for name, modules in _modules(network, spec, flat).items()}
            try:
                got = nn.Sequential(*parts.values())(images).flatten(1)
            except Exception:  # noqa: S112 (whatever a module raises that is given what is not for it)
                continue
            if got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-4, atol=1e-5):
                return OrderedDict(parts)
    return None


def _parts(network: nn.Module, spec: BackboneSpec) -> OrderedDict[str, nn.Module]:
    """The stages as the modules that belong to them, each parameter in one of them."""
    modules = _modules(network, spec, ())
    taken = {id(p) for parts in modules.values() for module in parts for p in module.parameters()}
    loose = nn.ParameterList(p for p in network.parameters() if id(p) not in taken)  # class tokens, places
    parts = OrderedDict((name, nn.ModuleList(each)) for name, each in modules.items())
    if len(loose):
        next(iter(parts.values())).append(loose)
    return OrderedDict(parts)


def _modules(network: nn.Module, spec: BackboneSpec, flat: Sequence[str]) -> dict[str, list[nn.Module]]:
    """The modules of the network in the order in which it has them, by the stage that they belong to."""
    names = spec.stages
    parts: dict[str, list[nn.Module]] = {name: [] for name in names}
    reached = 0
    for path, module in _in_order(network, names):
        if path in parts:
            reached = names.index(path)
        parts[names[reached]].append(module)
        if path in flat:
            parts[names[reached]].append(nn.Flatten(1))
    return parts


def _in_order(module: nn.Module, names: list[str], prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Children, and of those that hold stages their children."""
    found: list[tuple[str, Any]] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        holds = any(stage.startswith(f"{path}.") for stage in names)
        found += _in_order(child, names, f"{path}.") if holds else [(path, child)]
    return found
