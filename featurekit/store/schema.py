"""The layout of a store file, and the checks that a file must pass before any of it is used.

One layout serves the published store and the shards of work in progress::

    attributes  format, version, fingerprint, space (JSON), provenance (JSON)
    X           (n, d)   float32   one row for each good image, in source order
    path        (n,)     UTF-8     as the source names it
    label       (n,)     UTF-8     empty where there is none
    group       (n,)     UTF-8     empty where there is none
    sha256      (n, 32)  uint8     of the image file's bytes
    size        (n,)     int64     bytes of the image file; 0 if it was no file
    mtime_ns    (n,)     int64     its modification time; 0 if it was no file
    ledger/path, ledger/status, ledger/reason (m,) UTF-8, ledger/row (m,) int64 (-1: none)

Text has a fixed width: HDF5 keeps variable-width text in a heap that no checksum covers. Every dataset
carries Fletcher-32 checksums.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreFormatError
from ..fingerprint import HASH_BYTES, FeatureSpace

FORMAT = b"featurekit-store"
VERSION = 1

STORED, DUPLICATE, FAILED, REMOVED = "stored", "duplicate", "failed", "removed"
"""What the ledger says of an image: it has a row; it has a row, shared with an equal file before it; it
could not be read; it had a row, and has gone from the source."""

_TEXT_COLUMNS = ("path", "label", "group")
_NUMBER_COLUMNS = ("size", "mtime_ns")
_LEDGER_TEXT = ("path", "status", "reason")
_ATTRIBUTES = ("format", "version", "fingerprint", "space", "provenance")
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MAX_ATTRIBUTE = 64 * 1024  # HDF5's own limit for an attribute inside the object header
_DEFLATE_LIMIT = 1100  # deflate cannot shrink further than 1032 to 1
_CHUNK_BYTES = 256 * 1024


class LedgerEntry(NamedTuple):
    """What became of one image: its path, its status, why, and its row in ``X`` (-1 if it has none).

    The reason of a duplicate is the path of the equal file before it.
    """

    path: str
    status: str
    reason: str
    row: int


@dataclass(slots=True)
class Columns:
    """Everything about n rows but the rows themselves.

    Attributes
    ----------
    path, label, group : list of str, length n
    sha256 : ndarray of uint8, shape (n, 32)
    size, mtime_ns : ndarray of int64, shape (n,)
    """

    path: list[str]
    label: list[str]
    group: list[str]
    sha256: NDArray[np.uint8]
    size: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def same_as(self, other: Columns) -> bool:
        """Whether all values are equal."""
        return (
            (self.path, self.label, self.group) == (other.path, other.label, other.group)
            and np.array_equal(self.sha256, other.sha256)
            and np.array_equal(self.size, other.size)
            and np.array_equal(self.mtime_ns, other.mtime_ns)
        )


def write_store(
    file: h5py.File,
    space: FeatureSpace,
    provenance: Mapping[str, Any],
    columns: Columns,
    ledger: Sequence[LedgerEntry],
    blocks: Iterable[NDArray[np.float32]],
) -> None:
    """Write a whole store into an empty HDF5 file; `blocks` hold the rows of ``X`` in order."""
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["version"] = VERSION
    file.attrs["fingerprint"] = np.bytes_(space.fingerprint.encode())
    file.attrs["space"] = np.bytes_(space.to_json().encode())
    file.attrs["provenance"] = np.bytes_(json.dumps(provenance, sort_keys=True).encode())
    for name in _TEXT_COLUMNS:
        _write_text(file, name, getattr(columns, name))
    _write_array(file, "sha256", columns.sha256)
    for name in _NUMBER_COLUMNS:
        _write_array(file, name, getattr(columns, name))
    for name in _LEDGER_TEXT:
        _write_text(file, f"ledger/{name}", [getattr(entry, name) for entry in ledger])
    _write_array(file, "ledger/row", np.array([entry.row for entry in ledger], dtype=np.int64))
    n = len(columns.path)
    x = _create(file, "X", (n, space.dim), np.dtype(np.float32))
    start = 0
    for block in blocks:
        x[start : start + len(block)] = block
        start += len(block)
    if start != n:
        raise ValueError(f"{n} rows announced, {start} written")


def _create(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], **filters: Any) -> h5py.Dataset:
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows = min(max(1, shape[0]), max(1, _CHUNK_BYTES // row_bytes))
    return file.create_dataset(
        name, shape, dtype, chunks=(rows, *shape[1:]), maxshape=(None, *shape[1:]), fletcher32=True, **filters
    )


def _write_array(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    _create(file, name, values.shape, values.dtype)[...] = values


def _write_text(file: h5py.File, name: str, values: Sequence[str]) -> None:
    # surrogateescape: file names that are not UTF-8 come back as they were.
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    width = max(map(len, encoded), default=1) or 1
    dtype = h5py.string_dtype("utf-8", width)
    # Padded to one width, text shrinks to what it holds; level 1 is nearly as small as 9 and far faster.
    dataset = _create(file, name, (len(values),), dtype, compression="gzip", compression_opts=1)
    dataset[...] = np.array(encoded, dtype=f"S{width}").astype(dtype)


def read_dataset(dataset: h5py.Dataset, key: Any = ...) -> NDArray[Any]:
    """Values of a dataset.

    Raises
    ------
    StoreFormatError
        If a checksum does not match: the file was damaged after it was written.
    """
    try:
        values: NDArray[Any] = dataset[key]
    except OSError as error:
        raise StoreFormatError(
            f"{dataset.file.filename} is damaged: values of '{dataset.name.strip('/')}' cannot be read ({error}). "
            "Restore it from a copy, or delete it and extract again."
        ) from error
    return values


def read_text(dataset: h5py.Dataset) -> list[str]:
    """The values of a text column."""
    return [value.decode("utf-8", "surrogateescape") for value in read_dataset(dataset).tolist()]


def read_columns(file: h5py.File) -> Columns:
    """Everything but ``X`` and the ledger."""
    path, label, group = (read_text(file[name]) for name in _TEXT_COLUMNS)
    numbers = [read_dataset(file[name]) for name in ("sha256", *_NUMBER_COLUMNS)]
    return Columns(path, label, group, *numbers)


def read_ledger(file: h5py.File) -> list[LedgerEntry]:
    """The ledger."""
    text = [read_text(file[f"ledger/{name}"]) for name in _LEDGER_TEXT]
    return [LedgerEntry(*entry) for entry in zip(*text, read_dataset(file["ledger/row"]).tolist(), strict=True)]


def open_checked(path: Path) -> tuple[h5py.File, FeatureSpace, dict[str, Any]]:
    """Open a store file for reading, after checking that it is one and is safe to read.

    A store from elsewhere is untrusted input: HDF5 files can point at other files of the machine and
    declare petabytes in a few bytes. Nothing of the data is read before the layout has been checked.

    Returns
    -------
    file : h5py.File
        Open for reading.
    space : FeatureSpace
    provenance : dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreFormatError
        If it is not a store of this version, or is damaged, or does what no store does.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such store: {path}")
    if not path.is_file():
        raise StoreFormatError(f"{path} is not a file; expected the HDF5 file of a store")
    try:
        file = _open(path)
    except OSError as error:
        raise StoreFormatError(
            f"{path} is not an HDF5 file, or its start is damaged ({os.path.getsize(path)} bytes; {error})"
        ) from error
    try:
        attributes = {name: _attribute(file, name) for name in _ATTRIBUTES}
        _check_version(attributes)
        space = FeatureSpace.from_json(attributes["space"].decode())
        if space.fingerprint.encode() != attributes["fingerprint"]:
            raise ValueError("the fingerprint is not that of the feature space")
        provenance = json.loads(attributes["provenance"])
        if not isinstance(provenance, dict):
            raise ValueError("the provenance is not a JSON object")
        _check_layout(file, space.dim)
    except (KeyError, ValueError, OSError, RuntimeError, TypeError, UnicodeDecodeError) as error:
        file.close()
        reason = error.args[0] if error.args else repr(error)
        raise StoreFormatError(f"{path} is not a featurekit store that can be read: {reason}") from error
    return file, space, provenance


def _open(path: Path) -> h5py.File:
    try:
        # HDF5 lets one process open a file twice only with equal settings, so these are h5py's defaults: a
        # user may have the same store open with plain h5py.
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
        # Some network file systems know no locks. None is needed: a published store is never written to.
        return h5py.File(path, "r", locking=False)


def _attribute(file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise ValueError(f"it has no attribute '{name}'")
    identifier = file.attrs.get_id(name)
    if identifier.shape != () or identifier.dtype.kind not in "Si" or identifier.dtype.itemsize > _MAX_ATTRIBUTE:
        raise ValueError(f"the attribute '{name}' is of the kind {identifier.dtype} {identifier.shape}")
    value = file.attrs[name]
    return int(value) if identifier.dtype.kind == "i" else bytes(value)


def _check_version(attributes: Mapping[str, Any]) -> None:
    if attributes["format"] != FORMAT:
        raise ValueError(f"its format is {attributes['format']!r}")
    version = attributes["version"]
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        raise ValueError(
            f"its layout has version {version!r}, and this featurekit reads version {VERSION}"
            + ("; update featurekit with: pip install --upgrade featurekit" if newer else "")
        )


def _check_layout(file: h5py.File, dim: int) -> None:
    _check_names(file, {"X", "sha256", "ledger", *_TEXT_COLUMNS, *_NUMBER_COLUMNS})
    ledger = file["ledger"]
    if not isinstance(ledger, h5py.Group):
        raise ValueError("'ledger' is not a group")
    _check_names(ledger, {"row", *_LEDGER_TEXT})
    n = _check_dataset(file, "X", "<f4", (dim,))
    m = _check_dataset(file, "ledger/row", "<i8", ())
    lengths = {"sha256": _check_dataset(file, "sha256", "|u1", (HASH_BYTES,))}
    lengths |= {name: _check_dataset(file, name, "<i8", ()) for name in _NUMBER_COLUMNS}
    lengths |= {name: _check_dataset(file, name, "text", ()) for name in _TEXT_COLUMNS}
    for name, length in lengths.items():
        if length != n:
            raise ValueError(f"'{name}' has {length} rows and 'X' has {n}")
    for name in _LEDGER_TEXT:
        if _check_dataset(file, f"ledger/{name}", "text", ()) != m:
            raise ValueError(f"'ledger/{name}' and 'ledger/row' differ in length")


def _check_names(group: h5py.Group, expected: set[str]) -> None:
    # Links are inspected without following them: one may lead to another file.
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"'{name}' is a {type(link).__name__}, which no store holds (refused, not followed)")
    if set(group) != expected:
        missing, more = sorted(expected - set(group)), sorted(set(group) - expected)
        raise ValueError(f"of the datasets, missing: {missing or 'none'}; unexpected: {more or 'none'}")


def _check_dataset(file: h5py.File, name: str, dtype: str, row_shape: tuple[int, ...]) -> int:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"'{name}' is not a dataset")
    creation = dataset.id.get_create_plist()
    if creation.get_layout() != h5py.h5d.CHUNKED or creation.get_external_count():
        raise ValueError(f"'{name}' is stored outside the file, virtually, or not in chunks (refused, not read)")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if not filters <= _FILTERS or h5py.h5z.FILTER_FLETCHER32 not in filters:
        raise ValueError(f"'{name}' uses other filters than a store does: {sorted(filters)}")
    is_text = dataset.dtype.kind == "S" and h5py.check_string_dtype(dataset.dtype) is not None
    if (dtype == "text" and not is_text) or (dtype != "text" and dataset.dtype.str != dtype):
        raise ValueError(f"'{name}' has the type {dataset.dtype}; expected {dtype}")
    if dataset.ndim != 1 + len(row_shape) or dataset.shape[1:] != row_shape:
        raise ValueError(f"'{name}' has the shape {dataset.shape}; expected (n, {', '.join(map(str, row_shape))})")
    stored, declared = dataset.id.get_storage_size(), dataset.nbytes
    limit = stored * _DEFLATE_LIMIT if h5py.h5z.FILTER_DEFLATE in filters else stored
    if declared > limit:
        raise ValueError(f"'{name}' declares {declared} bytes and stores only {stored}")
    return int(dataset.shape[0])
