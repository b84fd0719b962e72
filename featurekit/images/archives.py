"""Archives of images: ZIP files, and tar files, among them webdataset's shards. They are read where they lie.

The names in an archive are read once; each image is then a :class:`Member`, a place in the file, that any thread or
machine reads by itself, from a server in one request.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from ..errors import ImageError, SourceError, UnavailableError
from ..folders import is_url, open_regular
from .blocks import Blocks
from .budget import max_bytes, too_many_bytes
from .faults import reason_of
from .items import Ignored, Item, Member, Source, Unlisted, as_label, is_image
from .remote import FileInfo, fetch, file_info, file_size
from .urls import public

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHAIN = re.compile(r"^(zip|tar)://(.*?)(?:::(.+))?$")
_MOST_SHARDS = 10**6
_MOST_LABEL = 8192
_MOST_NAME = 4096  # characters, as many as a file system allows
_HEADER = 30  # bytes of the header of a file in a ZIP file, without its name
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of a ZIP file: the lengths of its name and of what follows that


def is_archive(place: str) -> bool:
    """Tell whether a source is an archive, or several of them in webdataset's way.

    Examples
    --------
    >>> is_archive("photos.zip"), is_archive("s3://b/shard-{000..123}.tar"), is_archive("tar://train::all.tar")
    (True, True, True)
    """
    return _CHAIN.match(place) is not None or public(place).lower().endswith((".zip", ".tar"))


def is_compressed_tar(place: str) -> bool:
    """Tell whether a source is a tar file that can only be read from its beginning."""
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
    if len(files) > 1:
        named = [public(file) for file in files]
        apart = next(i for i, (a, b) in enumerate(zip(named[0], named[-1], strict=False)) if a != b)
        common = named[0].rindex("/", 0, apart) + 1
        return read_shards([(name[common:], file) for name, file in zip(named, files, strict=True)])
    items, ignored = [], Ignored()
    for item in _zip_items(files[0], ignored) if kind == "zip" else _tar_items(files[0], ignored):
        below = item.path.removeprefix(inside)
        if not inside or below != item.path or isinstance(item.problem, Unlisted):
            label = item.label or below.rpartition("/")[0].partition("/")[0]
            items.append(Item(below, item.origin, label, "", item.problem, item.info))
    if not items:
        found = f"; found only {ignored}" if ignored else ""
        raise SourceError(f"no image in {public(files[0])}{f' below {inside}' if inside else ''}{found}")
    where = public(files[0])
    return Source(items, f"{kind} archive", where, where, ignored.notes())


def read_shards(files: list[tuple[str, str]]) -> Source:
    """The images of several tar files, in this order, by their names and places."""
    ignored = Ignored()
    items = [
        Item(f"{name}/{item.path}".rstrip("/"), item.origin, item.label, "", item.problem, item.info)
        for name, file in files
        for item in _tar_items(file, ignored)
    ]
    where = public(files[0][1]).removesuffix(files[0][0]).rstrip("/")
    return Source(items, f"{len(files)} tar files", where, where, ignored.notes())


def read_member(member: Member) -> bytes:
    """The bytes of one file in an archive.

    Raises
    ------
    UnavailableError
        If the archive cannot be read there, or they are too many for an image.
    """
    if member.end == member.start:
        return b""
    size = max(member.end - member.start, member.size, member.packed)
    if size > max_bytes():
        raise UnavailableError(too_many_bytes(size))
    if not member.zipped:
        return _part(member, member.end)
    # How long the header is stands in it; what the list of the archive says is a good guess.
    data = _part(member, member.end)
    if len(data) < 30 or data[:4] != b"PK\3\4":
        raise UnavailableError(f"{public(member.file)} is damaged, or changed while it was read")
    begin = 30 + sum(_LOCAL_HEADER.unpack(data[:30]))
    if len(data) < begin + member.packed:
        data = _part(member, member.start + begin + member.packed)
    packed = data[begin : begin + member.packed]
    try:
        found = zlib.decompressobj(-15).decompress(packed, member.size + 1) if member.deflated else packed
    except zlib.error as error:
        raise UnavailableError(f"damaged in {public(member.file)}: {error}") from None
    if len(found) != member.size or zlib.crc32(found) != member.checksum:
        raise UnavailableError(f"damaged in {public(member.file)}: its checksum is wrong")
    return found


def _part(member: Member, end: int) -> bytes:
    file, start = member.file, member.start
    if is_url(file):
        try:
            return fetch(file, start, end)
        except ImageError as error:  # the archive is gone, and nothing is known of the image
            raise UnavailableError(str(error)) from None
    try:
        if not os.stat(file).st_size:
            raise UnavailableError(f"{file} is empty")
        with open_regular(file) as opened:
            info = os.fstat(opened.fileno())
            if member.state not in {None, FileInfo.of(info)}:
                raise UnavailableError(f"{file} was written anew while its images were read")
            opened.seek(start)
            data = opened.read(end - start)
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror or error}") from None
    if len(data) < end - start:
        raise UnavailableError(f"{file} is cut short")
    return data


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
    inside = f"{inside.strip('/')}/" if inside.strip("/") else ""
    file = file if is_url(file) else os.path.abspath(file)
    braces = _BRACES.search(file)
    if braces is None or kind == "zip":
        return kind, inside, [file]
    first, last = int(braces[1]), int(braces[2])
    if last < first or last - first >= _MOST_SHARDS:
        raise SourceError(f"{place}: {{{braces[1]}..{braces[2]}}} are no numbers of files in rising order")
    start, end, digits = file[: braces.start()], file[braces.end() :], len(braces[1])
    return kind, inside, [f"{start}{number:0{digits}d}{end}" for number in range(first, last + 1)]


def _state(file: str) -> FileInfo | None:
    if is_url(file):
        return file_info(file)
    try:
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):
            raise SourceError(f"{file} is no plain file")
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from None
    return FileInfo.of(info)


def _listed(file: str, kind: str, read: Callable[[IO[bytes]], list[Item]]) -> list[Item]:
    """What `read` makes of an open archive."""
    blocks = Blocks(file, file_size(file)) if is_url(file) else None
    try:
        with open_regular(file) if blocks is None else io.BufferedReader(blocks) as opened:
            return read(opened)
    except SourceError:
        raise
    except Exception as error:  # zipfile and tarfile raise many kinds for what is damaged
        if blocks is not None and blocks.failed:
            raise SourceError(blocks.failed) from None
        raise SourceError(f"{public(file)} is no {kind} file, or damaged: {reason_of(error, file)}") from None


def _zip_items(file: str, ignored: Ignored) -> list[Item]:
    _state(file)
    return _listed(file, "ZIP", lambda opened: list(_members(file, opened, ignored)))


def _members(file: str, opened: IO[bytes], ignored: Ignored) -> Iterator[Item]:
    with zipfile.ZipFile(opened) as archive:
        # Of two of one name, the last counts, as it does when they are unpacked.
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        for name in [name for name in infos if not is_image(_cleaned(name))]:
            del infos[name]
            ignored.add(_cleaned(name))
        last = archive.start_dir
        shared = _overlapping(archive.infolist(), last)
    for info in sorted(infos.values(), key=lambda info: info.filename.split("/")):
        problem = _problem(info.filename) or ("encrypted" if info.flag_bits & 1 else "")
        if info.header_offset in shared:
            problem = problem or "its bytes are those of another file of the archive, too (a ZIP bomb?)"
        if _end(info) > last:
            problem = problem or f"its {info.compress_size} bytes are too many for an image in this archive"
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            problem = problem or f"compressed in a way that is not read here ({info.compress_type}): pack it again"
        begin = info.header_offset
        end = begin + 30 + len(info.filename.encode()) + len(info.extra) + 64 + info.compress_size
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        member = Member(file, begin, min(end, last), True, deflated, info.compress_size, info.file_size, info.CRC)
        # A member's checksum says whether it changed.
        yield Item(info.filename, member, "", "", problem, FileInfo(info.file_size, info.CRC))


def _overlapping(infos: list[zipfile.ZipInfo], last: int) -> set[int]:
    """Where those files of a ZIP file begin whose bytes, up to `last`, belong to more than one of them."""
    found: set[int] = set()
    widest, reached = -1, -1  # the file that reaches farthest of those that were seen, and to where
    for info in sorted(infos, key=lambda info: info.header_offset):
        if (end := _end(info)) > last:
            continue  # it is refused by itself
        if info.header_offset < reached:
            found |= {widest, info.header_offset}
        if end > reached:
            widest, reached = info.header_offset, end
    return found


def _end(info: zipfile.ZipInfo) -> int:
    """Where a file of a ZIP file ends at the earliest."""
    name = len(info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"))
    return info.header_offset + _HEADER + name + info.compress_size


def _tar_items(file: str, ignored: Ignored) -> list[Item]:
    """Of a tar file, in its own order."""
    state = _state(file)
    return _listed(file, "tar", lambda opened: _entries(file, opened, state, ignored))


def _entries(file: str, opened: IO[bytes], state: FileInfo | None, ignored: Ignored) -> list[Item]:
    found: dict[str, Item] = {}
    labels: dict[str, set[str]] = {}
    wrong: dict[str, str] = {}
    place = -1
    try:
        with tarfile.open(fileobj=opened, mode="r:") as tar:
            for member in tar:
                if member.size < 0 or member.offset_data <= place:
                    raise tarfile.ReadError("a file in it has no size that can be")
                place = member.offset_data
                name = member.name.removeprefix("./")
                if member.isfile() and name.lower().endswith(".cls"):
                    extracted = tar.extractfile(member)
                    text = b"" if extracted is None else extracted.read(_MOST_LABEL + 1)
                    try:
                        labels.setdefault(name[:-4], set()).add(_label(text))
                    except ValueError as error:
                        wrong[name[:-4]] = f"{name} holds no label: {error}"
                elif is_image(_cleaned(name)) and not member.isdir():
                    # Of two of one name, the last counts, as it does when they are unpacked.
                    found.pop(name, None)
                    found[name] = _entry(file, member, name, state, found)
                elif member.isfile():
                    ignored.add(_cleaned(name))
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all it has seen
    except tarfile.TarError as error:
        if not found:
            raise
        # What comes before the damage is good. That the rest is unknown is no reason for its rows to leave a store.
        found[""] = Item("", file, "", "", Unlisted(f"the tar file is damaged or cut short ({error})"), state)
    return [Item(i.path, i.origin, *_labelled(i, labels, wrong), i.info) for i in found.values()]


def _entry(file: str, member: tarfile.TarInfo, name: str, state: FileInfo | None, found: dict[str, Item]) -> Item:
    """An image of a tar file; a hard link is another name of one that came before."""
    if member.islnk():
        first = found.get(member.linkname.removeprefix("./"))
        if first is not None:
            return Item(name, first.origin, "", "", first.problem, first.info)
    start = member.offset_data
    problem = _problem(name)
    if not member.isfile():
        problem = problem or "a link to what is not in the archive before it, or no plain file"
    elif member.issparse():
        problem = problem or "a sparse file"
    if len(name) > _MOST_NAME:
        name, problem = name[:_MOST_NAME], f"its name has {len(name)} characters"
    known = FileInfo(member.size, state.mtime_ns) if state else None
    return Item(name, Member(file, start, start + member.size, state=state), "", "", problem, known)


def _cleaned(name: str) -> str:
    """The name of a file in an archive without the parts "." and "..", whose dots do not make a file hidden."""
    return "/".join(part for part in name.split("/") if part not in {".", ".."})


def _problem(name: str) -> str:
    return "its name leads out of the archive" if ".." in name.split("/") or name.startswith("/") else ""


def _label(data: bytes) -> str:
    if len(data) > _MOST_LABEL:
        raise ValueError("it is too long")
    return as_label(data.decode())


def _labelled(item: Item, labels: dict[str, set[str]], wrong: dict[str, str]) -> tuple[str, str, str]:
    """Label, group and problem of an image: what is called like it holds its class.

    First by all of its name but the ending, else, as webdataset has it, by that up to the first dot.
    """
    folder, slash, last = item.path.rpartition("/")
    for key in (item.path.rpartition(".")[0], folder + slash + last.partition(".")[0]):
        if key in wrong:
            return "", "", item.problem or wrong[key]
        if found := labels.get(key):
            if len(found) > 1:
                return "", "", item.problem or f"{key}.cls is there more than once, with different labels"
            return next(iter(found)), "", item.problem
    return "", "", item.problem
