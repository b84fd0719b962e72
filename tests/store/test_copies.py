"""Copies of far shards, and damage here and there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from caches import own_caches
from servers import http_server, keys
from small import extract

from featurekit import FeatureStore
from featurekit.errors import StoreError, StoreFormatError
from featurekit.store import copies, merge, remove, shards, verify

URL = "s3://rows/digits"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of what `two_shards` wrote first."""
    return tmp_path_factory.mktemp("written")


@pytest.fixture
def two_shards(bucket, digits_folder, written, tmp_path):
    """A far store of two shards: class 0, and all others; its images. It is written once, and then uploaded."""
    photos, objects, caches = written / "photos", written / "objects", tmp_path / "caches"
    if not objects.exists():
        shutil.copytree(digits_folder / "0", photos / "0")
        extract(photos, output=URL)
        shutil.copytree(digits_folder, photos, dirs_exist_ok=True)
        extract(photos, output=URL)
        shutil.copytree(caches, written / "caches", symlinks=True)
        objects.mkdir()
        for key in keys(bucket):
            bucket.download_file("rows", key, str(objects / key.rpartition("/")[2]))
    else:
        shutil.rmtree(caches)
        shutil.copytree(written / "caches", caches, symlinks=True)
        for path in objects.iterdir():
            bucket.upload_file(str(path), "rows", f"digits/{path.name}")
    assert len(keys(bucket)) == 3
    return photos


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def damage(bucket, row):
    """Change one byte of the far shard in which a row lies; its key."""
    store = FeatureStore(URL)
    key = "digits/" + store.places.shards[store.places.shard[row]]
    body = bucket.get_object(Bucket="rows", Key=key)["Body"].read()
    bucket.put_object(Bucket="rows", Key=key, Body=flipped(body))
    return key


def elsewhere(monkeypatch, tmp_path):
    """From here on, another machine, which has no copies."""
    own_caches(monkeypatch, tmp_path / "elsewhere")


@pytest.mark.slow
def test_a_damaged_shard_is_computed_again(bucket, two_shards, small_store, monkeypatch, tmp_path):
    key = damage(bucket, 0)
    with pytest.raises(StoreFormatError, match=f"{key} is damaged.*Extract into the store again here"):
        FeatureStore(URL).X[0]
    assert FeatureStore(URL).X[40].shape == (816,)
    assert verify(URL).damaged == list(range(20))
    store = extract(two_shards, output=URL)
    assert (store.summary.computed, store.summary.reused) == (20, 40)
    elsewhere(monkeypatch, tmp_path)
    assert verify(URL).ok
    assert np.array_equal(FeatureStore(URL).X[:], small_store.X[:])


@pytest.mark.slow
def test_a_damaged_shard_that_is_removed_does_not_come_back(bucket, two_shards, monkeypatch, tmp_path):
    key = damage(bucket, 0)
    assert len(remove(URL, damaged=True)) == 20
    assert key not in keys(bucket)
    elsewhere(monkeypatch, tmp_path)
    store = extract(two_shards, output=URL)
    assert (store.summary.computed, store.summary.reused) == (20, 40)
    assert verify(URL).ok


@pytest.mark.slow
def test_a_good_copy_here_says_nothing_of_the_shard(bucket, two_shards):
    assert len(FeatureStore(URL).X[:]) == 60
    damage(bucket, 0)
    assert verify(URL).damaged == list(range(20))
    assert extract(two_shards, output=URL).summary.computed == 20
    assert verify(URL).ok


def test_a_damaged_copy_is_fetched_again(bucket, two_shards, small_store, tmp_path):
    assert len(FeatureStore(URL).X[:]) == 60
    copies = list((tmp_path / "caches" / "shards").iterdir())
    assert len(copies) == 2
    for copy in copies:
        copy.write_bytes(flipped(copy.read_bytes()))
    copies[0].write_bytes(b"")
    assert np.array_equal(FeatureStore(URL).X[:], small_store.X[:])
    with FeatureStore(URL) as store:
        assert len(store.X[:]) == 60
        for copy in copies:  # while they are open
            data = bytearray(copy.read_bytes())
            data[len(data) // 2] ^= 1
            with copy.open("r+b") as file:
                file.write(data)
        assert np.array_equal(store.X[:], small_store.X[:])
    assert verify(URL).ok


@pytest.mark.slow
def test_a_damaged_copy_is_no_reason_to_remove_rows(bucket, two_shards, tmp_path):
    assert len(FeatureStore(URL).X[:]) == 60
    for copy in (tmp_path / "caches" / "shards").iterdir():
        copy.write_bytes(flipped(copy.read_bytes()))
    assert remove(URL, damaged=True) == []
    assert verify(URL).ok
    assert len(FeatureStore(URL)) == 60


def test_a_shard_that_came_wrongly_once_is_not_deleted(bucket, two_shards, small_store, monkeypatch):
    """A proxy's page with status 200, say; and what was found here is looked at again before anything is deleted."""
    plain, wrong = copies.fetch, [b"<html>", b"<html>"]
    monkeypatch.setattr(copies, "fetch", lambda *a, **k: wrong.pop() if len(wrong) > 1 else plain(*a, **k))
    assert np.array_equal(FeatureStore(URL).X[:20], small_store.X[:20])  # asked for twice
    monkeypatch.setattr(copies, "fetch", lambda *a, **k: b"<html>")
    with pytest.raises(StoreFormatError, match="is damaged"):
        FeatureStore(URL).X[40]
    monkeypatch.setattr(copies, "fetch", plain)
    before = keys(bucket)
    store = extract(two_shards, output=URL)
    assert (store.summary.computed, keys(bucket)) == (0, before)
    assert np.array_equal(FeatureStore(URL).X[:], small_store.X[:])


@pytest.mark.slow
def test_a_shard_of_the_same_name_elsewhere_stays(bucket, two_shards, small_store):
    for key in keys(bucket):
        bucket.copy_object(Bucket="rows", Key=key.replace("digits", "mirror"), CopySource=f"rows/{key}")
    damage(bucket, 0)
    with pytest.raises(StoreFormatError, match="is damaged"):
        FeatureStore(URL).X[0]
    assert extract(two_shards, output="s3://rows/mirror").summary.computed == 0
    assert np.array_equal(FeatureStore("s3://rows/mirror").X[:], small_store.X[:])


@pytest.mark.slow
def test_copies_that_cannot_be_kept_are_an_error(bucket, two_shards, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="no copy of s3://rows/digits.*can be kept in.*FEATUREKIT_CACHE"):
        FeatureStore(URL).X[0]


def test_copies_beyond_the_limit_are_deleted(bucket, two_shards, small_store, monkeypatch, tmp_path):
    monkeypatch.setattr(shards, "OPEN_SHARDS", 1)
    monkeypatch.setattr(copies, "_YOUNG", 0)
    monkeypatch.setenv("FEATUREKIT_SHARDS_GB", "0")
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(FeatureStore(URL).X[order], small_store.X[order])
    assert len(list((tmp_path / "caches" / "shards").iterdir())) == 1


def test_a_limit_that_is_not_a_number_is_refused(bucket, two_shards, monkeypatch):
    for said in ("nan", "inf", "-1", "much"):
        monkeypatch.setenv("FEATUREKIT_SHARDS_GB", said)
        with pytest.raises(StoreError, match=f"FEATUREKIT_SHARDS_GB must be a number of gigabytes, got '{said}'"):
            FeatureStore(URL).X[0]


def test_the_size_of_a_store_behind_http_is_known(small_store_path, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path / "caches"))
    here = merge([small_store_path], tmp_path / "digits")
    (tmp_path / "digits" / "index.html").write_text("what a web server shows instead of a listing")
    with http_server(tmp_path) as (url, _):
        assert FeatureStore(f"{url}/digits").nbytes == here.nbytes
        assert verify(f"{url}/digits").ok
