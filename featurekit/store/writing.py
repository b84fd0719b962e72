"""How the values of a store are written, and what their checksums are."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..fingerprint import FeatureSpace
from .schema import (
    CHUNK_BYTES,
    FORMAT,
    HASH_COLUMNS,
    MAX_ATTRIBUTE,
    NUMBER_COLUMNS,
    SPLIT,
    TEXT_COLUMNS,
    TEXT_FACTOR,
    TEXT_FREE,
    VERSION,
    Columns,
    Ledger,
    Places,
    Rows,
)
from .texts import MAX_TEXT, Text, encode, lengths_of, pieces_of


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
    if has_split(columns):
        _write_text(file, SPLIT, columns.split)
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
    absent = ([] if version > 2 else ["perceptual"]) + ([] if has_split(columns) else [SPLIT])
    names = [each.name for each in fields(Columns) if each.name not in absent]
    return _digest([getattr(columns, name) for name in names], version)


def has_split(columns: Columns) -> bool:
    """Tell whether the source named a part of a split for any row."""
    return bool((columns.split != b"").any())


def ledger_digest(ledger: Ledger, version: int = VERSION) -> str:
    """SHA-256 of the ledger in a version of the layout, hexadecimal."""
    reasons = (f"{i}:{ledger.reason[i]}\n" for i in sorted(ledger.reason) if ledger.reason[i])
    return _digest([ledger.path, ledger.status, ledger.row], version, "".join(reasons))


def _digest(arrays: Sequence[NDArray[Any]], version: int, text: str = "") -> str:
    """SHA-256 of values, hexadecimal. How text is kept in memory does not matter."""
    found = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for array in arrays:
        if array.dtype.kind in "SO" and version > 2:
            found.update(f"text{array.shape}".encode())
            found.update(np.cumsum(lengths_of(array)).data)
            for piece in pieces_of(array):
                found.update(piece)
            continue
        if array.dtype.kind == "S":
            array = array.astype(f"S{int(lengths_of(array).max(initial=1))}")
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()


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


def _write_array(file: h5py.File, name: str, values: NDArray[Any], **filters: Any) -> None:
    _create(file, name, values.shape, values.dtype, **filters)[...] = values


def _write_text(file: h5py.File, name: str, values: Text) -> None:
    _write_pieces(file, name, lengths_of(values), lambda: pieces_of(values))


def _write_sparse_text(file: h5py.File, name: str, values: Mapping[int, str], n: int) -> None:
    """Write n texts of which most are empty."""
    positions = sorted(values)
    texts = encode(values[i] for i in positions)
    lengths = np.zeros(n, dtype=np.int64)
    lengths[positions] = lengths_of(texts)
    _write_pieces(file, name, lengths, lambda: pieces_of(texts))


def _write_pieces(
    file: h5py.File, name: str, lengths: NDArray[np.int64], pieces: Callable[[], Iterator[bytes]]
) -> None:
    """Write texts of these lengths, whose bytes come one after another."""
    longest = int(lengths.max(initial=0))
    if longest > MAX_TEXT:
        raise StoreError(f"a text for '{name}' has {longest} bytes; at most {MAX_TEXT} can be stored")
    end = np.cumsum(lengths)
    total = int(lengths.sum())
    # Level 1 is nearly as small as 9 and far faster.
    packed = {"compression": "gzip", "compression_opts": 1}
    filters = packed if total <= TEXT_FREE or _shrinks_little(pieces(), total) else {}
    data, start = _create(file, f"{name}/data", (total,), np.dtype(np.uint8), **filters), 0
    for piece in pieces():
        data[start : start + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        start += len(piece)
    _write_array(file, f"{name}/end", end, shuffle=True, **packed)


def _shrinks_little(pieces: Iterable[bytes], total: int) -> bool:
    """Whether compressed text stays far from the size at which readers take it for a bomb."""
    stored = 0
    for piece in pieces:
        stored += len(zlib.compress(piece, 1))
        if 2 * total <= TEXT_FACTOR * stored:
            return True
    return False
