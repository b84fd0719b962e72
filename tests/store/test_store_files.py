"""Shards, publication, reader and cache, without any network: rows are made up, files are real."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from featurekit.backbones import find
from featurekit.errors import FeatureSpaceError, StoreError, StoreFormatError, StoreLockedError
from featurekit.store import (
    STORED,
    Columns,
    FeatureStore,
    Ledger,
    LedgerEntry,
    MemoryCache,
    ShardCache,
    WriteLock,
    decode,
    encode,
    publish,
)

SPACE = replace(find("efficientnet_lite0").space, dim=16)
OTHER = replace(SPACE, layer="stage3")


def make_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    names = [f"classe-é/{seed}-{i}.jpg" for i in range(n)]
    labels = [f"label {i % 3}" for i in range(n)]
    sizes = np.arange(n, dtype=np.int64)
    return Columns(encode(names), encode(labels), encode([""] * n), hashes, sizes, sizes + 1), rng.normal(size=(n, 16)).astype(np.float32)


def keys(columns):
    return [bytes(content) for content in columns.sha256]


def write(path, n=2500, seed=0, space=SPACE):
    columns, rows = make_rows(n, seed)
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(path, space, {"root": "/x"}, columns, ledger, [rows[:1000], rows[1000:]])
    return columns, rows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "s.h5"
    return path, *write(path)


def test_everything_comes_back(written):
    path, columns, rows = written
    with FeatureStore(path) as store:
        assert store.space == SPACE
        assert store.columns.same_as(columns)
        assert np.array_equal(np.asarray(store.X), rows)
        assert store.y[:3].tolist() == ["label 0", "label 1", "label 2"]
        assert store.class_counts == {"label 0": 834, "label 1": 833, "label 2": 833}
        assert store.ledger_counts == {"stored": 2500}
        assert store.provenance == {"root": "/x"}


@pytest.mark.parametrize(
    "key",
    [
        slice(None), slice(10, 20), slice(None, None, 7), slice(20, 10, -3), slice(-5, None), slice(5, 5),
        0, -1, np.int64(2499), [3, 1, 1, 2400], [], [-1, 0], np.arange(2500)[::-1], np.arange(2500) % 2 == 0,
        np.zeros(2500, bool), (slice(3, 9), slice(0, 4)), (slice(3, 9), 5), ([7, 2], [0, 3]), ...,
    ],
    ids=str,
)  # fmt: skip
def test_rows_are_indexed_like_an_array(written, key):
    path, _, rows = written
    if isinstance(key, tuple) and isinstance(key[0], list):
        expected = rows[key[0]][:, key[1]]  # rows first, then columns of all of them
    else:
        expected = rows[key]
    got = FeatureStore(path).X[key]
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("key", [2500, -2501, [0, 2500], np.ones(7, bool), 1.5, "a", [[1]]])
def test_bad_indices_are_index_errors(written, key):
    with pytest.raises(IndexError):
        FeatureStore(written[0]).X[key]


def test_scikit_learn_takes_the_rows_as_they_are(written):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    store = FeatureStore(written[0])
    X, y = store.X, store.y
    assert LogisticRegression().fit(X, y).predict(X[:5]).shape == (5,)
    assert len(cross_val_score(LogisticRegression(), X, y, cv=3)) == 3
    assert len(list(X)) == len(store) == X.shape[0]


def read_some(store):
    return float(store.X[100:200].sum())


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_store_travels_to_other_processes(written, method):
    store = FeatureStore(written[0])
    expected = read_some(store)  # the handle is open here before the fork
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_some, [store] * 4) == [expected] * 4
    assert read_some(pickle.loads(pickle.dumps(store))) == expected
    assert read_some(store) == expected


def test_plain_h5py_reads_it(written):
    path, columns, rows = written
    with h5py.File(path) as file:
        assert np.array_equal(file["X"][...], rows)
        assert file["path"].asstr()[:2].tolist() == decode(columns.path[:2])
        assert file["label"].asstr()[1] == "label 1"
        assert file["ledger/status"].asstr()[0] == "stored"
        assert file.attrs["format"] == b"featurekit-store"


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


def test_a_damaged_row_is_an_error_and_not_a_number(tmp_path):
    path = tmp_path / "s.h5"
    _, rows = write(path, 500)
    data = bytearray(path.read_bytes())
    data[data.index(rows[250].tobytes()) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreFormatError, match="values of 'X' cannot be read"):
        FeatureStore(path).X[...]


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
sys.path.insert(0, {tests!r})
from test_store_files import *
from featurekit.store import parts_folder
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
    code = LIMITED.format(tests=os.path.dirname(__file__), path=str(path), merge=merge, limit=limit)
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


# --- files that no store is --------------------------------------------------------------------------


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace_dataset(name, **options):
    def change(file):
        values = file[name][...]
        del file[name]
        file.create_dataset(name, data=options.pop("data", values), **options)

    return change


def external_link(file):
    del file["label"]
    file["label"] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(file):
    del file["label"]
    file["label"] = h5py.SoftLink("/path")


def virtual(file):
    layout = h5py.VirtualLayout((20, 16), "f4")
    layout[...] = h5py.VirtualSource("/etc/hostname", "x", (20, 16))
    del file["X"]
    file.create_virtual_dataset("X", layout)


def external_storage(file):
    del file["X"]
    file.create_dataset("X", (20, 16), "f4", external=[("/etc/hostname", 0, 20 * 16 * 4)])


def huge(file):
    del file["X"]
    file.create_dataset("X", (10**12, 16), "f4", chunks=(100, 16), fletcher32=True)


def references(file):
    del file["size"]
    file.create_dataset("size", (20,), h5py.ref_dtype, chunks=(20,), fletcher32=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (virtual, "virtually"),
        (external_storage, "outside the file"),
        (huge, "declares"),
        (references, "has the type object"),
        (replace_dataset("X", chunks=(5, 16)), "other filters"),
        (replace_dataset("X", chunks=(5, 16), fletcher32=True, compression="lzf"), "other filters"),
        (replace_dataset("X", chunks=(5, 16), fletcher32=True, data=np.zeros((20, 16))), "has the type float64"),
        (replace_dataset("X", chunks=(5, 8), fletcher32=True, data=np.zeros((20, 8), "f4")), "has the shape"),
        (replace_dataset("size", chunks=(5,), fletcher32=True, data=np.zeros(19, "i8")), "has 19 rows"),
        (replace_dataset("ledger/row", chunks=(3,), fletcher32=True, data=np.zeros(3, "i8")), "differ in length"),
        (lambda f: f.create_group("more"), "unexpected: ['more']"),
        (lambda f: f.__delitem__("group"), "missing: ['group']"),
        (lambda f: f["ledger"].create_group("deep"), "unexpected: ['deep']"),
        (lambda f: f.attrs.modify("version", 3), "update featurekit"),
        (lambda f: f.attrs.modify("version", 0), "reads the versions 1 and 2"),
        (lambda f: f.attrs.__delitem__("space"), "no attribute 'space'"),
        (lambda f: f.attrs.__setitem__("space", np.bytes_(b"{}")), "not a feature space"),
        (lambda f: f.attrs.__setitem__("fingerprint", np.bytes_(b"0")), "not that of the feature space"),
        (lambda f: f.attrs.__setitem__("provenance", np.zeros(9)), "'provenance' is of the kind"),
        (lambda f: f.attrs.__setitem__("provenance", np.bytes_(b"[1]")), "not a JSON object"),
        (lambda f: f.attrs.__setitem__("format", np.bytes_(b"other")), "its format is"),
    ],
)
def test_what_no_store_does_is_refused(tmp_path, change, message):
    path = tmp_path / "s.h5"
    write(path, 20)
    spoil(path, change)
    with pytest.raises(StoreFormatError) as caught:
        FeatureStore(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_foreign_files(tmp_path):
    path = tmp_path / "s.h5"
    with pytest.raises(FileNotFoundError, match="no such store"):
        FeatureStore(path)
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(StoreFormatError, match="not an HDF5 file"):
            FeatureStore(path)
    with pytest.raises(StoreFormatError, match="a folder without index"):
        FeatureStore(tmp_path)
    write(path, 20)
    data = path.read_bytes()
    for cut in (len(data) // 3, len(data) - 10):
        path.write_bytes(data[:cut])
        with pytest.raises((StoreFormatError, OSError)):
            FeatureStore(path).X[...]
