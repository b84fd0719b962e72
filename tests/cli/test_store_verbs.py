"""``featurekit store``, and what `extract` has for the life of a store."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from made_stores import flip

from featurekit import FeatureStore


@pytest.fixture(autouse=True)
def store_here(run, digits_store_path):
    """``s.h5`` in the folder of the test."""
    shutil.copy(digits_store_path, "s.h5")


def test_verify_names_damaged_rows(run, tmp_path, digits_folder, caplog):
    assert run("store", "verify", "s.h5") == (0, "s.h5: 60 rows, all as written\n", "")
    data = json.loads(run("store", "verify", "s.h5", "--json")[1])
    assert (data["rows"], data["damaged"], data["problems"]) == (60, 0, [])
    row = FeatureStore("s.h5").X[30].tobytes()
    flip(tmp_path / "s.h5", (tmp_path / "s.h5").read_bytes().index(row))
    code, out, _ = run("store", "verify", "s.h5")
    assert code == 1
    assert "damaged rows: 20 of 60" in out
    assert "row 30  1/010.png" in out
    code, out, _ = run("store", "verify", "s.h5", "--json")
    data = json.loads(out)
    assert code == 1
    assert data["damaged"] == len(data["damaged_rows"]) > 0
    assert {"row": 30, "path": "1/010.png"} in data["damaged_rows"]
    code, out, _ = run("extract", digits_folder, "-o", "s.h5", "--json")
    assert json.loads(out)["computed"] == data["damaged"]
    assert "were damaged" in caplog.text
    assert run("store", "verify", "s.h5")[0] == 0


def test_merge_remove_export(run):
    assert run("store", "merge", "s.h5", "-o", "folder", "--dtype", "float16")[0] == 0
    data = json.loads(run("store", "info", "folder", "--json")[1])
    assert (data["rows"], data["dtype"]) == (60, "float16")
    assert "60 x 816 float16" in run("store", "info", "folder")[1]
    assert "in 1 shard\n" in run("store", "info", "folder")[1]
    code, out, _ = run("store", "remove", "folder", "0/*", "--label", "1", "--json")
    assert code == 0
    assert len(json.loads(out)["removed"]) == 40
    code, out, _ = run("store", "export", "folder", "-o", "x.npz")
    assert code == 0
    assert out.startswith("x.npz: ")
    data = json.loads(run("store", "info", "folder", "--json")[1])
    assert (data["kind"], data["shards"], data["space"]["backbone"]) == ("folder", 1, "efficientnet_lite0")
    with np.load("x.npz") as file:
        assert file["label"].tolist() == ["2"] * 20
    assert run("evaluate", "s.h5", "--head", "lda")[0] == 0
    assert run("fit", "s.h5", "-o", "m", "--cv", "0")[0] == 0
    code, out, _ = run("predict", "folder", "--model", "m")  # a folder store is a SOURCE
    assert out.count("\n2/") == 20


def test_a_dry_run_and_what_merge_says(run):
    _, out, _ = run("store", "remove", "s.h5", "0/00*", "--dry-run")
    assert out.startswith("s.h5: 10 rows would be removed\n  0/000.png\n")
    assert len(FeatureStore("s.h5")) == 60
    _, out, _ = run("store", "merge", "s.h5", "s.h5", "-o", "twice.h5")
    assert "60 rows of efficientnet_lite0, float32, from 2 stores; 60 images more than once, kept once" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["verify", "none.h5"], 1, "no such store: none.h5"),
        (["verify", "."], 1, "a folder without index.h5"),
        (["merge", "s.h5"], 2, "-o/--output"),
        (["merge", "s.h5", "-o", "s.h5"], 1, "is there already. Nothing was changed"),
        (["merge", "s.h5", "-o", "t.npz"], 1, "must be the name of an .h5 file"),
        (["remove", "s.h5"], 2, "at least one PATH or --label"),
        (["remove", "s.h5", "nothing"], 1, "no row has a path like 'nothing'"),
        (["export", "s.h5", "-o", "x.mat"], 1, "expected one of"),
        (["export", "s.h5", "-o", "none/x.csv"], 1, "no such folder"),
        (["export", "s.h5", "--out", "x.csv"], 2, "-o/--output"),
    ],
)
def test_mistakes_with_store_have_one_message(run, arguments, code, message):
    found, out, err = run("store", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_extract_into_a_folder(run, digits_folder):
    code, out, _ = run("extract", digits_folder, "-o", "photos", "--dtype", "float16")
    assert code == 0
    assert "photos: 60 rows" in out
    code, out, _ = run("extract", digits_folder, "-o", "photos", "--refresh", "--no-verify")
    assert "0 computed, 60 reused" in out
    code, _, err = run("extract", digits_folder, "-o", "photos", "--dtype", "float32")
    assert code == 1
    assert "featurekit store merge photos -o OTHER.h5 --dtype float32" in err
