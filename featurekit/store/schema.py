"""The layout of a store, and how its values are written and read.

A store is one HDF5 file, or a folder of immutable HDF5 shards with an index. The file, a shard and the
index share one layout::

    attributes  format, version, fingerprint, space (JSON), provenance (JSON), digest
    X           (n, d)   float32   one row for each good image, in source order (or float16, if asked for)
    check       (n,)     uint32    CRC-32 of the row's sha256 followed by the row
    path        (n,)     UTF-8     as the source names it
    label       (n,)     UTF-8     empty where there is none
    group       (n,)     UTF-8     empty where there is none
    split       (n,)     UTF-8     the part of the split, as the source spells it; only where the source has one
    sha256      (n, 32)  uint8     of the image file's bytes
    perceptual  (n, 64)  uint8     perceptual hash of the decoded pixels; zeros: not known, 255s: it has none
    size        (n,)     int64     bytes of the image file; 0 if it was no file
    mtime_ns    (n,)     int64     its modification time; 0 if it was no file
    ledger/path, ledger/status, ledger/reason (m,) UTF-8, ledger/row (m,) int64 (-1: none)

but the index, ``index.h5``, has three datasets in place of ``X`` and ``check``, which say where each row lies::

    shards      (k,)     UTF-8     names of the shards, ``rows-<sha256 of the file>.h5``
    shard       (n,)     int32     number of the shard in that list
    row         (n,)     int32     row in that shard's ``X``

Each text is a group of two datasets, because HDF5 keeps variable-width text in a heap that no checksum covers, and
fixed width costs the longest text for every row::

    NAME/data   (b,)     uint8     the bytes of all texts, one after another
    NAME/end    (n,)     int64     where each text ends; it begins where the one before it ends

Plain h5py reads them in two lines::

    data, end = file["path/data"][:].tobytes(), file["path/end"][:]
    paths = [data[i:j].decode("utf-8", "surrogateescape") for i, j in zip([0, *end[:-1]], end)]

Every dataset carries Fletcher-32 checksums. They do not notice a chunk that became all zeros, or a copy of another
chunk; ``check`` does, and ``digest``, the SHA-256 of everything but the rows.

Version 1 has no ``check`` and no ``digest``. Versions 1 and 2 have no ``perceptual``, and each of their texts is one
dataset of fixed width. Both are read as they are, and their perceptual hashes as zeros. Every file that is written has
version 3.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..fingerprint import HASH_BYTES
from ..images import PERCEPTUAL_BYTES
from .texts import Text, concatenated, counts_of, decode, encode

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
SPLIT = "split"
"""A text column that only stores of sources with a split have."""
HASH_COLUMNS = {"sha256": HASH_BYTES, "perceptual": PERCEPTUAL_BYTES}
"""Bytes of each hash."""
NUMBER_COLUMNS = ("size", "mtime_ns")
LEDGER_TEXT = ("path", "status", "reason")
ATTRIBUTES = ("format", "version", "fingerprint", "space", "provenance")
MAX_ATTRIBUTE = 64 * 1024 - 512  # HDF5's own limit for an object header is 64 KiB
CHUNK_BYTES = 64 * 1024  # large enough to stream at the speed of the disk, small enough for single rows
SLAB_CHUNKS = 64
TEXT_FACTOR, TEXT_FREE = 64, 256 * 2**20
"""The bytes of a text may be so many times those that are stored of it; and so many always."""

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

Rows = NDArray[np.floating[Any]]


def text_columns(present: Container[str]) -> tuple[str, ...]:
    """Name the text columns of a store, by the names that are present in its file.

    Examples
    --------
    >>> text_columns({"path", "split"})
    ('path', 'label', 'group', 'split')
    """
    return (*TEXT_COLUMNS, SPLIT) if SPLIT in present else TEXT_COLUMNS


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
    path, status : ndarray of bytes or object, shape (m,)
        UTF-8; see `featurekit.store.texts`.
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
    path, label, group : ndarray of bytes or object, shape (n,)
        UTF-8; see `featurekit.store.texts`.
    sha256 : ndarray of uint8, shape (n, 32)
    size, mtime_ns : ndarray of int64, shape (n,)
    perceptual : ndarray of uint8, shape (n, 64), optional
        Perceptual hash of the decoded pixels; all zeros where it is not known.
    split : ndarray of bytes or object, shape (n,), optional
        UTF-8; empty where the source names no part of a split.
    """

    path: Text
    label: Text
    group: Text
    sha256: NDArray[np.uint8]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]
    perceptual: NDArray[np.uint8] = field(default_factory=lambda: unknown_hashes(0))
    split: Text = field(default_factory=lambda: np.zeros(0, dtype="S1"))

    def __post_init__(self) -> None:
        if not len(self.perceptual):
            self.perceptual = unknown_hashes(len(self.size))
        if not len(self.split):
            self.split = np.zeros(len(self.size), dtype="S1")

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

        def joined(name: str) -> NDArray[Any]:
            values = [getattr(part, name) for part in parts]
            return concatenated(values) if name in {*TEXT_COLUMNS, SPLIT} else np.concatenate(values)

        return Columns(*(joined(each.name) for each in fields(Columns)))


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
