"""A network that the user brought, as a backbone. Importing this imports torch."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import BackboneError
from ..fingerprint import PENULTIMATE, Preprocessing
from .libraries import probe_network, without_classifier
from .probe import on_meta, probe
from .spec import MODULE, BackboneSpec

_IMAGENET = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def brought_spec(module: nn.Module, image_size: int | None) -> BackboneSpec:
    """What a network is. Its last linear layer counts as the classifier, if the network puts out what that does.

    Raises
    ------
    BackboneError
        If it does not take images, or puts out no single row for each.
    """
    pre = _preprocessing(module)
    side = pre.crop if image_size is None else image_size
    anatomy = probe_network(module, side, last=(nn.Linear,))
    classifier = (anatomy.classifier,) if anatomy.classifier else ()
    dim = probe(without_classifier(on_meta(module), MODULE, classifier), side).output
    if len(dim) != 1:
        raise BackboneError(
            f"the network puts out {dim} for an image, and a row is one vector: end it with pooling and nn.Flatten, or "
            "name one of its layers with the pooling that you wish"
        )
    return BackboneSpec(
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


def _preprocessing(module: nn.Module) -> Preprocessing:
    """As timm says of its own networks; else what torchvision does with ImageNet."""
    cfg: Any = getattr(module, "pretrained_cfg", None)
    if not isinstance(cfg, dict) or "input_size" not in cfg or not cfg.get("crop_pct"):
        return _IMAGENET
    side = cfg["input_size"][-1]
    return Preprocessing(
        int(side / cfg["crop_pct"]),
        side,
        "bilinear" if cfg.get("interpolation") == "bilinear" else "bicubic",
        tuple(cfg["mean"]),
        tuple(cfg["std"]),
        squash=cfg.get("crop_mode") == "squash",
    )
