"""The layout of a store, and how its values are written and read.

A store is one HDF5 file, or a folder of immutable HDF5 shards with an index. The file, a shard and the
index share one layout::

    attributes  format, version, fingerprint, space (JSON), provenance (JSON), digest
    X           (n, d)   float32   one row for each good image, in source order (or float16, if asked for)
    check       (n,)     uint32    CRC-32 of the row's sha256 followed by the row
    path        (n,)     UTF-8     as the source names it
    label       (n,)     UTF-8     empty where there is none
    group       (n,)     UTF-8     empty where there is none
    sha256      (n, 32)  uint8     of the image file's bytes
    perceptual  (n, 64)  uint8     perceptual hash of the decoded pixels; all zeros where it is not known
    size        (n,)     int64     bytes of the image file; 0 if it was no file
    mtime_ns    (n,)     int64     its modification time; 0 if it was no file
    ledger/path, ledger/status, ledger/reason (m,) UTF-8, ledger/row (m,) int64 (-1: none)

but the index, ``index.h5``, has three datasets in place of ``X`` and ``check``, which say where each row lies::

    shards      (k,)     UTF-8     names of the shards, ``rows-<sha256 of the file>.h5``
    shard       (n,)     int32     number of the shard in that list
    row         (n,)     int32     row in that shard's ``X``

Text has a fixed width: HDF5 keeps variable-width text in a heap that no checksum covers. Every dataset
carries Fletcher-32 checksums. They do not notice a chunk that became all zeros, or a copy of another chunk;
``check`` does, and ``digest``, the SHA-256 of everything but the rows.

Version 1 has no ``check`` and no ``digest``; versions 1 and 2 have no ``perceptual``. Both are read as they are, and
their perceptual hashes as zeros. Every file that is written has version 3.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, overload

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..fingerprint import HASH_BYTES, FeatureSpace
from ..images import PERCEPTUAL_BYTES

FORMAT, EXPORT_FORMAT = b"featurekit-store", b"featurekit-export"
VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
INDEX = "index.h5"
"""Name of the index in a folder store."""

STORED, DUPLICATE, FAILED, KEPT, REMOVED = "stored", "duplicate", "failed", "kept", "removed"
"""What the ledger says of an image: it has a row; it has a row, shared with an equal file before it; it
could not be read; it could not be read, and has the row of an earlier run; it had a row, and has gone from the
source."""

TEXT_COLUMNS = ("path", "label", "group")
HASH_COLUMNS = {"sha256": HASH_BYTES, "perceptual": PERCEPTUAL_BYTES}
"""Bytes of each hash."""
NUMBER_COLUMNS = ("size", "mtime_ns")
LEDGER_TEXT = ("path", "status", "reason")
ATTRIBUTES = ("format", "version", "fingerprint", "space", "provenance")
MAX_TEXT = 64 * 1024
"""Bytes of one path, label, group or reason, at most."""
MAX_ATTRIBUTE = 64 * 1024 - 512  # HDF5's own limit for an object header is 64 KiB
CHUNK_BYTES = 64 * 1024  # large enough to stream at the speed of the disk, small enough for single rows
SLAB_CHUNKS = 64
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

Rows = NDArray[np.floating[Any]]
Text = NDArray[np.bytes_]


class LedgerEntry(NamedTuple):
    """What became of one image: its path, its status, why, and its row in ``X`` (-1 if it has none).

    The reason of a duplicate is the path of the equal file before it. That of a kept row begins with the time, in ISO
    format, since which its image could not be read.
    """

    path: str
    status: str
    reason: str
    row: int


@dataclass(slots=True, eq=False)
class Ledger(Sequence[LedgerEntry]):
    """What became of every image: a sequence of :class:`LedgerEntry`, kept in arrays.

    Attributes
    ----------
    path, status : ndarray of bytes, shape (m,)
        UTF-8.
    reason : dict of int to str
        By position; those that have none are left out.
    row : ndarray of int64, shape (m,)
    """

    path: Text
    status: Text
    reason: dict[int, str]
    row: NDArray[np.int64]

    @classmethod
    def of(cls, entries: Iterable[LedgerEntry]) -> Ledger:
        """A ledger of entries."""
        paths, statuses, reasons, rows = zip(*entries, strict=True) if (entries := list(entries)) else ((), (), (), ())
        given = {i: reason for i, reason in enumerate(reasons) if reason}
        return cls(encode(paths), encode(statuses), given, np.array(rows, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.row)

    @overload
    def __getitem__(self, key: int) -> LedgerEntry: ...
    @overload
    def __getitem__(self, key: slice) -> list[LedgerEntry]: ...
    def __getitem__(self, key: int | slice) -> LedgerEntry | list[LedgerEntry]:
        if isinstance(key, slice):
            return [self._entry(i) for i in range(*key.indices(len(self)))]
        return self._entry(range(len(self))[key])

    def __iter__(self) -> Iterator[LedgerEntry]:
        return map(self._entry, range(len(self)))

    def _entry(self, i: int) -> LedgerEntry:
        return LedgerEntry(decode(self.path[i]), decode(self.status[i]), self.reason.get(i, ""), int(self.row[i]))

    def where(self, status: str) -> list[LedgerEntry]:
        """The entries of one status."""
        return [self._entry(int(i)) for i in np.flatnonzero(self.status == status.encode())]

    def counts(self) -> dict[str, int]:
        """Images of each status."""
        return counts_of(self.status)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Ledger) and self.reason == other.reason and _equal(self, other, "path", "status", "row")
        )

    __hash__ = None  # type: ignore[assignment]  # as of any changeable sequence


@dataclass(slots=True, eq=False)
class Columns:
    """Everything about n rows but the rows themselves.

    Attributes
    ----------
    path, label, group : ndarray of bytes, shape (n,)
        UTF-8.
    sha256 : ndarray of uint8, shape (n, 32)
    size, mtime_ns : ndarray of int64, shape (n,)
    perceptual : ndarray of uint8, shape (n, 64), optional
        Perceptual hash of the decoded pixels; all zeros where it is not known.
    """

    path: Text
    label: Text
    group: Text
    sha256: NDArray[np.uint8]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]
    perceptual: NDArray[np.uint8] = field(default_factory=lambda: unknown_hashes(0))

    def __post_init__(self) -> None:
        if not len(self.perceptual):
            self.perceptual = unknown_hashes(len(self.size))

    def __len__(self) -> int:
        return len(self.size)

    def same_as(self, other: Columns) -> bool:
        """Whether all values are equal."""
        return _equal(self, other, *(each.name for each in fields(Columns)))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Columns:
        """Some of the rows, by number or mask."""
        return Columns(*(getattr(self, each.name)[rows] for each in fields(Columns)))

    @staticmethod
    def concatenate(parts: Sequence[Columns]) -> Columns:
        """All rows of some columns, one after another."""
        return Columns(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Columns)))


def unknown_hashes(n: int) -> NDArray[np.uint8]:
    """Perceptual hashes of n images of which none is known."""
    return np.zeros((n, PERCEPTUAL_BYTES), dtype=np.uint8)


def _equal(one: object, other: object, *names: str) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


class Places(NamedTuple):
    """Where the rows of a folder store lie: names of shards, and for each row its shard's number and its row."""

    shards: list[str]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]


def encode(values: Iterable[str]) -> Text:
    """Text as a fixed-width array of UTF-8."""
    # surrogateescape: file names that are not UTF-8 come back as they were.
    data = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.array(data, dtype=f"S{max(map(len, data), default=1) or 1}")


@overload
def decode(value: bytes) -> str: ...
@overload
def decode(value: Text) -> list[str]: ...
def decode(value: bytes | Text) -> str | list[str]:
    """What :func:`encode` encoded: of one value, or of all of an array."""
    if isinstance(value, np.ndarray):
        return [one.decode("utf-8", "surrogateescape") for one in value.tolist()]
    return value.decode("utf-8", "surrogateescape")


def as_strings(values: Text) -> NDArray[np.str_]:
    """What :func:`encode` encoded, as an array; each text that comes often is decoded once."""
    names, inverse = np.unique(values, return_inverse=True)
    return np.array(decode(names), dtype=np.str_)[inverse]


def counts_of(values: Text) -> dict[str, int]:
    """How often each text is there."""
    names, counts = np.unique(values, return_counts=True)
    return {decode(name): int(count) for name, count in zip(names, counts, strict=True)}


# --- writing -----------------------------------------------------------------------------------------


def write_header(file: h5py.File, space: FeatureSpace, provenance: Mapping[str, Any]) -> None:
    """Write the attributes."""
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["version"] = VERSION
    file.attrs["fingerprint"] = np.bytes_(space.fingerprint.encode())
    file.attrs["space"] = np.bytes_(space.to_json().encode())
    text = json.dumps(provenance, sort_keys=True).encode()
    if len(text) > MAX_ATTRIBUTE:
        raise StoreError(f"the provenance would have {len(text)} bytes; at most {MAX_ATTRIBUTE} can be stored")
    file.attrs["provenance"] = np.bytes_(text)


def write_columns(file: h5py.File, columns: Columns, ledger: Ledger) -> None:
    """Write everything but the rows."""
    for name in TEXT_COLUMNS:
        _write_text(file, name, getattr(columns, name))
    for name in (*HASH_COLUMNS, *NUMBER_COLUMNS):
        _write_array(file, name, getattr(columns, name))
    for name in ("path", "status"):
        _write_text(file, f"ledger/{name}", getattr(ledger, name))
    _write_sparse_text(file, "ledger/reason", ledger.reason, len(ledger))
    _write_array(file, "ledger/row", ledger.row)
    file.attrs["digest"] = np.bytes_(f"{columns_digest(columns)} {ledger_digest(ledger)}".encode())


def write_rows(
    file: h5py.File, dim: int, sha256: NDArray[np.uint8], dtype: np.dtype[Any], blocks: Iterable[Rows]
) -> None:
    """Write ``X`` and ``check``; `blocks` hold the rows of the content hashes, shape (n, 32), in order."""
    x, check = _create(file, "X", (len(sha256), dim), dtype), np.zeros(len(sha256), dtype=np.uint32)
    start = 0
    for block in blocks:
        here = slice(start, start + len(block))
        stored = as_stored(block, dtype)
        x[here], check[here] = stored, row_checks(sha256[here], stored)
        start += len(block)
    if start != len(sha256):
        raise ValueError(f"{len(sha256)} rows announced, {start} written")
    _write_array(file, "check", check)


def row_checks(sha256: NDArray[np.uint8], rows: Rows) -> NDArray[np.uint32]:
    """CRC-32 of each row's content hash, shape (n, 32), followed by the row: it binds a row to its image."""
    pairs = zip(np.ascontiguousarray(sha256), np.ascontiguousarray(rows), strict=True)
    return np.fromiter((zlib.crc32(row, zlib.crc32(content)) for content, row in pairs), np.uint32, len(rows))


def columns_digest(columns: Columns, version: int = VERSION) -> str:
    """SHA-256 of all columns of a version of the layout, hexadecimal."""
    names = [each.name for each in fields(Columns) if version > 2 or each.name != "perceptual"]
    return _digest([getattr(columns, name) for name in names])


def ledger_digest(ledger: Ledger) -> str:
    """SHA-256 of the ledger, hexadecimal."""
    reasons = (f"{i}:{ledger.reason[i]}\n" for i in sorted(ledger.reason) if ledger.reason[i])
    return _digest([ledger.path, ledger.status, ledger.row], "".join(reasons))


def _digest(arrays: Sequence[NDArray[Any]], text: str = "") -> str:
    """SHA-256 of values, hexadecimal. The widths of text arrays do not matter."""
    found = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for array in arrays:
        if array.dtype.kind == "S":
            array = array.astype(f"S{text_width(array)}")
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()


def text_width(values: Text) -> int:
    """The length of the longest text: an array that was cut from another may be wider."""
    return int(np.strings.str_len(values).max(initial=1))


def write_places(file: h5py.File, places: Places) -> None:
    """Write where the rows lie, in place of ``X``."""
    _write_text(file, "shards", encode(places.shards))
    _write_array(file, "shard", places.shard)
    _write_array(file, "row", places.row)


def as_stored(rows: Rows, dtype: np.dtype[Any]) -> Rows:
    """Rows as a store of that type keeps them.

    Raises
    ------
    StoreError
        If a value is too large for float16.
    """
    if rows.dtype == dtype:
        return rows
    with np.errstate(over="ignore"):
        narrow: Rows = rows.astype(dtype)
    if np.isinf(narrow).any() and not np.isinf(rows).any():
        raise StoreError(f"features of up to {np.abs(rows).max():g} do not fit into {dtype}; store them as float32")
    return narrow


def _create(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], **filters: Any) -> h5py.Dataset:
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows = min(max(1, shape[0]), max(1, CHUNK_BYTES // row_bytes))
    return file.create_dataset(
        name, shape, dtype, chunks=(rows, *shape[1:]), maxshape=(None, *shape[1:]), fletcher32=True, **filters
    )


def _write_array(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    _create(file, name, values.shape, values.dtype)[...] = values


def _create_text(file: h5py.File, name: str, n: int, width: int) -> h5py.Dataset:
    if width > MAX_TEXT:
        raise StoreError(f"a text for '{name}' has {width} bytes; at most {MAX_TEXT} can be stored")
    # Padded to one width, text shrinks to what it holds; level 1 is nearly as small as 9 and far faster.
    return _create(file, name, (n,), h5py.string_dtype("utf-8", width), compression="gzip", compression_opts=1)


def _write_text(file: h5py.File, name: str, values: Text) -> None:
    dataset = _create_text(file, name, len(values), text_width(values))
    dataset[...] = values.astype(dataset.dtype)


def _write_sparse_text(file: h5py.File, name: str, values: Mapping[int, str], n: int) -> None:
    """Write n texts of which most are empty, without ever having them all at one width in memory."""
    positions = np.fromiter(sorted(values), dtype=np.intp, count=len(values))
    texts = encode(values[i] for i in positions.tolist())
    dataset = _create_text(file, name, n, texts.dtype.itemsize)
    step = dataset.chunks[0] * SLAB_CHUNKS
    for start in range(0, n, step):
        block = np.zeros(min(step, n - start), dtype=texts.dtype)
        low, high = np.searchsorted(positions, (start, start + len(block)))
        block[positions[low:high] - start] = texts[low:high]
        dataset[start : start + len(block)] = block.astype(dataset.dtype)
