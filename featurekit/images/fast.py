"""The fast way from bytes to what a network takes: libjpeg-turbo's pixels as they are, and a resize with SIMD.

Both libraries ship their binary code: ``simplejpeg`` gives Pillow's own pixels in two thirds of the time, and
``cykooz_resizer`` resizes as Pillow does in a quarter. Its filter weights have 16 bits where Pillow's have 22, so
that one pixel in two hundred is rounded the other way: on photos, the mean difference to Pillow is 0.005 of 255
and the largest 2 (``tests/benchmarks/decoding.py``).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .budget import Room
from .decode import centre_box, jpeg_orientation, open_pixels

_STRIP = 2**23  # pixels that are resized at once
_SUPPORT = 2  # pixels that the widest filter, bicubic, looks at to either side

ORIENTATIONS = {
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}
"""EXIF's orientations: what makes a stored image upright. Mirror its rows (left to right), mirror its columns (top to
bottom), and then exchange rows and columns."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as its file stores it: to turn a photo of 24 megapixels upright takes longer than to decode it.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        RGB.
    orientation : int
        EXIF's, from 1 (upright) to 8.
    """

    pixels: NDArray[np.uint8]
    orientation: int = 1

    @property
    def upright(self) -> NDArray[np.uint8]:
        """The pixels as they are to be seen, a view."""
        left_right, top_bottom, exchanged = ORIENTATIONS[self.orientation]
        pixels = self.pixels[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
        return pixels.swapaxes(0, 1) if exchanged else pixels


@cache
def is_fast() -> bool:
    """Whether both libraries are installed; there are platforms without them."""
    return all(importlib.util.find_spec(name) is not None for name in ("simplejpeg", "cykooz_resizer"))


def decode_fast(data: bytes, least: int | None = None, room: Room | None = None) -> Stored:
    """Decode the bytes of an image file: an ordinary JPEG with simplejpeg, everything else with Pillow.

    Parameters
    ----------
    data : bytes
        The whole file.
    least : int, optional
        Decode a JPEG to half its size or less, as long as the shorter side keeps this many pixels. Default: to its
        own size.
    room : Room, optional
        Where the pixels count for as long as they are used. Default: while they are decoded.

    Returns
    -------
    Stored
        Without `least`, its pixels equal those of :func:`featurekit.images.open_image`.

    Raises
    ------
    ImageError
        As :func:`featurekit.images.open_image` does.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (8, 4), "red").save(buffer, "JPEG")
    >>> decode_fast(buffer.getvalue()).pixels.shape
    (4, 8, 3)
    """
    if room is None:
        with Room() as own:
            return decode_fast(data, least, own)
    orientation = jpeg_orientation(data, room)
    if orientation is not None:
        import simplejpeg

        try:
            height, width = (0, 0)
            if least is not None:
                height, width, _, _ = simplejpeg.decode_jpeg_header(data)
                shorter = min(height, width)
                height, width = -(-least * height // shorter), -(-least * width // shorter)
            # Strict: where libjpeg has anything to complain of, Pillow decides what that means.
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=2, strict=True)
            return Stored(pixels, orientation)
        except ValueError:
            pass
    return Stored(open_pixels(data, room))


def prepare_fast(
    image: Stored, resize: int, crop: int, interpolation: str, *, squash: bool = False
) -> NDArray[np.uint8]:
    """Resize the shorter side, cut the centre square, and return its pixels, upright.

    The same as :func:`featurekit.images.prepare` to rounding; see above.

    Parameters
    ----------
    image : Stored
    resize, crop : int
        Length of the shorter side after resizing, and side of the square, in pixels; ``crop <= resize``.
    interpolation : {"bicubic", "bilinear"}
        Antialiased.
    squash : bool
        Both sides become `resize` long.

    Returns
    -------
    ndarray of uint8, shape (crop, crop, 3)

    Examples
    --------
    >>> prepare_fast(Stored(np.zeros((480, 640, 3), np.uint8)), 256, 224, "bicubic").shape
    (224, 224, 3)
    """
    left_right, top_bottom, exchanged = ORIENTATIONS[image.orientation]
    stored = _centre(image.pixels, left_right, top_bottom, exchanged)
    height, width, _ = stored.shape
    shorter = min(width, height)
    wide, high = (resize, resize) if squash else (int(resize * width / shorter), int(resize * height / shorter))
    x, y = _Span.of(width, wide, crop, left_right), _Span.of(height, high, crop, top_bottom)
    pixels = stored[y.first : y.last, x.first : x.last]
    # Pillow resizes what the eye sees along its rows first, and rounds in between.
    if exchanged:
        pixels = _resize(_resize(pixels, 0, y, crop, interpolation), 1, x, crop, interpolation)
    else:
        pixels = _resize(_resize(pixels, 1, x, crop, interpolation), 0, y, crop, interpolation)
    pixels = pixels[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if exchanged else pixels)


def _centre(pixels: NDArray[np.uint8], left_right: bool, top_bottom: bool, exchanged: bool) -> NDArray[np.uint8]:
    """Of a ribbon the part that :func:`featurekit.images.prepare` cuts out of the upright image."""
    height, width, _ = pixels.shape
    if exchanged:
        top, left, bottom, right = centre_box(height, width)
    else:
        left, top, right, bottom = centre_box(width, height)
    if left_right:
        left, right = width - right, width - left
    if top_bottom:
        top, bottom = height - bottom, height - top
    return pixels[top:bottom, left:right]


@dataclass(frozen=True, slots=True)
class _Span:
    """What the square needs of one side of the image: from `start` to `stop`, and the whole pixels around."""

    start: float
    stop: float
    first: int
    last: int

    @classmethod
    def of(cls, length: int, resized: int, crop: int, mirrored: bool) -> _Span:
        scale = length / resized
        offset = round((resized - crop) / 2.0)  # as torchvision's CenterCrop rounds
        if mirrored:
            offset = resized - crop - offset
        start, stop = offset * scale, min((offset + crop) * scale, float(length))
        reach = math.ceil(_SUPPORT * max(scale, 1.0)) + 1  # of the filter beyond the box
        return cls(start, stop, max(0, math.floor(start) - reach), min(length, math.ceil(stop) + reach))


def _resize(pixels: NDArray[np.uint8], axis: int, span: _Span, crop: int, interpolation: str) -> NDArray[np.uint8]:
    """One pass: `span` of this axis becomes `crop` pixels."""
    import cykooz_resizer as cykooz

    # The library takes copies. Lines of the other axis do not depend on each other.
    lines = max(1, _STRIP // pixels.shape[axis])
    if lines < pixels.shape[1 - axis]:
        parts = np.split(pixels, range(lines, pixels.shape[1 - axis], lines), axis=1 - axis)
        return np.concatenate([_resize(part, axis, span, crop, interpolation) for part in parts], axis=1 - axis)

    height, width, _ = pixels.shape
    start, length = span.start - span.first, min(span.stop - span.start, pixels.shape[axis] - (span.start - span.first))
    box = (start, 0, length, height) if axis else (0, start, width, length)
    size = (crop, height) if axis else (width, crop)
    options = cykooz.ResizeOptions(resize_alg=_algorithm(interpolation))
    options.crop_box = cykooz.CropBox(*box)
    source = cykooz.ImageData(width, height, cykooz.PixelType.U8x3, pixels.tobytes())
    target = cykooz.ImageData(*size, cykooz.PixelType.U8x3)
    cykooz.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), dtype=np.uint8).reshape(size[1], size[0], 3)


@cache
def _algorithm(interpolation: str) -> Any:
    import cykooz_resizer as cykooz

    # Catmull and Rom's is what Pillow calls bicubic.
    filters = {"bicubic": cykooz.FilterType.catmull_rom, "bilinear": cykooz.FilterType.bilinear}
    return cykooz.ResizeAlg.convolution(filters[interpolation])
