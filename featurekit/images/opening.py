"""From the origin of an item to the bytes of a file, or to a picture."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, UnavailableError
from ..folders import is_url
from .archives import read_member
from .budget import max_bytes
from .decode import open_image, read_file, upright
from .items import Drawn, Item, Member, Origin
from .remote import FileInfo, fetch


def read_bytes(origin: str | os.PathLike[str]) -> tuple[bytes, FileInfo | None]:
    """Read a whole image file: of this machine, or behind a URL.

    Returns
    -------
    data : bytes
    info : FileInfo or None
        Taken before reading: should the file change meanwhile, the next run sees another time and reads it
        again. None where only a listing knows it.

    Raises
    ------
    ImageError
        If it cannot be read; the message is the reason, fit for a ledger.
    """
    text = os.fspath(origin)
    if is_url(text):
        return fetch(text, most=max_bytes()), None
    data, stat = read_file(text)
    return data, FileInfo.of(stat)


def file_state(item: Item) -> FileInfo | None:
    """State of the file of an item, as it was listed or as it is now; None where it is not known."""
    if item.info is not None or not isinstance(item.origin, str):
        return item.info
    try:
        return FileInfo.of(os.stat(item.origin))
    except (OSError, ValueError):
        return None


def located(root: str, path: str) -> str:
    """Where the image of a row lies, by the root that its store notes.

    Examples
    --------
    >>> located("s3://bucket/photos", "cat/1.jpg"), located("/data/photos", "cat/1.jpg")
    ('s3://bucket/photos/cat/1.jpg', '/data/photos/cat/1.jpg')
    """
    if is_url(path):
        return path
    return f"{root}/{path}" if is_url(root) else os.path.join(root, path)


def read_origin(origin: Origin) -> tuple[bytes | Image.Image, FileInfo | None]:
    """The bytes of the file, or the picture in mode RGB, that an item stands for; and the state of the file.

    Raises
    ------
    ImageError
        If it cannot be had; `UnavailableError` if its bytes cannot be had just now.
    """
    if isinstance(origin, Drawn):
        try:
            drawn = origin()
        except ImageError:
            raise
        except Exception as error:  # whatever the data set's own code raises
            raise UnavailableError(f"the data set gives no image: {type(error).__name__}: {str(error)[:200]}") from None
        try:
            return (drawn if isinstance(drawn, bytes) else as_picture(drawn)), None
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"the data set gives no image: {type(error).__name__}: {str(error)[:200]}") from None
    if isinstance(origin, Member):
        return read_member(origin), None
    if isinstance(origin, bytes):
        return origin, None
    if isinstance(origin, str):
        return read_bytes(origin)
    return as_picture(origin), None


def open_origin(origin: Origin) -> Image.Image:
    """The upright RGB image that an item stands for.

    Raises
    ------
    ImageError
        If it cannot be had.
    """
    found, _ = read_origin(origin)
    return open_image(found) if isinstance(found, bytes) else found


def as_picture(image: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """An image that came as pixels, in mode RGB: a PIL image turned upright, an array as it is."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return upright(image)
