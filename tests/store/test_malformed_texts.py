"""Texts of version 3 that nobody wrote so: every way of reading them is refused, or gives what was written."""

from __future__ import annotations

import shutil
from functools import partial

import h5py
import numpy as np
import pytest
from made_stores import write, write_folder

from featurekit.errors import StoreError, StoreFormatError
from featurekit.store import FeatureStore, JoinedStores, export, merge, remove, verify

N = 4
TEXTS = ["path", "label", "group", "ledger/path", "ledger/status", "ledger/reason"]


def put(file, name, values):
    chunks = (max(1, min(len(values), 1000)), *values.shape[1:])
    maxshape = (None, *values.shape[1:])
    file.create_dataset(name, data=values, chunks=chunks, maxshape=maxshape, fletcher32=True, compression="gzip")


def malformed(data, end):
    """By name, the bytes and the ends of texts as they should not be."""
    size = len(data)
    return {
        "falls": (data, [max(size, 1), 0, size, size]),
        "is negative": (data, [-1, 0, 1, size]),
        "is beyond": (data, [0, 0, 0, size + 1]),
        "is far beyond": (data, [0, 0, 0, 2**62]),
        "is before": (data + b"x", end),
        "wraps around": (data, [-(2**63), 2**63 - 1, 2**63 - 1, size]),
        "is of no bytes": (b"", [1, 2, 3, 4]),
    }


def spoil(path, name, change):
    with h5py.File(path, "r+") as file:
        data, end = file[f"{name}/data"][...].tobytes(), file[f"{name}/end"][...].tolist()
        data, end = malformed(data, end)[change]
        del file[name]
        put(file, f"{name}/data", np.frombuffer(data, np.uint8))
        put(file, f"{name}/end", np.array(end, np.int64))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    path = tmp_path_factory.mktemp("honest") / "s.h5"
    write(path, N)
    return path


READINGS = {
    "columns": lambda s: [getattr(s.columns, name).tolist() for name in ("path", "label", "group", "sha256")],
    "ledger": lambda s: list(s.ledger),
    "paths": lambda s: s.paths,
    "y": lambda s: s.y.tolist(),
    "groups": lambda s: s.groups.tolist(),
    "X": lambda s: s.X[...].tolist(),
    "find": lambda s: s.find("classe-é/0-3.jpg"),
    "class_counts": lambda s: s.class_counts,
    "ledger_counts": lambda s: s.ledger_counts,
    "select": lambda s: s.select([1, 3]).paths,
    "batches": lambda s: [(X.tolist(), y.tolist()) for X, y in s.iter_batches(3)],
}
"""Readers of the whole of a store or a part, which give what can be compared."""


def copies(path, folder):
    """Name what reads a store file, or makes another of it, and gives what can be compared."""
    return {
        "joined": lambda: JoinedStores([path]).y[...].tolist(),
        "merge": lambda: FeatureStore(merge([path], folder / "merged.h5").path).paths,
        "remove": lambda: remove(path, ["*0-1.jpg"], dry_run=True),
        "export": lambda: export(path, folder / "out.csv").read_text(encoding="utf-8"),
    }


@pytest.mark.parametrize("change", malformed(b"", []))
@pytest.mark.parametrize("name", TEXTS)
def test_malformed_texts_are_refused_or_not_needed(name, change, honest, tmp_path):
    path = tmp_path / "s.h5"
    shutil.copy(honest, path)
    spoil(path, name, change)
    with FeatureStore(honest) as one, FeatureStore(path) as other:
        refused = compare(*({name: partial(read, s) for name, read in READINGS.items()} for s in (one, other)))
    assert refused & ({"ledger"} if name.startswith("ledger") else {"columns"})
    assert not verify(path).ok


@pytest.mark.parametrize("name", ["path", "label", "ledger/reason"])
def test_copies_of_malformed_texts_are_refused_or_not_needed(name, honest, tmp_path):
    path = tmp_path / "bad" / "s.h5"
    path.parent.mkdir()
    shutil.copy(honest, path)
    spoil(path, name, "falls")
    assert "merge" in compare(copies(honest, tmp_path), copies(path, path.parent))


def compare(honest, found):
    """Which readings are refused; the others must give what is written."""
    refused = set()
    for called, read in found.items():
        try:
            values = read()
        except StoreError:
            refused.add(called)
        else:
            assert values == honest[called](), called
    return refused


@pytest.mark.parametrize("change", malformed(b"", []))
def test_malformed_names_of_shards_are_refused(change, tmp_path):
    write_folder(tmp_path / "s", N, shard_rows=1)
    spoil(tmp_path / "s" / "index.h5", "shards", change)
    with pytest.raises(StoreFormatError, match=r"index.h5 is damaged: 'shards'"):
        _ = FeatureStore(tmp_path / "s").X[...]
    assert not verify(tmp_path / "s").ok


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("end", np.arange(N, dtype=np.float64), "has the type float64"),
        ("end", np.arange(N, dtype=np.int32), "has the type int32"),
        ("end", np.arange(N, dtype=np.uint64), "has the type uint64"),
        ("end", np.arange(N + 1, dtype=np.int64), "rows|differ in length"),
        ("end", np.zeros((N, 1), np.int64), "has the shape"),
        ("data", np.zeros(9, np.int8), "has the type int8"),
        ("data", np.zeros(9, np.uint16), "has the type uint16"),
        ("data", np.zeros((9, 1), np.uint8), "has the shape"),
    ],
)
@pytest.mark.parametrize("name", ["path", "ledger/reason"])
def test_texts_of_another_type_or_shape_are_refused_when_opened(name, part, values, message, tmp_path):
    write(tmp_path / "s.h5", N)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file[f"{name}/{part}"]
        put(file, f"{name}/{part}", values)
    with pytest.raises(StoreFormatError, match=message):
        FeatureStore(tmp_path / "s.h5")


@pytest.mark.parametrize(("part", "kind"), [("data", "u1"), ("end", "i8")])
def test_texts_that_declare_much_and_store_nothing_are_refused_when_opened(part, kind, tmp_path):
    write(tmp_path / "s.h5", N)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file[f"label/{part}"]
        options = {"chunks": (8192,), "maxshape": (None,), "fletcher32": True, "compression": "gzip"}
        file.create_dataset(f"label/{part}", (10**13,), kind, **options)
    with pytest.raises(StoreFormatError, match="declares|has 10000000000000 rows"):
        FeatureStore(tmp_path / "s.h5")


def test_bytes_that_are_no_utf_8_are_text_that_was_not_written(tmp_path):
    write(tmp_path / "s.h5", N)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        size = len(file["label/data"])
        del file["label/data"]
        put(file, "label/data", np.full(size, 0xFF, np.uint8))
    with FeatureStore(tmp_path / "s.h5") as store:
        with pytest.raises(StoreFormatError, match="labels, groups, splits or hashes are not as they were written"):
            _ = store.columns


@pytest.mark.parametrize("digest", [b"", b"one", b"\xff\xfe \xff"])
def test_a_digest_that_is_none_is_damage(digest, honest, tmp_path):
    path = tmp_path / "s.h5"
    shutil.copy(honest, path)
    with h5py.File(path, "r+") as file:
        file.attrs["digest"] = np.bytes_(digest)
    with FeatureStore(path) as store:
        with pytest.raises(StoreFormatError, match="not as they were written"):
            _ = store.columns
        with pytest.raises(StoreFormatError, match="not as they were written"):
            _ = store.ledger
    assert not verify(path).ok
