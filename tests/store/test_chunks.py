"""Store files whose chunks stand for more than the bytes that are there."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_stores import SPACE, make_rows, write, write_folder
from old_layout import write_version_2

from featurekit.errors import StoreFormatError
from featurekit.store import FeatureStore, Ledger, LedgerEntry, encode, publish

N = 2000


def chunks_of(path, name):
    with h5py.File(path) as file:
        low = file[name].id
        return [low.get_chunk_info(i) for i in range(low.get_num_chunks())]


def write_anew(path, name, **options):
    """Write a dataset once more, with an index of chunks that has no checksums."""
    with h5py.File(path, "r+") as file:
        values = file[name][...]
        del file[name]
        file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), fletcher32=True, **options)


def put(path, old, new):
    """Replace some bytes that are in the file once."""
    data = path.read_bytes()
    assert (data.count(old), len(old)) == (1, len(new))
    path.write_bytes(data.replace(old, new))


def share_bytes(path, name):
    """Let each chunk of a dataset lie where the first one does."""
    first, *others = chunks_of(path, name)
    assert others
    for chunk in others:
        put(path, struct.pack("<Q", chunk.byte_offset), struct.pack("<Q", first.byte_offset))


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "s.h5", N)
    return tmp_path / "s.h5"


def test_rows_that_claim_more_bytes_than_the_file_has_are_refused(path):
    write_anew(path, "X", chunks=(1000, 16))
    for chunk in chunks_of(path, "X"):
        at = struct.pack("<QQQQ", *chunk.chunk_offset, 0, chunk.byte_offset)
        put(path, struct.pack("<II", chunk.size, 0) + at, struct.pack("<II", 2**30, 0) + at)
    with pytest.raises(StoreFormatError, match="store 2147.* bytes, and the file has .*: chunks overlap"):
        FeatureStore(path)


@pytest.mark.parametrize("name", ["path/data", "ledger/path/end"])
def test_texts_whose_chunks_overlap_are_refused(path, name):
    write_anew(path, name, chunks=(500,), compression="gzip")
    FeatureStore(path).close()
    share_bytes(path, name)
    with pytest.raises(StoreFormatError, match="overlap"):
        FeatureStore(path)


def test_a_chunk_that_grows_far_beyond_its_size_is_refused(path):
    with h5py.File(path, "r+") as file:
        size = len(file["label/data"])
        del file["label/data"]
        options = {"chunks": (size,), "maxshape": (None,), "compression": "gzip", "fletcher32": True}
        data = file.create_dataset("label/data", (size,), np.uint8, **options)
        data.id.write_direct_chunk((0,), zlib.compress(bytes(2**25)), filter_mask=0b10)
    with pytest.raises(StoreFormatError, match=rf"'label/data' has a chunk of \d+ bytes for {size}"):
        FeatureStore(path)


@pytest.mark.parametrize("layout", ["file", "folder", "version 2", "version 1", "one row"])
def test_honest_stores_open(tmp_path, layout):
    path, n = tmp_path / "s.h5", N
    if layout == "file":
        write(path, n)
    elif layout == "one row":
        n = 1
        write(path, n)
    elif layout == "folder":
        path = tmp_path / "s"
        write_folder(path, n, shard_rows=300)
    elif layout == "version 2":
        columns, rows = make_rows(n)
        write_version_2(path, SPACE, columns, rows, [(f"{i}.jpg", "stored", "", i) for i in range(n)])
    else:
        path, n = Path(__file__).with_name("version-1.h5"), None
    with FeatureStore(path) as store:
        assert n is None or len(store) == n
        assert len(store.columns.path) == len(store.X[...]) == len(store)


def test_incompressible_text_opens(tmp_path):
    """Compression makes such a chunk a little larger than it was."""
    columns, rows = make_rows(N)
    rng = np.random.default_rng(0)
    columns.group = encode(bytes(rng.integers(1, 256, 40, np.uint8)).decode("latin1") for _ in range(N))
    ledger = Ledger.of(LedgerEntry(f"{i}.jpg", "stored", "", i) for i in range(N))
    publish(tmp_path / "s.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
    assert len(FeatureStore(tmp_path / "s.h5")) == N
