"""The perceptual hashes of a store: carried by files, folders and shards, and never lost once they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_stores import SPACE, make_rows

from featurekit import FeatureStore, extract
from featurekit.extraction.update import Update
from featurekit.images import read_source
from featurekit.pipeline import Outcome, columns_of
from featurekit.store import Ledger, LedgerEntry, ShardCache, decode, encode, merge, publish, publish_index, verify


def hashed_rows(n=300):
    columns, rows = make_rows(n)
    hashes = np.random.default_rng(1).integers(1, 256, (n, 64), dtype=np.uint8)
    return replace(columns, perceptual=hashes), rows


def ledger_of(columns):
    return Ledger.of(LedgerEntry(name, "stored", "", i) for i, name in enumerate(decode(columns.path)))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_store_keeps_perceptual_hashes(tmp_path, kind):
    columns, rows = hashed_rows()
    if kind == "file":
        publish(tmp_path / "s.h5", SPACE, {}, columns, ledger_of(columns), [rows])
        store = FeatureStore(tmp_path / "s.h5")
    else:
        cache = ShardCache(tmp_path / "s", SPACE)
        cache.add(columns, rows, "")
        publish_index(tmp_path / "s", SPACE, {}, columns, ledger_of(columns), cache.places(columns.sha256))
        store = FeatureStore(tmp_path / "s")
    assert np.array_equal(store.columns.perceptual, columns.perceptual)
    assert np.array_equal(merge([store.path], tmp_path / "copy.h5").columns.perceptual, columns.perceptual)


def test_a_shard_gives_back_the_hashes_of_its_contents(tmp_path):
    columns, rows = hashed_rows()
    ShardCache(tmp_path / "parts", SPACE).add(columns, rows, "")
    cache = ShardCache(tmp_path / "parts", SPACE)
    wanted = np.concatenate([columns.sha256[[7, 3]], np.zeros((1, 32), np.uint8)])
    found = cache.perceptual(wanted)
    assert np.array_equal(found[:2], columns.perceptual[[7, 3]])
    assert not found[2].any()


def test_columns_of_outcomes_hold_zeros_where_no_hash_is_known():
    outcomes = [Outcome(b"a" * 32, perceptual=b"p" * 64), Outcome(b"b" * 32)]
    text = encode(["x", "y"])
    columns = columns_of(text, text, text, outcomes)
    assert columns.perceptual.tolist() == [[ord("p")] * 64, [0] * 64]


def test_damaged_perceptual_hashes_are_named(tmp_path):
    columns, rows = hashed_rows()
    publish(tmp_path / "s.h5", SPACE, {}, columns, ledger_of(columns), [rows])
    data = bytearray((tmp_path / "s.h5").read_bytes())
    data[data.index(columns.perceptual[20].tobytes())] ^= 1
    (tmp_path / "s.h5").write_bytes(data)
    assert any("perceptual" in problem for problem in verify(tmp_path / "s.h5").problems)


def run_again(backbone, folder, target, hashes):
    """One more run whose outcomes bring these hashes, by content, as a run that decodes its images does."""
    listing = read_source(folder)
    old = FeatureStore(target)
    known = {path: bytes(content) for path, content in zip(old.paths, old.columns.sha256, strict=True)}
    update = Update(target, backbone, listing, replace=False, refresh=True, dtype=None)
    outcomes = []
    for item, size, mtime in zip(listing.items, old.columns.size, old.columns.mtime_ns, strict=True):
        content = known[item.path]
        outcomes.append(Outcome(content, int(size), int(mtime), perceptual=hashes.get(content, b"")))
    assert update.publish(folder, outcomes, True)
    return update.finish(0.0)


def test_hashes_of_images_that_are_read_again_are_published_and_stay(digits_folder, tmp_path):
    from featurekit.backbones import find

    backbone = find("efficientnet_lite0")
    target = tmp_path / "s.h5"
    columns = extract(digits_folder, output=target).columns
    hashes = {bytes(content): bytes([i + 1]) * 64 for i, content in enumerate(columns.sha256)}
    expected = [[i + 1] * 64 for i in range(60)]
    assert run_again(backbone, digits_folder, target, hashes).columns.perceptual.tolist() == expected
    # A run that reads nothing, and one that reads and decodes nothing, know them still.
    before = target.stat().st_mtime_ns
    assert extract(digits_folder, output=target).columns.perceptual.tolist() == expected
    assert run_again(backbone, digits_folder, target, {}).columns.perceptual.tolist() == expected
    assert target.stat().st_mtime_ns == before
