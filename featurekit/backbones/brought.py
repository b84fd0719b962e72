"""A network that the user brought, as a backbone. Importing this imports torch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..errors import BackboneError
from ..fingerprint import PENULTIMATE, Preprocessing
from .anatomy import Anatomy
from .checkpoints import of_grey
from .libraries import probe_network, timm_preprocessing, without_classifier
from .probe import probe
from .spec import MODULE, BackboneSpec

_IMAGENET = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def brought(module: nn.Module, image_size: int | None) -> tuple[nn.Module, BackboneSpec]:
    """A network and what it is. Its last linear layer counts as the classifier, if the network puts out what that does.

    One whose first convolution takes grey images becomes one that takes colour and sees its luminance.

    Raises
    ------
    BackboneError
        If it does not take images, or puts out no single row for each.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if any(is_lazy(tensor) or tensor.is_meta for tensor in tensors):
        raise BackboneError("the network has parameters without values: run it once, or load weights, before")
    colour = _for_colour(module)
    pre = _preprocessing(module)
    if colour is not module:
        # Of one grey channel, as of the three that are equal: normalised luminance is the luminance of normalised ones.
        pre = replace(pre, mean=(sum(pre.mean) / 3,) * 3, std=(sum(pre.std) / 3,) * 3)
    module = colour
    side = pre.crop if image_size is None else image_size
    anatomy = probe_network(module, side, last=(nn.Linear,))
    classifier = _classifier(module, anatomy)
    dim = anatomy.output
    if classifier:
        dim = probe(without_classifier(copy.deepcopy(module), MODULE, classifier), side).output
    if len(dim) != 1 or not dim[0]:
        raise BackboneError(
            f"the network puts out {dim} for an image, and a row is one vector: end it with pooling and nn.Flatten, or "
            "name one of its layers with the pooling that you wish"
        )
    return module, BackboneSpec(
        type(module).__name__.lower(),
        MODULE,
        type(module).__qualname__,
        "its own",
        "",
        "",
        classifier,
        (*((stage.name, stage.channels) for stage in anatomy.stages), (PENULTIMATE, dim[0])),
        anatomy.parameters,
        anatomy.multiply_adds,
        pre,
    )


def _for_colour(module: nn.Module) -> nn.Module:
    """A network for grey images as one for colour, which sees the luminance; any other as it is."""
    name, first = next(((n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if first is None or first.in_channels == 3:
        return module
    if first.in_channels != 1:
        raise BackboneError(
            f"the network takes images of {first.in_channels} channels (its first convolution, {name or 'itself'}); "
            "featurekit's are RGB, or grey. Bring one for three of the channels, and images of those"
        )
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.in_channels = 3
            kernels = of_grey(part.weight.detach()).to(part.weight.dtype)
            part.weight = nn.Parameter(kernels, requires_grad=part.weight.requires_grad)
            break
    return module


def _classifier(module: nn.Module, anatomy: Anatomy) -> tuple[str, ...]:
    """As timm says of its own networks, which may end in other linear layers; else the last one."""
    cfg: Any = getattr(module, "pretrained_cfg", None)
    if isinstance(cfg, dict) and hasattr(module, "num_classes") and cfg.get("classifier"):
        named = cfg["classifier"]
        return () if not module.num_classes else (named,) if isinstance(named, str) else tuple(named)
    return (anatomy.classifier,) if anatomy.classifier else ()


def _preprocessing(module: nn.Module) -> Preprocessing:
    """As timm says of its own networks; else what torchvision does with ImageNet."""
    cfg: Any = getattr(module, "pretrained_cfg", None)
    if not isinstance(cfg, dict) or "input_size" not in cfg or not cfg.get("crop_pct"):
        return _IMAGENET
    return timm_preprocessing(cfg)
