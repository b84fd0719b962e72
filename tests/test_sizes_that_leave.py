"""Runs that would let rows leave, told by the sizes of files before any image is read."""

from __future__ import annotations

import numpy as np
import pytest
from made_stores import SPACE

from featurekit.errors import StoreError
from featurekit.extraction.rows import Old, check_sizes_leaving
from featurekit.images import Item, Source
from featurekit.store import Columns, FeatureStore, Ledger, LedgerEntry, encode, publish

NAMES = ["a.png", "b.png"]


@pytest.fixture
def check(tmp_path):
    """Checks two files, after a change to one, against the store that another list of the same folder has made."""
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(bytes(100 + number))
    contents = np.arange(64, dtype=np.uint8).reshape(2, 32)
    sizes = np.array([100, 101])
    columns = Columns(encode(NAMES), encode(["x", "y"]), encode(["", ""]), contents, sizes, sizes)
    ledger = Ledger.of(LedgerEntry(name, "stored", "", i) for i, name in enumerate(NAMES))
    provenance = {"root": str(tmp_path), "place": str(tmp_path / "list.csv")}
    publish(tmp_path / "s.h5", SPACE, provenance, columns, ledger, [np.ones((2, 16), np.float32)])
    store = FeatureStore(tmp_path / "s.h5")

    def check(names=NAMES, problem=""):
        items = [Item(name, str(tmp_path / name), problem=problem) for name in names]
        listing = Source(items, "manifest", str(tmp_path), str(tmp_path / "list2.csv"))
        check_sizes_leaving(Old(store, columns, ledger), listing, replace=False)

    yield check
    store.close()


def test_an_empty_file_lets_no_row_leave(check, tmp_path):
    (tmp_path / "b.png").write_bytes(b"")
    check()


def test_a_link_to_nothing_lets_no_row_leave(check, tmp_path):
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "missing")
    check()


def test_a_listed_path_that_cannot_be_used_lets_no_row_leave(check):
    check(problem="its name leads out of the folder")


def test_a_path_that_is_not_listed_is_told_before_any_image_is_read(check):
    with pytest.raises(StoreError, match=r"at least 1 of its 2 rows \(such as b.png\)"):
        check(["a.png"])
