"""The images that a network is trained on: fixed views of them, and batches that threads decode ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import joblib
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..fingerprint import Preprocessing
from ..images import Item, read_origin
from ..runtime import Decoder, keep_freed_memory

_AHEAD = 3  # batches


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at an image.

    Attributes
    ----------
    wish : Preprocessing
        Size and crop.
    mirrored : bool
        Left and right exchanged.
    """

    wish: Preprocessing
    mirrored: bool = False


def views_of(augment: str, wish: Preprocessing) -> list[View]:
    """The fixed views of an augmentation; the first is that of prediction.

    Parameters
    ----------
    augment : {"none", "flip", "light"}
    wish : Preprocessing
        Of prediction.

    Examples
    --------
    >>> from featurekit.backbones import LITE
    >>> [view.mirrored for view in views_of("light", LITE["efficientnet_lite0"].preprocessing)]
    [False, True, False, True]
    """
    plain = [View(wish), View(wish, mirrored=True)]
    wide = View(replace(wish, resize=wish.crop))
    near = View(replace(wish, resize=round(1.15 * wish.resize)), mirrored=True)
    return {"none": plain[:1], "flip": plain, "light": [*plain, wide, near]}[augment]


def whole_square(wish: Preprocessing) -> View:
    """The view from which random crops are cut: nothing but the ends of the longer side is missing."""
    return View(replace(wish, crop=wish.resize))


class Pictures:
    """Images of a list, decoded by threads.

    Parameters
    ----------
    items : sequence of Item
    decoder : Decoder
    workers : int, optional
        Threads. Default: the number of processors.
    """

    def __init__(self, items: Sequence[Item], decoder: Decoder, workers: int | None = None) -> None:
        keep_freed_memory()
        self._items = items
        self._decoder = decoder
        self._pool = ThreadPoolExecutor(workers or joblib.cpu_count(), thread_name_prefix="featurekit-decode")

    def __len__(self) -> int:
        return len(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, wanted: Sequence[tuple[NDArray[np.intp], Sequence[View]]]) -> Iterator[NDArray[np.uint8]]:
        """Pixels, shape (n, crop, crop, 3), of each batch: numbers of images, and the view of each.

        Raises
        ------
        ImageError
            If an image cannot be read any more.
        """
        running: deque[list[Future[NDArray[np.uint8]]]] = deque()
        for numbers, views in wanted:
            pairs = zip(numbers.tolist(), views, strict=True)
            running.append([self._pool.submit(self._pixels, number, view) for number, view in pairs])
            if len(running) > _AHEAD:
                yield np.stack([pixels.result() for pixels in running.popleft()])
        while running:
            yield np.stack([pixels.result() for pixels in running.popleft()])

    def _pixels(self, number: int, view: View) -> NDArray[np.uint8]:
        item = self._items[number]
        try:
            pixels = pixels_of(item, self._decoder, view.wish)
        except ImageError as error:
            raise ImageError(
                f"{item.path} cannot be read any more: {error}", [(number, item.path, str(error))]
            ) from error
        return pixels[:, ::-1] if view.mirrored else pixels


def pixels_of(item: Item, decoder: Decoder, wish: Preprocessing) -> NDArray[np.uint8]:
    """One image, read and decoded.

    Raises
    ------
    ImageError
        The reason, without the name of the image.
    """
    image, _ = read_origin(item.origin)
    (found,) = decoder([image], [{wish}])
    if isinstance(found, ImageError):
        raise found
    return found.pixels[wish]
