"""From the bytes of an image file to upright RGB pixels, and from those to what a network takes.

Pixels are Pillow's own, so that features equal those of any pipeline that follows the published
preprocessing of the weights.
"""

from __future__ import annotations

import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from ..errors import ImageError, UnavailableError
from ..folders import open_regular
from .budget import VARIABLE, Room, max_bytes, max_pixels, too_many_bytes
from .colors import rgb_pixels, to_rgb
from .contents import check_not_raw, reason_for
from .faults import NoSuchFileError
from .spelling import spelled_otherwise

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What may be opened. An allow list: Pillow also knows formats that start other programs (EPS) or
that nobody photographs in."""

MAX_SCANS = 100
"""Refuse a JPEG of more scans; libtiff has the same limit. Encoders write about ten."""

_MAY_BE_DEEP = (b"II", b"MM", b"P5", b"P6", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
"""How TIFF, PGM, PPM and JPEG 2000 begin."""

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

# A prime number of them: the addresses of objects are multiples of 16, which would share a few locks of 64.
_LOADING = [threading.Lock() for _ in range(61)]

# Beyond this aspect ratio the square is cut out before resizing: the resized long side would be huge
# (a 60000 x 2 image would become 7680000 x 256), and all of it but the centre is thrown away.
_EXTREME_ASPECT = 16

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def open_image(data: bytes, room: Room | None = None) -> Image.Image:
    """Decode the bytes of an image file into an upright RGB image.

    Of animations and multi-page files, the first picture. The EXIF orientation is applied.

    Parameters
    ----------
    data : bytes
        The whole file.
    room : Room, optional
        Where the pixels count for as long as the image is used. Default: while it is decoded.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``.

    Raises
    ------
    ImageError
        If the bytes are not an image of an accepted format, are cut short, or would need more than
        `max_pixels` pixels; the message is the reason, fit for a ledger.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("L", (8, 4), 200).save(buffer, "PNG")
    >>> open_image(buffer.getvalue())
    <PIL.Image.Image image mode=RGB size=8x4 at 0x...>
    """
    with _opened(data, room) as image:
        return image.copy() if image.mode == "RGB" else to_rgb(image)


def open_pixels(data: bytes, room: Room | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file into an array of shape (height, width, 3), as :func:`open_image` does.

    It needs less memory than the image and an array that is made of it.
    """
    with _opened(data, room) as image:
        return rgb_pixels(image)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture in memory upright by its EXIF orientation; the picture itself is not changed.

    Returns
    -------
    PIL.Image.Image
        Mode ``RGB``.

    Raises
    ------
    ImageError
        If it cannot be loaded any more, or not completely.
    """
    if not image.width or not image.height:
        raise ImageError(f"an image of {image.width} x {image.height} pixels")
    with Room() as room, _reasons("cannot be loaded"):
        if getattr(image, "tile", None):
            room.take(image.width, image.height, image.format)  # before the lock: one that waits here blocks no other
        # Two threads may be given the same picture, and Pillow loads it when its pixels are first asked for.
        with _LOADING[id(image) % len(_LOADING)]:
            if getattr(image, "tile", None):
                _load(image)
            return to_rgb(ImageOps.exif_transpose(image))


def _load(image: Image.Image) -> None:
    """Load the pixels of a picture that was opened and not read."""
    if image.format in {"JPEG", "MPO"} and (file := getattr(image, "fp", None)) is not None:
        before = file.tell()
        file.seek(0)
        _check_scans(file.read())
        file.seek(before)
    deep = _has_deep_colors(image)
    image.load()
    _check_depth(image, deep=deep)


def jpeg_orientation(data: bytes, room: Room | None = None) -> int | None:
    """EXIF's orientation of an ordinary JPEG file, 1 to 8: one that every JPEG decoder turns into the same RGB pixels.

    Parameters
    ----------
    data : bytes
        The whole file.
    room : Room, optional
        Where its pixels count.

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
            if image.mode not in {"RGB", "L"} or has_too_many_scans(data):
                return None
            if room is not None:
                room.take(image.width, image.height, "JPEG")
            elif image.width * image.height > max_pixels():
                return None
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever it is, Pillow raises it again when it opens the file in earnest
        return None
    return orientation if orientation in range(1, 9) else 1


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
        If it cannot be read; the message is the reason, fit for a ledger. `UnavailableError` if the file may be there
        and good: a disk or a permission is missing.
    """
    try:
        info = os.stat(path)
        # Refuse pipes, sockets and devices before opening them: opening one can block for ever.
        if not stat.S_ISREG(info.st_mode):
            what = "a directory" if stat.S_ISDIR(info.st_mode) else "a device, pipe or socket"
            raise UnavailableError(f"{what}, not an image file")
        if info.st_size > max_bytes():
            raise UnavailableError(too_many_bytes(info.st_size))
        with open_regular(path) as file:
            data = file.read(info.st_size + 1)
        if len(data) > info.st_size:  # Its end may never come.
            raise UnavailableError("the file grew while it was read")
        return data, info
    except FileNotFoundError:
        raise _missing(os.fsdecode(path)) from None
    except ImageError:  # a ValueError, too
        raise
    except OSError as error:
        raise UnavailableError(f"unreadable: {error.strerror or error}") from None
    except ValueError as error:  # A null character in a path from a manifest.
        raise ImageError(f"not a usable path: {error}") from None


def _missing(path: str) -> ImageError:
    """Why there is no file: it was deleted, or what holds it is not mounted."""
    if os.path.islink(path):
        return UnavailableError("a symbolic link to a missing file")
    folder = os.path.dirname(path) or "."
    try:
        with os.scandir(folder) as entries:
            is_empty = next(entries, None) is None
    except OSError:
        is_empty = True
    if other := spelled_otherwise(path):
        return ImageError(f"no such file; one of that name is spelled otherwise: {other}")
    # The folder of a file that was deleted is still there; that of an unmounted disk is missing or empty.
    return UnavailableError("no such file: its folder is missing or empty") if is_empty else NoSuchFileError()


@contextmanager
def _opened(data: bytes, room: Room | None) -> Iterator[Image.Image]:
    """Open the bytes of an image file: loaded and upright, in its own mode."""
    if not data:
        raise ImageError("empty file (0 bytes)")
    formats = _available_formats()
    with Room() as own, _reasons("damaged or cut short"):
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError:
            raise ImageError(reason_for(data, formats)) from None
        with image:
            (room or own).take(image.width, image.height, image.format)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                check_not_raw(image.tag_v2)
            if image.format in {"JPEG", "MPO"}:
                _check_scans(data)
            deep = _has_deep_colors(image)
            image.load()
            _check_depth(image, deep=deep)
            ImageOps.exif_transpose(image, in_place=True)
            yield image


@contextmanager
def _reasons(what: str) -> Iterator[None]:
    """Turn whatever decoders raise (OSError, ValueError, SyntaxError, struct.error, ...) into a reason."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"too large: more pixels than {VARIABLE} allows (a decompression bomb?)") from None
    except MemoryError:
        raise ImageError("there is not enough memory to decode it") from None
    except Exception as error:
        raise ImageError(f"{what}: {_one_line(error)}") from error


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG file has more than `MAX_SCANS` scans, each of which costs a pass over all of its pixels."""
    if data.count(_SCAN) <= MAX_SCANS:
        return False
    # The two bytes also occur in thumbnails and in what follows the image, such as the video of a motion photo.
    at, scans = 2, 0
    while scans <= MAX_SCANS and (found := _MARKER.search(data, at)) is not None:
        marker, at = found[0][1], found.end()
        if marker == 0xD9:
            return False
        scans += marker == 0xDA
        if marker != 0x01:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans > MAX_SCANS


def _check_scans(data: bytes) -> None:
    if has_too_many_scans(data):
        raise ImageError(f"a JPEG of more than {MAX_SCANS} scans, which would take very long to decode")


def _has_deep_colors(image: Image.Image) -> bool:
    """Whether a file has colors of 16 bits, of which Pillow keeps the upper 8."""
    return image.mode in {"RGB", "RGBA"} and any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def is_deep(data: bytes) -> bool:
    """Tell whether an image file has more than 8 bits for each value, which :func:`open_image` reduces to 8.

    Parameters
    ----------
    data : bytes
        The whole file. Only its header is looked at.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> buffer = io.BytesIO()
    >>> Image.new("I;16", (8, 4)).save(buffer, "PNG")
    >>> is_deep(buffer.getvalue()), is_deep(b"GIF89a")
    (True, False)
    """
    if data.startswith(b"\x89PNG"):
        return data[24:25] == b"\x10"
    if not data.startswith(_MAY_BE_DEEP):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=_available_formats()) as image:
            return image.mode.startswith("I") or _has_deep_colors(image)
    except Exception:  # Whatever damage it has is told when it is decoded.
        return False


def _check_depth(image: Image.Image, *, deep: bool) -> None:
    if deep and np.max(image.getextrema()[:3]) < 16:
        raise ImageError(
            "its colors have 16 bits and none reaches 4096: pixels of 12 bits or less, which would be nearly black; "
            "scale them to 16 bits, or save the image with 8"
        )


def _available_formats() -> list[str]:
    # Builds of Pillow differ in AVIF, WebP and JPEG 2000; naming an absent one is a KeyError in there.
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, OSError) else f"{type(error).__name__}: {text}"
