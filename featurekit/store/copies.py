"""Copies of far shards on this machine. A shard never changes and is named by its hash, so a copy is as good."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..errors import ImageError, StoreError, StoreFormatError
from ..folders import cache_folder
from ..images.faults import NoSuchFileError
from ..images.remote import fetch
from .atomic import make_folder, replace_file
from .far import Far, Place, lock_name
from .guards import is_whole

_AT_ONCE = 16
_GIGABYTES = 20.0
_YOUNG = 60.0  # seconds in which a copy stays: another process is about to open it, or to give it its name
_PATIENCE = 10  # times as long as an image a shard may take
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
    limit = _limit()
    missing = [name for name in names if not _place(name).exists()]
    if len(missing) > 1:
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            list(pool.map(lambda name: _copy(folder, name), missing))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error, or Ctrl-C, nobody waits for the others
    elif missing:
        _copy(folder, missing[0])
    if missing:
        _tidy(set(names), limit)


def copy_of(folder: Far, name: str) -> Path:
    """The copy of one shard; as `copied`."""
    copied(folder, [name])
    place = _place(name)
    try:
        os.utime(place)  # what was used lately stays
    except FileNotFoundError:  # another process has made room
        _copy(folder, name)
    except OSError:
        pass
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
    drop_copy(name)
    return True


def drop_copy(name: str) -> None:
    """Delete the copy of a shard."""
    with suppress(OSError):
        _place(name).unlink()


def found_damaged(folder: Far, names: Sequence[str]) -> list[str]:
    """Those of the shards that were damaged when they were last fetched here, and are so still."""
    found = []
    for name in names:
        if _mark(folder, name).exists():
            try:
                _fetched(folder, name)
            except StoreFormatError:
                found.append(name)
            else:
                _unmark(folder, name)
    return found


def delete_damaged(folder: Far, names: Sequence[str]) -> None:
    """Delete the shards that were found damaged where they lie, so that no machine takes them in again.

    Raises
    ------
    StoreError
        If that is not allowed.
    """
    for name in found_damaged(folder, names):
        (folder / name).delete()
        _unmark(folder, name)


def nearest(folder: Far, name: str) -> Place:
    """The copy of a shard, if there is one, else the shard itself."""
    place = _place(name)
    return place if place.exists() else folder / name


def _place(name: str) -> Path:
    return cache_folder() / "shards" / name


def _mark(folder: Far, name: str) -> Path:
    return cache_folder() / "damaged" / lock_name(folder / name)


def _unmark(folder: Far, name: str) -> None:
    with suppress(OSError):
        _mark(folder, name).unlink()


def _copy(folder: Far, name: str) -> None:
    try:
        data = _fetched(folder, name)
    except StoreFormatError:
        with suppress(OSError, StoreError):
            make_folder(_mark(folder, name).parent)
            _mark(folder, name).touch()
        raise
    _unmark(folder, name)
    try:
        replace_file(_place(name), data)
    except StoreError as error:
        if not _place(name).exists():  # else another thread or process has copied it
            raise StoreError(
                f"no copy of {folder}/{name} can be kept in {_place('')}: {error.__cause__ or error}. Make room "
                "there, or name another folder: FEATUREKIT_CACHE"
            ) from error


def _fetched(folder: Far, name: str) -> bytes:
    """A shard from where it lies. Raises StoreFormatError if it is missing, or is twice not what its name promises."""
    for _ in range(2):
        try:
            data = fetch(f"{folder}/{name}", patience=_PATIENCE)
        except NoSuchFileError as error:
            raise StoreFormatError(
                f"{folder}/{name} is missing: the store was written anew since it was opened here (open it again), "
                "or the shard was deleted (extract again)"
            ) from error
        except ImageError as error:
            raise StoreError(f"cannot read {folder}/{name}: {error}") from error
        if f"rows-{hashlib.sha256(data).hexdigest()}.h5" == name:
            return data
    raise StoreFormatError(
        f"{folder}/{name} is damaged: its bytes are not those that its name promises. Extract into the store again "
        "here, and its rows are computed anew; where the images are gone: "
        f"featurekit store remove {folder} --damaged"
    )


def _limit() -> float:
    text = os.environ.get("FEATUREKIT_SHARDS_GB", "")
    try:
        limit = float(text or _GIGABYTES) * 1e9
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise StoreError(f"FEATUREKIT_SHARDS_GB must be a number of gigabytes, got {text!r}")
    return limit


def _tidy(in_use: set[str], limit: float) -> None:
    """Delete the copies that were not used for longest, where they take more than is allowed."""
    found = []
    with suppress(OSError), os.scandir(_place("")) as entries:
        for entry in entries:
            with suppress(OSError):
                found.append((entry.stat().st_mtime, entry.stat().st_size, entry.path, entry.name))
    size = sum(bytes_ for _, bytes_, _, _ in found)
    if size <= limit:
        return
    for modified, bytes_, path, name in sorted(found):
        if size <= _KEEP * limit:
            break
        if name not in in_use and modified < time.time() - _YOUNG:
            with suppress(OSError):
                os.unlink(path)
            size -= bytes_
