"""The most pixels that are decoded at a time, over all threads of the process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from PIL import Image

from ..errors import ImageError, SourceError

MAX_PIXELS = 178_956_970
"""Default of ``FEATUREKIT_MAX_PIXELS``. Pillow's own limit; it takes 1.4 GB of memory at 8 bytes a pixel, those of the
decoded image and of its copy in RGB."""

VARIABLE = "FEATUREKIT_MAX_PIXELS"

MAX_BYTES = 2**30
"""Most bytes that are read of one image by default: what `MAX_PIXELS` take uncompressed with three channels of 16
bits."""

_BYTES_ALWAYS = 2**26

_WEIGHTS = {"WEBP": 3, "AVIF": 3, "JPEG2000": 3}
"""Formats whose decoders hold several copies of the image: each of their pixels counts so many times."""

_LARGE = 2**25
"""Pixels from which on freed memory goes back to the system: each thread would keep its own otherwise."""


def max_pixels() -> int:
    """Most pixels that are decoded at a time: ``FEATUREKIT_MAX_PIXELS``, or the default.

    Raises
    ------
    SourceError
        If the variable holds no whole number from 1.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MAX_PIXELS
    try:
        pixels = int(text)
    except ValueError:
        pixels = 0
    if pixels < 1:
        raise SourceError(f"{VARIABLE} must be a whole number of pixels from 1, got {text!r}")
    # Pillow refuses more than twice its own limit.
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = -(-pixels // 2)
    return pixels


def max_bytes() -> int:
    """Most bytes that are read of one image: a file, a member of an archive, or the answer of a server.

    They rise and fall with :func:`max_pixels`, down to 64 MiB.
    """
    return max(_BYTES_ALWAYS, MAX_BYTES * max_pixels() // MAX_PIXELS)


def too_many_bytes(size: int) -> str:
    """Reason why an image of `size` bytes is not read."""
    return f"too large: {size} bytes, and at most {max_bytes()} are read of one image; {VARIABLE} changes that"


class _Budget:
    """Pixels in use, and who waits for some, in order of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._used = 0
        self._waiting: deque[object] = deque()

    def take(self, pixels: int, limit: int) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (self._used == 0 or self._used + pixels <= limit)
                )
                self._used += pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give(self, pixels: int) -> None:
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()


class Room:
    """Room for one image, taken from the budget of the process until the block ends.

    Raises
    ------
    SourceError
        If ``FEATUREKIT_MAX_PIXELS`` holds no whole number from 1.

    Examples
    --------
    >>> with Room() as room:
    ...     room.take(640, 480, "PNG")
    """

    def __init__(self) -> None:
        self._budget = _budget
        self._limit = max_pixels()
        self._taken = 0

    def take(self, width: int, height: int, kind: str | None) -> None:
        """Wait until an image can be decoded beside those of other threads.

        Parameters
        ----------
        width, height : int
        kind : str, optional
            As Pillow calls it.

        Raises
        ------
        ImageError
            If it has more pixels than may be decoded at a time.
        """
        weight, limit = _WEIGHTS.get(kind or "", 1), self._limit
        pixels = weight * width * height
        if pixels > limit:
            most = f"{limit // weight} of {kind}" if weight > 1 else str(limit)
            raise ImageError(
                f"too large: {width} x {height} pixels, more than {most} (a decompression bomb?); "
                f"to read it all the same, set {VARIABLE}={pixels}"
            )
        if pixels > self._taken:
            self._release()  # Whoever waits must hold nothing.
            self._budget.take(pixels, limit)
            self._taken = pixels

    def _release(self) -> None:
        if self._taken:
            if self._taken >= _LARGE:
                _return_freed_memory()
            self._budget.give(self._taken)
            self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()


def _return_freed_memory() -> None:
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # The C library musl has no such function.
            ctypes.CDLL(None).malloc_trim(0)


_budget = _Budget()


def _renew() -> None:
    global _budget
    _budget = _Budget()


# A forked process has none of the threads that hold room.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
