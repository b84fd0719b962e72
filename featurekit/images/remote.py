"""Files that a URL names, through fsspec: HTTP, S3, Google Cloud and whatever else it reaches.

Credentials are found by the libraries' own ways (environment, profiles, roles); a URL that holds any is refused, for it
would stand in stores and logs. fsspec is imported when the first URL is met.
"""

from __future__ import annotations

import math
import os
import posixpath
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import SourceError, UnavailableError
from ..folders import is_url
from .bounded import TooLongError, bounded_client, bounds, too_long
from .budget import MAX_BYTES
from .faults import is_lasting, lasting_fault, reason_of
from .urls import Confined, public, timeout

TRIES = 3
"""How often a file is asked for that does not come, or comes damaged."""

_LISTING = 10  # a listing may take so many times as long as a file
_WRITING = 60  # and a file of any size that is written
_PATIENCE = 8  # so many files in a row that a server did not give: from then on each is asked for once, and shortly
_HTTP = ("http://", "https://")
# What file systems call the state of a file; S3 tells times in whole seconds, so hashes of contents come first.
_STATES = "md5Hash ETag etag LastModified last_modified Last-Modified mtime updated created".split()
_LAST = 2**63 - 1
_WHOLE_ONLY = "its server gives whole files only, and it is read in parts: download it first"
_failures: dict[str, int] = {}
_lock = threading.Lock()


class FileInfo(NamedTuple):
    """What tells whether a file changed: bytes, and nanoseconds (or a number made of what a server calls its state)."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileInfo:
        """The state of a file of this machine."""
        return cls.bounded(stat.st_size, stat.st_mtime_ns)

    @classmethod
    def bounded(cls, size: int, mtime_ns: int) -> FileInfo:
        """A state whose numbers fit into 64 bits, as stores keep them: times after 2262 become the last of them."""
        return cls(min(size, _LAST), max(-_LAST, min(mtime_ns, _LAST)))


def fetch(
    url: str, start: int | None = None, end: int | None = None, patience: float = 1, most: int = MAX_BYTES
) -> bytes:
    """All of a file, or its bytes from `start` to before `end`; `patience`: so many times as long may it take.

    A file of more than `most` bytes is refused when so many have come.

    Asked for again where it does not come; of a server that gives nothing any more, once and shortly.

    Raises
    ------
    ImageError
        If there is no such file; the message is the reason, fit for a ledger.
    UnavailableError
        If it does not come.
    """
    server = url.partition("://")[2].partition("/")[0]
    tired = _failures.get(server, 0) >= _PATIENCE
    tries, seconds = (1, patience * timeout() / 10) if tired else (TRIES, patience * timeout())
    reason = ""
    first, stop = start, end
    if start is None and not url.lower().startswith(_HTTP):
        first, stop = 0, most + 1  # these stores have no bodies without end, but files of any size
    for attempt in range(tries):
        if attempt:
            time.sleep(min(2**attempt / 4, seconds))
        try:
            fs, path = _file_system(url)
            with bounds(most if start is None or end is None else end - start, isinstance(url, Confined)):
                data: bytes = _within(fs, "cat_file", seconds, path, start=first, end=stop)
        except TooLongError:
            if start is None or end is None:
                raise
            raise UnavailableError(_WHOLE_ONLY) from None
        except Exception as error:  # each file system has errors of its own
            if is_lasting(error):
                raise lasting_fault(error, url) from None
            reason = reason_of(error, url)
            continue
        if start is None and len(data) > most:
            raise too_long(most)
        if start is not None and end is not None:
            if len(data) > end - start:
                raise UnavailableError(_WHOLE_ONLY)
            if len(data) < end - start:
                reason = f"cut short: {len(data)} of {end - start} bytes"
                continue
        with _lock:
            _failures[server] = 0
        return data
    with _lock:
        _failures[server] = _failures.get(server, 0) + 1
    raise UnavailableError(f"could not be fetched ({'once' if tries == 1 else f'{tries} times'} tried): {reason}")


def listed(url: str) -> list[tuple[str, str, FileInfo | None]]:
    """All files below a folder, in the order in which a folder here is read: path below it, URL, state if known.

    Raises
    ------
    SourceError
        If it cannot be listed.
    """
    with _asking(url, "listed") as (fs, path):
        found = _within(fs, "find", _LISTING * timeout(), path, detail=True)
        whole = [(_below(name, path), fs.unstrip_protocol(name), _info(entry)) for name, entry in found.items()]
    return sorted((each for each in whole if each[0]), key=lambda each: each[0].split("/"))


def sizes(url: str) -> dict[str, int]:
    """The files of a folder, by name, with their bytes; not those of folders in it, nor what is hidden.

    Raises
    ------
    SourceError
        If it cannot be listed.
    """
    with _asking(url, "listed") as (fs, path):
        found = _within(fs, "ls", _LISTING * timeout(), path, detail=True)
    files = {_below(entry["name"], path): int(entry.get("size") or 0) for entry in found if entry["type"] == "file"}
    return {name: size for name, size in files.items() if name and "/" not in name}


def file_info(url: str) -> FileInfo | None:
    """The state of one file, if its server tells.

    Raises
    ------
    SourceError
        If it is not there, or cannot be reached.
    """
    with _asking(url, "read") as (fs, path):
        return _info(_within(fs, "info", timeout(), path))


def send(url: str, data: bytes | memoryview | Path) -> None:
    """Write a whole file: from memory, or from a file here, which may be of any size.

    Raises
    ------
    SourceError
        If it cannot be written.
    """
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(2**attempt / 4)
        try:
            fs, path = _file_system(url)
            if isinstance(data, Path):
                _within(fs, "put_file", _WRITING * timeout(), str(data), path)
            else:
                _within(fs, "pipe_file", _LISTING * timeout(), path, bytes(data))
            fs.invalidate_cache()
        except Exception as error:
            reason = reason_of(error, url)
            if is_lasting(error):
                raise SourceError(f"{public(url)} cannot be written: {reason}") from None
            continue
        return
    raise SourceError(f"{public(url)} cannot be written ({TRIES} times tried): {reason}")


def delete(url: str) -> None:
    """Delete a file, if it is there.

    Raises
    ------
    SourceError
        If it cannot be deleted.
    """
    with _asking(url, "deleted") as (fs, path), suppress(FileNotFoundError):
        _within(fs, "rm_file", timeout(), path)
        fs.invalidate_cache()


def file_size(url: str) -> int:
    """Bytes of one file. Raises SourceError if it is not there, or its server does not tell."""
    with _asking(url, "read") as (fs, path):
        size = _within(fs, "info", timeout(), path).get("size")
    if size is None:
        raise SourceError(f"{public(url)}: its server does not say how large it is; download it first")
    return int(size)


def joined(base: str, name: str) -> Confined | None:
    """The URL of a name below another; None if it leads out of it."""
    if base.startswith("http"):
        if ".." in unquote(name).split("/"):
            return None
        name = name if is_url(name) else name.replace("#", "%23").replace("?", "%3F")  # as files may be called
    if is_url(name):
        return Confined(name) if name.startswith(base.rstrip("/") + "/") and ".." not in name.split("/") else None
    clean = posixpath.normpath(name)
    outside = clean.startswith(("../", "/")) or clean in {"..", "."}
    return None if outside else Confined(f"{base.rstrip('/')}/{clean}")


@lru_cache(maxsize=256)
def _of_host(place: str) -> Any:
    from fsspec.core import url_to_fs

    more = {"get_client": bounded_client} if place.lower().startswith(_HTTP) else {}
    return url_to_fs(place, **more)[0]


# What talks to servers does so in a thread of its own, which a fork leaves behind.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_of_host.cache_clear)


def _file_system(url: str) -> tuple[Any, str]:
    public(url)
    protocol, _, rest = url.partition("://")
    fs = _of_host(f"{protocol}://{rest.partition('/')[0]}")
    return fs, fs._strip_protocol(url)


@contextmanager
def _asking(url: str, what: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and what it calls the file; what goes wrong is said as "cannot be `what`".

    What was listed before is forgotten: another call, or machine, may have written it anew.
    """
    try:
        fs, path = _file_system(url)
        fs.invalidate_cache()
        yield fs, path
    except SourceError:  # of a setting, not of this file
        raise
    except Exception as error:
        raise SourceError(f"{public(url)} cannot be {what}: {reason_of(error, url)}") from None


def _within(fs: Any, what: str, seconds: float, *arguments: Any, **more: Any) -> Any:
    """A call that ends in time, where the file system can be interrupted."""
    from fsspec.asyn import AsyncFileSystem, sync

    if isinstance(fs, AsyncFileSystem):
        return sync(fs.loop, getattr(fs, f"_{what}"), *arguments, timeout=seconds, **more)
    call: Callable[..., Any] = getattr(fs, what)
    return call(*arguments, **more)


def _below(name: str, folder: str) -> str:
    """Of a file's name, what follows that of the folder; nothing where a part is hidden."""
    inside = name.removeprefix(folder.rstrip("/") + "/")
    if folder.startswith("http"):
        inside = unquote(inside.partition("?")[0])
    return "" if any(part.startswith(".") for part in inside.split("/")) else inside


def _info(entry: dict[str, Any]) -> FileInfo | None:
    """Size and state, which file systems call by many names."""
    size = entry.get("size")
    for name in _STATES:
        state = entry.get(name)
        if size is None or state is None:
            continue
        if isinstance(state, datetime):
            state = state.timestamp()
        if isinstance(state, int | float):
            return FileInfo.bounded(int(size), int(state * 1e9) if math.isfinite(state) else 0)
        return FileInfo.bounded(int(size), zlib.crc32(str(state).encode()))
    return None
