"""Shards, publication, reader and cache, without any network: rows are made up, files are real."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest
from kills import ONE_THREAD
from made_stores import OTHER, SPACE, keys, make_rows, write, write_folder

from featurekit.errors import FeatureSpaceError, StoreError, StoreLockedError
from featurekit.store import (
    DTYPES,
    FeatureStore,
    Ledger,
    LedgerEntry,
    MemoryCache,
    ShardCache,
    WriteLock,
    decode,
    encode,
    publish,
    reader,
    shards,
)

TESTS = Path(__file__).parents[1]
HELPERS = [str(TESTS), str(TESTS / "testing")]
"""Where processes of their own find the modules that the tests share."""


@pytest.fixture(scope="module", params=["file", "folder"])
def written(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("written")
    if request.param == "file":
        return folder / "s.h5", *write(folder / "s.h5")
    return folder / "s", *write_folder(folder / "s")


def read_some(store):
    return float(store.X[100:200].sum())


@pytest.mark.slow
def test_a_store_travels_to_other_processes(written):
    store = FeatureStore(written[0])
    expected = read_some(store)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(read_some, [store] * 4) == [expected] * 4
    assert joblib.Parallel(2)(joblib.delayed(read_some)(store) for _ in range(3)) == [expected] * 3
    assert read_some(pickle.loads(pickle.dumps(store))) == expected
    assert read_some(store) == expected


class Pairs:
    """What users give to a torch DataLoader."""

    def __init__(self, store):
        self.X, self.y = store.X, store.y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], str(self.y[i])


def fork_and_read(path, target):
    from torch.utils.data import DataLoader

    store = FeatureStore(path)
    expected = read_some(store)  # the handle is open here before the fork
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        assert pool.map(read_some, [store] * 4) == [expected] * 4
    loader = DataLoader(Pairs(store), batch_size=500, num_workers=2, multiprocessing_context=fork)
    np.save(target, np.concatenate([X.numpy() for X, _ in loader]))
    assert read_some(pickle.loads(pickle.dumps(store))) == expected
    assert read_some(store) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_forks_and_workers_of_a_data_loader_read_it(written, tmp_path):
    """In a process of its own: a fork of one in which other tests have left threads may wait for ever."""
    path, _, rows = written
    environment = (
        os.environ
        | ONE_THREAD
        | {"PYTHONPATH": os.pathsep.join(filter(None, [*HELPERS, os.environ.get("PYTHONPATH")]))}
    )
    command = [sys.executable, __file__, path, tmp_path / "rows.npy"]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert np.array_equal(np.load(tmp_path / "rows.npy"), rows)
    assert np.array_equal(FeatureStore(path).X[3], rows[3])


@pytest.mark.slow
def test_threads_read_one_store(monkeypatch, tmp_path):
    """More shards than are kept open, read from several threads at once."""
    monkeypatch.setattr(shards, "OPEN_SHARDS", 6)
    monkeypatch.setattr(reader, "OPEN_SHARDS", 6)
    _, rows = write_folder(tmp_path / "s", 80, shard_rows=8)
    store = FeatureStore(tmp_path / "s")
    rng = np.random.default_rng(0)
    wanted = [rng.integers(0, 80, 12) for _ in range(6)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: store.X[index], wanted))
    assert all(np.array_equal(rows[index], got) for index, got in zip(wanted, found, strict=True))


def test_a_relative_path_holds_wherever_the_process_goes(written, monkeypatch, tmp_path):
    path, _, rows = written
    monkeypatch.chdir(path.parent)
    store = FeatureStore(path.name)
    data = pickle.dumps(store)
    store.close()
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(store.X[:9], rows[:9])
    assert np.array_equal(pickle.loads(data).X[:9], rows[:9])


MEMORY = """
import resource, sys
from featurekit import FeatureStore
store = FeatureStore(sys.argv[1])
store.X[:10], store.y
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for X, y in store.iter_batches(1000): pass
for row in store.X: pass
store.X[::500], store.X[[5, 90_000]]
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_memory_stays_flat(tmp_path):
    columns, rows = make_rows(100_000)
    wide = np.repeat(rows, 8, axis=1)  # 51 MB
    space = replace(SPACE, dim=128)
    publish(tmp_path / "s.h5", space, {}, columns, Ledger.of(()), [wide])
    out = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "s.h5"], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 20


def texts(group):
    """Text of a store, as the README reads it."""
    data, end = group["data"][:].tobytes(), group["end"][:]
    return [data[i:j].decode("utf-8", "surrogateescape") for i, j in zip([0, *end[:-1]], end, strict=True)]


def test_plain_h5py_reads_it(tmp_path):
    path = tmp_path / "s.h5"
    columns, rows = write(path)
    with h5py.File(path) as file:
        assert np.array_equal(file["X"][...], rows)
        assert texts(file["path"]) == decode(columns.path)
        assert texts(file["label"])[1] == "label 1"
        assert texts(file["ledger/status"])[0] == "stored"
        assert file.attrs["format"] == b"featurekit-store"
        assert file["check"][7] == zlib.crc32(rows[7], zlib.crc32(file["sha256"][7]))
    write_folder(tmp_path / "s")
    with h5py.File(tmp_path / "s" / "index.h5") as file:
        shards = [h5py.File(tmp_path / "s" / name)["X"] for name in texts(file["shards"])]
        X = np.stack([shards[s][r] for s, r in zip(file["shard"], file["row"], strict=True)])
        assert np.array_equal(X, rows)
        assert texts(file["path"]) == decode(columns.path)


def test_half_precision(tmp_path):
    columns, rows = make_rows(100)
    for kind in ("file", "folder"):
        cache = ShardCache(tmp_path / kind, SPACE, dtype=DTYPES["float16"])
        cache.add(columns, rows, "")
        publish(tmp_path / f"{kind}.h5", SPACE, {}, columns, Ledger.of(()), cache.blocks(columns.sha256), cache.dtype)
        store = FeatureStore(tmp_path / f"{kind}.h5")
        assert store.X.dtype == store.X[:3].dtype == np.float16
        assert np.array_equal(store.X[...], rows.astype(np.float16))
    with pytest.raises(StoreError, match="do not fit into float16"):
        cache.add(columns, rows * 1e6, "")
    # Rows of another precision in the same folder are not mixed in.
    assert keys(columns)[0] not in ShardCache(tmp_path / "file", SPACE)


def test_a_store_of_version_1_is_read():
    """Written by featurekit at version 1 of the layout: 6 rows, one duplicate, one failed image."""
    store = FeatureStore(Path(__file__).parent / "version-1.h5")
    assert store.X.shape == (6, 16)
    assert store.X[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert store.y.tolist() == ["a", "b", "a", "b", "a", "b"]
    assert store.ledger_counts == {"duplicate": 1, "failed": 1, "stored": 5}
    assert store.ledger[6] == LedgerEntry("bad.jpg", "failed", "empty file", -1)


def test_names_that_are_no_text_come_back(tmp_path):
    columns, rows = make_rows(2)
    name = os.fsdecode(b"latin-\xe9.jpg")
    columns.path = encode([name, "x"])
    publish(tmp_path / "s.h5", SPACE, {}, columns, Ledger.of([LedgerEntry(name, "failed", "", -1)]), [rows])
    store = FeatureStore(tmp_path / "s.h5")
    assert (store.paths[0], store.ledger[0].path) == (name, name)


def test_a_reader_sees_the_state_that_it_opened(tmp_path):
    path = tmp_path / "s.h5"
    _, rows = write(path, 50)
    store = FeatureStore(path)
    write(path, 60, seed=1)
    assert np.array_equal(store.X[...], rows)
    store.close()
    with pytest.raises(StoreError, match="written anew"):
        store.X[0]
    assert len(FeatureStore(path)) == 60


# --- shards and caches -------------------------------------------------------------------------------


def test_caches_keep_and_gather(tmp_path):
    for cache in (MemoryCache(16), ShardCache(tmp_path / "parts", SPACE)):
        first, rows = make_rows(30)
        second, more = make_rows(20, seed=1)
        cache.begin()
        cache.add(first, rows, "test")
        cache.add(second, more, "test")
        assert all(key in cache for key in keys(first) + keys(second))
        assert b"x" * 32 not in cache
        wanted = [keys(second)[3], keys(first)[29], keys(second)[3]]
        assert np.array_equal(cache.gather(wanted), np.stack([more[3], rows[29], more[3]]))
        assert cache.gather([]).shape == (0, 16)


def test_shards_survive_their_process_and_carry_their_hash(tmp_path):
    import hashlib

    columns, rows = make_rows(30)
    ShardCache(tmp_path / "parts", SPACE).add(columns, rows, "test")
    (shard,) = (tmp_path / "parts").iterdir()
    assert shard.name == f"rows-{hashlib.sha256(shard.read_bytes()).hexdigest()}.h5"
    again = ShardCache(tmp_path / "parts", SPACE)
    assert np.array_equal(again.gather(keys(columns)), rows)
    assert again.runtimes == "test"


def test_a_damaged_shard_is_set_aside_and_named(tmp_path, caplog):
    folder = tmp_path / "parts"
    columns, rows = make_rows(5)
    ShardCache(folder, SPACE).add(columns, rows, "")
    rubbish = f"rows-{'0' * 64}.h5"
    (folder / rubbish).write_bytes(b"rubbish")
    cache = ShardCache(folder, SPACE)
    assert keys(columns)[0] in cache
    assert f"{rubbish}.damaged" in caplog.text
    assert (folder / f"{rubbish}.damaged").read_bytes() == b"rubbish"


def test_spaces_are_never_mixed(tmp_path):
    columns, rows = make_rows(5)
    ShardCache(tmp_path / "a", SPACE).add(columns, rows, "")
    with pytest.raises(FeatureSpaceError, match="layer: 'penultimate', not 'stage3'"):
        ShardCache(tmp_path / "a", OTHER)
    write(tmp_path / "s.h5", 5)
    with pytest.raises(FeatureSpaceError, match="never mixed"):
        ShardCache(tmp_path / "b", OTHER, FeatureStore(tmp_path / "s.h5"))


def test_published_shards_are_deleted_and_others_kept(tmp_path):
    cache = ShardCache(tmp_path / "parts", SPACE)
    first, rows = make_rows(5)
    second, more = make_rows(5, seed=1)
    cache.add(first, rows, "")
    cache.add(second, more, "")
    publish(tmp_path / "s.h5", SPACE, {}, first, Ledger.of(()), [rows])
    cache.discard_published(FeatureStore(tmp_path / "s.h5"))
    assert len(cache.shards()) == 1
    publish(tmp_path / "s.h5", SPACE, {}, second, Ledger.of(()), [more])
    cache.discard_published(FeatureStore(tmp_path / "s.h5"))
    assert not (tmp_path / "parts").exists()


def test_signatures_hold_below_their_root_only(tmp_path):
    columns, rows = make_rows(3)
    ShardCache(tmp_path / "p", SPACE, root="/here").add(columns, rows, "")
    known = ShardCache(tmp_path / "p", SPACE, root="/here").signatures()
    assert known.get(decode(columns.path[2])) == (2, 3, keys(columns)[2])
    assert ShardCache(tmp_path / "p", SPACE, root="/there").signatures().get(decode(columns.path[2])) is None


# --- failing writes ----------------------------------------------------------------------------------


def test_links_are_not_written_through(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "s.h5.parts").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="symbolic link"):
        write(tmp_path / "s.h5", 5)
    assert not list((tmp_path / "victim").iterdir())


LIMITED = """
import resource, signal, sys
import numpy as np
sys.path.insert(0, {helpers!r})
from made_stores import *
from featurekit.store import ShardCache, Ledger, parts_folder, publish
from featurekit.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pathlib import Path
path = Path({path!r})
columns, rows = make_rows(4000, seed=1)
try:
    if {merge}:
        publish(path, SPACE, {{}}, columns, Ledger.of(()), [rows[i:i + 100] for i in range(0, 4000, 100)])
    else:
        ShardCache(parts_folder(path), SPACE).add(columns, rows, "")
except StoreError as error:
    print("StoreError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("limit", [1000, 50_000, 200_000, 300_000])
def test_no_room_is_an_error_and_harms_nothing(tmp_path, merge, limit):
    """The system refuses bytes beyond a limit, as a full disk does: the process must live and the old store stay."""
    path = tmp_path / "s.h5"
    write(path, 5)
    before = path.read_bytes()
    code = LIMITED.format(helpers=HELPERS[1], path=str(path), merge=merge, limit=limit)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith("StoreError: cannot write"), out.stdout + out.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["s.h5"]


def test_a_lock_says_who_holds_it_and_ends_with_its_owner(tmp_path):
    path = tmp_path / "s.h5.lock"
    code = (
        "import sys, time; from pathlib import Path; from featurekit.store import WriteLock\n"
        f"WriteLock(Path({str(path)!r})).__enter__(); print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(StoreLockedError, match=rf"s\.h5 is being written by process {owner.pid} on "):
        WriteLock(path).__enter__()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with WriteLock(path):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_a_lock_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="cannot write in"):
        WriteLock(tmp_path / "none" / "s.h5.lock").__enter__()


if __name__ == "__main__":
    fork_and_read(*sys.argv[1:])
