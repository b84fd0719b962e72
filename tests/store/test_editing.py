from __future__ import annotations

import h5py
import numpy as np
import pytest
from made_stores import OTHER, SPACE, make_rows, write, write_folder
from small import extract

from featurekit.errors import FeatureSpaceError, StoreError, StoreLockedError
from featurekit.store import (
    DUPLICATE,
    FAILED,
    REMOVED,
    STORED,
    FeatureStore,
    Ledger,
    LedgerEntry,
    WriteLock,
    encode,
    merge,
    publish,
    remove,
    verify,
)


def put(path, names, hashes, root="/photos", failed=(), labels=None):
    """A store whose rows are numbered by the first byte of their hash."""
    columns, rows = make_rows(len(names))
    columns.path = encode(names)
    columns.label = encode(labels or ["x"] * len(names))
    columns.sha256 = np.repeat(np.array(hashes, np.uint8)[:, np.newaxis], 32, axis=1)
    rows[:] = np.array(hashes)[:, np.newaxis]
    entries = [LedgerEntry(name, STORED, "", i) for i, name in enumerate(names)]
    entries += [LedgerEntry(name, FAILED, "broken", -1) for name in failed]
    publish(path, SPACE, {"root": root, "runtime": "r"}, columns, Ledger.of(entries), [rows])
    return path


@pytest.mark.parametrize("kind", ["s.h5", "s"])
def test_stores_of_two_folders_are_joined_below_what_they_share(tmp_path, kind):
    a = put(tmp_path / "a.h5", ["1.jpg", "2.jpg"], [1, 2], "/photos/train", failed=["bad.jpg"])
    b = put(tmp_path / "b.h5", ["1.jpg", "2.jpg"], [3, 2], "/photos/test")
    store = merge([a, b], tmp_path / kind)
    assert store.paths == ["train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg"]
    assert store.X[:, 0].tolist() == [1, 2, 3, 2]
    assert store.provenance["root"] == "/photos"
    assert list(store.ledger) == [
        LedgerEntry("train/1.jpg", STORED, "", 0),
        LedgerEntry("train/2.jpg", STORED, "", 1),
        LedgerEntry("train/bad.jpg", FAILED, "broken", -1),
        LedgerEntry("test/1.jpg", STORED, "", 2),
        LedgerEntry("test/2.jpg", DUPLICATE, "train/2.jpg", 3),
    ]
    assert verify(tmp_path / kind).ok
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.h5", "b.h5", kind])


def test_parts_of_one_folder_are_joined(tmp_path):
    a = put(tmp_path / "a.h5", ["1.jpg", "2.jpg"], [1, 2])
    b = put(tmp_path / "b.h5", ["2.jpg", "3.jpg"], [2, 3], failed=["1.jpg"])
    store = merge([a, b], tmp_path / "s.h5")
    assert store.paths == ["1.jpg", "2.jpg", "3.jpg"]
    assert store.X[:, 0].tolist() == [1, 2, 3]
    assert [(entry.path, entry.row) for entry in store.ledger] == [("1.jpg", 0), ("2.jpg", 1), ("3.jpg", 2)]


@pytest.mark.parametrize(
    ("hashes", "labels", "what"), [([9, 3], None, "another image"), ([2, 3], ["y", "x"], "another label")]
)
def test_one_path_with_two_meanings_is_refused(tmp_path, hashes, labels, what):
    a = put(tmp_path / "a.h5", ["1.jpg", "2.jpg"], [1, 2])
    b = put(tmp_path / "b.h5", ["2.jpg", "3.jpg"], hashes, labels=labels)
    with pytest.raises(StoreError, match=rf"2\.jpg has {what} in .*b\.h5 than in .*a\.h5") as caught:
        merge([a, b], tmp_path / "s.h5")
    assert "Nothing was written" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_merge_refuses_and_writes_nothing(tmp_path):
    write(tmp_path / "a.h5", 10)
    write(tmp_path / "o.h5", 10, space=OTHER)
    with pytest.raises(FeatureSpaceError):
        merge([tmp_path / "a.h5", tmp_path / "o.h5"], tmp_path / "s.h5")
    before = (tmp_path / "o.h5").read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        merge([tmp_path / "a.h5"], tmp_path / "o.h5")
    assert (tmp_path / "o.h5").read_bytes() == before
    with pytest.raises(FileNotFoundError):
        merge([tmp_path / "none.h5"], tmp_path / "s")
    with pytest.raises(ValueError, match="at least one"):
        merge([], tmp_path / "s.h5")
    with pytest.raises(ValueError, match="dtype must be"):
        merge([tmp_path / "a.h5"], tmp_path / "s.h5", dtype="int8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "o.h5"]


def test_an_image_that_failed_in_both_is_named_once(tmp_path):
    a = put(tmp_path / "a.h5", ["1.jpg"], [1], failed=["bad.jpg"])
    b = put(tmp_path / "b.h5", ["2.jpg"], [2], failed=["bad.jpg", "worse.jpg"])
    ledger = merge([a, b], tmp_path / "s.h5").ledger
    assert [entry.path for entry in ledger] == ["1.jpg", "bad.jpg", "2.jpg", "worse.jpg"]
    assert ledger[3].reason == "broken"


def test_a_link_is_not_written_through_nor_replaced(tmp_path):
    put(tmp_path / "s.h5", ["1.jpg", "2.jpg"], [1, 2])
    (tmp_path / "l.h5").symlink_to(tmp_path / "s.h5")
    with pytest.raises(StoreError, match="symbolic link"):
        remove(tmp_path / "l.h5", ["1.jpg"])
    assert (tmp_path / "l.h5").is_symlink()


def test_text_is_no_sequence_of_names(tmp_path):
    path = put(tmp_path / "s.h5", ["1.jpg", "2.jpg"], [1, 2], labels=["1", "2"])
    for call in (lambda: remove(path, labels="12"), lambda: remove(path, "1.jpg"), lambda: merge(str(path), "o.h5")):
        with pytest.raises(ValueError, match="must be a sequence"):
            call()


def test_a_store_is_copied_as_it_is_even_if_an_image_comes_twice(tmp_path):
    path = put(tmp_path / "s.h5", ["1.jpg", "1.jpg"], [1, 1], labels=["a", "b"])
    assert merge([path], tmp_path / "copy").y.tolist() == ["a", "b"]


def test_stores_from_windows_and_linux_are_merged(tmp_path):
    a = put(tmp_path / "a.h5", ["1.jpg"], [1], "C:\\photos")
    b = put(tmp_path / "b.h5", ["2.jpg"], [2], "/photos")
    assert merge([a, b], tmp_path / "s.h5").paths == ["1.jpg", "2.jpg"]


@pytest.mark.slow
def test_many_stores_are_merged(tmp_path):
    """What is noted of where they come from does not grow beyond what a file can hold."""
    stores = [put(tmp_path / f"{'long' * 40}-{i}.h5", [f"{i}.jpg"], [i]) for i in range(150)]
    store = merge(stores, tmp_path / "s.h5")
    assert len(store) == 150
    assert store.provenance["source"].endswith("and 140 more")


def test_nothing_is_written_that_cannot_be_read(tmp_path):
    path = put(tmp_path / "s.h5", ["1.jpg"], [1])
    before = path.read_bytes()
    columns, rows = make_rows(1)
    for provenance, names in (({"source": "x" * 70_000}, ["a"]), ({}, ["x" * 70_000])):
        columns.path = encode(names)
        with pytest.raises(StoreError, match="at most"):
            publish(path, SPACE, provenance, columns, Ledger.of(()), [rows])
        assert path.read_bytes() == before


def test_a_store_keeps_its_mode_and_no_store_lies_in_another(tmp_path):
    path = put(tmp_path / "s.h5", ["1.jpg", "2.jpg"], [1, 2])
    path.chmod(0o600)
    remove(path, ["1.jpg"])
    assert path.stat().st_mode & 0o777 == 0o600
    merge([path], tmp_path / "folder").close()
    shard = next((tmp_path / "folder").glob("rows-*.h5"))
    for call in (lambda: merge([path], tmp_path / "folder" / "in.h5"), lambda: remove(shard, ["2.jpg"])):
        with pytest.raises(StoreError, match="inside a folder store"):
            call()


def test_a_store_changes_its_kind_and_type(tmp_path):
    _, rows = write_folder(tmp_path / "s", 500)
    assert np.array_equal(merge([tmp_path / "s"], tmp_path / "f.h5").X[...], rows)
    half = merge([tmp_path / "f.h5"], tmp_path / "half", dtype="float16")
    assert half.dtype == np.float16
    assert np.array_equal(half.X[...], rows.astype(np.float16))
    again = merge([tmp_path / "half", tmp_path / "s"], tmp_path / "both.h5")
    assert (again.dtype, len(again)) == (np.float32, 500)
    with h5py.File(tmp_path / "half" / "index.h5") as file:
        assert "X" not in file


def test_extraction_goes_on_from_a_merged_store(digits_folder, tmp_path, forwards):
    """As from parts of a data set that were extracted one by one."""
    for name in "012":
        extract(digits_folder / name, output=tmp_path / f"{name}.h5").close()
    assert sum(forwards) == 60
    merge([tmp_path / f"{name}.h5" for name in "012"], tmp_path / "all.h5")
    store = extract(digits_folder, output=tmp_path / "all.h5")
    assert (store.summary.computed, store.summary.reused, sum(forwards)) == (0, 60, 60)
    assert store.class_counts == {"0": 20, "1": 20, "2": 20}


@pytest.mark.parametrize("kind", ["s.h5", "s"])
def test_rows_are_removed_and_the_ledger_says_so(tmp_path, kind):
    a = put(tmp_path / "a.h5", ["a/1", "a/2", "b/1", "b/2"], [1, 2, 2, 3], labels=list("xxyz"), failed=["a/bad"])
    path = tmp_path / kind
    merge([a], path).close()
    assert FeatureStore(path).ledger[2] == LedgerEntry("b/1", DUPLICATE, "a/2", 2)
    assert remove(path, ["a/*"], labels=["z"]) == ["a/1", "a/2", "b/2"]
    store = FeatureStore(path)
    assert (store.paths, store.X[:, 0].tolist(), store.y.tolist()) == (["b/1"], [2], ["y"])
    assert list(store.ledger) == [
        LedgerEntry("a/1", REMOVED, "removed by hand", -1),
        LedgerEntry("a/2", REMOVED, "removed by hand", -1),
        LedgerEntry("b/1", STORED, "", 0),
        LedgerEntry("b/2", REMOVED, "removed by hand", -1),
        LedgerEntry("a/bad", FAILED, "broken", -1),
    ]
    assert verify(path).ok
    copied = merge([path], tmp_path / "compact")  # the removed rows are in no file of the copy
    assert len(FeatureStore(next(copied.path.glob("rows-*.h5")))) == 1


def test_names_that_look_like_patterns(tmp_path):
    path = put(tmp_path / "s.h5", ["[1].jpg", "1.jpg"], [1, 2])
    assert remove(path, ["[1].jpg"]) == ["[1].jpg"]


def test_remove_refuses_and_changes_nothing(tmp_path):
    path = put(tmp_path / "s.h5", ["1.jpg", "2.jpg"], [1, 2])
    before = path.read_bytes()
    for arguments, message in (
        ((["3.jpg"],), "no row has a path like '3.jpg'"),
        ((["1.jpg", "*.png"],), r"no row has a path like '\*.png'"),
        ((["*"],), "no row of .* would be left"),
    ):
        with pytest.raises(StoreError, match=message):
            remove(path, *arguments)
    with pytest.raises(StoreError, match="no row has the label 'y'"):
        remove(path, labels=["y"])
    with WriteLock(tmp_path / "s.h5.lock"), pytest.raises(StoreLockedError):
        remove(path, ["1.jpg"])
    with pytest.raises(FileNotFoundError):
        remove(tmp_path / "none.h5", ["1.jpg"])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]
