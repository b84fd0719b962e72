"""A name becomes a backbone whose weights are at hand. No torch in here, once the name was used on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import NETWORK, is_bundle, read_manifest
from ..errors import BackboneError, Remedy, WeightsError
from ..fingerprint import DECODERS, OUTPUT, PENULTIMATE, PRECISIONS, STAGES, FeatureSpace, Preprocessing
from .anatomy import Anatomy
from .catalog import anatomy, describe
from .lite import LITE, LITE_STEM
from .spec import MODULE, Backbone, BackboneSpec, Rows, check_pooling
from .weights import download, local_weights, missing_weights

if TYPE_CHECKING:
    from torch import nn

DEFAULT_BACKBONE = "efficientnet_lite0"
"""The backbone whose ImageNet weights are installed with featurekit."""

_LARGEST = 8192  # pixels of a side: beyond this it is a slip of the hand


def find(
    name: str | nn.Module,
    weights: str | os.PathLike[str] | None = None,
    *,
    layer: str | None = PENULTIMATE,
    pooling: str = "avg",
    precision: str = "fp32",
    decoder: str = "auto",
    image_size: int | None = None,
    crop: float | None = None,
    flip: bool = False,
    l2: bool = False,
    offline: bool | None = None,
) -> Backbone:
    """Find a backbone and its weights.

    Looked for in this order: the given file, the installed package, the caches of torch's hub and of Hugging Face's, a
    download.

    Parameters
    ----------
    name : str or torch.nn.Module
        A name, see :func:`describe`; the folder of a saved model, whose network is taken; or a network. The images of
        a network are prepared as timm says, if it is timm's, else as torchvision prepares ImageNet's.
    weights : str or path, optional
        A local ``.pth`` or ``.safetensors`` file with the network's state dict, or the name of other weights of its
        library: ``IMAGENET1K_V1``.
    layer : str or None
        Where rows are taken: ``"penultimate"``, what the removed classifier saw; ``"stages"``, the stem and all stages
        in one row; ``"output"``, what the classifier says; the name of any module; or several, joined by ``+``. None
        is what :func:`featurekit.extract` takes by default: ``"stages"``, of a network without stages
        ``"penultimate"``, and of a saved model its own layer (but not its pooling, `flip` or `l2`).
    pooling : {"avg", "max", "gem", "avg+max", "flatten", "cls", "grid2", "grid3", ...}
        How a feature map, or tokens, become a row: mean, maximum, generalised mean, mean and maximum side by side, all
        there is, the class token, or the means of 2 x 2 (3 x 3, ...) parts of the image.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Of the network's arithmetic.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What decodes and resizes images; see :class:`Preprocessing`.
    image_size : int, optional
        Pixels of a side of what the network sees. Default: as its weights were trained.
    crop : float, optional
        Share of the shorter side that is seen, at most 1. Default: as its weights were trained.
    flip : bool
        Rows are the means of those of an image and of its mirror image.
    l2 : bool
        Rows have the length 1.
    offline : bool, optional
        Forbid downloading. Default: whether the environment variable ``FEATUREKIT_OFFLINE`` is set to
        anything but ``0``.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If there is no backbone of that name, or no such layer, pooling, precision, decoder or size.
    WeightsError
        If the weights are not here and cannot be downloaded.

    Examples
    --------
    >>> find("efficientnet_lite0").found_in
    'package'
    >>> find("efficientnet_lite0", layer="blocks.4", pooling="grid2").space.dim
    448
    """
    _one_of("precision", precision, PRECISIONS)
    _one_of("decoder", decoder, DECODERS)
    own: str | None = None
    if isinstance(name, str | os.PathLike | type) or not hasattr(name, "named_modules"):
        if is_bundle(str(name)) and name not in {"", "."}:
            name, weights, options = _of_model(Path(str(name)), weights)
            own = options["layer"]
            if (image_size, crop) == (None, None):
                image_size, crop = options["image_size"], options["crop"]
        found = _named(name, weights, offline)
    else:
        if weights is not None:
            raise WeightsError("a network that is given brings its weights: load them into it instead of naming a file")
        found = _brought(name, image_size)
    spec = replace(found.spec, preprocessing=resized(found.spec.preprocessing, image_size, crop))
    found = replace(found, spec=spec, precision=PRECISIONS[precision], decoder=decoder, flip=bool(flip), own_layer=own)
    return with_rows(found, layer, pooling, l2=l2)


def with_rows(backbone: Backbone, layer: str | None, pooling: str = "avg", *, l2: bool = False) -> Backbone:
    """Return the backbone with rows of another layer.

    Parameters
    ----------
    backbone : Backbone
    layer, pooling, l2
        As in :func:`find`.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If there is no such layer or pooling.

    Examples
    --------
    >>> with_rows(find("efficientnet_lite0"), None).space.dim
    816
    """
    check_pooling(pooling)
    return replace(
        backbone, rows=_rows(backbone, default_layer(backbone) if layer is None else layer, pooling, bool(l2))
    )


def default_layer(backbone: Backbone) -> str:
    """Return the layer that is extracted by default: a saved model's own, all stages, or else the penultimate layer."""
    return backbone.own_layer or (STAGES if whole_network(backbone) else PENULTIMATE)


def whole_network(backbone: Backbone) -> list[str]:
    """Names of the layers of a whole-network row: the stem, if there is one, and all stages."""
    if backbone.spec.name in LITE:
        return [LITE_STEM[0], *backbone.spec.stages]
    found = anatomy_of(backbone)
    stem = [] if found.stem is None else [found.stem.name]
    return [*stem, *(stage.name for stage in found.stages)]


def _named(name: Any, weights: str | os.PathLike[str] | None, offline: bool | None) -> Backbone:
    if weights is not None and not hasattr(weights, "__fspath__") and not isinstance(weights, str):
        raise WeightsError(f"weights must be a file or a name such as IMAGENET1K_V1, got {weights!r}")
    called = weights if isinstance(weights, str) and _is_name(weights) else None
    spec = describe(name, called)
    rows = Rows(PENULTIMATE, spec.dim())
    if weights is not None and called is None:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"no such weight file for {spec.name}: {path}.", remedies=[Remedy("name another file", "weights")]
            )
        return Backbone(spec.of_file(path.name), path, "file", rows)
    local = local_weights(spec)
    if local is None:
        if not spec.weights:
            raise WeightsError(f"{spec.name} has no published weights.", remedies=[Remedy("name a file", "weights")])
        if offline if offline is not None else os.environ.get("FEATUREKIT_OFFLINE", "0") not in {"", "0"}:
            raise missing_weights(spec, "downloading is switched off")
        local = download(spec)
    return Backbone(spec, *local, rows)


def _is_name(weights: str) -> bool:
    """Whether this names weights of a library, and no file."""
    return not os.path.exists(weights) and Path(weights).name == weights and not Path(weights).suffix


def find_local(spec: BackboneSpec) -> Backbone | None:
    """The backbone if its default weights lie on this machine, else None. Never uses the network."""
    local = local_weights(spec)
    return None if local is None else Backbone(spec, *local, Rows(PENULTIMATE, spec.dim()))


def described(
    name: object, weights: str | None = None, *, image_size: int | None = None, crop: float | None = None
) -> BackboneSpec:
    """What a backbone is, for images of another size; see :func:`describe` and :func:`find`."""
    spec = describe(name, weights)
    return replace(spec, preprocessing=resized(spec.preprocessing, image_size, crop))


def resized(pre: Preprocessing, image_size: int | None, crop: float | None) -> Preprocessing:
    """Preprocessing of another size.

    Raises
    ------
    BackboneError
        If it cannot be.
    """
    if image_size is None and crop is None:
        return pre
    if image_size is not None and (
        isinstance(image_size, bool) or not hasattr(image_size, "__index__") or not 8 <= image_size <= _LARGEST
    ):
        raise BackboneError(f"image_size must be a whole number from 8 to {_LARGEST} pixels, got {image_size!r}")
    if crop is not None and (isinstance(crop, bool) or not hasattr(crop, "__float__") or not 0.05 <= crop <= 1):
        raise BackboneError(f"crop must be a number from 0.05 to 1, the share of the shorter side, got {crop!r}")
    side = pre.crop if image_size is None else int(image_size)
    share = pre.crop / pre.resize if crop is None else float(crop)
    new = replace(pre, resize=max(side, round(side / share)), crop=side)
    return pre if new == pre else replace(new, changed=True)


def _rows(backbone: Backbone, layer: object, pooling: str, l2: bool) -> Rows:
    """Rows of one layer, or of several that are joined by ``+``."""
    named: list[Any] = layer.split("+") if isinstance(layer, str) else [layer]
    stages = whole_network(backbone) if STAGES in named else []
    if STAGES in named and not stages:
        raise BackboneError(f"{backbone.spec.name} has no stages. Name its layers, or use {PENULTIMATE!r}.")
    names = [each for name in named for each in (stages if name == STAGES else [name])]
    if len(names) == 1:
        return _rows_of_one(backbone, names[0], pooling, l2)
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BackboneError(f"the layer {layer!r} has {', '.join(doubled)} in it more than once")
    if OUTPUT in names:
        raise BackboneError(f"{OUTPUT!r} cannot be joined with other layers: extract it into a store of its own")
    parts = [
        _rows_of_one(backbone, name, "avg" if name == PENULTIMATE or _is_vector(backbone, name) else pooling, False)
        for name in names
    ]
    if all(part.pooling != pooling for part in parts):
        raise BackboneError(f"none of the layers in {layer!r} can be pooled by {pooling!r}: each is one vector")
    return Rows.joined(_joined_name(names, stages or whole_network(backbone)), parts, pooling, l2=l2)


def _is_vector(backbone: Backbone, name: str) -> bool:
    if name in backbone.spec.stages or (backbone.spec.name in LITE and name == LITE_STEM[0]):
        return False
    chosen = anatomy_of(backbone).layer(name)
    return chosen is not None and chosen.layout == "vector"


def _joined_name(names: list[str], stages: list[str]) -> str:
    """One name for each list of layers, however it was written."""
    if names == stages:
        return STAGES
    if names == [*stages, PENULTIMATE]:
        return f"{STAGES}+{PENULTIMATE}"
    return "+".join(names)


def _rows_of_one(backbone: Backbone, layer: str, pooling: str, l2: bool) -> Rows:
    spec = backbone.spec
    if layer == PENULTIMATE:
        if pooling != "avg":
            raise BackboneError(
                f"the penultimate layer of {spec.name} is pooled as the network does it; for pooling {pooling!r}, name "
                f"the layer whose output is to be pooled, such as {spec.stages[-1] if spec.stages else 'a stage'!r}"
            )
        return Rows(PENULTIMATE, spec.dim(), l2=l2)
    if spec.name in LITE and pooling == "avg" and not spec.preprocessing.changed:
        known = dict((LITE_STEM, *spec.layers))
        if layer in known:
            return Rows(layer, known[layer], l2=l2, layout="map")
    found = anatomy_of(backbone)
    if layer == OUTPUT:
        if pooling != "avg":
            raise BackboneError(
                f"the output of {spec.name} is taken as it is; for pooling {pooling!r}, extract it apart from "
                "other layers"
            )
        if len(found.output) != 1:
            raise BackboneError(f"the output of {spec.name} is no vector but {found.output}; name one of its layers")
        return Rows(OUTPUT, found.output[0], l2=l2)
    chosen = found.layer(str(layer))
    if chosen is None or not chosen.layout:
        raise BackboneError(_no_layer(spec, found, layer))
    return Rows.of(chosen, pooling, l2=l2)


def anatomy_of(backbone: Backbone) -> Anatomy:
    """All layers of a backbone."""
    if backbone.module is None:
        return anatomy(backbone.spec)
    from .libraries import probe_network

    return probe_network(backbone.module, backbone.spec.preprocessing.crop, backbone.spec.classifier)


def _no_layer(spec: BackboneSpec, found: Anatomy, layer: object) -> str:
    near = found.near(str(layer), 3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    what = f"no layer of {spec.name} called {layer!r}"
    if found.layer(str(layer)) is not None:
        what = f"the layer {layer!r} of {spec.name} has no single output for each image"
    more = f" All layers: featurekit models show {spec.name} --layers" if spec.library != MODULE else ""
    return f"{what}.{hint} Its stages: {', '.join([*spec.stages, PENULTIMATE])}.{more}"


def _brought(module: nn.Module, image_size: int | None) -> Backbone:
    """A network that the user brought."""
    from .brought import brought

    module, spec = brought(module, image_size)
    return Backbone(spec, None, MODULE, Rows(PENULTIMATE, spec.dim()), module=module)


def short_name(backbone: object) -> str:
    """What files that are made with a backbone are called by: its name, or that of the folder of a saved model.

    Parameters
    ----------
    backbone : str or torch.nn.Module

    Examples
    --------
    >>> short_name("resnet18"), short_name("timm/resnet50.a1_in1k"), short_name("models/tuned/")
    ('resnet18', 'timm-resnet50.a1_in1k', 'tuned')
    """
    if not isinstance(backbone, str | os.PathLike):
        return type(backbone).__name__.lower()
    text = os.fspath(backbone)
    if text.startswith("timm/") and not is_bundle(text):
        return text.replace("/", "-")
    return Path(os.path.normpath(text)).name


def named(backbone: str, weights: str | os.PathLike[str] | None) -> tuple[str, str | os.PathLike[str] | None]:
    """The name and the weights of a backbone: of a saved model, those of its network; of any other, as they are."""
    if not is_bundle(backbone) or backbone in {"", "."}:
        return backbone, weights
    name, own, _ = _of_model(Path(backbone), weights)
    return name, own


def _of_model(
    folder: Path, weights: str | os.PathLike[str] | None
) -> tuple[str, str | os.PathLike[str] | None, dict[str, Any]]:
    """Name and weights of the backbone of a saved model, and the options of its feature space."""
    manifest = read_manifest(folder)
    settings = manifest.get("settings")
    if (
        not isinstance(settings, dict)
        or not isinstance(settings.get("backbone"), str)
        or not isinstance(settings.get("weights"), str | None)
    ):
        raise BackboneError(f"the model in {folder} does not say what its backbone is")
    try:
        options = FeatureSpace.from_json(json.dumps(manifest.get("space"))).options
    except ValueError as error:
        raise BackboneError(f"the model in {folder} is damaged: {error}") from error
    own = folder / NETWORK
    chosen = weights or (own if own.is_file() else settings.get("weights"))
    return settings["backbone"], chosen, options


def _one_of(what: str, name: object, known: Iterable[str]) -> None:
    """Raise BackboneError unless `name` is one of those that are known."""
    names = list(known)
    if name not in names:
        raise BackboneError(f"no {what} called {name!r}. There are: {', '.join(names)}.")
