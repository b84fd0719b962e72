"""Opening a file that somebody else may have made: the checks it must pass before any of it is used.

A store from elsewhere is untrusted input: HDF5 files can point at other files of the machine and declare
petabytes in a few bytes. Nothing of the data is read before the whole layout has been checked.
"""

from __future__ import annotations

import atexit
import errno
import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import h5py

from ..errors import StoreError, StoreFormatError
from ..fingerprint import FeatureSpace, file_sha256
from ..folders import check_regular, is_store_name, open_regular
from ..images import Blocks
from .chunks import Chunks
from .far import Far, Place
from .schema import (
    ATTRIBUTES,
    DTYPES,
    EXPORT_FORMAT,
    FORMAT,
    HASH_COLUMNS,
    INDEX,
    LEDGER_TEXT,
    MAX_ATTRIBUTE,
    NUMBER_COLUMNS,
    READABLE_VERSIONS,
    TEXT_COLUMNS,
    TEXT_FACTOR,
    TEXT_FREE,
    text_columns,
)
from .texts import MAX_TEXT

SHARD_NAME = re.compile(r"rows-[0-9a-f]{64}\.h5")
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MAX_CHUNK = 256 * 1024  # bytes; a chunk of one row may be larger. HDF5 allocates a whole chunk to read any of it.
# Text of versions 1 and 2 may also declare some hundred bytes for each row, of which at least the 32 bytes of its hash
# are stored.
_TEXT_ROW = 256
_NOT_THE_FILES_FAULT = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}
_NO_LOCK = {errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_PLACES = {"shards": "text", "shard": "<i4", "row": "<i4"}
_far_files: WeakKeyDictionary[h5py.File, tuple[int, int]] = WeakKeyDictionary()
_CHUNK_CACHE = 2**20  # bytes of each dataset; 8 MB, the default of HDF5 2, are half a gigabyte for 64 open shards


def open_checked(path: Place) -> tuple[h5py.File, FeatureSpace, dict[str, Any]]:
    """Open a store file, a shard, or the index of a folder store, after checking that it is safe to read.

    Parameters
    ----------
    path : Path or Far
        A file, or the folder of a folder store; behind a URL, what does not end as a file is a folder.

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
        If it is not a store of a version that can be read, or is damaged, or does what no store does.
    """
    if isinstance(path, Far):
        return _open_far(path)
    if path.is_dir():
        if not (path / INDEX).exists():
            raise StoreFormatError(f"{path} is a folder without {INDEX}: not a store, or none was completed in it")
        path = path / INDEX
    if not path.exists():
        raise FileNotFoundError(f"no such store: {path}")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise StoreFormatError(f"{path} is not a file; expected the HDF5 file of a store")
    try:
        open_regular(path).close()  # what the system refuses is no damage
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        check_regular(path)
        file = _open(path)
    except (OSError, RuntimeError) as error:
        if getattr(error, "errno", None) in _NOT_THE_FILES_FAULT:
            raise StoreError(f"cannot read {path}: {error}") from error
        raise StoreFormatError(
            f"{path} is not an HDF5 file, or its start is damaged ({os.path.getsize(path)} bytes; {error})"
        ) from error
    return _checked(file, path)


def check_opens(opened: Path | io.BytesIO, place: Place) -> None:
    """Open what was just written as a reader will, before it takes its name.

    Raises
    ------
    StoreError
        If a reader would refuse it.
    """
    try:
        file, _, _ = _checked(_open(opened) if isinstance(opened, Path) else h5py.File(opened, "r"), place)
    except (StoreFormatError, OSError, RuntimeError) as error:
        raise StoreError(
            f"what was written for {place} could not be opened again: {error}. What was complete before is kept; this "
            "is an error of featurekit, or of the disk"
        ) from error
    file.close()


def is_whole(shard: Path) -> bool:
    """Whether the bytes of a shard are those that its name promises."""
    return f"rows-{file_sha256(shard)}.h5" == shard.name


def identity(path: Place, file: h5py.File | None = None) -> tuple[int, ...]:
    """What changes when a store is written anew: as it is now, or, behind a URL, as it was when `file` was opened."""
    if isinstance(path, Far):
        return far_file(path).state() if file is None else _far_files[file]
    found = (path / INDEX if path.is_dir() else path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def far_file(path: Far) -> Far:
    """The file that is opened for a place behind a URL: itself, or, of a folder, its index."""
    return path if is_store_name(path) else path / INDEX


def _open_far(path: Far) -> tuple[h5py.File, FeatureSpace, dict[str, Any]]:
    path = far_file(path)
    state = path.state()
    blocks = Blocks(path.url, state[0])
    try:
        # h5py keeps a file object that fails for as long as its error is kept, and HDF5 may then ask for it when Python
        # has gone: so the beginning is read before, and what goes wrong later is raised without its traceback.
        blocks.begin()
        file = h5py.File(blocks, "r", rdcc_nbytes=_CHUNK_CACHE)
        checked = _checked(file, path)
        _far_files[file] = state
        return checked
    except StoreFormatError as error:
        failure: StoreError = StoreFormatError(*error.args)
    except (OSError, RuntimeError) as error:
        failure = StoreFormatError(f"{path} is not an HDF5 file, or its start is damaged ({state[0]} bytes; {error})")
    raise StoreError(blocks.failed) if blocks.failed else failure


@atexit.register
def _close_far_files() -> None:
    # HDF5 would close them after Python has gone, and then ask Python's object for them: the process would crash.
    for file in list(_far_files):
        file.close()


def _checked(file: h5py.File, path: Place) -> tuple[h5py.File, FeatureSpace, dict[str, Any]]:
    try:
        _check_format(_attribute(file, "format"))
        version = _attribute(file, "version")
        _check_version(version)
        attributes = {name: _attribute(file, name) for name in (*ATTRIBUTES, *(["digest"] if version > 1 else []))}
        space = FeatureSpace.from_json(attributes["space"].decode())
        if space.fingerprint.encode() != attributes["fingerprint"]:
            raise ValueError("the fingerprint is not that of the feature space")
        provenance = json.loads(attributes["provenance"])
        if not isinstance(provenance, dict):
            raise ValueError("the provenance is not a JSON object")
        _check_layout(file, space.dim, version)
    except (KeyError, ValueError, OSError, RuntimeError, TypeError, UnicodeDecodeError, RecursionError) as error:
        file.close()
        reason = error.args[0] if error.args else repr(error)
        raise StoreFormatError(f"{path} is not a featurekit store that can be read: {reason}") from error
    return file, space, provenance


def _open(path: Path) -> h5py.File:
    try:
        # HDF5 lets one process open a file twice only with equal settings, so these are h5py's defaults: a
        # user may have the same store open with plain h5py. (How large a cache is may differ.)
        return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise
        # Somebody holds a lock, or the file system, of a network, knows none. None is needed: a published store is
        # never written to.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE)


def _attribute(file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise ValueError(f"it has no attribute '{name}'")
    identifier = file.attrs.get_id(name)
    if identifier.shape != () or identifier.dtype.kind not in "Si" or identifier.dtype.itemsize > MAX_ATTRIBUTE:
        raise ValueError(f"the attribute '{name}' is of the kind {identifier.dtype} {identifier.shape}")
    value = file.attrs[name]
    return int(value) if identifier.dtype.kind == "i" else bytes(value)


def _check_format(found: Any) -> None:
    if found == EXPORT_FORMAT:
        raise ValueError("it is an export, for other programs; stores come from 'extract' and 'store merge'")
    if found != FORMAT:
        raise ValueError(f"its format is {found!r}")


def _check_version(version: Any) -> None:
    if version not in READABLE_VERSIONS:
        newer = isinstance(version, int) and version > max(READABLE_VERSIONS)
        raise ValueError(
            f"its layout has version {version!r}, and this featurekit reads the versions "
            f"{', '.join(map(str, READABLE_VERSIONS))}"
            + ("; update featurekit with: pip install --upgrade featurekit" if newer else "")
        )


def _check_layout(file: h5py.File, dim: int, version: int) -> None:
    _check_hard_links(file)
    rows = set(_PLACES) if set(_PLACES) & set(file) else {"X", "check"} if version > 1 else {"X"}
    hashes = [*HASH_COLUMNS] if version > 2 else ["sha256"]
    texts = text_columns(file) if version > 2 else TEXT_COLUMNS
    _check_names(file, {*hashes, "ledger", *texts, *NUMBER_COLUMNS, *rows})
    ledger = file["ledger"]
    if not isinstance(ledger, h5py.Group):
        raise ValueError("'ledger' is not a group")
    _check_hard_links(ledger)
    _check_names(ledger, {"row", *LEDGER_TEXT})
    chunks = Chunks(file)
    lengths = {name: _check_dataset(file, chunks, name, ("|u1",), (HASH_COLUMNS[name],)) for name in hashes}
    lengths |= {name: _check_dataset(file, chunks, name, ("<i8",)) for name in NUMBER_COLUMNS}
    check_text = _check_text if version > 2 else _check_fixed_text
    lengths |= {name: check_text(file, chunks, name) for name in texts}
    if "X" in rows:
        lengths["X"] = _check_dataset(file, chunks, "X", tuple(dtype.str for dtype in DTYPES.values()), (dim,))
        if "check" in rows:
            lengths["check"] = _check_dataset(file, chunks, "check", ("<u4",))
    else:
        lengths |= {
            name: _check_dataset(file, chunks, name, (kind,)) for name, kind in _PLACES.items() if name != "shards"
        }
    n = lengths["sha256"]
    if "shards" in rows and check_text(file, chunks, "shards") > n:
        raise ValueError(f"'shards' names more shards than there are rows ({n})")
    for name, length in lengths.items():
        if length != n:
            raise ValueError(f"'{name}' has {length} rows and 'sha256' has {n}")
    m = _check_dataset(file, chunks, "ledger/row", ("<i8",))
    for name in LEDGER_TEXT:
        if check_text(file, chunks, f"ledger/{name}") != m:
            raise ValueError(f"'ledger/{name}' and 'ledger/row' differ in length")
    chunks.check()


def _check_hard_links(group: h5py.Group) -> None:
    # Links are inspected without following them: one may lead to another file.
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"'{name}' is a {type(link).__name__}, which no store holds (refused, not followed)")


def _check_names(group: h5py.Group, expected: set[str]) -> None:
    if set(group) != expected:
        missing, more = sorted(expected - set(group)), sorted(set(group) - expected)
        raise ValueError(f"of the datasets, missing: {missing or 'none'}; unexpected: {more or 'none'}")


def _check_text(file: h5py.File, chunks: Chunks, name: str) -> int:
    """Check a text, and return how many rows it has; the caller compares them with a dataset that is not compressed."""
    group = file[name]
    if not isinstance(group, h5py.Group):
        raise ValueError(f"'{name}' is not a group")
    _check_hard_links(group)
    _check_names(group, {"data", "end"})
    size = _check_dataset(file, chunks, f"{name}/data", ("|u1",), packed=True)
    stored = file[name]["data"].id.get_storage_size()
    if size > max(TEXT_FACTOR * stored, TEXT_FREE):
        raise ValueError(f"'{name}' declares {size} bytes and stores only {stored}")
    return _check_dataset(file, chunks, f"{name}/end", ("<i8",), packed=True)


def _check_fixed_text(file: h5py.File, chunks: Chunks, name: str) -> int:
    """As :func:`_check_text`, of versions 1 and 2."""
    return _check_dataset(file, chunks, name, ("text",), packed=True)


def _check_dataset(
    file: h5py.File,
    chunks: Chunks,
    name: str,
    kinds: tuple[str, ...],
    row_shape: tuple[int, ...] = (),
    *,
    packed: bool = False,
) -> int:
    """Check one dataset, note its chunks, and return how many rows it has.

    `kinds`: the dtypes it may have, or ``text``. `packed`: it may be compressed, and the caller bounds its size.
    """
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"'{name}' is not a dataset")
    creation = dataset.id.get_create_plist()
    if creation.get_layout() != h5py.h5d.CHUNKED or creation.get_external_count():
        raise ValueError(f"'{name}' is stored outside the file, virtually, or not in chunks (refused, not read)")
    is_text = dataset.dtype.kind == "S" and h5py.check_string_dtype(dataset.dtype) is not None
    if (not is_text) if "text" in kinds else dataset.dtype.str not in kinds:
        raise ValueError(f"'{name}' has the type {dataset.dtype}; expected {' or '.join(kinds)}")
    if is_text and dataset.dtype.itemsize > MAX_TEXT:
        raise ValueError(f"'{name}' has texts of {dataset.dtype.itemsize} bytes; at most {MAX_TEXT} are read")
    if dataset.ndim != 1 + len(row_shape) or dataset.shape[1:] != row_shape:
        raise ValueError(f"'{name}' has the shape {dataset.shape}; expected (n, {', '.join(map(str, row_shape))})")
    row_bytes = dataset.dtype.itemsize * (row_shape[0] if row_shape else 1)
    if dataset.chunks[1:] != row_shape or (dataset.chunks[0] > 1 and dataset.chunks[0] * row_bytes > _MAX_CHUNK):
        raise ValueError(f"'{name}' has chunks of {dataset.chunks}, which no store has")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if not filters <= _FILTERS or h5py.h5z.FILTER_FLETCHER32 not in filters:
        raise ValueError(f"'{name}' uses other filters than a store does: {sorted(filters)}")
    compressed = h5py.h5z.FILTER_DEFLATE in filters
    if compressed and not packed:
        raise ValueError(f"'{name}' is compressed, which only text is")
    stored, declared, n = dataset.id.get_storage_size(), dataset.nbytes, int(dataset.shape[0])
    limit = max(TEXT_FACTOR * stored, TEXT_FREE, _TEXT_ROW * n) if is_text else stored
    if declared > limit and (is_text or not packed):
        raise ValueError(f"'{name}' declares {declared} bytes and stores only {stored}")
    chunks.add(name, dataset, stored, compressed=compressed)
    return n
