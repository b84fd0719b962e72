"""Identity: of a feature space (the fingerprint) and of an image (the content hash)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .folders import open_regular

HASH_BYTES = 32
"""Length of a content hash (SHA-256) in bytes."""

PRECISIONS = {"fp32": "float32", "tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
"""What users call a precision, and what a feature space calls it."""

DECODERS = ("auto", "pillow", "scaled", "torchcodec")
"""What turns files into pixels, see :attr:`Preprocessing.decoder`."""

FAITHFUL_DECODERS = ("auto", "pillow")
"""Those whose pixels are Pillow's, to rounding."""

PENULTIMATE = "penultimate"
"""The layer that ends in what the removed classifier saw."""

STAGES = "stages"
"""The stem and all stages side by side: the whole network in one row."""

OUTPUT = "output"
"""What the classifier says that is removed otherwise."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to an upright RGB image before the network sees it.

    Attributes
    ----------
    resize : int
        Length in pixels to which the shorter side is resized, keeping the aspect ratio.
    crop : int
        Side in pixels of the square that is then cut from the centre.
    interpolation : {"bicubic", "bilinear"}
        Antialiased, as Pillow does it.
    mean, std : tuple of float
        Per channel, for pixels scaled to 0..1: ``(pixel / 255 - mean) / std``.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What decodes and resizes. ``"auto"`` is the fastest on a CPU that gives Pillow's pixels to rounding (mean
        difference 0.005 of 255, which moves rows by a cosine of 0.9999 or more), ``"pillow"`` the reference itself.
        ``"scaled"`` decodes large JPEGs at a half to an eighth of their size, where twice the size that is needed
        remains; ``"torchcodec"`` decodes on the device of the network.
    squash : bool
        Whether both sides become `resize` long, without keeping the aspect ratio, as some networks were trained.
    changed : bool
        Whether `resize` and `crop` are the user's, and not those that the weights were trained with.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    decoder: str = "auto"
    squash: bool = False
    changed: bool = False

    def __str__(self) -> str:
        whole = f"both sides {self.resize}" if self.squash else f"shorter side {self.resize}"
        return f"{whole} ({self.interpolation}), centre crop {self.crop}"


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """Everything that decides what a row means. Rows of two feature spaces are never mixed.

    Attributes
    ----------
    backbone : str
        Name of the network.
    weights : str
        SHA-256 of the weight file, hexadecimal.
    layer : str
        Where the features are taken; ``"penultimate"`` is the input of the removed classifier, ``"stages"`` the whole
        network. Several layers that make one row are joined by ``+``.
    pooling : str
        How a feature map becomes a vector; of the penultimate layer ``"avg"`` is the network's own way.
    precision : str
        Numeric precision of the network's arithmetic. Exact float32 is one feature space whatever computes
        it, because runtimes differ by rounding only (a relative error of about 2e-6); every lower precision
        is a space of its own, because it moves rows by percents.
    dim : int
        Length of one row.
    preprocessing : Preprocessing
        What happens to an image before the network sees it.
    flip : bool
        Whether a row is the mean of that of the image and that of its mirror image.
    l2 : bool
        Whether rows have the length 1.
    blocks : tuple of (str, int)
        Of a row of several layers, the name of each layer and the number of its columns, in their order; empty for a
        row of one layer.

    Examples
    --------
    >>> from featurekit.backbones import find
    >>> space = find("efficientnet_lite0").space
    >>> space.dim, len(space.fingerprint)
    (1280, 64)
    """

    backbone: str
    weights: str
    layer: str
    pooling: str
    precision: str
    dim: int
    preprocessing: Preprocessing
    flip: bool = False
    l2: bool = False
    blocks: tuple[tuple[str, int], ...] = ()

    def __setstate__(self, state: list[Any]) -> None:
        """Take what was pickled; a pickle of an earlier version lacks the last fields."""
        for place, each in enumerate(fields(self)):
            object.__setattr__(self, each.name, state[place] if place < len(state) else each.default)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of the columns of the blocks of a row; of a row of one layer, its length."""
        return tuple(width for _, width in self.blocks) or (self.dim,)

    @property
    def columns(self) -> dict[str, slice]:
        """The columns of each layer in a row, by the layer's name."""
        ranges, start = {}, 0
        for name, width in self.blocks or ((self.layer, self.dim),):
            ranges[name] = slice(start, start + width)
            start += width
        return ranges

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON form, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def options(self) -> dict[str, Any]:
        """Layer, precision, decoder and so on in a user's words: what :func:`featurekit.backbones.find` takes."""
        pre = self.preprocessing
        return {
            "layer": self.layer,
            "pooling": self.pooling,
            "precision": next(short for short, name in PRECISIONS.items() if name == self.precision),
            "decoder": pre.decoder,
            "image_size": pre.crop if pre.changed else None,
            "crop": pre.crop / pre.resize if pre.changed else None,
            "flip": self.flip,
            "l2": self.l2,
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        data = asdict(self)
        # Not written where it is the usual: it came later than the first stores.
        for part, usual in ((data["preprocessing"], _USUAL_PREPROCESSING), (data, _USUAL)):
            for name, value in usual.items():
                if part[name] == value:
                    del part[name]
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpace:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If `text` is not the JSON of a feature space.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            pre = data.pop("preprocessing")
            space = cls(
                preprocessing=Preprocessing(
                    resize=int(pre.pop("resize")),
                    crop=int(pre.pop("crop")),
                    interpolation=str(pre.pop("interpolation")),
                    mean=_triple(pre.pop("mean")),
                    std=_triple(pre.pop("std")),
                    decoder=str(pre.pop("decoder", "auto")),
                    squash=_flag(pre.pop("squash", False)),
                    changed=_flag(pre.pop("changed", False)),
                ),
                **{name: str(data.pop(name)) for name in _TEXT_FIELDS},
                dim=int(data.pop("dim")),
                flip=_flag(data.pop("flip", False)),
                l2=_flag(data.pop("l2", False)),
                blocks=tuple(_block(each) for each in data.pop("blocks", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a feature space: {error!r}") from error
        if space.precision not in PRECISIONS.values() or space.preprocessing.decoder not in DECODERS:
            raise ValueError(f"unknown precision or decoder: {space.precision!r}, {space.preprocessing.decoder!r}")
        if not 0 < space.preprocessing.crop <= space.preprocessing.resize < _LARGEST or space.dim < 1:
            raise ValueError(f"sizes that cannot be: {space.preprocessing}, {space.dim} numbers in a row")
        widths = [width for _, width in space.blocks]
        if widths and (min(widths) < 1 or sum(widths) != space.dim or len(space.columns) != len(widths)):
            raise ValueError(f"blocks that cannot be: {space.blocks}, {space.dim} numbers in a row")
        if data or pre:
            raise ValueError(f"unknown parts of a feature space: {sorted(data) + sorted(pre)}")
        return space

    def differences(self, other: FeatureSpace) -> list[str]:
        """One line for each part in which `other` differs: ``"layer: 'a', not 'b'"``."""
        mine, theirs = _flat(asdict(self)), _flat(asdict(other))
        told = [key for key in mine if mine[key] != theirs[key]]
        if "layer" in told and "blocks" in told:
            told.remove("blocks")  # The layer says it in fewer words.
        return [f"{key}: {mine[key]!r}, not {theirs[key]!r}" for key in told]


_LARGEST = 10**6
_USUAL_PREPROCESSING = {"decoder": "auto", "squash": False, "changed": False}
_USUAL = {"flip": False, "l2": False, "blocks": ()}
_TEXT_FIELDS = ("backbone", "weights", "layer", "pooling", "precision")


def _block(pair: Any) -> tuple[str, int]:
    name, width = pair
    if not isinstance(name, str) or not isinstance(width, int) or isinstance(width, bool):
        raise TypeError(f"{pair!r} is no name of a layer with a number of columns")
    return name, width


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(data: bytes) -> bytes:
    """Content hash of an image file: SHA-256 of its bytes, 32 bytes long."""
    return hashlib.sha256(data).digest()


def pixel_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Content hash of an image that came as pixels: shape and values, 32 bytes long."""
    digest = hashlib.sha256(f"pixels {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
