"""Writing: immutable shards while working, one atomic publication at the end.

Nothing is ever written to a file that somebody may open: a file is complete, on the disk, before it gets
its name (``fsync``, ``os.replace``, ``fsync`` of the folder).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard, overload

import h5py
import numpy as np

from ..errors import StoreError
from ..fingerprint import FeatureSpace
from ..folders import cache_folder, is_store_name
from .atomic import LIBVER, make_folder, make_users_folder, own_mark, replacing, replacing_hdf5, write_all
from .far import Far, Place, lock_name
from .guards import SHARD_NAME, check_opens
from .schema import DTYPES, INDEX, Columns, Ledger, Places, Rows
from .writing import write_columns, write_header, write_places, write_rows

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
        make_users_folder(folder)
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
    with h5py.File(buffer, "w", libver=LIBVER) as file:
        write_header(file, space, provenance)
        write_columns(file, columns, Ledger.of(()))
        write_rows(file, space.dim, columns.sha256, dtype, [rows])
    check_opens(buffer, folder)
    data = buffer.getbuffer()
    name = f"rows-{hashlib.sha256(data).hexdigest()}.h5"
    if isinstance(folder, Far):
        (folder / name).write(data)
        return folder / name
    path = folder / name
    with replacing(path, folder / f".{path.name[:24]}.{own_mark()}.tmp") as out:
        write_all(out, data)
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
        with replacing_hdf5(target, folder / MERGED, partial(check_opens, place=target)) as (file, check):
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
    with replacing_hdf5(folder / INDEX, folder / MERGED, partial(check_opens, place=folder)) as (file, _):
        write_header(file, space, provenance)
        write_columns(file, columns, ledger)
        write_places(file, places)


def _checked(blocks: Iterable[Rows], check: Callable[[], None]) -> Iterator[Rows]:
    for block in blocks:
        yield block
        check()
