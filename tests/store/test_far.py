"""Stores behind URLs: a real S3 server and a real HTTP server on loopback."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from caches import own_caches
from featurekit_cli.main import main
from made_stores import SPACE, make_rows
from servers import http_server, keys
from small import SIDE, extract

from featurekit import FeatureExtractor, FeatureStore
from featurekit.errors import FeaturekitError, SourceError, StoreError, StoreFormatError, StoreLockedError
from featurekit.heads import LDAPath
from featurekit.store import (
    STORED,
    Far,
    Ledger,
    LedgerEntry,
    WriteLock,
    copies,
    decode,
    lock_file,
    merge,
    place_of,
    publish,
)

URL = "s3://rows/digits"


@pytest.fixture(scope="module")
def folder(small_store_path, tmp_path_factory):
    """The store of digits as a folder store."""
    target = tmp_path_factory.mktemp("folder") / "digits"
    merge([small_store_path], target).close()
    return target


@pytest.fixture
def uploaded(bucket, folder):
    """The store in the bucket."""
    for path in folder.iterdir():
        bucket.upload_file(str(path), "rows", f"digits/{path.name}")
    return FeatureStore(URL)


def assert_same(store, here):
    assert store.paths == here.paths
    assert store.y.tolist() == here.y.tolist()
    assert np.array_equal(store.X[:], here.X[:])
    assert store.ledger == here.ledger


def test_a_store_in_a_bucket_is_an_index_and_shards(bucket, digits_folder, small_store):
    store = extract(digits_folder, output=URL)
    assert (store.summary.computed, str(store.path)) == (60, URL)
    assert_same(store, small_store)
    assert keys(bucket)[0] == "digits/index.h5"
    assert all(key.startswith("digits/rows-") for key in keys(bucket)[1:])
    with FeatureStore(URL) as far:
        assert far.nbytes == sum(e["Size"] for e in bucket.list_objects_v2(Bucket="rows")["Contents"])


@pytest.mark.slow
def test_a_head_learns_from_batches_of_a_store_in_a_bucket(uploaded, small_store):
    head = LDAPath().fit_batches(uploaded.X, uploaded.y, batch_size=16)
    expected = LDAPath().fit_batches(small_store.X, small_store.y, batch_size=16)
    assert np.allclose(head.coef_, expected.coef_)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(bucket, digits_folder, small_store):
    extract(digits_folder, output=URL)
    shards = [key for key in keys(bucket) if "rows-" in key]
    bucket.delete_object(Bucket="rows", Key="digits/index.h5")
    store = extract(digits_folder, output=URL)
    assert (store.summary.computed, store.summary.reused) == (0, 60)
    bucket.delete_object(Bucket="rows", Key=shards[0])
    store = extract(digits_folder, output=URL)  # the index names a shard that has gone
    assert store.summary.computed > 0
    assert_same(store, small_store)


@pytest.mark.slow
def test_the_second_of_two_runs_is_refused_and_keeps_its_rows(bucket, digits_folder, monkeypatch, tmp_path):
    """Nothing can be locked behind a URL: the second to publish is told, and its rows are kept."""
    from featurekit.extraction import update

    plain = update.rows_and_ledger

    def slowly(*arguments):
        monkeypatch.setattr(update, "rows_and_ledger", plain)
        own_caches(monkeypatch, tmp_path / "another-machine")  # where its locks lie, too
        extract(digits_folder / "1", output=URL)
        return plain(*arguments)

    monkeypatch.setattr(update, "rows_and_ledger", slowly)
    with pytest.raises(StoreError, match="another command has written to s3://rows/digits meanwhile"):
        extract(digits_folder / "0", output=URL)
    assert FeatureStore(URL).paths[0] == "000.png"
    assert FeatureStore(URL).provenance["root"].endswith("1")
    store = extract(digits_folder, output=URL, replace=True)
    assert (store.summary.computed, store.summary.reused) == (20, 40)


def test_who_writes_is_said_of_the_store(bucket, digits_folder):
    with WriteLock(lock_file(Far(URL)), of=URL), pytest.raises(StoreLockedError, match=f"^{URL} is being written by"):
        extract(digits_folder, output=URL)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store file of many of the blocks that are asked for at once: 2,000 rows of 4,096 numbers, 33 MB."""
    folder = tmp_path_factory.mktemp("large")
    columns, rows = make_rows(2000)
    ledger = Ledger.of(LedgerEntry(path, STORED, "", i) for i, path in enumerate(decode(columns.path)))
    publish(folder / "s.h5", replace(SPACE, dim=4096), {}, columns, ledger, [np.tile(rows, 256)])
    return folder


def test_labels_of_a_large_file_are_read_without_its_rows(large, monkeypatch):
    from featurekit.images import blocks, remote

    taken = []
    plain = remote.fetch
    monkeypatch.setattr(blocks, "fetch", lambda *a: taken.append(len(plain(*a))) or plain(*a))
    with http_server(large) as (url, _), FeatureStore(f"{url}/s.h5") as far:
        assert sum(far.class_counts.values()) == 2000
    assert 0 < sum(taken) < (large / "s.h5").stat().st_size / 2  # the index of the chunks lies among the rows


def test_shards_are_copied_when_rows_are_read_and_then_used_again(small_store, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path / "caches"))
    shutil.copytree(folder, tmp_path / "folder")
    with http_server(tmp_path) as (url, asked):
        with FeatureStore(f"{url}/folder") as far:
            assert far.dtype == np.float32
            assert far.shard_count == 1
        assert not (tmp_path / "caches").exists()  # no shard was copied
        assert np.array_equal(FeatureStore(f"{url}/folder").X[:], small_store.X[:])
        copies = list((tmp_path / "caches" / "shards").iterdir())
        assert len(copies) == 1
        before = len(asked)
        assert np.array_equal(FeatureStore(f"{url}/folder").X[7:9], small_store.X[7:9])
        assert not any("rows-" in path for path in asked[before:])  # the copy is used


@pytest.mark.slow
def test_workers_and_pickles(uploaded, small_store):
    store = uploaded
    assert np.array_equal(pickle.loads(pickle.dumps(store)).X[5], small_store.X[5])
    for method in ("fork", "spawn"):
        with get_context(method).Pool(1) as pool:
            assert np.array_equal(pool.apply(_row, (store, 7)), small_store.X[7])


def _row(store, number):
    return store.X[number]


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("s3://rows/digits.h5", StoreError, "behind a URL, a store is a folder"),
        ("https://host/digits", StoreError, "are only read"),
        ("sftp://host/digits", StoreError, "sftp:// files are only read.*a file is there as a whole or not at all"),
        ("file:///tmp/digits", StoreError, "name it without file://"),
        ("s3://key:secret@rows/digits", SourceError, "holds a password"),
        ("s3://rows/digits?1", StoreError, r"s3://rows/digits\?\.\.\.: what follows a question mark"),
        ("s3://rows/", StoreError, "s3://rows is a whole bucket; name a folder in it: s3://rows/features"),
        ("s3://rows/digits.npz", StoreError, "is the name of a file"),
    ],
)
def test_urls_that_no_store_can_have_are_refused(digits_folder, output, error, message):
    with pytest.raises(error, match=message):
        extract(digits_folder, output=output)


def test_a_bucket_that_is_missing_is_named(bucket, digits_folder):
    with pytest.raises(StoreError, match="cannot be listed: NoSuchBucket"):
        extract(digits_folder, output="s3://no-such-bucket/digits")


def test_a_store_that_is_missing_is_named(bucket):
    with pytest.raises(FileNotFoundError, match="no such store: s3://rows/nothing/index.h5"):
        FeatureStore("s3://rows/nothing")


def test_a_cache_of_an_extractor_cannot_be_behind_a_url():
    with pytest.raises(FeaturekitError, match="s3:// URL cannot be used here"):
        FeatureExtractor(cache=URL, image_size=SIDE).fit_transform(["a.jpg"])


@pytest.mark.slow
def test_a_folder_of_other_files_in_a_bucket_is_left_alone(bucket, digits_folder):
    bucket.put_object(Bucket="rows", Key="other/thesis.txt", Body=b"mine")
    with pytest.raises(StoreError, match="holds other files"):
        extract(digits_folder, output="s3://rows/other")
    assert keys(bucket) == ["other/thesis.txt"]


def key_of_a_shard(store):
    return "digits/" + store.places.shards[store.places.shard[0]]


def test_a_shard_with_a_changed_bit_is_not_read(bucket, uploaded):
    shard = key_of_a_shard(uploaded)
    body = bucket.get_object(Bucket="rows", Key=shard)["Body"].read()
    bucket.put_object(Bucket="rows", Key=shard, Body=body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(StoreFormatError, match="not those that its name promises"):
        FeatureStore(URL).X[0]


def test_a_shard_that_is_missing_is_named(bucket, uploaded):
    bucket.delete_object(Bucket="rows", Key=key_of_a_shard(uploaded))
    with pytest.raises(StoreFormatError, match="is missing"):
        FeatureStore(URL).X[0]


def test_an_index_that_is_no_hdf5_file_is_named(bucket, uploaded):
    bucket.put_object(Bucket="rows", Key="digits/index.h5", Body=b"no index")
    with pytest.raises(StoreFormatError, match="not an HDF5 file"):
        FeatureStore(URL)


def test_an_index_that_was_written_anew_is_noticed_by_an_open_store(bucket, uploaded):
    bucket.put_object(Bucket="rows", Key="digits/index.h5", Body=b"no index")
    with pytest.raises(StoreFormatError, match="was written anew"):
        _ = uploaded.ledger


def test_a_server_that_fails_is_not_called_damage(large, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "1")
    (tmp_path / "s.h5").write_bytes((large / "s.h5").read_bytes())
    with http_server(tmp_path) as (url, _):
        far = FeatureStore(f"{url}/s.h5")
        (tmp_path / "s.h5").rename(tmp_path / "other.h5")
        with pytest.raises(StoreError, match="cannot read http.*no such file") as caught:
            _ = far.X[:]
    assert not isinstance(caught.value, StoreFormatError)


@pytest.mark.slow
def test_a_server_that_fails_at_once_does_not_crash_the_process(tmp_path):
    """h5py keeps a file object for as long as an error is, and HDF5 then asked for it when Python had gone."""
    (tmp_path / "error").mkdir()
    (tmp_path / "error" / "index.h5").write_bytes(bytes(5000))
    with http_server(tmp_path) as (url, _):
        command = [sys.executable, "-m", "featurekit_cli", "fit", f"{url}/error", "-o", str(tmp_path / "model")]
        environment = os.environ | {"FEATUREKIT_TIMEOUT": "5"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1, done.stderr
    assert "cannot read http" in done.stderr
    assert "500" in done.stderr


@pytest.mark.slow
def test_copies_are_kept_within_limits(bucket, uploaded, folder, small_store, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_SHARDS_GB", "0.0001")
    monkeypatch.setattr(copies, "_YOUNG", 0)
    assert np.array_equal(uploaded.X[:], small_store.X[:])
    kept = tmp_path / "caches" / "shards"
    old = {path.name for path in kept.iterdir()}
    merge([folder], "s3://rows/half", dtype="float16")
    assert len(FeatureStore("s3://rows/half").X[:]) == 60
    assert not old & {path.name for path in kept.iterdir()}  # what was used longest ago has gone
    assert np.array_equal(FeatureStore(URL).X[:], small_store.X[:])  # and comes again


@pytest.mark.slow
def test_on_the_command_line(uploaded, tmp_path, monkeypatch, capsys):
    """In this process; and in processes of their own, which must end although a store is left open."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return (main(list(arguments)), *capsys.readouterr())

    info = json.loads(run("store", "info", URL, "--json")[1])
    assert (info["rows"], info["shards"] > 0, info["classes"]) == (60, True, {"0": 20, "1": 20, "2": 20})
    scored = run("evaluate", URL, "--head", "knn", "--json", "-q")
    assert json.loads(scored[1])["accuracy"] > 0.9, scored
    fitted = run("fit", URL, "-o", "model", "-q")
    assert (fitted[0], (tmp_path / "model").is_dir()) == (0, True), fitted
    assert run("store", "info", "s3://rows/nothing") == (
        1, "", "featurekit: error: no such store: s3://rows/nothing/index.h5\n",
    )  # fmt: skip
    merge([URL], "s3://rows/digits.v2").close()
    command = [sys.executable, "-m", "featurekit_cli", "evaluate", "s3://rows/digits.v2", "--head", "knn", "-q"]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    script = f"import featurekit; store = featurekit.FeatureStore('{URL}'); print(store.X[3].shape)"
    left_open = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert (left_open.returncode, left_open.stdout) == (0, "(816,)\n")


def test_writes_within_a_second_are_told_apart(bucket):
    """S3 tells whole seconds of when a file was written."""
    states = set()
    for body in (b"one", b"two", b"six"):
        bucket.put_object(Bucket="rows", Key="file", Body=body)
        states.add(Far("s3://rows/file").state())
    assert len(states) == 3


def test_no_garbage_is_collected_while_a_block_is_fetched(small_store, tmp_path, monkeypatch):
    """Freeing an HDF5 object needs a lock that the reading thread holds; fsspec's thread would wait for it."""
    from featurekit.images import blocks

    (tmp_path / "digits.h5").write_bytes(small_store.path.read_bytes())
    plain, collected = blocks.fetch, []
    monkeypatch.setattr(blocks, "fetch", lambda *a: collected.append(gc.isenabled()) or plain(*a))
    with http_server(tmp_path) as (url, _):
        assert len(FeatureStore(f"{url}/digits.h5").ledger) == 60
    assert collected
    assert not any(collected)
    assert gc.isenabled()


def test_urls_of_stores_are_normalized():
    assert place_of("s3://a/b/") == Far("s3://a/b")
    assert hash(Far("s3://a/b")) == hash(place_of("s3://a/b"))
    assert place_of("S3://A/b") == Far("s3://A/b")
    assert repr(Far("s3://a/b?signature")) == "Far('s3://a/b')"
    with pytest.raises(StoreError, match="has lost a slash in a pathlib.Path"):
        FeatureStore(Path("s3://a/b"))
    for text in ("s3://", "s3:///digits"):
        with pytest.raises(StoreError, match=f"{text} names no bucket"):
            place_of(text)
    with pytest.raises(StoreError, match="names no host"):
        place_of("https:///digits")
