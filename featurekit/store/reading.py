"""Values of a store file: read and compared with what was written, or saved from a damaged one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError, StoreFormatError
from .schema import (
    NUMBER_COLUMNS,
    SLAB_CHUNKS,
    SPLIT,
    TEXT_COLUMNS,
    Columns,
    Ledger,
    Places,
    Rows,
)
from .texts import MAX_TEXT, UNEVEN, Text, decode, lengths_between, texts_of, unpacked
from .writing import columns_digest, ledger_digest, row_checks

_SLAB_ROWS = 4096
_REMEDY = (
    "'featurekit store verify' names the damaged rows; extracting again computes them anew; where the images are gone, "
    "'featurekit store remove --damaged' takes them out."
)


def read_dataset(dataset: h5py.Dataset, key: Any = ...) -> NDArray[Any]:
    """Values of a dataset.

    Raises
    ------
    StoreFormatError
        If a checksum does not match: the file was damaged after it was written.
    """
    try:
        values: NDArray[Any] = dataset[key]
    except (OSError, RuntimeError) as error:
        if _is_far(dataset) and getattr(error, "errno", None) == errno.EIO:
            raise StoreError(str(error.args[-1])) from error
        raise StoreFormatError(
            f"{dataset.file.filename} is damaged: values of '{dataset.name.strip('/')}' cannot be read ({error}). "
            f"{_REMEDY}"
        ) from error
    return values


def _is_far(dataset: h5py.Dataset) -> bool:
    """Whether it is read through a Python object, whose errors are those of a network."""
    return bool(dataset.file.driver == "fileobj")


def read_text(place: h5py.Group | h5py.Dataset) -> Text:
    """As :func:`read_dataset`, of text; before version 3 it is one dataset."""
    if isinstance(place, h5py.Dataset):
        return read_dataset(place).astype("S")
    try:
        return unpacked(read_dataset(place["data"]), read_dataset(place["end"]))
    except ValueError as error:
        raise _wrong_ends(place, error) from error


def _lengths(place: h5py.Group, begin: int, end: NDArray[np.int64]) -> NDArray[np.int64]:
    try:
        return lengths_between(begin, end, len(place["data"]))
    except ValueError as error:
        raise _wrong_ends(place, error) from error


def _wrong_ends(place: h5py.Group, error: Exception | str) -> StoreFormatError:
    return StoreFormatError(f"{place.file.filename} is damaged: '{place.name.strip('/')}': {error}. {_REMEDY}")


def count_of(place: h5py.Group | h5py.Dataset) -> int:
    """How many texts there are."""
    return len(place if isinstance(place, h5py.Dataset) else place["end"])


def find_text(place: h5py.Group | h5py.Dataset, wanted: bytes) -> int | None:
    """The first row with this text; no more than a part is read at a time."""
    if isinstance(place, h5py.Dataset):
        for start, stop in slabs(place):
            here = np.flatnonzero(read_dataset(place, slice(start, stop)).astype("S") == wanted)
            if len(here):
                return start + int(here[0])
        return None
    begin = 0
    for start, stop in slabs(place["end"]):
        end = read_dataset(place["end"], slice(start, stop))
        lengths = _lengths(place, begin, end)
        found = _find_piece(
            read_dataset(place["data"], slice(begin, int(end[-1]))), end - lengths - begin, lengths, wanted
        )
        if found is not None:
            return start + found
        begin = int(end[-1])
    return None


def _find_piece(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], wanted: bytes
) -> int | None:
    if not wanted:
        empty = np.flatnonzero(lengths == 0)
        return int(empty[0]) if len(empty) else None
    raw = data.tobytes()
    at = raw.find(wanted)
    while at >= 0:
        row = int(np.searchsorted(starts, at, side="right")) - 1
        if starts[row] == at and lengths[row] == len(wanted):
            return row
        at = raw.find(wanted, at + 1)
    return None


def read_columns(file: h5py.File) -> Columns:
    """Everything but ``X`` and the ledger."""
    text: list[NDArray[Any]] = [read_text(file[name]) for name in TEXT_COLUMNS]
    names = ["sha256", *NUMBER_COLUMNS, *(["perceptual"] if "perceptual" in file else [])]
    columns = Columns(*text, *(read_dataset(file[name]) for name in names))
    if SPLIT in file:
        columns.split = read_text(file[SPLIT])
    _check_digest(file, 0, columns_digest(columns, version_of(file)), "paths, labels, groups, splits or hashes")
    return columns


def version_of(file: h5py.File) -> int:
    """Version of the layout of a file that was checked."""
    return int(file.attrs["version"])


def read_ledger(file: h5py.File) -> Ledger:
    """The ledger."""
    path, status = (read_text(file[f"ledger/{name}"]) for name in ("path", "status"))
    row = read_dataset(file["ledger/row"])
    ledger = Ledger(path, status, dict(_read_sparse_text(file["ledger/reason"])), row)
    _check_digest(file, 1, ledger_digest(ledger, version_of(file)), "values of the ledger")
    named = row[row >= 0]
    if row.min(initial=-1) < -1 or named.max(initial=-1) >= len(file["sha256"]) or len(np.unique(named)) < len(named):
        raise StoreFormatError(f"{file.filename} is damaged: its ledger names rows that are not there, or one twice")
    return ledger


def _check_digest(file: h5py.File, part: int, found: str, what: str) -> None:
    if "digest" in file.attrs and bytes(file.attrs["digest"]).split(b" ")[part : part + 1] != [found.encode()]:
        raise StoreFormatError(f"{file.filename} is damaged: {what} are not as they were written. {_REMEDY}")


def check_rows(file: h5py.File, rows: NDArray[np.integer[Any]], values: Rows, sha256: NDArray[np.uint8] | None) -> None:
    """Raise StoreFormatError unless `values`, read from these rows, are what was written for these hashes.

    Parameters
    ----------
    file : h5py.File
        A store file or a shard.
    rows : ndarray of int, shape (n,)
    values : ndarray, shape (n, d)
    sha256 : ndarray of uint8, shape (n, 32), or None
        Whose rows they should be. None: of whatever the file says.
    """
    if "check" not in file:
        return  # version 1
    found = read_rows(file["sha256"], rows)
    bad = row_checks(found, values) != read_rows(file["check"], rows)
    if sha256 is not None:
        bad |= (found != sha256).any(axis=1)
    if bad.any():
        raise StoreFormatError(
            f"{file.filename} is damaged: row {rows[np.argmax(bad)]} is not the one that was written. {_REMEDY}"
        )


def read_rows(dataset: h5py.Dataset, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """``dataset[rows]`` for rows in any order."""
    out = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
    read_into(out, np.arange(len(rows)), dataset, rows)
    return out


def read_into(out: NDArray[Any], at: NDArray[np.intp], dataset: h5py.Dataset, rows: NDArray[np.integer[Any]]) -> None:
    """``out[at] = dataset[rows]``, reading each chunk at most once and none that is not needed."""
    if len(rows) and int(rows.max()) >= len(dataset):
        raise StoreFormatError(f"{dataset.file.filename} has {len(dataset)} rows; row {rows.max()} was expected")
    if len(rows) > 1 and (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        at, rows = at[order], rows[order]
    chunk = rows // dataset.chunks[0]
    start = 0
    # One read for each run of neighbouring chunks; long runs in slabs.
    for stop in [*(np.flatnonzero(np.diff(chunk) > 1) + 1).tolist(), len(rows)]:
        while start < stop:
            low = int(rows[start])
            end = start + int(np.searchsorted(rows[start:stop], low + _SLAB_ROWS))
            block = read_dataset(dataset, slice(low, int(rows[end - 1]) + 1))
            if len(block) == end - start and (np.diff(rows[start:end]) == 1).all():
                out[at[start:end]] = block  # every row of it, once: spare a copy
            else:
                out[at[start:end]] = block[rows[start:end] - low]
            start = end


def read_places(file: h5py.File) -> Places:
    """Where the rows of a folder store lie."""
    names = decode(read_text(file["shards"]))
    return Places(names, read_dataset(file["shard"]), read_dataset(file["row"]))


def _read_sparse_text(place: h5py.Group | h5py.Dataset) -> Iterator[tuple[int, str]]:
    if isinstance(place, h5py.Group):
        raw, end = read_dataset(place["data"]).tobytes(), read_dataset(place["end"])
        lengths = _lengths(place, 0, end)
        if (end[-1] if len(end) else 0) != len(raw):
            raise _wrong_ends(place, UNEVEN)
        for i in np.flatnonzero(lengths).tolist():
            yield i, decode(raw[int(end[i] - lengths[i]) : int(end[i])])
        return
    dataset = place
    for start, stop in slabs(dataset):
        values = read_dataset(dataset, slice(start, stop))
        for i in np.flatnonzero(values != b"").tolist():
            yield start + i, decode(bytes(values[i]))


def slabs(dataset: h5py.Dataset, chunks: int = SLAB_CHUNKS) -> Iterator[tuple[int, int]]:
    """Start and stop of pieces of some whole chunks each, that together are the dataset."""
    step = dataset.chunks[0] * chunks
    for start in range(0, len(dataset), step):
        yield start, min(start + step, len(dataset))


def salvage(dataset: h5py.Dataset, *, keep: bool = True) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Every value whose checksum is right, and which rows are damaged (their values are zero, or empty).

    Parameters
    ----------
    dataset : h5py.Dataset
    keep : bool
        Otherwise the checksums are read and the values are thrown away, in bounded memory.

    Returns
    -------
    values : ndarray, shape of the dataset, or with no rows if not `keep`
    damaged : ndarray of bool, shape (n,)
    """
    values = np.zeros((len(dataset) if keep else 0, *dataset.shape[1:]), dtype=dataset.dtype)
    damaged = np.zeros(len(dataset), dtype=np.bool_)
    for start, stop in slabs(dataset):
        block, damaged[start:stop] = _salvage_slab(dataset, start, stop)
        if keep:
            values[start:stop] = block
    return values, damaged


def salvage_text(place: h5py.Group | h5py.Dataset, *, keep: bool = True) -> tuple[Text, NDArray[np.bool_]]:
    """As :func:`salvage`, of text."""
    if isinstance(place, h5py.Dataset):
        values, damaged = salvage(place, keep=keep)
        return values.astype("S"), damaged
    end, damaged = salvage(place["end"])
    data, lost = salvage(place["data"], keep=keep)
    begin = np.concatenate([[0], end[:-1]]).astype(np.int64) if len(end) else end
    damaged[1:] |= damaged[:-1].copy()  # where the one before it ends is not known
    damaged |= (begin < 0) | (end < begin) | (end > len(lost))
    damaged |= end - begin > MAX_TEXT  # where that wraps around, the line above has found it
    holes = np.flatnonzero(lost)
    if len(holes):
        first = holes[np.minimum(np.searchsorted(holes, begin), len(holes) - 1)]
        damaged |= (first >= begin) & (first < end)
    if not keep:
        return texts_of([]), damaged
    raw = data.tobytes()
    parts = zip(begin.tolist(), end.tolist(), damaged.tolist(), strict=True)
    return texts_of([b"" if bad else raw[i:j] for i, j, bad in parts]), damaged


def _salvage_slab(dataset: h5py.Dataset, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    damaged = np.zeros(stop - start, dtype=np.bool_)
    if _is_far(dataset):
        with suppress(StoreFormatError):
            return read_dataset(dataset, slice(start, stop)), damaged
    else:
        with suppress(OSError, RuntimeError):
            return dataset[start:stop], damaged
    block = np.zeros((stop - start, *dataset.shape[1:]), dtype=dataset.dtype)
    step = dataset.chunks[0]
    for low in range(start, stop, step):
        high = min(low + step, stop)
        try:
            block[low - start : high - start] = dataset[low:high]
        except (OSError, RuntimeError):
            damaged[low - start : high - start] = True
    return block, damaged


def damaged_rows_of(file: h5py.File) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Which rows of a store file or a shard are not as they were written, and its content hashes."""
    sha256, damaged = salvage(file["sha256"])
    check, lost = salvage(file["check"]) if "check" in file else (None, damaged)
    damaged = damaged | lost
    for start, stop in slabs(file["X"]):
        block, failed = _salvage_slab(file["X"], start, stop)
        damaged[start:stop] |= failed
        if check is not None:
            damaged[start:stop] |= row_checks(sha256[start:stop], block) != check[start:stop]
    return damaged, sha256
