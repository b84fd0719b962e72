"""New files that take the place of old ones in one step, whole and on the disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from secrets import randbelow

import h5py

from ..errors import StoreError
from .far import Far, Place

LIBVER = ("v110", "v110")
"""The first format of HDF5 that checksums its own structures."""


def make_folder(folder: Place) -> None:
    """Make a folder of our own, never through a symbolic link that somebody left in its place."""
    if isinstance(folder, Far):
        return  # there are no folders, only names
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link; refused to write through it. Remove it first.")
    make_users_folder(folder)


def make_users_folder(folder: Path) -> None:
    """Make a folder, or use one that is there, also through a link."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}. Choose another output.") from error


@contextmanager
def replacing_hdf5(
    target: Path, temporary: Path, complete: Callable[[Path], None] = lambda path: None
) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An empty HDF5 file that takes the place of `target` when all went well, and a check for a full disk.

    Long writers call the check now and then, to stop at the first write that failed. `complete` is called with the path
    of the closed file before it takes the place.
    """
    with replacing(target, temporary) as out:
        sink = _Sink(out)
        with h5py.File(sink, "w", libver=LIBVER) as file:
            yield file, sink.check
        sink.check()
        complete(temporary)


@contextmanager
def replacing(target: Path, temporary: Path) -> Iterator[FileIO]:
    """A new file that takes the place of `target`, whole and on the disk, when all went well.

    Raises
    ------
    StoreError
        If it cannot be written; `target` is as it was.
    """
    try:
        make_folder(temporary.parent)
        with suppress(FileNotFoundError):
            temporary.unlink()  # of a run that was killed, or a link that somebody planted
        with temporary.open("x+b", buffering=0) as out:
            yield out
            if target.exists():
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.fsync(out.fileno())
            if not os.path.samestat(os.fstat(out.fileno()), os.stat(temporary)):
                raise StoreError(f"another process has replaced {temporary}; {target} was not changed")
        _rename(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _cannot_write(target, error) from error
        raise


def beside(target: Path) -> Path:
    """Where a file is written that is to take the place of `target`."""
    return target.with_name(f".{target.name}.{own_mark()}.tmp")


def own_mark() -> str:
    """Text that no other process puts into a name, here or on another machine."""
    return f"{os.getpid()}{randbelow(10**6):06d}"


def replace_file(target: Path, data: bytes) -> None:
    """Write a whole file in one step.

    Raises
    ------
    StoreError
        If it cannot be written; `target` is as it was.
    """
    with replacing(target, beside(target)) as out:
        write_all(out, memoryview(data))


def write_all(file: FileIO, data: memoryview) -> None:
    """Write all bytes to an unbuffered file."""
    while len(data):
        data = data[file.write(data) or 0 :]


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
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return StoreError(
        f"cannot write {path}: {error.strerror or error}. What was complete before is kept; "
        + ("make room, or choose another output" if full else "choose another output, or mend that")
        + ", and run the same command again."
    )
