"""A store as npz, CSV, Parquet or plain HDF5, for programs that know nothing of featurekit."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..errors import StoreError
from ..folders import on_disk
from .atomic import beside, replacing, replacing_hdf5
from .reader import FeatureStore
from .schema import EXPORT_FORMAT, SPLIT, TEXT_COLUMNS
from .texts import Text, as_strings, decode

_BLOCK_ROWS = 4096


def _texts_of(store: FeatureStore) -> tuple[str, ...]:
    """The columns of text that are written: the split only where there is one."""
    return (*TEXT_COLUMNS, SPLIT) if store.has_splits else TEXT_COLUMNS


def export(store: str | os.PathLike[str], output: str | os.PathLike[str]) -> Path:
    """Write the rows, paths, labels and groups of a store to a file of another kind.

    ===========  ==========================================================================================
    ending       what it holds
    ===========  ==========================================================================================
    ``.npz``     arrays ``X``, ``path``, ``label``, ``group``, ``space``, for ``numpy.load``
    ``.csv``     a line for each row: path, label, group, and a column for each feature
    ``.parquet`` path, label, group, and ``features``, a list of fixed length (``np.stack`` makes it an array)
    ``.h5``      ``X`` contiguous, ``path``, ``label``, ``group`` as text; no filters, no groups
    ===========  ==========================================================================================

    Where the source has a split, there is ``split`` after ``group``. A part of the rows is in memory at any time. The
    file gets its name when it is complete.

    Parameters
    ----------
    store : path
        Of the store.
    output : path
        A new file; its ending says what is written.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    StoreError
        If the ending is another, the file is there already, or it cannot be written.
    MissingExtraError
        For Parquet, if pyarrow is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from featurekit.store import export
    >>> path = export(getfixture("digits_store_path"), getfixture("tmp_path") / "digits.npz")
    >>> np.load(path)["X"].shape
    (60, 816)
    """
    target = on_disk(output)
    writers: dict[str, Callable[[FeatureStore, Path], None]] = {
        ".npz": _write_npz,
        ".csv": _write_csv,
        ".parquet": _write_parquet,
        ".h5": _write_hdf5,
        ".hdf5": _write_hdf5,
    }
    if target.suffix.lower() not in writers:
        raise StoreError(f"cannot tell from {target.name!r} what to write; expected one of {', '.join(writers)}")
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target} is there already. Nothing was changed. Choose another name, or delete it first.")
    if not target.parent.is_dir():
        raise StoreError(f"no such folder: {target.parent}")
    with FeatureStore(store) as opened:
        writers[target.suffix.lower()](opened, target)
    return target


@contextmanager
def _new_file(target: Path) -> Iterator[io.BufferedWriter]:
    with replacing(target, beside(target)) as out:
        buffer = _Unclosed(out)
        yield buffer
        buffer.flush()


def _write_npz(store: FeatureStore, target: Path) -> None:
    texts = {name: _strings(name, getattr(store.columns, name)) for name in _texts_of(store)}
    with _new_file(target) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("X.npy", "w", force_zip64=True) as member:
            header = {"descr": store.dtype.str, "fortran_order": False, "shape": store.X.shape}
            np.lib.format.write_array_header_2_0(member, header)
            for rows, _ in store.iter_batches(_BLOCK_ROWS):
                member.write(np.ascontiguousarray(rows).data)
        for name, array in (texts | {"space": np.array(store.space.to_json())}).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_csv(store: FeatureStore, target: Path) -> None:
    with _new_file(target) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text)  # ends lines with \r\n, and so quotes texts that hold either
        writer.writerow([*_texts_of(store), *(f"f{i}" for i in range(store.space.dim))])
        for _, rows, texts in _parts(store):
            # Text of float32 or float16 is the shortest that gives the same number again.
            writer.writerows([*names, *values] for names, values in zip(texts, rows.astype(str).tolist(), strict=True))
        text.flush()


def _write_parquet(store: FeatureStore, target: Path) -> None:
    pa = require("pyarrow", extra="parquet", purpose="Writing Parquet")
    parquet = require("pyarrow.parquet", extra="parquet", purpose="Writing Parquet")
    kind = pa.list_(pa.from_numpy_dtype(store.dtype), store.space.dim)
    schema = pa.schema(
        [*((name, pa.string()) for name in _texts_of(store)), ("features", kind)],
        metadata={"featurekit.space": store.space.to_json()},
    )
    with _new_file(target) as out, parquet.ParquetWriter(out, schema) as writer:
        for _, rows, texts in _parts(store):
            columns = [pa.array([_printable(value) for value in column]) for column in zip(*texts, strict=True)]
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=kind))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _write_hdf5(store: FeatureStore, target: Path) -> None:
    with replacing_hdf5(target, beside(target)) as (file, check):
        x = file.create_dataset("X", store.X.shape, store.dtype)
        names = _texts_of(store)
        for name in names:
            file.create_dataset(name, (len(store),), h5py.string_dtype())
        file.attrs["format"] = np.bytes_(EXPORT_FORMAT)
        file.attrs["space"] = store.space.to_json()
        for start, rows, texts in _parts(store):
            x[start : start + len(rows)] = rows
            for name, column in zip(names, zip(*texts, strict=True), strict=True):
                file[name][start : start + len(rows)] = [value.encode("utf-8", "surrogateescape") for value in column]
            check()


def _parts(store: FeatureStore) -> Any:
    """First row, rows, and the texts of each row, some thousand rows at a time."""
    columns, names = store.columns, _texts_of(store)
    for start in range(0, len(store), _BLOCK_ROWS):
        here = slice(start, start + _BLOCK_ROWS)
        yield start, store.X[here], list(zip(*(decode(getattr(columns, name)[here]) for name in names), strict=True))


def _strings(name: str, text: Text) -> NDArray[np.str_]:
    strings = as_strings(text)
    if strings.dtype.kind != "U":
        raise StoreError(
            f"one {name} is so much longer than the others that .npz, which keeps all at one length, would need too "
            "much room for them. Nothing was written. Export as .parquet, .csv or .h5."
        )
    return strings


def _printable(text: str) -> str:
    """Text for formats that allow nothing but UTF-8: bytes of a file name that are none become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Unclosed(io.BufferedWriter):
    """A buffer whose owner must not close the file below it, which has still to be flushed to the disk."""

    def close(self) -> None:
        self.flush()
