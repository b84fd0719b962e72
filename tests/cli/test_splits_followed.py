"""Splits of a manifest, or of the store that was made of it, as `fit`, `evaluate` and the others follow them."""

from __future__ import annotations

import csv
import json
import shutil

import h5py
import numpy as np
import pytest
from featurekit_cli.main import main

from featurekit import FeatureStore, load_model
from featurekit.errors import StoreFormatError
from featurekit.store import export, merge, verify

PARTS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def table(digits_folder, digits_store_path, tmp_path_factory):
    """The 60 digits in a table with a split and groups of two, and their store; no network runs."""
    folder = tmp_path_factory.mktemp("split")
    write(folder / "list.csv", digits_folder, lambda i: PARTS[i % 4])
    shutil.copy(digits_store_path, folder / "list.h5")
    assert main(["extract", str(folder / "list.csv"), "-o", str(folder / "list.h5"), "--root", str(digits_folder)]) == 0
    return folder


def write(path, digits_folder, part_of, column="split"):
    """A table of the digits, whose images of one class are in groups of two, one after another."""
    lines = []
    for label in ("0", "1", "2"):
        for i, image in enumerate(sorted((digits_folder / label).glob("*.png"))):
            lines.append((f"{label}/{image.name}", label, f"{label}-{i // 2}", part_of(i)))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", column), *lines])


@pytest.fixture
def of_table(run, digits_folder, digits_store_path, tmp_path):
    """Calls a verb on a table of the digits whose split is another one."""

    def of_table(verb, part_of, *arguments, column="split"):
        write(tmp_path / "list.csv", digits_folder, part_of, column)
        shutil.copy(digits_store_path, tmp_path / "own.h5")
        return run(verb, "list.csv", "--root", digits_folder, "--store", "own.h5", *arguments)

    return of_table


FIT = ("-o", "model", "--head", "centroid", "--cv", "0")


def test_fit_learns_only_the_training_part_of_a_manifest(of_table, tmp_path):
    code, out, said = of_table("fit", lambda i: PARTS[i % 4], *FIT, "--json")
    assert code == 0, said
    found = json.loads(out)
    assert found["n"] == 30
    assert found["split"] == {"parts": ["train"], "left_out": 30}
    assert "Split by the column 'split': learned from 30 (train); 30 left out." in said
    assert len(load_model(tmp_path / "model").seen_) == 30


def test_fit_follows_a_named_column(of_table):
    _, out, said = of_table("fit", lambda i: PARTS[i % 4], *FIT, "--json", "--split-column", "fold", column="fold")
    assert json.loads(out)["n"] == 30
    assert "Split by the column 'fold'" in said


def test_fit_learns_the_parts_that_are_named(of_table):
    _, out, said = of_table("fit", lambda i: PARTS[i % 4], *FIT, "--json", "--split", "train,val")
    assert json.loads(out)["n"] == 45
    assert "learned from 30 (train), learned from 15 (validation); 15 left out." in said


def test_fit_learns_every_image_where_all_is_named(of_table):
    _, out, said = of_table("fit", lambda i: PARTS[i % 4], *FIT, "--json", "--split", "all")
    assert json.loads(out)["n"] == 60
    assert "Split by" not in said


def test_fit_on_a_store_follows_the_split_that_it_keeps(table, run):
    _, out, said = run("fit", table / "list.h5", *FIT, "--json")
    assert json.loads(out)["n"] == 30
    assert "Split by the store's split: learned from 30 (train); 30 left out." in said


def test_evaluate_on_a_store_scores_the_test_part(table, run):
    _, out, said = run("evaluate", table / "list.h5", "--head", "centroid", "--json")
    assert json.loads(out)["n"] == 15
    assert "Split by the store's split: fitted on 30 (train), scored on 15 (test); 15 left out." in said


def test_evaluate_scores_the_part_that_is_named(table, run):
    _, out, _ = run("evaluate", table / "list.h5", "--head", "centroid", "--json", "--split", "validation,test")
    assert json.loads(out)["n"] == 30


def test_evaluate_of_a_head_does_not_score_what_it_is_fitted_on(table, run):
    code, _, said = run("evaluate", table / "list.h5", "--head", "centroid", "--split", "train")
    assert code == 2
    assert "the part that the head is fitted on" in said


def test_a_model_is_scored_on_every_image_where_all_is_named(table, run):
    run("fit", table / "list.h5", *FIT)
    _, out, said = run("evaluate", table / "list.h5", "--model", "model", "--json", "--split", "all")
    assert json.loads(out)["n"] == 60
    assert "Split by" not in said


def test_an_unknown_part_is_wrong_usage(table, run):
    code, _, said = run("fit", table / "list.h5", *FIT, "--split", "fold1")
    assert code == 2
    assert "'fold1' is none of train, validation (or val), test and all" in said


def test_a_split_that_is_not_there_is_an_error(digits_store_path, run, tmp_path):
    code, _, said = run("fit", digits_store_path, *FIT, "--split", "train")
    assert code == 1
    assert f"{digits_store_path} holds no split. Leave --split out: then every labeled image is learned." in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_a_named_column_of_other_values_is_refused_before_anything_is_computed(of_table, tmp_path, verb):
    before = ["-o", "model", "--cv", "0"] if verb == "fit" else []
    code, _, said = of_table(verb, lambda i: "AB"[i % 2], "--head", "centroid", *before, "--split-column", "split")
    assert code == 1
    assert "the column 'split' holds 'A', 'B'; expected train, validation (or val) and test" in said
    assert "leave --split-column out: then" in said
    assert "kept as the split" not in said
    with FeatureStore(tmp_path / "own.h5") as store:
        assert not store.has_splits


def test_a_column_that_only_looks_like_a_split_is_not_followed_and_one_note_says_what_is_done(of_table):
    code, _, said = of_table("evaluate", lambda i: f"fold{i % 2}", "--head", "centroid")
    assert code == 0
    assert (
        "the column 'split' holds 'fold0', 'fold1'; expected train, validation (or val) and test. It is not followed: "
        "a part of 30%, drawn at random, is scored by a head that is fitted on the others." in said
    )
    assert "evaluate and finetune follow it" not in said
    _, _, said = of_table("fit", lambda i: f"fold{i % 2}", *FIT)
    assert "It is not followed: every labeled image is learned." in said


def test_groups_on_both_sides_of_a_split_are_told_in_one_sentence(of_table):
    code, _, said = of_table("evaluate", lambda i: ("train", "test")[i % 2], "--head", "centroid")
    assert code == 0
    assert "kept on one side of every split" not in said
    assert (
        "30 groups of the source: the split that is given is followed, and 30 of 30 scored images are duplicates of "
        "images that the head is fitted on, or of a group with them" in said
    )


def test_groups_on_one_side_of_a_split_are_told_to_be(of_table):
    _, _, said = of_table("evaluate", lambda i: ("train", "test")[i // 2 % 2], "--head", "centroid")
    assert "30 groups of the source: none of them is on both sides of the split that is given" in said


def test_a_store_of_a_split_can_be_merged_and_verified(table, tmp_path):
    with merge([table / "list.h5"], tmp_path / "folder") as store:
        assert store.is_folder
        assert store.splits.tolist()[:4] == ["train", "train", "val", "test"]
    assert verify(tmp_path / "folder").ok
    assert verify(table / "list.h5").ok


def test_store_info_counts_the_parts(table, run):
    _, out, _ = run("store", "info", table / "list.h5")
    assert "15 test, 30 train, 15 val" in out
    _, out, _ = run("store", "info", table / "list.h5", "--json")
    assert json.loads(out)["splits"] == {"test": 15, "train": 30, "val": 15}


@pytest.mark.parametrize("ending", ["npz", "csv", "h5"])
def test_an_export_holds_the_split(table, tmp_path, ending):
    path = export(table / "list.h5", tmp_path / f"out.{ending}")
    if ending == "csv":
        with open(path, newline="") as file:
            found = [line["split"] for line in csv.DictReader(file)]
    elif ending == "npz":
        found = np.load(path)["split"].tolist()
    else:
        with h5py.File(path) as file:
            found = file["split"].asstr()[:].tolist()
    assert found[:4] == ["train", "train", "val", "test"]


def test_selected_rows_keep_their_split(table):
    with FeatureStore(table / "list.h5") as store:
        assert set(store.select(store.splits == "train").splits) == {"train"}


def test_a_store_without_a_split_has_none(digits_store):
    assert not digits_store.has_splits
    assert set(digits_store.splits) == {""}


def test_a_split_that_was_damaged_is_noticed(table, tmp_path):
    shutil.copy(table / "list.h5", tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["split/data"][0] = ord("b")
    with FeatureStore(tmp_path / "bad.h5") as store, pytest.raises(StoreFormatError, match="not as they were written"):
        _ = store.splits
    assert not verify(tmp_path / "bad.h5").ok


def test_compare_says_that_it_takes_every_part(table, run):
    code, _, said = run("compare", table / "list.h5", "--head", "centroid", "--cv", "2", "-o", "kept")
    assert code == 0
    assert "every labeled image is compared" in said
