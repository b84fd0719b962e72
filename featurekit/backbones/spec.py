"""What is known of a backbone: its network, its weights, and what becomes of its output. No torch in here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import BackboneError, WeightsError
from ..fingerprint import OUTPUT, PENULTIMATE, FeatureSpace, Preprocessing, file_sha256
from ..folders import check_regular
from .anatomy import Layer

if TYPE_CHECKING:
    from torch import nn

POOLINGS = ("avg", "max", "gem", "avg+max", "flatten", "cls", "gridN")
"""How a feature map, or tokens, become a row; N is a number, such as ``grid3``."""

MODULE = "module"
"""The library of a network that the user brought."""


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What is known of a backbone before its weights are found.

    Attributes
    ----------
    name : str
        As the user writes it; of timm's with the tag of the weights: ``timm/resnet50.a1_in1k``.
    library, architecture : str
        The package that builds the network (``"timm"`` or ``"torchvision"``) and its name there.
    weights : str
        What the weights are called there; empty if there are none.
    weights_file : str
        Name of their file in torch's hub cache, or in the package.
    url : str
        Where it is downloaded from.
    hub : str
        The repository of the Hugging Face hub that has them, as a ``.safetensors`` file.
    package : str
        The installed package that brings the file, or empty.
    classifier : tuple of str
        The network's last layers, which are removed; their input is the feature. More than one where two share it.
    layers : tuple of (str, int)
        The stages, from the image to the top, and the penultimate layer, with the length of a row (averaged over
        the image). Rows can be taken of any other module, too.
    parameters, multiply_adds : int
        Of the whole network, the removed classifier included; multiply-adds of one image.
    preprocessing : Preprocessing
        As the weights were trained.
    facts : tuple of (str, str)
        What the library says of the weights: accuracy, licence, recipe.
    """

    name: str
    library: str
    architecture: str
    weights: str
    weights_file: str
    package: str
    classifier: tuple[str, ...]
    layers: tuple[tuple[str, int], ...]
    parameters: int
    multiply_adds: int
    preprocessing: Preprocessing
    url: str = ""
    hub: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def dim(self, layer: str = PENULTIMATE) -> int:
        """Length of a row of this stage, or of the penultimate layer."""
        return dict(self.layers)[layer]

    @property
    def stages(self) -> list[str]:
        """Names of the stages, from the image to the top."""
        return [name for name, _ in self.layers if name != PENULTIMATE]

    def of_file(self, name: str) -> Self:
        """Return the same network with the weights of a local file, of which no score or licence is known."""
        return replace(self, weights=name, weights_file=name, url="", hub="", facts=())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        pre = data["preprocessing"]
        pre = Preprocessing(**(pre | {"mean": tuple(pre["mean"]), "std": tuple(pre["std"])}))
        pairs = {name: tuple((a, b) for a, b in data[name]) for name in ("layers", "facts")}
        return cls(**(data | pairs | {"classifier": tuple(data["classifier"]), "preprocessing": pre}))


@dataclass(frozen=True, slots=True)
class Rows:
    """What of a network becomes rows.

    Attributes
    ----------
    layer : str
        ``"penultimate"``, ``"output"`` (what the classifier says), or the name of a module.
    dim : int
        Length of a row.
    pooling : str
        Of `POOLINGS`: how its output becomes a row. ``"avg"`` of the penultimate layer is the network's own way.
    l2 : bool
        Whether rows are divided by their length.
    layout : str
        How its output is to be read; see :class:`Layer`.
    prefix : int
        Tokens that are not of a place.
    parts : tuple of Rows
        Of rows of several layers side by side, those of each layer, in their order; empty for rows of one layer.
    """

    layer: str
    dim: int
    pooling: str = "avg"
    l2: bool = False
    layout: str = "vector"
    prefix: int = 0
    parts: tuple[Rows, ...] = ()

    @classmethod
    def joined(cls, layer: str, parts: Sequence[Rows], pooling: str, *, l2: bool = False) -> Self:
        """Rows of several layers side by side.

        Parameters
        ----------
        layer : str
            What they are called together.
        parts : sequence of Rows
            Of one layer each.
        pooling : str
            The one that was asked for; parts that cannot be pooled are as they are.
        l2 : bool
            Whether the whole rows are divided by their length.
        """
        return cls(layer, sum(part.dim for part in parts), pooling, l2, parts=tuple(parts))

    @classmethod
    def of(cls, layer: Layer, pooling: str, *, l2: bool = False) -> Self:
        """Rows of a layer.

        Raises
        ------
        BackboneError
            If its output cannot be pooled like this.
        """
        if layer.layout == "vector" and pooling != "avg":
            raise BackboneError(f"{layer.name} puts out one vector for an image: there is nothing to pool")
        prefix = layer.prefix
        if pooling == "cls" and not prefix:
            raise BackboneError(f"{layer.name} has no class token: pooling 'cls' is for transformers that have one")
        dim = layer.channels
        if pooling == "avg+max":
            dim *= 2
        elif pooling == "flatten":
            dim = 1
            for length in layer.shape:
                dim *= length
            dim -= prefix * layer.channels
        elif pooling.startswith("grid"):
            n = int(pooling[4:])
            places = _places(layer)
            if places is None or n > min(places):
                raise BackboneError(f"{layer.name} has {_said(layer)}, of which no {n} x {n} parts can be made")
            dim *= n * n
        return cls(layer.name, dim, pooling, l2, layer.layout, prefix)


def hash_in(name: str) -> str:
    """The start of the SHA-256 that published files have at the end of their names; empty if there is none."""
    end = Path(name).stem.rpartition("-")[2]
    return end if re.fullmatch("[0-9a-f]{8,64}", end) else ""


def check_pooling(pooling: object) -> str:
    """Raise BackboneError unless it is one."""
    if isinstance(pooling, str) and (pooling in POOLINGS[:-1] or re.fullmatch(r"grid[1-9]\d?", pooling)):
        return pooling
    raise BackboneError(f"no pooling called {pooling!r}. There are: {', '.join(POOLINGS)} (such as grid3).")


def _places(layer: Layer) -> tuple[int, int] | None:
    if layer.layout == "map":
        return layer.shape[1], layer.shape[2]
    if layer.layout == "map-last":
        return layer.shape[0], layer.shape[1]
    side = int((layer.shape[0] - layer.prefix) ** 0.5 + 0.5)
    return (side, side) if side * side == layer.shape[0] - layer.prefix else None


def _said(layer: Layer) -> str:
    places = _places(layer)
    return f"{layer.shape[0]} tokens" if places is None else f"{places[0]} x {places[1]} places"


@dataclass(frozen=True)
class Backbone:
    """A backbone whose weights are at hand.

    Attributes
    ----------
    spec : BackboneSpec
        The network.
    weights_path : Path or None
        The weight file; None of a network that the user brought.
    found_in : str
        How it was found: ``"file"``, ``"package"``, ``"torch hub cache"``, ``"Hugging Face cache"``, ``"download"`` or
        ``"module"``.
    rows : Rows
        What of it becomes rows.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of the arithmetic it is to be run with.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What prepares its images.
    flip : bool
        Whether a row is the mean of that of the image and that of its mirror image.
    module : torch.nn.Module or None
        The network that the user brought.
    own_layer : str or None
        The layer of the rows of the saved model that the network is from.
    """

    spec: BackboneSpec
    weights_path: Path | None
    found_in: str
    rows: Rows
    precision: str = "float32"
    decoder: str = "auto"
    flip: bool = False
    module: nn.Module | None = field(default=None, compare=False)
    own_layer: str | None = field(default=None, compare=False)

    @property
    def layer(self) -> str:
        """Where its rows are taken."""
        return self.rows.layer

    @property
    def network(self) -> Backbone:
        """The same without what does not change its network: two of one network are equal."""
        top = OUTPUT if self.layer == OUTPUT else PENULTIMATE
        return replace(self, rows=Rows(top, self.spec.dim() if top == PENULTIMATE else self.rows.dim), decoder="auto")

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
        return FeatureSpace(
            backbone=self.spec.name,
            weights=self._digest(),
            layer=self.layer,
            pooling=self.rows.pooling,
            precision=self.precision,
            dim=self.rows.dim,
            preprocessing=self.preprocessing,
            flip=self.flip,
            l2=self.rows.l2,
            blocks=tuple((part.layer, part.dim) for part in self.rows.parts),
        )

    def _digest(self) -> str:
        if self.weights_path is None:
            from .network import module_digest

            assert self.module is not None
            return module_digest(self.module)
        try:
            check_regular(self.weights_path)
            weights = file_sha256(self.weights_path)
        except OSError as error:
            raise WeightsError(f"cannot read the weight file {self.weights_path}: {error.strerror}") from error
        if self.found_in != "file" and not weights.startswith(self._promised()):
            raise WeightsError(
                f"the weight file {self.weights_path} is damaged: its SHA-256 is {weights[:8]}..., not the one in "
                "its name. Delete it and fetch it again."
            )
        return weights

    def _promised(self) -> str:
        """The start of the SHA-256 that a published file has: in its name, or in that of Hugging Face's blob."""
        assert self.weights_path is not None
        if self.spec.package or self.weights_path.name == self.spec.weights_file:
            return hash_in(self.spec.weights_file)
        blob = Path(os.path.realpath(self.weights_path)).name
        return blob if re.fullmatch("[0-9a-f]{64}", blob) else ""
