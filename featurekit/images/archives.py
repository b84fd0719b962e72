"""Archives of images: ZIP files, and tar files, among them webdataset's shards. They are read where they lie.

A tar file has no index: its headers are read once, and then each image by its place. Its name says the place,
``photos.tar#bytes=1024-5119``, so that it can be read by whoever knows the name, in any order, by many threads, from a
server, too.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from ..errors import ImageError, SourceError
from .items import Item, Source, is_image
from .remote import FileInfo, fetch, file_info, is_url, open_file, public

_PART = re.compile(r"^(.+)#bytes=(\d+)-(\d+)$")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHAIN = re.compile(r"^(zip|tar)://(.*?)(?:::(.+))?$")
_MOST_MEMBER = 2**30
"""Bytes of one image; more is no photograph."""
_MOST_SHARDS = 10**6
_MOST_LABEL = 8192


def is_archive(place: str) -> bool:
    """Whether a source is an archive, or several of them in webdataset's way.

    Examples
    --------
    >>> is_archive("photos.zip"), is_archive("s3://b/shard-{000..123}.tar"), is_archive("tar://train::all.tar")
    (True, True, True)
    """
    return _CHAIN.match(place) is not None or public(place).lower().endswith((".zip", ".tar"))


def is_compressed_tar(place: str) -> bool:
    """Whether a source is a tar file that can only be read from its beginning."""
    return public(place).lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def read_archive(place: str) -> Source:
    """The images of an archive: class folders, or of webdataset's shards ``KEY.jpg`` with its class in ``KEY.cls``.

    Parameters
    ----------
    place : str
        A ``.zip`` or ``.tar`` file or URL; ``zip://FOLDER::FILE`` for a part; ``shard-{000..123}.tar`` for several.

    Raises
    ------
    SourceError
        If it cannot be read, or holds no image.
    """
    kind, inside, files = _parsed(place)
    items: list[Item] = []
    for file in files:
        found = _zip_items(file) if kind == "zip" else _tar_items(file)
        prefix = f"{_name(file)}/" if len(files) > 1 else ""
        for item in found:
            below = item.path.removeprefix(inside)
            if inside and below == item.path:
                continue
            label = item.label or below.rpartition("/")[0].partition("/")[0]
            items.append(Item(prefix + below, item.origin, label, "", item.problem, item.info))
    if not items:
        raise SourceError(f"no image in {public(place)}{f' below {inside}' if inside else ''}")
    absolute = [public(file) if is_url(file) else os.path.abspath(file) for file in files]
    where = absolute[0] if len(files) == 1 else os.path.dirname(absolute[0])
    return Source(items, f"{kind} archive" if len(files) == 1 else f"{len(files)} tar files", where, where)


def read_shards(files: list[str]) -> Source:
    """The images of several tar files, in this order."""
    items = [
        Item(f"{_name(file)}/{item.path}", item.origin, item.label, "", item.problem, item.info)
        for file in files
        for item in _tar_items(file)
    ]
    return Source(items, f"{len(files)} tar files")


def read_part(origin: str) -> bytes | None:
    """The bytes of one member of an archive; None if `origin` names none.

    Raises
    ------
    ImageError
        If they cannot be read.
    """
    if part := _PART.match(origin):
        file, start, end = part[1], int(part[2]), int(part[3]) + 1
        if end - start > _MOST_MEMBER:
            raise ImageError(f"{end - start} bytes are too many for an image")
        if is_url(file):
            return fetch(file, start, end)
        try:
            with open(file, "rb") as opened:
                opened.seek(start)
                data = opened.read(end - start)
        except OSError as error:
            raise ImageError(f"{file}: {error.strerror or error}") from None
        if len(data) < end - start:
            raise ImageError(f"{file} is cut short")
        return data
    chain = _CHAIN.match(origin)
    if chain is None or chain[1] != "zip" or not chain[3]:
        return None
    try:
        opened_zip = _zip(chain[3])
        info = opened_zip.getinfo(chain[2])
        if info.file_size > _MOST_MEMBER:
            raise ImageError(f"{info.file_size} bytes are too many for an image")
        return opened_zip.read(info)
    except KeyError:
        raise ImageError(f"no such file in {public(chain[3])}") from None
    except (SourceError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ImageError(f"in {public(chain[3])}: {error}") from None


def _parsed(place: str) -> tuple[str, str, list[str]]:
    """Kind, folder inside (ending in a slash, or empty), and the files."""
    chain = _CHAIN.match(place)
    if chain is None:
        kind, inside, file = public(place).lower()[-3:], "", place
    else:
        kind, inside, file = chain[1], chain[2], chain[3] or ""
        if not file:  # zip://photos.zip
            inside, file = "", inside
    if not file:
        raise SourceError(f"{place} names no archive: write {kind}://FOLDER::FILE, or FILE alone")
    inside = inside.strip("/")
    braces = _BRACES.search(file)
    if braces is None or kind == "zip":
        return kind, f"{inside}/" if inside else "", [file]
    first, last = int(braces[1]), int(braces[2])
    if last < first or last - first >= _MOST_SHARDS:
        raise SourceError(f"{place}: {{{braces[1]}..{braces[2]}}} are no numbers of files in rising order")
    files = [f"{file[: braces.start()]}{n:0{len(braces[1])}d}{file[braces.end() :]}" for n in range(first, last + 1)]
    return kind, f"{inside}/" if inside else "", files


def _name(file: str) -> str:
    return PurePosixPath(public(file)).name


def _state(file: str) -> FileInfo | None:
    if is_url(file):
        return file_info(file)
    try:
        info = os.stat(file)
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from None
    return FileInfo(info.st_size, info.st_mtime_ns)


def _opened(file: str) -> IO[bytes]:
    try:
        return open_file(file) if is_url(file) else open(file, "rb")
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from None


def _unreadable(file: str, kind: str, error: Exception) -> SourceError:
    if "range requests" in str(error) or "seek" in str(error):  # fsspec's words
        return SourceError(f"{public(file)} is read in parts, which its server does not give: download it first")
    return SourceError(f"{public(file)} is no {kind} file, or damaged: {error}")


_zips: dict[str, tuple[FileInfo | None, zipfile.ZipFile]] = {}
_MOST_OPEN = 16


def _zip(file: str, state: FileInfo | None = None) -> zipfile.ZipFile:
    """An open archive, which threads share; opened anew if the file is known to have another state now."""
    known = _zips.get(file)
    if known is not None and state in {None, known[0]}:
        return known[1]
    try:
        opened = zipfile.ZipFile(open_file(file) if is_url(file) else file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, FileNotFoundError):
            raise SourceError(f"cannot read {file}: no such file") from None
        raise _unreadable(file, "ZIP", error) from None
    while len(_zips) >= _MOST_OPEN:
        _zips.pop(next(iter(_zips)), None)  # closed when the last thread that reads it lets it go
    _zips[file] = (state, opened)
    return opened


def _zip_items(file: str) -> Iterator[Item]:
    state = _state(file)
    members = [info for info in _zip(file, state).infolist() if is_image(info.filename) and not info.is_dir()]
    for info in sorted(members, key=lambda info: info.filename.split("/")):
        # A member's checksum says whether it changed.
        known = FileInfo(info.file_size, info.CRC)
        problem = "encrypted" if info.flag_bits & 1 else ""
        yield Item(info.filename, f"zip://{info.filename}::{file}", "", "", problem, known)


def _tar_items(file: str) -> list[Item]:
    """Of a tar file, in its own order."""
    state = _state(file)
    items: list[Item] = []
    labels: dict[str, str] = {}
    try:
        with _opened(file) as opened, tarfile.open(fileobj=opened, mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if not member.isfile():
                    continue
                if name.endswith(".cls") and member.size <= _MOST_LABEL:
                    extracted = tar.extractfile(member)
                    if extracted is not None:
                        labels[_key(name)] = extracted.read().decode("utf-8", "replace").strip()
                elif is_image(name):
                    start = member.offset_data
                    problem = "a sparse file" if member.issparse() else "" if member.size else "empty file (0 bytes)"
                    origin = f"{file}#bytes={start}-{start + member.size - 1}"
                    known = FileInfo(member.size, state.mtime_ns) if state else None
                    items.append(Item(name, origin, "", "", problem, known))
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all it has seen
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        if not items:
            raise _unreadable(file, "tar", error) from None
        # What comes before the damage is good; the rest is a row of the ledger.
        items.append(Item("(the rest)", file, "", "", f"the tar file is damaged or cut short: {error}", state))
    return [Item(i.path, i.origin, labels.get(_key(i.path), ""), "", i.problem, i.info) for i in items]


def _key(name: str) -> str:
    """webdataset's: up to the first dot of the file's name."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]
