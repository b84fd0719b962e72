"""Files behind URLs that are read in parts."""

from __future__ import annotations

import errno
import gc
import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ImageError
from .remote import fetch
from .urls import public

_BLOCK = 2**20  # bytes that are asked for at once
_BLOCKS = 32  # of them that are kept


class Blocks(io.RawIOBase):
    """A file behind a URL, of which others (h5py, zipfile) read what they need, in blocks, the last of which are kept.

    Reading raises OSError where it fails; `failed` says why.

    Parameters
    ----------
    url : str
    size : int
        Bytes of the file.
    """

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size = url, size
        self._at = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self.failed = ""

    def __repr__(self) -> str:
        return public(self._url)  # h5py calls the file so

    def begin(self) -> None:
        """Read the first block, so that what is not there is noticed."""
        if self._size:
            self._block(0)

    def _block(self, number: int) -> bytes:
        if number not in self._kept:
            start = number * _BLOCK
            try:
                with _no_collection():
                    self._kept[number] = fetch(self._url, start, min(start + _BLOCK, self._size))
            except ImageError as error:
                # h5py keeps no more of an error than its kind.
                self.failed = f"cannot read {public(self._url)}: {error}"
                raise OSError(errno.EIO, self.failed) from error
            if len(self._kept) > _BLOCKS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # h5py gives nothing else
        """Read as many bytes as fit, or are left."""
        out, done = memoryview(buffer).cast("B"), 0
        while done < len(out) and self._at < self._size:
            number, offset = divmod(self._at, _BLOCK)
            part = self._block(number)[offset : offset + len(out) - done]
            out[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected: fsspec's thread, if it freed an HDF5 object, would wait for h5py's lock.

    That one is held by the thread that reads, and waits for fsspec's.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
