"""What a reader bounds in version 3, and a store that is written while its file is locked by somebody else."""

from __future__ import annotations

import fcntl

import h5py
import numpy as np
import pytest
from made_stores import SPACE, write

from featurekit.errors import StoreFormatError
from featurekit.store import FeatureStore, Ledger, LedgerEntry, encode, publish
from featurekit.store.reading import salvage_text
from featurekit.store.schema import Columns
from featurekit.store.texts import MAX_TEXT, unpacked

WRAPPED = [-(2**63), 2**63 - 1, 2**63 - 1]


def replace_text(path, name, data, end):
    """Put another text into a store file, as somebody who wants to do harm would."""
    with h5py.File(path, "r+") as file:
        del file[name]
        for part, values in (("data", np.frombuffer(data, np.uint8)), ("end", np.array(end, np.int64))):
            chunks = (min(max(1, len(values)), 8192),)
            file.create_dataset(f"{name}/{part}", data=values, chunks=chunks, fletcher32=True, compression="gzip")


@pytest.fixture
def three(tmp_path):
    path = tmp_path / "s.h5"
    write(path, n=3)
    return path


def long_text(path, name):
    replace_text(path, name, b"x" * (MAX_TEXT + 3), [1, MAX_TEXT + 2, MAX_TEXT + 3])


@pytest.mark.parametrize("name", ["path", "label", "group"])
def test_a_text_over_the_bound_is_refused(three, name):
    long_text(three, name)
    with pytest.raises(StoreFormatError, match=f"a text of {MAX_TEXT + 1} bytes; at most {MAX_TEXT} are read"):
        _ = FeatureStore(three).columns


@pytest.mark.parametrize("name", ["path", "status", "reason"])
def test_a_text_over_the_bound_in_the_ledger_is_refused(three, name):
    long_text(three, f"ledger/{name}")
    with pytest.raises(StoreFormatError, match="a text of "):
        _ = FeatureStore(three).ledger


def test_a_text_over_the_bound_is_refused_where_a_path_is_looked_for(three):
    long_text(three, "path")
    with pytest.raises(StoreFormatError, match="a text of "):
        FeatureStore(three).find("nothing")


def test_a_text_over_the_bound_is_damaged_where_texts_are_saved(three):
    long_text(three, "path")
    with h5py.File(three) as file:
        texts, damaged = salvage_text(file["path"])
    assert damaged.tolist() == [False, True, False]
    assert texts.tolist() == [b"x", b"", b"x"]


def test_a_text_of_the_bound_is_read():
    assert [len(text) for text in unpacked(np.zeros(MAX_TEXT + 1, np.uint8) + 65, np.array([1, MAX_TEXT + 1]))] == [
        1,
        MAX_TEXT,
    ]


@pytest.mark.parametrize("end", [WRAPPED, [2, 1, 3], [-1, 1, 3], [1, 2, 4], [1, 2, 2]])
def test_ends_that_do_not_rise_are_refused(end):
    with pytest.raises(ValueError, match="do not rise to the end of their bytes"):
        unpacked(np.zeros(3, np.uint8), np.array(end))


@pytest.mark.parametrize("name", ["path", "ledger/reason"])
def test_ends_whose_differences_wrap_around_are_refused(three, name):
    replace_text(three, name, b"abc", WRAPPED)
    with pytest.raises(StoreFormatError, match="do not rise"):
        _ = FeatureStore(three).ledger if "/" in name else FeatureStore(three).columns


def test_ends_whose_differences_wrap_around_are_damaged_where_texts_are_saved(three):
    replace_text(three, "path", b"abc", WRAPPED)
    with h5py.File(three) as file:
        assert salvage_text(file["path"])[1].all()


def test_a_store_is_published_while_somebody_else_locks_its_file(tmp_path):
    path = tmp_path / "s.h5"
    names = encode(["a", "b"])
    numbers = np.arange(2)
    columns = Columns(names, names, names, np.eye(2, 32, dtype=np.uint8), numbers, numbers)
    ledger = Ledger.of([LedgerEntry("a", "stored", "", 0), LedgerEntry("b", "stored", "", 1)])
    rows = np.ones((2, SPACE.dim), np.float32)
    locked = []

    def blocks():
        (temporary,) = path.with_name("s.h5.parts").glob("*.tmp")
        locked.append(temporary.open("rb"))
        fcntl.flock(locked[0], fcntl.LOCK_EX)
        yield rows

    try:
        publish(path, SPACE, {}, columns, ledger, blocks())
        assert np.array_equal(FeatureStore(path).X[...], rows)
    finally:
        locked[0].close()
