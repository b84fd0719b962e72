"""Python objects as items: sequences of paths, pictures and arrays, and data sets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, SourceError
from ..folders import is_url
from ..labels import values_of
from .budget import max_bytes, too_many_bytes
from .datasets import is_dataset, items_of_dataset
from .items import Drawn, Item, Member, as_label, as_text
from .urls import public

_PART = 2**20  # bytes of a file object that are read at once
_COMPUTED = (
    "Features that are already computed go straight into a scikit-learn estimator; of a store, give the store itself, "
    "not its X."
)


def items_from(
    images: Any, *, labels: Sequence[object] | None = None, groups: Sequence[object] | None = None
) -> list[Item]:
    """Make items of a sequence of images, or of a data set object.

    Parameters
    ----------
    images : sequence
        List, tuple, NumPy array (of paths, or of images with shape (n, height, width[, channels]) and
        dtype uint8), pandas Series, a table with one column, a ``datasets.Dataset`` of Hugging Face, or a
        ``torch.utils.data.Dataset`` of (image, label). Each image is a path, a URL, the bytes of a file, a binary
        file object (read now: from its start, or if it cannot seek from where it is), a PIL image (turned upright by
        its EXIF orientation, as files are), or a uint8 array, whose pixels are taken as they are.
    labels, groups : sequence, optional
        One for each image.

    Returns
    -------
    list of Item

    Raises
    ------
    SourceError
        If `images` is a single image, or holds something that is not an image, or the lengths differ.

    Examples
    --------
    >>> [item.path for item in items_from(["a.jpg", "b.jpg"], labels=["cat", "dog"])]
    ['a.jpg', 'b.jpg']
    """
    check_sequence(images)
    if is_dataset(images):
        items = items_of_dataset(images)
    else:
        if hasattr(images, "read"):
            raise SourceError(
                f"expected a sequence of images, got one file: {images!r:.80}. Put it into a list: [file]"
            )
        if hasattr(images, "to_numpy"):  # pandas, polars
            images = images.to_numpy()
        if isinstance(images, np.ndarray):
            images = _rows_of_array(images)
        elif not isinstance(images, Iterable):
            raise SourceError(f"expected a sequence of images, got {type(images).__name__}")
        items = [_item(index, image) for index, image in enumerate(images)]
    for name, given in (("label", labels), ("group", groups)):
        if given is None:
            continue
        values = values_of(given, f"{name}s", SourceError)
        if len(values) != len(items):
            raise SourceError(f"{len(items)} images but {len(values)} {name}s")
        for index, value in enumerate(values):
            item = items[index]
            text = as_label(value)
            items[index] = Item(
                item.path,
                item.origin,
                text if name == "label" else item.label,
                text if name == "group" else item.group,
                item.problem,
                item.info,
            )
    return items


def check_sequence(images: Any) -> None:
    """Raise SourceError if something is no sequence of images, but one image, a folder, or rows of features."""
    if isinstance(images, str | os.PathLike) and os.path.isdir(images):
        raise SourceError(
            f"expected a sequence of images, got the name of a folder: {os.fspath(images)!r}. List its files, or "
            "compute its features once, featurekit.extract(folder, output='features.h5'), and give the store"
        )
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        raise SourceError(f"expected a sequence of images, got one: {images!r:.80}. Put it into a list: [image]")
    kind = getattr(getattr(images, "dtype", None), "kind", "O")
    if kind not in "OUST" and getattr(images, "ndim", 3) not in {3, 4}:
        raise SourceError(
            f"expected an array of images with shape (n, height, width[, channels]), got shape {tuple(images.shape)}. "
            f"{_COMPUTED}"
        )


def _rows_of_array(array: NDArray[Any]) -> Iterable[Any]:
    if array.dtype.kind == "S":
        raise SourceError(
            f"an array of dtype {array.dtype} drops zero bytes at the end of each image: give the bytes of files in a "
            "list, or in an array of dtype object"
        )
    if array.dtype.kind in "OUT":
        if array.ndim == 2 and array.shape[1] == 1:  # one column of a table, as ColumnTransformer passes it
            array = array[:, 0]
        if array.ndim != 1:
            raise SourceError(f"expected one column of images, got an array of shape {array.shape}")
    else:
        check_sequence(array)
    return array


def _item(index: int, image: Any) -> Item:
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        if isinstance(path, str):
            return Item(as_text(public(path) if is_url(path) else path), path)
    name = f"image-{index:07d}"
    if isinstance(image, bytes | bytearray | memoryview):
        return Item(name, bytes(image))
    if hasattr(image, "read"):
        try:
            return Item(name, _whole(image))
        except ImageError as error:
            return Item(name, b"", problem=str(error))
    if isinstance(image, Image.Image | Drawn | Member):
        return Item(name, image)
    if isinstance(image, np.ndarray):
        channels = image.shape[2:] if image.ndim == 3 else (1,) if image.ndim == 2 else (0,)
        if image.dtype != np.uint8 or channels[0] not in {1, 3, 4} or image.size == 0:
            raise SourceError(
                f"image {index}: expected a uint8 array of shape (height, width) or (height, width, 1, 3 or 4), "
                f"got {image.dtype} of shape {image.shape}" + (f". {_COMPUTED}" if image.ndim == 1 else "")
            )
        return Item(name, image)
    raise SourceError(
        f"image {index}: expected a path, the bytes of a file, a binary file object, a PIL image or a uint8 array, got "
        f"{type(image).__name__}: {image!r:.80}"
    )


def _whole(file: Any) -> bytes:
    """The content of a binary file object, whose position is the same afterwards, if it can seek."""
    parts: list[bytes] = []
    size, most = 0, max_bytes()
    try:
        seekable = not hasattr(file, "seekable") or file.seekable()
        before = file.tell() if seekable else 0
        if seekable:
            file.seek(0)
        while part := file.read(_PART):
            if not isinstance(part, bytes):
                raise ImageError(f"its read() gives {type(part).__name__}, not bytes; open it as a binary file ('rb')")
            parts.append(part)
            size += len(part)
            if size > most:
                raise ImageError(too_many_bytes(size))
        if seekable:
            file.seek(before)
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the file object cannot be read: {error}") from None
    return b"".join(parts)
