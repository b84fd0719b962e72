"""Writes stores of layout version 2, as featurekit did before version 3."""

from __future__ import annotations

import hashlib
import json

import h5py
import numpy as np

from featurekit.store.writing import row_checks

NUMBERS = ("size", "mtime_ns")


def write_version_2(path, space, columns, rows, ledger, provenance=None):
    """A store file: text of fixed width, no perceptual hashes. `ledger`: tuples of path, status, reason and row."""
    paths, statuses, reasons, ledger_rows = zip(*ledger, strict=True)
    texts = {name: np.asarray(getattr(columns, name).tolist(), dtype="S") for name in ("path", "label", "group")}
    told = {name: encoded(values) for name, values in (("path", paths), ("status", statuses), ("reason", reasons))}
    ledger_rows = np.array(ledger_rows, dtype=np.int64)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = np.bytes_(b"featurekit-store")
        file.attrs["version"] = 2
        file.attrs["fingerprint"] = np.bytes_(space.fingerprint.encode())
        file.attrs["space"] = np.bytes_(space.to_json().encode())
        file.attrs["provenance"] = np.bytes_(json.dumps(provenance or {"root": "/x"}).encode())
        for name, values in texts.items():
            write_text(file, name, values)
        for name in ("sha256", *NUMBERS):
            write_array(file, name, getattr(columns, name))
        for name, values in told.items():
            write_text(file, f"ledger/{name}", values)
        write_array(file, "ledger/row", ledger_rows)
        write_array(file, "X", rows)
        write_array(file, "check", row_checks(columns.sha256, rows))
        arrays = [*texts.values(), columns.sha256, *(getattr(columns, name) for name in NUMBERS)]
        said = "".join(f"{i}:{reason}\n" for i, reason in enumerate(reasons) if reason)
        digest = f"{sha256_of(arrays)} {sha256_of([told['path'], told['status'], ledger_rows], said)}"
        file.attrs["digest"] = np.bytes_(digest.encode())


def encoded(values):
    return np.array([value.encode() for value in values], dtype="S")


def write_array(file, name, values, **options):
    chunks = (max(1, min(len(values), 1000)), *values.shape[1:])
    maxshape = (None, *values.shape[1:])
    file.create_dataset(name, data=values, chunks=chunks, maxshape=maxshape, fletcher32=True, **options)


def write_text(file, name, values):
    kind = h5py.string_dtype("utf-8", max(1, values.dtype.itemsize))
    write_array(file, name, values.astype(kind), dtype=kind, compression="gzip", compression_opts=1)


def sha256_of(arrays, text=""):
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()
