"""From any of Pillow's modes to RGB with 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError

_STRIP = 2**22  # pixels that are converted at once


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: 16 bits scaled to 8, transparency laid over white.

    A gray image of 16 bits without a value from 4096 on is taken for one of 12 bits, as cameras of microscopes and
    medical devices write them: its white is 4095. Taken for 16 bits, it would be nearly black.

    Raises
    ------
    ImageError
        For floating-point pixels, whose range nobody declares.

    Examples
    --------
    >>> from PIL import Image
    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    >>> to_rgb(Image.fromarray(np.array([[65535]], dtype=np.uint16))).getpixel((0, 0))
    (255, 255, 255)
    >>> to_rgb(Image.fromarray(np.array([[4095]], dtype=np.uint16))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rgb = Image.new("RGB", image.size)
    for top, strip in _rgb_strips(image):
        rgb.paste(strip, (0, top))
    return rgb


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Convert any Pillow mode to an array of shape (height, width, 3), as :func:`to_rgb` does."""
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top, strip in _rgb_strips(image):
        pixels[top : top + strip.height] = np.asarray(strip)
    return pixels


def _rgb_strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the rows of an image in RGB, some at a time, so that a conversion never holds a second whole image."""
    white = _white(image)
    transparent = image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    for top, strip in _strips(image):
        if white is not None:
            # Exact in 32 bits, and rounded to the nearest.
            values = np.asarray(strip).astype(np.uint32)
            yield top, Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")
        elif transparent:
            rgba = strip.convert("RGBA")
            paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            yield top, Image.alpha_composite(paper, rgba).convert("RGB")
        else:
            yield top, strip if strip.mode == "RGB" else strip.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        whole = rows >= image.height
        yield top, image if whole else image.crop((0, top, image.width, min(image.height, top + rows)))


def _white(image: Image.Image) -> int | None:
    """The value of white in a gray image of more than 8 bits; None for other images."""
    if image.mode == "F":
        raise ImageError("floating-point pixels have no declared range; save the image with 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return None
    extrema = [(int(values.min()), int(values.max())) for values in (np.asarray(strip) for _, strip in _strips(image))]
    low, high = min(low for low, _ in extrema), max(high for _, high in extrema)
    if low < 0 or high > 65535:
        raise ImageError(f"integer pixels from {low} to {high}: expected 0 to 65535 (16 bits)")
    return 4095 if high <= 4095 else 65535
