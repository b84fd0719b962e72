"""From the bytes of an image file to upright RGB pixels, and from those to what a network takes.

Pixels are Pillow's own, so that features equal those of any pipeline that follows the published
preprocessing of the weights.
"""

from __future__ import annotations

import io
import os
import stat

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError
from .spelling import spelled_otherwise

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What may be opened. An allow list: Pillow also knows formats that start other programs (EPS) or
that nobody photographs in."""

MAX_PIXELS = 178_956_970
"""Refuse larger images. This is where Pillow itself stops, about half a gigabyte of RGB."""

# Beyond this aspect ratio the square is cut out before resizing: the resized long side would be huge
# (a 60000 x 2 image would become 7680000 x 256), and all of it but the centre is thrown away.
_EXTREME_ASPECT = 16

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def open_image(data: bytes) -> Image.Image:
    """Decode the bytes of an image file into an upright RGB image.

    Of animations and multi-page files, the first picture. The EXIF orientation is applied.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``.

    Raises
    ------
    ImageError
        If the bytes are not an image of an accepted format, are cut short, or would need more than
        `MAX_PIXELS` pixels; the message is the reason, fit for a ledger.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("L", (8, 4), 200).save(buffer, "PNG")
    >>> open_image(buffer.getvalue())
    <PIL.Image.Image image mode=RGB size=8x4 at 0x...>
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=_available_formats()) as image:
            _check_size(image.width, image.height)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image: {_looks_like(data)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"too large: more than {MAX_PIXELS} pixels (decompression bomb?)") from None
    except Exception as error:  # Decoders raise OSError, ValueError, SyntaxError, struct.error, KeyError ...
        raise ImageError(f"damaged or cut short: {_one_line(error)}") from error


def jpeg_orientation(data: bytes) -> int | None:
    """EXIF's orientation of an ordinary JPEG file, 1 to 8: one that every JPEG decoder turns into the same RGB pixels.

    Returns
    -------
    int or None
        None for anything else (other formats, CMYK, too large, damaged), which is for :func:`open_image` to judge.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (8, 4)).save(buffer, "JPEG")
    >>> jpeg_orientation(buffer.getvalue()), jpeg_orientation(b"GIF89a")
    (1, None)
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            if image.mode not in {"RGB", "L"} or image.width * image.height > MAX_PIXELS:
                return None
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever it is, Pillow raises it again when it opens the file in earnest
        return None
    return orientation if orientation in range(1, 9) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: 16 bits scaled to 8, transparency laid over white.

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
    """
    mode = image.mode
    if mode == "F":
        raise ImageError("floating-point pixels have no declared range; save the image with 8 or 16 bits")
    if mode == "I" or mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ImageError(f"integer pixels from {low} to {high}: expected 0 to 65535 (16 bits)")
        # 65535 / 257 = 255 exactly. Adding 128 rounds to nearest.
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def prepare(
    image: Image.Image, resize: int, crop: int, interpolation: str, *, squash: bool = False
) -> NDArray[np.uint8]:
    """Resize the shorter side, cut the centre square, and return its pixels.

    Size, rounding and filter are those of torchvision's ``Resize`` and ``CenterCrop`` on PIL images,
    so the pixels are equal to theirs. Only images more than 16 times as long as wide are cut before
    resizing, to bound memory.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode ``RGB``.
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
    >>> from PIL import Image
    >>> prepare(Image.new("RGB", (640, 480)), 256, 224, "bicubic").shape
    (224, 224, 3)
    """
    box = centre_box(*image.size)
    if box != (0, 0, *image.size):
        image = image.crop(box)
    width, height = image.size
    if squash:
        size = (resize, resize)
    elif width <= height:
        size = (resize, int(resize * height / width))
    else:
        size = (int(resize * width / height), resize)
    resized = image if image.size == size else image.resize(size, _RESAMPLING[interpolation])
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def centre_box(width: int, height: int) -> tuple[int, int, int, int]:
    """What to cut out of an image before it is resized: all of it, or of a ribbon the part around its centre.

    Returns
    -------
    tuple of int
        Left, top, right, bottom.

    Examples
    --------
    >>> centre_box(640, 480), centre_box(60000, 2)
    ((0, 0, 640, 480), (29984, 0, 30016, 2))
    """
    side = _EXTREME_ASPECT * min(width, height)
    left, top = max(0, (width - side) // 2), max(0, (height - side) // 2)
    return left, top, min(width, left + side), min(height, top + side)


def read_file(path: str | os.PathLike[str]) -> tuple[bytes, os.stat_result]:
    """Read a whole image file of this machine.

    Returns
    -------
    data : bytes
    info : os.stat_result
        Taken before reading: should the file change meanwhile, the next run sees another time and reads it
        again.

    Raises
    ------
    ImageError
        If it cannot be read; the message is the reason, fit for a ledger.
    """
    try:
        info = os.stat(path)
        # Refuse pipes, sockets and devices before opening them: opening one can block for ever.
        if not stat.S_ISREG(info.st_mode):
            what = "a directory" if stat.S_ISDIR(info.st_mode) else "a device, pipe or socket"
            raise ImageError(f"{what}, not an image file")
        with open(path, "rb") as file:
            return file.read(), info
    except FileNotFoundError:
        if os.path.islink(path):
            raise ImageError("a symbolic link to a missing file") from None
        other = spelled_otherwise(os.fsdecode(path))
        hint = f"; one of that name is spelled otherwise: {other}" if other else ""
        raise ImageError(f"no such file{hint}") from None
    except ImageError:  # a ValueError, too
        raise
    except OSError as error:
        raise ImageError(f"unreadable: {error.strerror or error}") from None
    except ValueError as error:  # A null character in a path from a manifest.
        raise ImageError(f"not a usable path: {error}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width} x {height} pixels, more than {MAX_PIXELS} (decompression bomb?)")


def _available_formats() -> list[str]:
    # Builds of Pillow differ in AVIF, WebP and JPEG 2000; naming an absent one is a KeyError in there.
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _looks_like(data: bytes) -> str:
    head = data[:512]
    for start, name in ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"RIFF", "WebP")):
        if head.startswith(start):
            return f"starts as {name} does, but is damaged or cut short"
    lower = head.lstrip().lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        return "the content is an HTML page (a failed download?)"
    if b"version https://git-lfs" in lower:
        return "the content is a Git LFS pointer (run 'git lfs pull')"
    if lower.startswith(b"%pdf"):
        return "the content is a PDF document"
    if head[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1"}:
        return "the content is HEIC, which is not supported; convert it to JPEG"
    if not head.strip(b"\0"):
        return "the content is all zero bytes (an interrupted copy?)"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the content is text"
    return f"no {', '.join(_available_formats())} content found"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, OSError) else f"{type(error).__name__}: {text}"
