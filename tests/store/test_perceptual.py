"""The perceptual hashes of a store: carried by files, folders and shards, and never lost once they are known."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from made_stores import SPACE, make_rows
from old_layout import write_version_2
from PIL import Image
from small import SIDE, extract

from featurekit import FeatureExtractor, FeatureStore
from featurekit.extraction.update import Update
from featurekit.images import has_hash, read_source
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
    update = Update(target, backbone, listing, replace=False, refresh=True, dtype=None, followed=False)
    outcomes = []
    for item, size, mtime in zip(listing.items, old.columns.size, old.columns.mtime_ns, strict=True):
        content = known[item.path]
        outcomes.append(Outcome(content, int(size), int(mtime), perceptual=hashes.get(content, b"")))
    assert update.publish(outcomes, True)
    return update.finish(0.0)


def test_hashes_of_images_that_are_read_again_are_published_and_stay(digits_folder, tmp_path):
    from featurekit.backbones import find

    backbone = find("efficientnet_lite0", layer=None, image_size=SIDE)
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


@pytest.fixture
def old_store(digits_folder, tmp_path):
    """A store of version 2, written by its own layout, of images with a side of 32 pixels."""
    folder = tmp_path / "images"
    for path in sorted(digits_folder.glob("*/*.png"))[::5]:
        home = folder / path.parent.name
        home.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((32, 32)).save(home / path.name)
    store = extract(folder, output=tmp_path / "new.h5", image_size=64)
    old = tmp_path / "old.h5"
    write_version_2(old, store.space, store.columns, store.X[...], list(store.ledger), store.provenance)
    store.close()
    return folder, old


def test_extracting_again_fills_the_hashes_of_an_older_store_without_the_network(old_store, forwards):
    folder, path = old_store
    with FeatureStore(path) as before:
        assert not before.columns.perceptual.any()
        rows = before.X[...]
    with extract(folder, output=path, image_size=64) as filled:
        assert has_hash(filled.columns.perceptual).all()
        assert np.array_equal(filled.X[...], rows)
        assert filled.summary.computed == 0
    assert not forwards
    changed = path.stat().st_mtime_ns
    extract(folder, output=path, image_size=64).close()
    assert path.stat().st_mtime_ns == changed  # nothing is left to fill in


def test_predicting_does_not_decode_images_for_hashes_that_a_cache_lacks(old_store, forwards):
    folder, path = old_store
    paths = sorted(map(str, folder.glob("*/*.png")))
    extractor = FeatureExtractor(cache=path, image_size=64).fit(paths)
    assert not extractor._features(paths, hashed=False).perceptual.any()
    assert has_hash(extractor._features(paths).perceptual).all()
    assert not forwards


def test_images_without_a_hash_are_not_decoded_again(digits_folder, tmp_path):
    """The digits have 8 pixels on a side: they are known to have no hash."""
    with extract(digits_folder, output=tmp_path / "s.h5", image_size=64) as store:
        assert (store.columns.perceptual == 255).all()
        cache = ShardCache(tmp_path / "s.h5.parts", store.space, store)
        assert not cache.any_unhashed


def test_cache_is_asked_by_other_threads_while_rows_are_added(tmp_path):
    """What the index names must be there before it does."""
    columns, rows = hashed_rows(600)
    cache = ShardCache(tmp_path / "s", SPACE)
    contents, stop, problems = list(map(bytes, columns.sha256)), threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                for content in contents[::7]:
                    if content in cache:
                        cache.lacks_hash(content)
            except IndexError as error:
                problems.append(error)
                return

    unhashed = replace(columns, perceptual=np.zeros_like(columns.perceptual))
    thread = threading.Thread(target=ask)
    thread.start()
    for start in range(0, 600, 100):
        here = slice(start, start + 100)
        cache.add(unhashed.take(here), rows[here], "")
    stop.set()
    thread.join()
    assert not problems
