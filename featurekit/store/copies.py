"""Copies of far shards on this machine. A shard never changes and is named by its hash, so a copy is as good."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..errors import ImageError, StoreError, StoreFormatError
from ..folders import cache_folder
from ..images.remote import fetch
from .far import Far, Place
from .guards import is_whole
from .writer import make_folder, replace_file

_AT_ONCE = 16
_GIGABYTES = 20.0
_KEEP = 0.8  # of what may be kept stays when it has become too much


def copied(folder: Far, names: Sequence[str]) -> None:
    """Copy those shards of a folder that are not here yet, some at a time.

    Raises
    ------
    StoreError
        If one cannot be had.
    StoreFormatError
        If one is not there, or is damaged.
    """
    missing = [name for name in names if not _place(name).exists()]
    if len(missing) > 1:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: _copy(folder, name), missing))
    elif missing:
        _copy(folder, missing[0])
    if missing:
        _tidy(set(names))


def copy_of(folder: Far, name: str) -> Path:
    """The copy of one shard; as `copied`."""
    copied(folder, [name])
    place = _place(name)
    with suppress(OSError):
        os.utime(place)  # what was used lately stays
    return place


def bytes_of(folder: Far, names: Sequence[str]) -> int:
    """Bytes of files of a folder; 0 of one that is not there. Web servers list none, and are asked for each."""
    sizes = folder.sizes()

    def size(name: str) -> int:
        with suppress(FileNotFoundError):
            return sizes[name] if name in sizes else (folder / name).state()[0]
        return 0

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(pool.map(size, names))


def drop_damaged_copy(name: str) -> bool:
    """Delete the copy of a shard if it is not what its name promises: disks err, too. Whether it was."""
    place = _place(name)
    if not place.exists() or is_whole(place):
        return False
    place.unlink(missing_ok=True)
    return True


def found_damaged(names: Sequence[str]) -> list[str]:
    """Those of the shards that were damaged when they were last fetched from where they lie."""
    return [name for name in names if _mark(name).exists()]


def delete_damaged(folder: Far, names: Sequence[str]) -> None:
    """Delete the shards that were found damaged where they lie, so that no machine takes them in again.

    Raises
    ------
    StoreError
        If that is not allowed.
    """
    for name in found_damaged(names):
        (folder / name).delete()
        _mark(name).unlink(missing_ok=True)


def nearest(folder: Far, name: str) -> Place:
    """The copy of a shard, if there is one, else the shard itself."""
    place = _place(name)
    return place if place.exists() else folder / name


def _place(name: str) -> Path:
    return cache_folder() / "shards" / name


def _mark(name: str) -> Path:
    return cache_folder() / "damaged" / name


def _copy(folder: Far, name: str) -> None:
    try:
        data = fetch(f"{folder}/{name}")
    except ImageError as error:
        if str(error) == "no such file":
            raise StoreFormatError(
                f"{folder}/{name} is missing: the store was written anew since it was opened here (open it again), or "
                "the shard was deleted (extract again)"
            ) from error
        raise StoreError(f"cannot read {folder}/{name}: {error}") from error
    if f"rows-{hashlib.sha256(data).hexdigest()}.h5" != name:
        make_folder(_mark(name).parent)
        _mark(name).touch()
        raise StoreFormatError(
            f"{folder}/{name} is damaged: its bytes are not those that its name promises. Extract into the "
            "store again here, and its rows are computed anew; where the images are gone: "
            f"featurekit store remove {folder} --damaged"
        )
    try:
        replace_file(_place(name), data)
        _mark(name).unlink(missing_ok=True)
    except StoreError:
        if not _place(name).exists():  # else another thread or process has copied it
            raise


def _tidy(in_use: set[str]) -> None:
    """Delete the copies that were not used for longest, where they take more than is allowed."""
    text = os.environ.get("FEATUREKIT_SHARDS_GB", "")
    try:
        limit = float(text or _GIGABYTES) * 1e9
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise StoreError(f"FEATUREKIT_SHARDS_GB must be a number of gigabytes, got {text!r}")
    found = []
    with suppress(OSError), os.scandir(_place("")) as entries:
        for entry in entries:
            with suppress(OSError):
                found.append((entry.stat().st_mtime, entry.stat().st_size, entry.path, entry.name))
    size = sum(bytes_ for _, bytes_, _, _ in found)
    if size <= limit:
        return
    for _, bytes_, path, name in sorted(found):
        if size <= _KEEP * limit:
            break
        if name not in in_use:
            with suppress(OSError):
                os.unlink(path)
            size -= bytes_
