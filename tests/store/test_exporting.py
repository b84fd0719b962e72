from __future__ import annotations

import csv
import os

import h5py
import numpy as np
import pandas
import pytest
from made_stores import SPACE, make_rows, write, write_folder

from featurekit.errors import StoreError
from featurekit.store import DTYPES, FeatureStore, Ledger, encode, export, publish


def read(path):
    """X, paths and labels of an exported file, with the program that people would use."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["X"], file["path"].tolist(), file["label"].tolist()
    if path.suffix == ".csv":
        frame = pandas.read_csv(path, dtype={"label": str}, keep_default_na=False)
        features = frame.filter(regex=r"^f\d+$").to_numpy()
    elif path.suffix == ".parquet":
        frame = pandas.read_parquet(path)
        features = np.stack(frame["features"])
    else:
        with h5py.File(path) as file:
            return file["X"][...], file["path"].asstr()[:].tolist(), file["label"].asstr()[:].tolist()
    return features, frame["path"].tolist(), frame["label"].tolist()


@pytest.mark.parametrize("ending", ["npz", "csv", "parquet", "h5"])
@pytest.mark.parametrize(("kind", "dtype"), [("file", "float32"), ("folder", "float32"), ("file", "float16")])
def test_other_programs_read_the_same_values(tmp_path, ending, kind, dtype):
    path = tmp_path / ("s.h5" if kind == "file" else "s")
    columns, rows = write(path, 1000) if kind == "file" else write_folder(path, 1000)
    if dtype == "float16":
        publish(path, SPACE, {}, columns, Ledger.of(()), [rows], DTYPES["float16"])
    store = FeatureStore(path)
    X, paths, labels = read(export(path, tmp_path / f"out.{ending}"))
    assert paths == store.paths
    assert labels == store.y.tolist()
    assert np.array_equal(X.astype(dtype), store.X[...])
    assert X.shape == (1000, 16)
    left = [p.name for p in tmp_path.iterdir() if p != path]
    assert left == [f"out.{ending}"]


def test_odd_names(tmp_path):
    columns, rows = make_rows(2)
    names = [os.fsdecode(b"latin-\xe9.jpg"), 'a,"b\n.jpg\r']
    columns.path = encode(names)
    publish(tmp_path / "s.h5", SPACE, {}, columns, Ledger.of(()), [rows])
    for ending in ("npz", "parquet", "h5", "csv"):
        export(tmp_path / "s.h5", tmp_path / f"o.{ending}")
    with np.load(tmp_path / "o.npz") as file:
        assert file["path"].tolist() == names
    assert pandas.read_parquet(tmp_path / "o.parquet")["path"].tolist() == ["latin-\\xe9.jpg", names[1]]
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["path"][0] == b"latin-\xe9.jpg"
    with open(tmp_path / "o.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row[0] for row in csv.reader(file)] == ["path", *names]


def test_export_refuses_and_writes_nothing(tmp_path):
    path = tmp_path / "s.h5"
    write(path, 5)
    before = path.read_bytes()
    for output, message in (
        ("s.h5", "is there already"),
        ("out.mat", "expected one of .npz"),
        ("none/out.csv", "no such folder"),
    ):
        with pytest.raises(StoreError, match=message):
            export(path, tmp_path / output)
    (tmp_path / "l.csv").symlink_to(tmp_path / "victim.csv")
    with pytest.raises(StoreError, match="is there already"):
        export(path, tmp_path / "l.csv")
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "none.h5", tmp_path / "o.csv")
    assert path.read_bytes() == before
