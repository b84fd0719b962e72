"""Decoding by TorchCodec and resizing by PyTorch, on the device of the network: on CUDA, by the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .._optional import require
from ..errors import ImageError
from ..fingerprint import Preprocessing
from ..images import ORIENTATIONS, Room, centre_box, jpeg_orientation, open_pixels, perceptual_hash
from .decoders import Prepared
from .torch_runtime import pick_device


class TorchcodecDecoder:
    """Prepares images on a device: ordinary JPEGs are decoded there, everything else by Pillow.

    On a GPU, decoder, chroma upsampling and rounding are NVIDIA's, so that pixels are near Pillow's but not equal.
    That is why the decoder is part of a feature space.

    Parameters
    ----------
    device : str
        ``"auto"`` or a torch device.

    Raises
    ------
    BackboneError
        If there is no such device here.
    MissingExtraError
        If TorchCodec is not installed.
    """

    def __init__(self, device: str) -> None:
        self._decode = require("torchcodec.decoders", extra="gpu", purpose="The decoder 'torchcodec'").decode_jpeg
        self._device = pick_device(device)
        # A GPU decodes many files at a time; a thread of a CPU is best at one.
        self.chunk = 32 if self._device.type == "cuda" else 1
        self.description = f"torchcodec {metadata.version('torchcodec')} on {self._device}"

    def __call__(
        self, images: Sequence[bytes | Image.Image], wanted: Sequence[set[Preprocessing]], *, hashed: bool = False
    ) -> list[Prepared | ImageError]:
        """Decode and prepare images; see :class:`~featurekit.runtime.decoders.Decoder`."""
        try:
            with torch.inference_mode(), Room() as room:
                return [
                    image if isinstance(image, ImageError) else _prepared(image, wishes, hashed)
                    for image, wishes in zip(self._decoded(images, room), wanted, strict=True)
                ]
        except torch.cuda.OutOfMemoryError:  # of many large photos at once
            if len(images) == 1:
                raise
            torch.cuda.empty_cache()
            return [self([image], [wishes], hashed=hashed)[0] for image, wishes in zip(images, wanted, strict=True)]

    def _decoded(self, images: Sequence[bytes | Image.Image], room: Room) -> list[Tensor | ImageError]:
        """Upright RGB images (3, height, width) on the device."""
        decoded: list[Tensor | ImageError | None] = [None] * len(images)
        # A chunk of several is decoded in the memory of a GPU.
        counted = room if len(images) == 1 else None
        orientations = [jpeg_orientation(image, counted) if isinstance(image, bytes) else None for image in images]
        ordinary = [i for i, orientation in enumerate(orientations) if orientation is not None]
        for i, tensor in zip(ordinary, self._jpegs([_without_exif(images[i]) for i in ordinary]), strict=True):
            if tensor is not None:
                decoded[i] = _upright(tensor, orientations[i] or 1)
        return [found if found is not None else self._by_pillow(images[i], room) for i, found in enumerate(decoded)]

    def _jpegs(self, files: Sequence[Any]) -> list[Tensor | None]:
        """Decode JPEG files; None where the decoder refuses one, which is for Pillow to judge then."""
        if not files:
            return []
        try:
            return list(self._decode(list(files), device=self._device))
        except RuntimeError:
            return [None] if len(files) == 1 else [tensor for data in files for tensor in self._jpegs([data])]

    def _by_pillow(self, image: Any, room: Room) -> Tensor | ImageError:
        try:
            pixels = open_pixels(image, room) if isinstance(image, bytes) else np.array(image)
        except ImageError as error:
            return error
        return torch.from_numpy(pixels).permute(2, 0, 1).to(self._device)


def _without_exif(data: Any) -> Any:
    """The same file, of which no decoder knows the orientation: some apply it, on some devices."""
    blank, at = bytearray(data), 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in {b"\xda", b""}:  # up to the scan
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1:
            blank[at + 4 : at + 2 + length] = bytes(len(data[at + 4 : at + 2 + length]))
        at += 2 + length
    return bytes(blank)


def _upright(image: Tensor, orientation: int) -> Tensor:
    left_right, top_bottom, exchanged = ORIENTATIONS[orientation]
    image = image.flip([axis for axis, mirrored in ((1, top_bottom), (2, left_right)) if mirrored])
    return image.transpose(1, 2) if exchanged else image


def _prepared(image: Tensor, wishes: set[Preprocessing], hashed: bool) -> Prepared:
    pixels = {wish: _prepare(image, wish) for wish in wishes}
    return Prepared(pixels, perceptual_hash(image.permute(1, 2, 0).cpu().numpy()) if hashed else b"")


def _prepare(image: Tensor, wish: Preprocessing) -> NDArray[np.uint8]:
    left, top, right, bottom = centre_box(image.shape[2], image.shape[1])
    image = image[:, top:bottom, left:right]
    _, height, width = image.shape
    shorter = min(width, height)
    size = (int(wish.resize * height / shorter), int(wish.resize * width / shorter))
    if wish.squash:
        size = (wish.resize, wish.resize)
    # Antialiased resizing of integers is there on CPUs only.
    batch = image[None] if image.device.type == "cpu" else image[None].to(torch.float32)
    resized = torch.nn.functional.interpolate(batch, size, mode=wish.interpolation, antialias=True)
    top, left = (round((length - wish.crop) / 2.0) for length in size)
    square = resized[0, :, top : top + wish.crop, left : left + wish.crop]
    if square.dtype != torch.uint8:
        square = square.round_().clamp_(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = square.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels
