"""Files that cannot be read any more, and have another name than before."""

from __future__ import annotations

import os

import numpy as np
import pytest
from made_stores import SPACE

from featurekit.extraction.rows import Old, keep_known
from featurekit.images import Item, Source
from featurekit.pipeline import Outcome
from featurekit.store import Columns, FeatureStore, Ledger, LedgerEntry, ShardCache, encode, publish

NOW = "2026-11-28T00:00:00+00:00"
NAMES = ["a/0.png", "a/1.png"]


@pytest.fixture
def run(tmp_path):
    """Runs over files of a folder, all of which fail, beside a store of two rows; gives what is kept."""
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(bytes(100 + number))
    states = [(folder / name).stat() for name in NAMES]
    contents = np.arange(64, dtype=np.uint8).reshape(2, 32)
    sizes, times = (np.array([getattr(s, which) for s in states]) for which in ("st_size", "st_mtime_ns"))
    columns = Columns(encode(NAMES), encode(["a", "a"]), encode(["", ""]), contents, sizes, times)
    ledger = Ledger.of(LedgerEntry(name, "stored", "", i) for i, name in enumerate(NAMES))
    target = tmp_path / "s.h5"
    publish(target, SPACE, {"root": str(folder)}, columns, ledger, [np.ones((2, 16), np.float32)])
    store = FeatureStore(target)

    def run(*changes, readable=b""):
        for before, after in changes:
            (folder / before).rename(folder / after)
        paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
        items = [Item(path, str(folder / path), "a") for path in paths]
        outcomes = [Outcome(b"x" * 32, reason="cannot be decoded") for _ in items]
        if readable:
            items.append(Item("good.png", "good.png"))
            outcomes.append(Outcome(readable))
        listing = Source(items, "class folders", str(folder), str(folder))
        cache = ShardCache(tmp_path / "s.h5.parts", SPACE, store, root=str(folder))
        found, kept = keep_known(items, outcomes, Old(store, columns, ledger), listing, cache, NOW)
        return {items[i].path: (found[i].content, reason) for i, reason in kept.items()}

    run.folder, run.contents = folder, [content.tobytes() for content in contents]
    yield run
    store.close()


def test_a_row_follows_its_renamed_file_that_cannot_be_read(run):
    kept = run(("a/0.png", "a/new.png"))
    assert kept["a/new.png"] == (run.contents[0], f"{NOW} cannot be decoded (it was a/0.png)")
    assert kept["a/1.png"] == (run.contents[1], f"{NOW} cannot be decoded")


def test_another_time_is_another_file(run):
    os.utime(run.folder / "a/0.png", ns=(0, 10**18))
    assert list(run(("a/0.png", "a/new.png"))) == ["a/1.png"]


def test_two_files_of_one_size_and_time_are_not_told_apart(run):
    state = (run.folder / "a/0.png").stat()
    other = run.folder / "a/copy.png"
    other.write_bytes(bytes(state.st_size))
    os.utime(other, ns=(0, state.st_mtime_ns))
    assert list(run(("a/0.png", "a/new.png"))) == ["a/1.png"]


def test_a_content_that_is_elsewhere_was_renamed_to_there(run):
    assert list(run(("a/0.png", "a/new.png"), readable=run.contents[0])) == ["a/1.png"]
