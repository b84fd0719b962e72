"""Writing: immutable shards while working, one atomic publication at the end.

Nothing is ever written to a file that somebody may open: a file is complete, on the disk, before it gets
its name (``fsync``, ``os.replace``, ``fsync`` of the folder).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..fingerprint import FeatureSpace
from .schema import Columns, LedgerEntry, write_store

# Version 1.10's format is the first that checksums HDF5's own structures.
_LIBVER = ("v110", "v110")
_MERGED = "merged.tmp"


def parts_folder(target: Path) -> Path:
    """The folder beside `target` where its work in progress lives."""
    return target.with_name(target.name + ".parts")


def write_shard(
    folder: Path, space: FeatureSpace, provenance: Mapping[str, Any], columns: Columns, rows: NDArray[np.float32]
) -> Path:
    """Write rows as one immutable shard whose name carries the SHA-256 of its bytes.

    The HDF5 file is built in memory, so a full disk is an ordinary error of one write (h5py itself can
    crash the process there).

    Raises
    ------
    StoreError
        If it cannot be written; nothing that was there is touched.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_LIBVER) as file:
        write_store(file, space, provenance, columns, [], [rows])
    data = buffer.getbuffer()
    path = folder / f"rows-{hashlib.sha256(data).hexdigest()}.h5"
    temporary = folder / f".{path.name[:24]}.{os.getpid()}.tmp"
    try:
        make_folder(folder)
        with temporary.open("wb") as out:
            out.write(data)
            _sync(out)
        _rename(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, error) from error
    return path


def publish(
    target: Path,
    space: FeatureSpace,
    provenance: Mapping[str, Any],
    columns: Columns,
    ledger: Sequence[LedgerEntry],
    blocks: Iterable[NDArray[np.float32]],
) -> None:
    """Write the whole store beside `target` and move it into place; until then the old one stays.

    Raises
    ------
    StoreError
        If it cannot be written; the old store and the shards are as they were.
    """
    folder = parts_folder(target)
    merged = folder / _MERGED
    try:
        make_folder(folder)
        with merged.open("w+b", buffering=0) as out:
            sink = _Sink(out)
            with h5py.File(sink, "w", libver=_LIBVER) as file:
                write_store(file, space, provenance, columns, ledger, _checked(blocks, sink))
            sink.check()
            _sync(out)
        _rename(merged, target)
    except OSError as error:
        with suppress(OSError):
            merged.unlink()
        raise _cannot_write(target, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder of our own, never through a symbolic link that somebody left in its place."""
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link; refused to write through it. Remove it first.")
    folder.mkdir(parents=True, exist_ok=True)


class _Sink:
    """A file for h5py that hides a full disk from it.

    HDF5 does not survive a failing call: it raises, and then crashes the process when it closes the file.
    So the first error is kept, later writes are dropped, and :meth:`check` raises it where that is safe.
    The file is abandoned then. It must be unbuffered: a buffer would fail late, in any other call.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while self._error is None and len(rest):
            try:
                rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: bytearray) -> int:
        # What a dropped write should have left there reads as zeros.
        count = self._file.readinto(buffer) or 0
        if self._error is not None:
            buffer[count:] = bytes(len(buffer) - count)
            return len(buffer)
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0


def _checked(blocks: Iterable[NDArray[np.float32]], sink: _Sink) -> Iterable[NDArray[np.float32]]:
    for block in blocks:
        yield block
        sink.check()


def _sync(file: BinaryIO | FileIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)
    if os.name == "posix":  # so that the name, too, survives a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(folder)
        finally:
            os.close(folder)


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path}: {error.strerror or error}. Everything written before is kept; "
        "make room or choose another output, then run the same command again to go on."
    )
