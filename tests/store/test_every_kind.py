"""What a store does whatever its kind: a file, a folder, a folder behind HTTP, a folder in a bucket."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from caches import own_caches
from made_stores import SPACE, write, write_folder
from odd_files import picture
from servers import http_server, keys, s3_server
from small import extract

from featurekit import FeatureStore
from featurekit.errors import StoreFormatError
from featurekit.store import Columns, merge, remove, verify

S3 = pytest.param("s3", marks=pytest.mark.s3)
READ = ["file", "folder", "http", S3]
# An extraction into a bucket is a fast test of test_far.py.
WRITTEN = ["file", "folder", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow])]
N, SHARD = 2500, 1000


@dataclass
class Made:
    """A store with made-up rows, and what was written into it."""

    place: Path | str
    columns: Columns
    rows: np.ndarray
    change: Callable[[Callable[[bytes], bytes]], None]
    """Applies a function to the bytes of the file that holds row 0."""

    def open(self) -> FeatureStore:
        return FeatureStore(self.place)


def change_file(path: Path, function: Callable[[bytes], bytes]) -> None:
    path.write_bytes(function(path.read_bytes()))


def make(kind: str, home: Path, stack: ExitStack) -> Made:
    """A store of N rows; behind a URL it is a folder of shards on a server that runs until the stack is closed."""
    if kind == "file":
        path = home / "s.h5"
        return Made(path, *write(path, N), lambda function: change_file(path, function))
    columns, rows = write_folder(home / "s", N, shard_rows=SHARD)
    with FeatureStore(home / "s") as store:
        shard = store.places.shards[store.places.shard[0]]
    if kind == "folder":
        return Made(home / "s", columns, rows, lambda function: change_file(home / "s" / shard, function))
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    own_caches(patch, home / "caches")
    if kind == "http":
        url, _ = stack.enter_context(http_server(home))
        return Made(f"{url}/s", columns, rows, lambda function: change_file(home / "s" / shard, function))
    client = stack.enter_context(s3_server(patch))
    client.create_bucket(Bucket="rows")
    for path in (home / "s").iterdir():
        client.upload_file(str(path), "rows", f"s/{path.name}")
    stack.callback(lambda: [client.delete_object(Bucket="rows", Key=key) for key in keys(client)])

    def change(function: Callable[[bytes], bytes]) -> None:
        body = client.get_object(Bucket="rows", Key=f"s/{shard}")["Body"].read()
        client.put_object(Bucket="rows", Key=f"s/{shard}", Body=function(body))

    return Made("s3://rows/s", columns, rows, change)


@pytest.fixture(scope="module", params=READ)
def made(request, tmp_path_factory):
    """Not to be changed."""
    with ExitStack() as stack:
        yield make(request.param, tmp_path_factory.mktemp(request.param), stack)


# --- reading -----------------------------------------------------------------------------------------


def test_space_and_provenance_come_back(made):
    with made.open() as store:
        assert store.space == SPACE
        assert store.provenance == {"root": "/x"}


def test_columns_and_labels_come_back(made):
    with made.open() as store:
        assert store.columns.same_as(made.columns)
        assert store.paths[:2] == ["classe-é/0-0.jpg", "classe-é/0-1.jpg"]
        assert store.y[:3].tolist() == ["label 0", "label 1", "label 2"]
        assert store.class_counts == {"label 0": 834, "label 1": 833, "label 2": 833}


def test_the_ledger_comes_back(made):
    with made.open() as store:
        assert [entry.row for entry in store.ledger] == list(range(N))
        assert store.ledger_counts == {"stored": N}


def test_rows_come_back(made):
    with made.open() as store:
        assert len(store) == store.X.shape[0] == N
        assert np.array_equal(np.asarray(store.X), made.rows)


# fmt: off
KEYS = [
    slice(None), slice(10, 20), slice(None, None, 7), slice(20, 10, -3), slice(-5, None), slice(5, 5),
    0, -1, np.int64(2499), [3, 1, 1, 2400], [], [-1, 0], np.arange(2500)[::-1], np.arange(2500) % 2 == 0,
    np.zeros(2500, bool), (slice(3, 9), slice(0, 4)), (slice(3, 9), 5), ([7, 2], slice(0, 3)), ..., (), (0, 5),
    (0, slice(None, None, 2)), (slice(0, 2), [5, 3]), np.array([1, -1], np.int8), np.uint8(200),
]
# fmt: on


def test_rows_are_indexed_like_an_array(made):
    with made.open() as store:
        for key in KEYS:
            got, expected = store.X[key], made.rows[key]
            assert got.shape == expected.shape, key
            assert np.array_equal(got, expected), key


def test_bad_indices_are_index_errors(made):
    with made.open() as store:
        for key in (2500, -2501, [0, 2500], np.ones(7, bool), 1.5, "a", [[1]], ([0, 1], [0, 1])):
            with pytest.raises(IndexError):
                store.X[key]


def test_scikit_learn_takes_the_rows_as_they_are(made):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    with made.open() as store:
        X, y = store.X, store.y
        assert LogisticRegression().fit(X, y).predict(X[:5]).shape == (5,)
        assert len(cross_val_score(LogisticRegression(), X, y, cv=3)) == 3


def test_batches_come_in_order(made):
    with made.open() as store:
        batches = list(store.iter_batches(999))
        assert [len(X) for X, _ in batches] == [999, 999, 502]
        assert np.array_equal(np.concatenate([X for X, _ in batches]), made.rows)
        assert np.array_equal(np.concatenate([y for _, y in batches]), store.y)


def shuffled(store, seed):
    batches = list(store.iter_batches(1000, seed=seed))
    return np.concatenate([X for X, _ in batches]), np.concatenate([y for _, y in batches])


def test_shuffled_batches_hold_every_row_once_with_its_label(made):
    numbers = {row.tobytes(): number for number, row in enumerate(made.rows)}
    with made.open() as store:
        X, y = shuffled(store, 3)
        order = [numbers[row.tobytes()] for row in X]
        assert order != sorted(order) == list(range(N))
        assert y.tolist() == store.y[order].tolist()


def test_the_seed_decides_the_order_of_shuffled_batches(made):
    with made.open() as store:
        assert np.array_equal(shuffled(store, 3)[0], shuffled(store, 3)[0])
        assert not np.array_equal(shuffled(store, 3)[0], shuffled(store, 4)[0])


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "a", None])
def test_a_batch_size_must_be_a_whole_number(made, wrong):
    with made.open() as store, pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
        next(store.iter_batches(wrong))


def test_a_pickled_store_reads_the_same_rows(made):
    with made.open() as store, pickle.loads(pickle.dumps(store)) as again:
        assert np.array_equal(again.X[7:9], made.rows[7:9])


def test_verify_finds_nothing_in_a_whole_store(made):
    found = verify(made.place)
    assert (found.rows, found.damaged, found.problems, found.ok) == (N, [], [], True)


def test_a_copy_holds_the_same(made, tmp_path):
    with merge([made.place], tmp_path / "copy.h5") as copy:
        assert np.array_equal(copy.X[...], made.rows)
        assert copy.columns.same_as(made.columns)


# --- damage ------------------------------------------------------------------------------------------


@pytest.fixture(params=READ)
def damaged(request, tmp_path):
    """A store in which one bit of row 250 was flipped."""

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[data.index(store.rows[250].tobytes()) + 3] ^= 1
        return bytes(changed)

    with ExitStack() as stack:
        store = make(request.param, tmp_path, stack)
        store.change(flip)
        yield store


def test_a_damaged_row_is_an_error_and_not_a_number(damaged):
    with damaged.open() as store, pytest.raises(StoreFormatError):
        store.X[...]


def test_a_row_beside_a_damaged_one_is_right_or_an_error(damaged):
    with damaged.open() as store:
        for row in (0, 249, 251, N - 1):
            try:
                assert np.array_equal(store.X[row], damaged.rows[row])
            except StoreFormatError:
                assert row < SHARD + 24  # of the same chunk or shard
        assert np.array_equal(store.X[N - 1], damaged.rows[N - 1])


def test_verify_names_a_damaged_row(damaged):
    found = verify(damaged.place)
    assert 250 in found.damaged
    assert "classe-é/0-250.jpg" in found.paths
    assert len(found.damaged) < N


# --- writing -----------------------------------------------------------------------------------------


@pytest.fixture(params=WRITTEN)
def output(request, tmp_path, monkeypatch):
    """Where an extraction may write a store of the kind."""
    if request.param == "s3":
        own_caches(monkeypatch, tmp_path / "caches")
        with s3_server(monkeypatch) as client:
            client.create_bucket(Bucket="rows")
            yield "s3://rows/digits"
            for key in keys(client):
                client.delete_object(Bucket="rows", Key=key)
    else:
        yield tmp_path / {"file": "s.h5", "folder": "s"}[request.param]


@pytest.fixture
def some(digits_folder, tmp_path):
    """Nine digits of two classes, in a folder that a test may change."""
    for label in "01":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for path in sorted((digits_folder / label).glob("*.png"))[:4]:
            shutil.copy(path, tmp_path / "photos" / label)
    picture(0).save(tmp_path / "photos" / "1" / "photo.png")
    return tmp_path / "photos"


def test_a_second_extraction_computes_nothing(output, some):
    extract(some, output=output).close()
    with extract(some, output=output) as store:
        assert (store.summary.computed, store.summary.reused) == (0, 9)


def test_an_extraction_computes_only_what_is_new(output, some):
    extract(some, output=output).close()
    picture(1).save(some / "0" / "new.png")
    with extract(some, output=output) as store:
        assert (store.summary.computed, store.summary.reused) == (1, 9)
        assert store.paths == sorted(store.paths)


def test_the_rows_are_those_of_a_file(output, some, tmp_path):
    with extract(some, output=output) as store, extract(some, output=tmp_path / "other.h5") as file:
        assert np.array_equal(store.X[...], file.X[...])
        assert store.columns.same_as(file.columns)
        assert store.ledger == file.ledger


def test_removed_rows_are_gone_and_in_the_ledger(output, some):
    extract(some, output=output).close()
    assert remove(output, labels=["1"]) == [f"1/{name}" for name in ("000.png", "001.png", "002.png", "003.png")] + [
        "1/photo.png"
    ]
    with FeatureStore(output) as store:
        assert store.y.tolist() == ["0"] * 4
        assert store.ledger_counts == {"removed": 5, "stored": 4}
    assert verify(output).ok


def test_a_removed_image_comes_back_with_the_next_extraction(output, some):
    extract(some, output=output).close()
    remove(output, ["0/000.png"])
    with extract(some, output=output) as store:
        assert (len(store), store.summary.computed) == (9, 1)
        assert store.ledger_counts == {"stored": 9}
