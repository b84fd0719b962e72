"""What torchvision and timm know: their models, weights and preprocessing. Importing this imports torch."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BackboneError, WeightsError
from ..fingerprint import PENULTIMATE, Preprocessing
from .anatomy import Anatomy
from .probe import probe
from .spec import BackboneSpec

logger = logging.getLogger(__name__)

TIMM = "timm/"
"""What the names of timm's models begin with here."""

# timm's interpolations are Pillow's; where one was drawn by chance while training, its own evaluation takes this.
_INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bilinear"}

# Networks whose builders do more where they are given weights: torchvision's own rescale the pixels then.
_WITH_WEIGHTS: dict[str, dict[str, Any]] = {
    "inception_v3": {"transform_input": True, "init_weights": False},
    "googlenet": {"transform_input": True, "init_weights": False},
}
_AUXILIARY = ("AuxLogits", "aux1", "aux2")  # classifiers half-way up, which help training


def torchvision_names() -> list[str]:
    """All classification models."""
    from torchvision import models

    return list(models.list_models(module=models))


def timm_names() -> list[str]:
    """All models, with the tags of their weights; those without weights by their bare name."""
    import timm

    tagged = timm.list_models(pretrained=True)
    bare = {name.partition(".")[0] for name in tagged}
    return [f"{TIMM}{name}" for name in [*tagged, *(name for name in timm.list_models() if name not in bare)]]


def torchvision_facts(name: str, weights: str | None) -> BackboneSpec:
    """A model of torchvision with weights of this name (default: those that torchvision takes), not looked at yet.

    Raises
    ------
    WeightsError
        If there are no weights of this name.
    """
    from torchvision import models

    known = models.get_model_weights(name)
    if weights in {None, "DEFAULT"}:
        chosen: Any = known.DEFAULT
    elif weights in known.__members__:
        chosen = known[weights]
    else:
        raise WeightsError(f"{name} has no weights {weights!r}. There are: {', '.join(known.__members__)}.")
    wish = chosen.transforms()
    preprocessing = Preprocessing(
        wish.resize_size[0], wish.crop_size[0], wish.interpolation.value, tuple(wish.mean), tuple(wish.std)
    )
    meta = chosen.meta
    facts = [
        (f"{data} {score}", f"{value:g}")
        for data, scores in meta["_metrics"].items()
        for score, value in scores.items()
    ]
    facts += [(key, str(meta[key])) for key in ("license", "recipe") if meta.get(key)]
    return BackboneSpec(
        name,
        "torchvision",
        name,
        chosen.name,
        chosen.url.rpartition("/")[2],
        "",
        (),
        (),
        meta["num_params"],
        round(meta.get("_ops", 0) * 1e9),
        preprocessing,
        url=chosen.url,
        facts=tuple(facts),
    )


def timm_facts(name: str, weights: str | None) -> BackboneSpec:
    """A model of timm: ``timm/<architecture>[.<tag>]``, or the tag as `weights`; not looked at yet.

    Raises
    ------
    WeightsError
        If there are no weights of this tag.
    """
    import timm
    from timm.models import get_pretrained_cfg

    architecture, _, tag = name.removeprefix(TIMM).partition(".")
    tag = weights if weights not in {None, "DEFAULT"} else tag
    tagged = f"{architecture}.{tag}" if tag else architecture
    tags = [each.partition(".")[2] for each in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise WeightsError(f"{TIMM}{architecture} has no weights {tag!r}. There are: {', '.join(tags) or 'none'}.")
    cfg = get_pretrained_cfg(tagged)
    channels, height, width = cfg.input_size
    if channels != 3 or height != width:
        raise BackboneError(f"{name} takes images of {cfg.input_size}; featurekit's are RGB squares")
    preprocessing = timm_preprocessing(vars(cfg))
    has_weights = bool(cfg.url or cfg.hf_hub_id)
    tagged = f"{architecture}.{cfg.tag}" if cfg.tag and has_weights else architecture
    classifier = cfg.classifier or ()
    return BackboneSpec(
        f"{TIMM}{tagged}",
        "timm",
        tagged,
        (cfg.tag or "default") if has_weights else "",
        (cfg.url or "").rpartition("/")[2],
        "",
        (classifier,) if isinstance(classifier, str) else tuple(classifier),
        (),
        0,
        0,
        preprocessing,
        url=cfg.url or "",
        hub=cfg.hf_hub_id or "",
        facts=tuple(
            (key, str(value))
            for key, value in (
                ("license", cfg.license),
                ("recipe", cfg.paper_ids or cfg.origin_url),
                ("classes", cfg.num_classes),
                # Six of timm's; their images are cropped here.
                ("note", cfg.crop_mode == "border" and "trained on images with borders, which are not made here"),
            )
            if value
        ),
    )


def timm_preprocessing(cfg: Mapping[str, Any]) -> Preprocessing:
    """How timm prepares images, by the configuration of pretrained weights."""
    side = cfg["input_size"][-1]
    return Preprocessing(
        int(side / cfg["crop_pct"]),
        side,
        _INTERPOLATIONS.get(cfg.get("interpolation", ""), "bicubic"),
        _three(cfg["mean"]),
        _three(cfg["std"]),
        squash=cfg.get("crop_mode") == "squash",
    )


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in (values if len(values) == 3 else [values[0]] * 3))
    return red, green, blue


def completed(spec: BackboneSpec) -> BackboneSpec:
    """A backbone with what a look at its network says: classifier, stages, costs.

    Raises
    ------
    BackboneError
        If its rows are none.
    """
    side = spec.preprocessing.crop
    network = build(spec, weightless=True)
    anatomy = probe_network(network, side, spec.classifier)
    classifier = spec.classifier or ((anatomy.classifier,) if anatomy.classifier else ())
    dim = probe(without_classifier(network, spec.library, classifier), side).output
    if len(dim) != 1:
        raise BackboneError(f"{spec.name} puts out {dim} for an image; a backbone must put out one row")
    return replace(
        spec,
        classifier=classifier,
        layers=(*((stage.name, stage.channels) for stage in anatomy.stages), (PENULTIMATE, dim[0])),
        parameters=anatomy.parameters,
        multiply_adds=anatomy.multiply_adds,
    )


def build(spec: BackboneSpec, *, weightless: bool = False) -> nn.Module:
    """A network with random weights, or on the meta device, where that can be.

    Parameters
    ----------
    spec : BackboneSpec
    weightless : bool
        On the meta device: shapes only.

    Raises
    ------
    BackboneError
        If its library cannot make it for images of this size.
    """
    if weightless:
        try:
            with torch.device("meta"):
                return _built(spec)
        except Exception:
            # Some compute with tensors while they are made.
            logger.debug("%s cannot be made without weights", spec.name)
    try:
        with torch.device("cpu"):  # whatever the user's torch.set_default_device says
            return _built(spec)
    except Exception as error:  # whatever the library's own code raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        side = spec.preprocessing.crop
        raise BackboneError(f"{spec.name} cannot be made for images of {side} x {side} pixels: {reason}") from error


def _built(spec: BackboneSpec) -> nn.Module:
    architecture = spec.architecture
    if spec.library == "timm":
        import timm

        network: nn.Module = timm.create_model(architecture, pretrained=False)
        return network
    import torchvision

    more = _WITH_WEIGHTS.get(architecture, {})
    if architecture.startswith("vit_"):
        more = {"image_size": spec.preprocessing.crop}
    network = torchvision.models.get_model(architecture, weights=None, **more)
    for name in _AUXILIARY:
        if hasattr(network, name):
            setattr(network, name, None)
            network.aux_logits = False  # type: ignore[assignment]
    return network


_PLACES = "encoder.pos_embedding"  # of torchvision's transformers


def of_size(state: dict[str, Tensor], expected: Mapping[str, Tensor], spec: BackboneSpec) -> dict[str, Tensor]:
    """Weights of torchvision's transformers for images of another size: their places, interpolated."""
    if _PLACES not in expected or _PLACES not in state or state[_PLACES].shape == expected[_PLACES].shape:
        return state
    from torchvision.models.vision_transformer import interpolate_embeddings

    patch = expected["conv_proj.weight"].shape[-1]
    try:
        return dict(interpolate_embeddings(spec.preprocessing.crop, patch, OrderedDict(state)))
    except Exception:  # it asserts this and that of weights of another network
        return state


def is_auxiliary(key: str) -> bool:
    """Whether a weight is one of a classifier that helps training only."""
    return key.partition(".")[0] in _AUXILIARY


def probe_network(
    network: nn.Module,
    side: int,
    classifier: tuple[str, ...] = (),
    last: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> Anatomy:
    """The anatomy of a network of torchvision or timm, or of the user's; `last`: what its classifier may be."""
    tokens = getattr(network, "num_prefix_tokens", None)
    if tokens is None:
        tokens = 1 if isinstance(getattr(network, "class_token", None), nn.Parameter) else 0
    return probe(network, side, classifier=classifier[0] if classifier else None, prefix=int(tokens), last=last)


def without_classifier(network: nn.Module, library: str, classifier: tuple[str, ...]) -> nn.Module:
    """The network whose output is what its classifier saw. It is changed."""
    if library == "timm":
        network.reset_classifier(0)  # type: ignore[operator]
        return network
    for name in classifier:
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, nn.Identity())
    return network
