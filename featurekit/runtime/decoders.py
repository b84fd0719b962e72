"""Decoders: from the bytes of image files to the pixels that networks take."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BackboneError, ImageError
from ..fingerprint import Preprocessing
from ..images import Room, Stored, decode_fast, is_fast, max_pixels, open_image, perceptual_hash, prepare, prepare_fast

logger = logging.getLogger(__name__)

# How many times the size that is needed scaled decoding leaves. Measured (tests/benchmarks/decoding.py): at twice, a
# photo of 24 megapixels is prepared three times as fast and its row has a cosine of about 0.999 to the exact one; at
# once, about 0.994.
_SCALED_GAP = 2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded image.

    Attributes
    ----------
    pixels : dict of Preprocessing to ndarray of uint8, shape (crop, crop, 3)
    perceptual : bytes
        Its perceptual hash. Empty if it has none, or none was asked for.
    """

    pixels: dict[Preprocessing, NDArray[np.uint8]]
    perceptual: bytes = b""


class Decoder(Protocol):
    """Prepares images. Called by several threads."""

    chunk: int
    """How many images at a time suit it."""

    description: str
    """Libraries and versions, for provenance."""

    def __call__(
        self, images: Sequence[bytes | Image.Image], wanted: Sequence[set[Preprocessing]], *, hashed: bool = False
    ) -> list[Prepared | ImageError]:
        """Decode files, or take pictures in mode RGB, and prepare them.

        Parameters
        ----------
        images : sequence of bytes or PIL.Image.Image
        wanted : sequence of set of Preprocessing
            For each image.
        hashed : bool
            Compute perceptual hashes as well.

        Returns
        -------
        list of Prepared or ImageError
            For each image; the error says why it cannot be decoded.
        """
        ...


@cache
def load_decoder(name: str, device: str) -> Decoder:
    """The decoder that a feature space names; see :attr:`Preprocessing.decoder`.

    Parameters
    ----------
    name : {"auto", "pillow", "scaled", "torchcodec"}
    device : str
        As for :func:`load_runtime`. Of several the first.

    Raises
    ------
    BackboneError
        If it cannot use this device, or its libraries are not installed.
    """
    max_pixels()  # Nonsense in its variable is said once, not for each image.
    if name == "torchcodec":
        from .torchcodec_decoder import TorchcodecDecoder

        return TorchcodecDecoder(device.split(",")[0].strip())
    if name == "pillow":
        return PillowDecoder()
    if is_fast():
        return _FastDecoder(scaled=name == "scaled")
    missing = "simplejpeg and cykooz-resizer are not both installed"
    if name == "scaled":
        raise BackboneError(f"{missing}, which the decoder 'scaled' needs. Use 'auto'.")
    logger.info("%s: Pillow decodes, which takes twice as long", missing)
    return PillowDecoder()


class PillowDecoder:
    """Pillow alone: the reference."""

    chunk = 1

    def __init__(self) -> None:
        self.description = _versions("pillow")

    def __call__(
        self, images: Sequence[bytes | Image.Image], wanted: Sequence[set[Preprocessing]], *, hashed: bool = False
    ) -> list[Prepared | ImageError]:
        """Decode and prepare images; see :class:`Decoder`."""
        return [self._one(image, wishes, hashed) for image, wishes in zip(images, wanted, strict=True)]

    def _one(self, image: bytes | Image.Image, wishes: set[Preprocessing], hashed: bool) -> Prepared | ImageError:
        try:
            with Room() as room:
                return self._prepared(image, wishes, hashed, room)
        except ImageError as error:
            return error

    def _prepared(self, image: bytes | Image.Image, wishes: set[Preprocessing], hashed: bool, room: Room) -> Prepared:
        picture = open_image(image, room) if isinstance(image, bytes) else image
        return Prepared(
            {wish: prepare(picture, wish.resize, wish.crop, wish.interpolation, squash=wish.squash) for wish in wishes},
            perceptual_hash(np.asarray(picture)) if hashed else b"",
        )


class _FastDecoder(PillowDecoder):
    def __init__(self, *, scaled: bool) -> None:
        self.description = _versions("simplejpeg", "cykooz-resizer", "pillow") + (", scaled" if scaled else "")
        self._scaled = scaled

    def _prepared(self, image: bytes | Image.Image, wishes: set[Preprocessing], hashed: bool, room: Room) -> Prepared:
        least = _SCALED_GAP * max(wish.resize for wish in wishes) if self._scaled and wishes else None
        stored = decode_fast(image, least, room) if isinstance(image, bytes) else Stored(np.asarray(image))
        return Prepared(
            {
                wish: prepare_fast(stored, wish.resize, wish.crop, wish.interpolation, squash=wish.squash)
                for wish in wishes
            },
            perceptual_hash(stored.upright) if hashed else b"",
        )


def _versions(*packages: str) -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)
