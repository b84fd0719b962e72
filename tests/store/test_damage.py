"""Bytes that change on the disk: verify, reading and the next extraction notice every one that matters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from featurekit_cli.main import main
from made_stores import SPACE, flip, keys, make_rows, write, write_folder
from small import extract

from featurekit.errors import DamagedRowsError, StoreFormatError
from featurekit.store import FeatureStore, ShardCache, merge, remove, verify


def offset_of(path, values):
    return path.read_bytes().index(values)


@pytest.fixture(params=["file", "folder"])
def made(request, tmp_path):
    """Path, columns, rows, and the file that holds the rows."""
    if request.param == "file":
        return tmp_path / "s.h5", *write(tmp_path / "s.h5", 3000), tmp_path / "s.h5"
    columns, rows = write_folder(tmp_path / "s", 3000, shard_rows=3000)
    return tmp_path / "s", columns, rows, next((tmp_path / "s").glob("rows-*.h5"))


def test_a_damaged_row_is_named(made):
    path, _, rows, holder = made
    flip(holder, offset_of(holder, rows[250].tobytes()) + 3)
    with pytest.raises(StoreFormatError, match="'featurekit store verify' names"):
        FeatureStore(path).X[...]
    found = verify(path)
    assert 250 in found.damaged
    assert found.paths[found.damaged.index(250)] == FeatureStore(path).paths[250]
    assert len(found.damaged) < 3000
    assert all(holder.name in problem for problem in found.problems)


@pytest.mark.parametrize(
    "name", ["path/data", "path/end", "label/data", "sha256", "mtime_ns", "ledger/row", "ledger/status/data"]
)
def test_damage_beside_the_rows_is_named(made, name):
    import h5py

    path = made[0]
    file = path if path.is_file() else path / "index.h5"
    with h5py.File(file) as opened:
        at = opened[name].id.get_chunk_info(0).byte_offset
    flip(file, at + 30)
    found = verify(path)
    assert not found.ok
    assert any(name.removesuffix("/data").removesuffix("/end") in problem for problem in found.problems)
    assert bool(found.damaged) is not name.startswith("ledger/")


def test_a_damaged_shard_in_progress_is_a_problem_without_rows(tmp_path):
    write(tmp_path / "s.h5", 20)
    columns, rows = make_rows(20, seed=1)
    ShardCache(tmp_path / "s.h5.parts", SPACE).add(columns, rows, "")
    assert verify(tmp_path / "s.h5").ok
    shard = next((tmp_path / "s.h5.parts").iterdir())
    flip(shard, shard.stat().st_size // 2)
    found = verify(tmp_path / "s.h5")
    assert not found.damaged
    assert "work in progress" in found.problems[0]


@pytest.mark.parametrize(
    ("kind", "flips"),
    [
        ("file", 20),
        ("folder", 8),
        pytest.param("file", 120, marks=pytest.mark.slow),
        pytest.param("folder", 50, marks=pytest.mark.slow),
    ],
)
def test_flipped_bits_are_detected_or_without_effect(tmp_path, kind, flips, record_property):
    """Every flipped bit that changes a row or a label is detected by reading or by verify."""
    path = tmp_path / ("s.h5" if kind == "file" else "s")
    columns, rows = write(path, 300) if kind == "file" else write_folder(path, 300, shard_rows=100)
    files = [path] if kind == "file" else sorted(path.iterdir())
    whole = {file: file.read_bytes() for file in files}
    sizes = np.array([len(data) for data in whole.values()])
    rng = np.random.default_rng(0)
    counts = {"refused when opened": 0, "found by verify": 0, "without effect": 0}
    for _ in range(flips):
        file = files[rng.choice(len(files), p=sizes / sizes.sum())]
        data = bytearray(whole[file])
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        file.write_bytes(data)
        try:
            found = verify(path)
        except StoreFormatError:
            counts["refused when opened"] += 1
            file.write_bytes(whole[file])
            continue
        counts["found by verify" if not found.ok else "without effect"] += 1
        try:
            with FeatureStore(path) as store:
                same = np.array_equal(store.X[...], rows) and store.columns.same_as(columns)
                assert same, "changed values were read"  # what is read is right, or is not read
                assert [entry.row for entry in store.ledger] == list(range(300))
        except StoreFormatError:
            assert not found.ok, "reading found what verify did not"
        file.write_bytes(whole[file])
    assert verify(path).ok
    record_property("flips", counts)
    print(f"\n{flips} random bits of a {kind} store: {counts}; none changed a value unnoticed")


def read_everything(path):
    with FeatureStore(path) as store:
        return store.X[...], store.columns, store.ledger


def chunk_of(path, name, number=0):
    """Where a chunk of a dataset lies in its file: offset and size, with the checksum behind it."""
    import h5py

    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(number)
    return info.byte_offset, info.size


@pytest.mark.parametrize("name", ["X", "sha256", "size", "mtime_ns", "check", "path/data", "path/end", "ledger/row"])
@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_a_lost_block_is_noticed(tmp_path, name, filling):
    """The Fletcher-32 of zeros is zero: a lost block of the disk has a valid checksum."""
    path = tmp_path / "s.h5"
    write(path, 3000)
    at, size = chunk_of(path, name)
    data = bytearray(path.read_bytes())
    data[at : at + size] = filling * size
    path.write_bytes(data)
    found = verify(path)
    assert not found.ok
    assert len(found.damaged) > 0 or name.startswith("ledger/")
    with pytest.raises(StoreFormatError, match="is damaged"):
        read_everything(path)


@pytest.mark.parametrize("name", ["X", "path/data", "sha256"])
def test_a_chunk_in_the_wrong_place_is_noticed(tmp_path, name):
    path = tmp_path / "s.h5"
    write(path, 9000)
    (at, size), (other, more) = chunk_of(path, name), chunk_of(path, name, 1)
    assert name == "path/data" or size == more
    data = bytearray(path.read_bytes())
    data[at : at + min(size, more)] = data[other : other + min(size, more)]
    path.write_bytes(data)
    assert len(verify(path).damaged) > 0
    with pytest.raises(StoreFormatError, match="is damaged"):
        read_everything(path)


def test_swapped_shards_are_noticed_and_never_believed(tmp_path):
    write_folder(tmp_path / "s", 300, shard_rows=100)
    one, two, _ = sorted((tmp_path / "s").glob("rows-*.h5"))
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    assert len(verify(tmp_path / "s").damaged) == 200
    with pytest.raises(StoreFormatError, match="not the one that was written"):
        FeatureStore(tmp_path / "s").X[...]
    with pytest.raises(StoreFormatError):
        merge([tmp_path / "s"], tmp_path / "m.h5")
    with FeatureStore(tmp_path / "s") as base:
        cache = ShardCache(tmp_path / "s", SPACE, base)
        assert cache.drop_damaged() == 200  # nothing wrong is saved into a new shard


@pytest.mark.parametrize(
    "how",
    [lambda p: p.unlink(), lambda p: flip(p, 9), pytest.param(lambda p: p.write_bytes(b""), marks=pytest.mark.slow)],
)
def test_a_damaged_first_shard_does_not_lock_the_store(
    digits_folder, small_store_path, small_folder_store_path, tmp_path, how
):
    shutil.copytree(small_folder_store_path, tmp_path / "s")
    how(next((tmp_path / "s").glob("rows-*.h5")))
    assert main(["store", "info", str(tmp_path / "s")]) == 0
    assert extract(digits_folder, output=tmp_path / "s").summary.computed == 60
    same_values(tmp_path / "s", small_store_path)


def test_odd_things_beside_a_store_are_left_alone(tmp_path):
    write(tmp_path / "s.h5", 10)
    parts = tmp_path / "s.h5.parts"
    parts.mkdir()
    os.mkfifo(parts / f"rows-{'0' * 64}.h5")  # would wait for ever
    (parts / f"rows-{'1' * 64}.h5").mkdir()
    (parts / "thesis.tmp").write_text("mine")
    assert verify(tmp_path / "s.h5").ok
    with FeatureStore(tmp_path / "s.h5") as store:
        ShardCache(parts, SPACE, store).discard_published(store)
    assert (parts / "thesis.tmp").read_text() == "mine"


def test_what_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    """As for a user without the right, or a process with too many open files."""
    write_folder(tmp_path / "s", 10)
    before = sorted((tmp_path / "s").iterdir())
    code = (
        "import resource, sys\nfrom featurekit.store import FeatureStore, ShardCache, merge\n"
        "store = FeatureStore(sys.argv[1])\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: store.X[...]\nexcept Exception as error: print(type(error).__name__, error)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("StoreError cannot read")
    assert "Too many open files" in out.stdout
    assert sorted((tmp_path / "s").iterdir()) == before


# --- the next extraction -----------------------------------------------------------------------------


@pytest.fixture(params=["file", "folder"])
def extracted(request, small_store_path, small_folder_store_path, tmp_path):
    """A copy of the store of the digits, and the file that holds its rows."""
    if request.param == "file":
        path = shutil.copy(small_store_path, tmp_path / "s.h5")
        return path, path
    path = shutil.copytree(small_folder_store_path, tmp_path / "s")
    return path, next(path.glob("rows-*.h5"))


def same_values(path, expected):
    with FeatureStore(path) as store, FeatureStore(expected) as good:
        assert np.array_equal(store.X[...], good.X[...])
        assert store.columns.same_as(good.columns)
        assert store.ledger == good.ledger
    assert verify(path).ok


def test_damaged_rows_are_computed_again(extracted, digits_folder, small_store_path, caplog):
    path, holder = extracted
    flip(holder, offset_of(holder, FeatureStore(small_store_path).X[30].tobytes()) + 9)
    damaged = len(verify(path).damaged)
    store = extract(digits_folder, output=path)
    assert store.summary.computed == damaged
    assert 0 < damaged < 60
    assert f"{damaged} rows of {path} were damaged" in caplog.text
    store.close()
    same_values(path, small_store_path)
    if path.is_dir():
        aside = [file.name for file in path.iterdir() if file.name.endswith(".damaged")]
        assert aside == [f"{holder.name}.damaged"]


def test_damaged_rows_are_found_when_other_rows_are_added(extracted, digits_folder, tmp_path, forwards):
    path, holder = extracted
    grown = shutil.copytree(digits_folder, tmp_path / "grown")
    shutil.copy(grown / "1" / "000.png", grown / "1" / "copy.png")
    flip(holder, offset_of(holder, FeatureStore(path).X[0].tobytes()) + 9)
    damaged = len(verify(path).damaged)
    store = extract(grown, output=path, replace=True)
    assert sum(forwards) == damaged
    assert len(store) == 61
    assert verify(path).ok


@pytest.mark.parametrize(
    "name",
    [
        "path/data",
        "sha256",
        "ledger/reason/end",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("label/end", "size", "ledger/path/data")),
    ],
)
def test_damaged_columns_are_written_anew(extracted, digits_folder, small_store_path, name):
    import h5py

    path, _ = extracted
    file = path if path.is_file() else path / "index.h5"
    with h5py.File(file) as opened:
        at = opened[name].id.get_chunk_info(0).byte_offset
    flip(file, at + 10)
    assert not verify(path).ok
    extract(digits_folder, output=path).close()
    same_values(path, small_store_path)


def test_what_cannot_be_opened_is_set_aside_only_if_asked(extracted, digits_folder, small_store_path, forwards):
    path, _ = extracted
    file = path if path.is_file() else path / "index.h5"
    flip(file, 9)  # in HDF5's superblock
    broken = file.read_bytes()
    with pytest.raises(StoreFormatError, match="refresh=True"):
        extract(digits_folder, output=path)
    assert file.read_bytes() == broken
    extract(digits_folder, output=path, refresh=True).close()
    same_values(path, small_store_path)
    assert file.with_name(f"{file.name}.damaged").read_bytes() == broken
    assert sum(forwards) == (60 if path.is_file() else 0)  # a folder's rows are in its shards


def test_a_lost_shard_is_computed_again(tmp_path, digits_folder, small_store_path, small_folder_store_path):
    shutil.copytree(small_folder_store_path, tmp_path / "s")
    next((tmp_path / "s").glob("rows-*.h5")).unlink()
    assert len(verify(tmp_path / "s").damaged) == 60
    assert extract(digits_folder, output=tmp_path / "s").summary.computed == 60
    same_values(tmp_path / "s", small_store_path)


def test_damaged_rows_are_taken_out_where_the_images_are_gone(made):
    path, columns, rows, holder = made
    flip(holder, offset_of(holder, rows[250].tobytes()) + 3)
    damaged = verify(path).damaged
    assert (
        remove(path, damaged=True, dry_run=True)
        == remove(path, damaged=True)
        == [f"classe-é/0-{i}.jpg" for i in damaged]
    )
    store = FeatureStore(path)
    kept = np.setdiff1d(np.arange(3000), damaged)
    assert np.array_equal(store.X[...], rows[kept])
    assert store.columns.same_as(columns.take(kept))


def test_damage_is_not_looked_for_if_not_wanted(extracted, digits_folder):
    path, holder = extracted
    flip(holder, offset_of(holder, FeatureStore(path).X[30].tobytes()) + 9)
    assert extract(digits_folder, output=path, verify=False).summary.computed == 0
    with pytest.raises(StoreFormatError):
        FeatureStore(path).X[...]


def test_a_cache_raises_for_damaged_rows_and_forgets_them_when_told(tmp_path):
    columns, rows = make_rows(10)
    cache = ShardCache(tmp_path / "p", SPACE)
    cache.add(columns, rows, "")
    shard = next((tmp_path / "p").iterdir())
    flip(shard, offset_of(shard, rows[4].tobytes()))
    with pytest.raises(DamagedRowsError):
        cache.gather(keys(columns))
    assert cache.drop_damaged() == 10  # they share a chunk, and so a checksum
    assert keys(columns)[0] not in cache
    cache.add(columns, rows, "")
    assert np.array_equal(cache.gather(keys(columns)), rows)
