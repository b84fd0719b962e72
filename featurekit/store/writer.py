"""Writing: immutable shards while working, one atomic publication at the end.

Nothing is ever written to a file that somebody may open: a file is complete, on the disk, before it gets
its name (``fsync``, ``os.replace``, ``fsync`` of the folder).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from secrets import randbelow
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard, overload

import h5py
import numpy as np

from ..errors import StoreError
from ..fingerprint import FeatureSpace
from ..folders import cache_folder, is_store_name
from .far import Far, Place, lock_name
from .guards import SHARD_NAME
from .schema import (
    DTYPES,
    INDEX,
    Columns,
    Ledger,
    Places,
    Rows,
    write_columns,
    write_header,
    write_places,
    write_rows,
)

_LIBVER = ("v110", "v110")  # the first format that checksums HDF5's own structures
_OTHER_FILES = {".csv", ".json", ".npz", ".parquet", ".tar", ".zip"}  # that nobody means as a folder
MERGED = "merged.tmp"


def is_store_file(path: Place) -> TypeGuard[Path]:
    """Whether a name is that of a store file, which lies here; any other is that of a folder store."""
    if isinstance(path, Far):
        return False
    return is_store_name(path) and not path.is_dir()


@overload
def parts_folder(target: Path) -> Path: ...
@overload
def parts_folder(target: Place) -> Place: ...
def parts_folder(target: Place) -> Place:
    """Where the shards of `target` are written: beside a file, in a folder store itself."""
    return target.with_name(target.name + ".parts") if is_store_file(target) else target


def lock_file(target: Place) -> Path:
    """The file that is locked while `target` is written: beside a file, in a folder store itself.

    Behind a URL nothing can be locked; what is locked then is a file here, against other processes of this machine.
    """
    if isinstance(target, Far):
        make_folder(cache_folder() / "locks")
        return cache_folder() / "locks" / f"{lock_name(target)}.lock"
    return target.with_name(target.name + ".lock") if is_store_file(target) else target / "lock"


def refuse_link(target: Path) -> None:
    """Raise StoreError if a store's name is a symbolic link: replacing it would leave what it leads to as it was."""
    if target.is_symlink():
        raise StoreError(f"{target} is a symbolic link; name what it leads to ({os.path.realpath(target)})")


@overload
def check_target(target: Path) -> Path: ...
@overload
def check_target(target: Place) -> Place: ...
def check_target(target: Place) -> Place:
    """Refuse what cannot become a store, and make the folder that it will lie in.

    Raises
    ------
    StoreError
        If it is a link, has another ending, or is a folder that holds other files.
    """
    if isinstance(target, Far):
        return _check_far_target(target)
    refuse_link(target)
    if SHARD_NAME.fullmatch(target.name) or (target.parent / INDEX).exists():
        raise StoreError(f"{target} is, or would lie, inside a folder store; choose another output")
    if is_store_name(target):
        if target.is_dir():
            raise StoreError(f"{target} is a folder; expected the name of an .h5 file")
        folder = target.parent
    else:
        if target.suffix and not (target / INDEX).exists():
            raise StoreError(
                f"the output must be the name of an .h5 file, or a name without ending for a folder store; got {target}"
            )
        folder = target
    if folder == target:
        make_folder(folder)
    else:  # the user's own, which may well be a link
        _make(folder)
    if folder == target and not _is_ours(folder):
        raise StoreError(f"{folder} holds other files than those of a store; choose a new or an empty folder")
    return target


def _check_far_target(target: Far) -> Far:
    target.check_writable()
    if is_store_name(target) or target.suffix in _OTHER_FILES or SHARD_NAME.fullmatch(target.name):
        raise StoreError(f"{target} is the name of a file; behind a URL, a store is a folder: a name without ending")
    if "/" not in target.url.partition("://")[2]:
        raise StoreError(f"{target} is a whole bucket; name a folder in it: {target}/features")
    if not all(map(_is_our_name, target.sizes())):
        raise StoreError(f"{target} holds other files than those of a store; choose a new or an empty folder")
    return target


def _is_ours(folder: Path) -> bool:
    """Whether a folder may become, or is, a folder store: it is empty, or holds what such folders hold."""
    return all(_is_our_name(p.name) for p in folder.iterdir())


def _is_our_name(name: str) -> bool:
    return name in (INDEX, "lock", MERGED) or name.startswith(("rows-", ".rows-", INDEX))


def shards_in(folder: Place) -> list[Place]:
    """The shards in a folder, sorted by name: plain files only."""
    if isinstance(folder, Far):
        return [folder / name for name in sorted(folder.sizes()) if SHARD_NAME.fullmatch(name)]
    named = (path for path in folder.glob("rows-*.h5") if SHARD_NAME.fullmatch(path.name))
    return [*sorted(path for path in named if path.is_file() and not path.is_symlink())]


def discard_temporaries(folder: Place) -> None:
    """Delete what a writer that was killed left behind. The caller holds the lock."""
    if isinstance(folder, Far):
        return  # nothing half-written has a name there
    for leftover in (folder / MERGED, *folder.glob(".rows-*.tmp")):  # a user's own files are not ours to delete
        leftover.unlink(missing_ok=True)


def write_shard(
    folder: Place,
    space: FeatureSpace,
    provenance: Mapping[str, Any],
    columns: Columns,
    rows: Rows,
    dtype: np.dtype[Any] = DTYPES["float32"],
) -> Place:
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
        write_header(file, space, provenance)
        write_columns(file, columns, Ledger.of(()))
        write_rows(file, space.dim, columns.sha256, dtype, [rows])
    data = buffer.getbuffer()
    name = f"rows-{hashlib.sha256(data).hexdigest()}.h5"
    if isinstance(folder, Far):
        (folder / name).write(data)
        return folder / name
    path = folder / name
    with replacing(path, folder / f".{path.name[:24]}.{_own()}.tmp") as out:
        _write_all(out, data)
    return path


def publish(
    target: Path,
    space: FeatureSpace,
    provenance: Mapping[str, Any],
    columns: Columns,
    ledger: Ledger,
    blocks: Iterable[Rows],
    dtype: np.dtype[Any] = DTYPES["float32"],
) -> None:
    """Write a whole store file beside `target` and move it into place; until then the old one stays.

    Raises
    ------
    StoreError
        If it cannot be written; the old store and the shards are as they were.
    """
    folder = parts_folder(target)
    try:
        with replacing_hdf5(target, folder / MERGED) as (file, check):
            write_header(file, space, provenance)
            write_columns(file, columns, ledger)
            write_rows(file, space.dim, columns.sha256, dtype, _checked(blocks, check))
    finally:
        with suppress(OSError):
            folder.rmdir()  # unless shards are in it


def publish_index(
    folder: Place,
    space: FeatureSpace,
    provenance: Mapping[str, Any],
    columns: Columns,
    ledger: Ledger,
    places: Places,
) -> None:
    """Make shards of a folder its published state, by writing its index anew; until then the old one stays.

    Raises
    ------
    StoreError
        If it cannot be written; the old index and the shards are as they were.
    """
    if isinstance(folder, Far):
        with TemporaryDirectory(prefix="featurekit-") as here:
            publish_index(Path(here), space, provenance, columns, ledger, places)
            (folder / INDEX).write(Path(here, INDEX))
        return
    with replacing_hdf5(folder / INDEX, folder / MERGED) as (file, _):
        write_header(file, space, provenance)
        write_columns(file, columns, ledger)
        write_places(file, places)


def make_folder(folder: Place) -> None:
    """Make a folder of our own, never through a symbolic link that somebody left in its place."""
    if isinstance(folder, Far):
        return  # there are no folders, only names
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link; refused to write through it. Remove it first.")
    _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}. Choose another output.") from error


@contextmanager
def replacing_hdf5(target: Path, temporary: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An empty HDF5 file that takes the place of `target` when all went well, and a check for a full disk.

    Long writers call the check now and then, to stop at the first write that failed.
    """
    with replacing(target, temporary) as out:
        sink = _Sink(out)
        with h5py.File(sink, "w", libver=_LIBVER) as file:
            yield file, sink.check
        sink.check()


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
    return target.with_name(f".{target.name}.{_own()}.tmp")


def _own() -> str:
    return f"{os.getpid()}{randbelow(10**6):06d}"  # on another machine, a process may have the same number


def replace_file(target: Path, data: bytes) -> None:
    """Write a whole file in one step.

    Raises
    ------
    StoreError
        If it cannot be written; `target` is as it was.
    """
    with replacing(target, beside(target)) as out:
        _write_all(out, memoryview(data))


def _write_all(file: FileIO, data: memoryview) -> None:
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


def _checked(blocks: Iterable[Rows], check: Callable[[], None]) -> Iterator[Rows]:
    for block in blocks:
        yield block
        check()


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
