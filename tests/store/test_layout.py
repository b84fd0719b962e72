"""Layout version 3: text of any length, the versions before it, and files that their own reader would refuse."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import h5py
import made_stores
import numpy as np
import pytest
from made_stores import SPACE, flip, keys, make_rows, write
from old_layout import write_version_2

from featurekit.errors import SourceError, StoreError, StoreFormatError
from featurekit.extraction.rows import check_texts
from featurekit.images import Item
from featurekit.store import (
    FeatureStore,
    Ledger,
    LedgerEntry,
    ShardCache,
    decode,
    encode,
    export,
    merge,
    publish,
    publish_index,
    verify,
)
from featurekit.store.texts import as_strings, concatenated, counts_of, lengths_of, pieces_of, texts_of, unpacked
from featurekit.store.writing import columns_digest

LONG = "tag;" * 1000
MANY = 40_000  # texts of which one is LONG cost more at one width than Python's objects do


def written(path, columns, rows, ledger=None):
    ledger = ledger or Ledger.of(LedgerEntry(name, "stored", "", i) for i, name in enumerate(decode(columns.path)))
    publish(path, replace(SPACE, dim=rows.shape[1]), {"root": "/x"}, columns, ledger, [rows])
    return FeatureStore(path)


def narrow(n):
    columns, rows = make_rows(n)
    return columns, rows[:, :1]


# --- text in memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [""], ["a", "", "é", "bb"], ["x"] * MANY + [LONG]], ids=len)
def test_text_is_packed_and_unpacked(values):
    text = encode(values)
    data = np.frombuffer(b"".join(pieces_of(text)), dtype=np.uint8)
    again = unpacked(data, np.cumsum(lengths_of(text)))
    assert decode(again) == values
    assert again.dtype == text.dtype


def test_one_long_text_does_not_cost_its_width_for_each():
    assert encode(["x"] * MANY).dtype.kind == "S"
    assert encode(["x"] * MANY + [LONG]).dtype.kind == "O"


@pytest.mark.parametrize("long", [[], [LONG] * 9000])
def test_functions_of_text_take_both_kinds(long):
    few = encode(["b", "a", "b"])
    text = concatenated([few, encode(long)])
    assert decode(text) == ["b", "a", "b", *long]
    assert counts_of(text) == {"a": 1, "b": 2, **({LONG: 9000} if long else {})}
    assert as_strings(text)[:3].tolist() == ["b", "a", "b"]
    assert (text == b"b").tolist()[:3] == [True, False, True]


def test_short_and_wide_arrays_are_joined_without_the_width_of_one_for_all():
    assert concatenated([encode([LONG]), encode(["x"] * MANY)]).dtype.kind == "O"


def test_labels_as_strings_are_objects_where_one_is_very_long():
    strings = as_strings(encode(["x"] * MANY + [LONG]))
    assert strings.dtype == object
    assert (strings[0], strings[-1]) == ("x", LONG)


@pytest.mark.parametrize("end", [[2, 1, 3], [1, 2, 4], [1, 2, 2], [-1, 2, 3], []])
def test_ends_that_do_not_rise_to_the_data_are_refused(end):
    with pytest.raises(ValueError, match="do not rise"):
        unpacked(np.zeros(3, np.uint8), np.array(end, dtype=np.int64))


def test_the_digest_does_not_depend_on_how_text_is_kept_in_memory():
    columns, _ = make_rows(20)
    as_objects = np.array(columns.path.tolist(), dtype=object)
    assert columns_digest(replace(columns, path=as_objects)) == columns_digest(columns)


# --- text on the disk --------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_long_label_among_many_opens_again(tmp_path):
    """The old layout declared 100,000 times 2,700 bytes, and its reader took that for a bomb."""
    columns, rows = narrow(100_000)
    columns.label = encode(["tag;" * 675] + ["k"] * 99_999)
    store = written(tmp_path / "s.h5", columns, rows)
    assert store.y[0] == "tag;" * 675
    assert store.class_counts == {"k": 99_999, "tag;" * 675: 1}
    assert verify(tmp_path / "s.h5").ok


@pytest.mark.slow
def test_a_long_reason_among_a_million_rows_opens_again(tmp_path):
    n = 1_100_000
    columns, rows = narrow(1000)
    columns = columns.take(np.arange(n) % 1000)
    entries = np.arange(n + 1)
    ledger = Ledger(
        columns.path[entries % n], np.full(n + 1, b"stored"), {n: "r" * 300}, np.where(entries < n, entries, -1)
    )
    store = written(tmp_path / "s.h5", columns, rows[np.arange(n) % 1000], ledger)
    assert store.ledger[n].reason == "r" * 300


@pytest.mark.slow
def test_text_that_shrinks_as_a_bomb_does_is_stored_as_it_is(tmp_path):
    """A store whose labels compress a thousandfold, 300 MB of them, must pass the guard against bombs."""
    columns, rows = narrow(5000)
    columns.label = texts_of([b"a" * 60_000] * 5000)
    store = written(tmp_path / "s.h5", columns, rows)
    assert store._file()["label/data"].compression is None
    assert len(store.columns.label[4999]) == 60_000


def test_a_bomb_of_text_is_refused(tmp_path):
    write(tmp_path / "s.h5", 20)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["label/data"]
        options = {"chunks": (65536,), "maxshape": (None,), "fletcher32": True, "compression": "gzip"}
        file.create_dataset("label/data", (10**12,), "u1", **options)
    with pytest.raises(StoreFormatError, match="'label' declares 1000000000000 bytes"):
        FeatureStore(tmp_path / "s.h5")


def test_more_shards_than_rows_are_refused(tmp_path):
    columns, rows = make_rows(20)
    cache = ShardCache(tmp_path / "s", SPACE)
    cache.add(columns, rows, "")
    publish_index(tmp_path / "s", SPACE, {}, columns, Ledger.of(()), cache.places(columns.sha256))
    with h5py.File(tmp_path / "s" / "index.h5", "r+") as file:
        del file["shards/end"]
        file.create_dataset("shards/end", (10**9,), "i8", chunks=(8192,), fletcher32=True, compression="gzip")
    with pytest.raises(StoreFormatError, match="more shards than there are rows"):
        FeatureStore(tmp_path / "s")


@pytest.mark.parametrize("name", ["0-0.jpg", "0-9999.jpg", "0-5000.jpg"])
def test_a_row_is_found_by_its_path(tmp_path, name):
    columns, rows = narrow(10_000)
    store = written(tmp_path / "s.h5", columns, rows)
    assert store.find(f"classe-é/{name}") == int(name[2:].removesuffix(".jpg"))
    for part in (name, "classe-é/0-", "é", "", "none"):
        with pytest.raises(KeyError):
            store.find(part)


def test_an_empty_path_is_found(tmp_path):
    columns, rows = narrow(3)
    columns.path = encode(["a", "", "b"])
    assert [written(tmp_path / "s.h5", columns, rows).find(path) for path in ("a", "", "b")] == [0, 1, 2]


@pytest.mark.parametrize("part", ["data", pytest.param("end", marks=pytest.mark.slow)])
def test_damage_of_text_costs_the_rows_of_its_chunk_only(tmp_path, part):
    columns, rows = narrow(30_000)
    columns.path = encode(f"{i:040d}" for i in range(30_000))
    written(tmp_path / "s.h5", columns, rows)
    with h5py.File(tmp_path / "s.h5") as file:
        at = file[f"path/{part}"].id.get_chunk_info(1).byte_offset
    flip(tmp_path / "s.h5", at + 20)
    found = verify(tmp_path / "s.h5")
    first, last = (65536 // 40, 131072 // 40) if part == "data" else (8192, 16384)
    assert found.damaged == list(range(first, last + 1))
    assert found.paths[0] == ""


def test_an_npz_of_one_very_long_label_is_refused(tmp_path):
    columns, rows = narrow(MANY)
    columns.label = encode(["x"] * (MANY - 1) + [LONG])
    written(tmp_path / "s.h5", columns, rows)
    with pytest.raises(StoreError, match="one label is so much longer"):
        export(tmp_path / "s.h5", tmp_path / "s.npz")
    assert export(tmp_path / "s.h5", tmp_path / "s.csv").stat().st_size > len(LONG)


def test_stores_with_a_very_long_path_are_merged(tmp_path):
    columns, rows = narrow(MANY)
    columns.path = encode([f"{i}" for i in range(MANY - 1)] + [LONG])
    written(tmp_path / "a.h5", columns, rows)
    other, more = make_rows(3, seed=1)
    written(tmp_path / "b.h5", other, more[:, :1])
    store = merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")
    assert len(store) == MANY + 3
    assert store.find(LONG) == MANY - 1


def test_a_signature_is_found_beside_a_very_long_path(tmp_path):
    columns, rows = make_rows(MANY)
    columns.path = encode([f"{i}" for i in range(MANY - 1)] + [LONG])
    ShardCache(tmp_path / "p", SPACE, root="/here").add(columns, rows, "")
    known = ShardCache(tmp_path / "p", SPACE, root="/here").signatures()
    assert known.get(LONG) == (MANY - 1, MANY, keys(columns)[-1])
    assert known.get("17") == (17, 18, keys(columns)[17])
    assert known.get(LONG + "x") is None


def test_a_path_that_no_store_keeps_is_refused_before_any_work():
    items = [Item("a.png", "a.png"), Item("b/" * 40_000 + "c.png", "c.png")]
    with pytest.raises(SourceError, match=r"the path of image 2, b/b/.*\.\.\., has 80005 bytes; at most 65536"):
        check_texts(items)
    check_texts([Item("é" * 20_000, "a.png")])


# --- what is written is opened -----------------------------------------------------------------------


def test_a_store_that_its_reader_would_refuse_does_not_take_the_name(tmp_path):
    write(tmp_path / "s.h5", 20)
    before = (tmp_path / "s.h5").read_bytes()
    columns, rows = make_rows(20)
    columns.size = columns.size.astype(np.int32)  # a column of a type that no store has
    with pytest.raises(StoreError, match="could not be opened again"):
        publish(tmp_path / "s.h5", SPACE, {}, columns, Ledger.of(()), [rows])
    assert (tmp_path / "s.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


def test_a_shard_that_its_reader_would_refuse_is_not_written(tmp_path):
    columns, rows = make_rows(20)
    columns.size = columns.size.astype(np.int32)
    with pytest.raises(StoreError, match="could not be opened again"):
        ShardCache(tmp_path / "parts", SPACE).add(columns, rows, "")
    assert not list(tmp_path.rglob("*.h5"))


# --- older versions ----------------------------------------------------------------------------------


@pytest.fixture
def version_2(tmp_path):
    columns, rows = make_rows(3000)
    ledger = [(name, "stored", "", i) for i, name in enumerate(decode(columns.path))]
    write_version_2(tmp_path / "two.h5", SPACE, columns, rows, [*ledger, ("bad.jpg", "failed", "empty file", -1)])
    return tmp_path / "two.h5", columns, rows


def test_a_store_of_version_2_is_read(version_2):
    path, columns, rows = version_2
    store = FeatureStore(path)
    assert store.columns.same_as(columns)
    assert not store.columns.perceptual.any()
    assert np.array_equal(store.X[...], rows)
    assert store.ledger[3000] == LedgerEntry("bad.jpg", "failed", "empty file", -1)
    assert store.find(store.paths[2999]) == 2999
    assert store.ledger_counts == {"failed": 1, "stored": 3000}


def test_a_store_of_version_2_is_verified(version_2):
    path, _, _ = version_2
    assert verify(path).ok
    with h5py.File(path) as file:
        at = file["label"].id.get_chunk_info(1).byte_offset
    flip(path, at + 10)
    assert verify(path).damaged == list(range(1000, 2000))


def test_a_copy_of_a_store_of_version_2_has_version_3(version_2, tmp_path):
    path, columns, rows = version_2
    store = merge([path], tmp_path / "three.h5")
    assert store._file().attrs["version"] == 3
    assert store.columns.same_as(columns)
    assert np.array_equal(store.X[...], rows)
    assert store.ledger == FeatureStore(path).ledger


def test_bombs_in_version_2_are_refused(version_2):
    path, _, _ = version_2
    with h5py.File(path, "r+") as file:
        del file["group"]
        kind = h5py.string_dtype("utf-8", 60_000)
        file.create_dataset("group", (10**8,), kind, chunks=(1,), fletcher32=True, compression="gzip")
    with pytest.raises(StoreFormatError, match="'group' declares"):
        FeatureStore(path)


MEMORY = """
import resource, sys
sys.path.insert(0, {made!r})
import numpy as np
from pathlib import Path
from made_stores import SPACE, keys
from featurekit.store import *
from featurekit.store.schema import Columns
n = 300_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
paths = encode([f"photos/{{i:07d}}.jpg" for i in range(n - 1)] + ["a/" * 4000 + "b.jpg"])
nothing, numbers = encode([""] * n), np.arange(n)
hashes = np.zeros((n, 32), np.uint8)
hashes[:, :8] = numbers[:, None].view(np.uint8)
columns = Columns(paths, nothing, nothing, hashes, numbers, numbers)
ledger = Ledger(paths, np.full(n, b"stored"), {{}}, numbers)
publish(Path({path!r}), SPACE, {{"root": "/x"}}, columns, ledger, [np.zeros((n, 16), np.float32)])
store = FeatureStore({path!r})
store.columns, store.ledger, store.find("photos/0299998.jpg"), store.y
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_one_path_of_8_kb_among_300_000_costs_no_gigabytes(tmp_path):
    from pathlib import Path

    code = MEMORY.format(made=str(Path(made_stores.__file__).parent), path=str(tmp_path / "s.h5"))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) < 700
