"""Refusals that come before anything is computed, and leave nothing behind."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from featurekit import FeatureStore


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Lets no network run."""
    from featurekit.runtime.openvino_runtime import OpenVinoRuntime

    def refuse(self, batch):
        raise AssertionError("the network ran")

    monkeypatch.setattr(OpenVinoRuntime, "submit", refuse)


@pytest.fixture
def table(tmp_path, digits_folder):
    """The digits in a table, with a column of one value and one of texts."""
    lines = ["path,label,one,digit"]
    for label in "012":
        lines += [f"{label}/{p.name},{label},same,d{label}" for p in sorted((digits_folder / label).glob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    return ["list.csv", "--root", digits_folder]


def left(tmp_path):
    """The names of what was written."""
    return sorted({path.name for path in tmp_path.iterdir()} - {"list.csv"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "-o", "m", "--label-column", "one"],
        ["fit", "-o", "m", "--label-column", "digit", "--target", "number"],
        ["evaluate", "--head", "knn", "--label-column", "one"],
        ["compare", "--label-column", "one"],
        ["finetune", "-o", "m", "--label-column", "one"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_labels_that_cannot_be_learned_are_refused_before_the_extraction(run, table, tmp_path, arguments):
    code, _, said = run(arguments[0], *table, *arguments[1:])
    assert code == 1
    assert "two classes" in said or "expected a number" in said
    assert left(tmp_path) == []


def test_labels_that_a_model_does_not_know_are_refused_before_the_extraction(run, table, digits_store_path, tmp_path):
    assert run("fit", digits_store_path, "-o", "model", "--head", "centroid", "--cv", "0")[0] == 0
    code, _, said = run("evaluate", *table, "--model", "model", "--label-column", "digit")
    assert code == 1
    assert "the classifier knows none of these labels: d0, d1, d2" in said
    assert left(tmp_path) == ["model"]


def test_a_folder_store_of_images_that_cannot_be_read_is_not_left_behind(run, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("no image")
    assert run("extract", "bad", "-o", "store")[0] == 1
    assert left(tmp_path) == ["bad"]


@pytest.fixture
def sites(digits_folder, digits_store_path, tmp_path):
    """A store of one site, and the folder of another with other images under the same names."""
    shutil.copy(digits_store_path, tmp_path / "own.h5")
    for path in digits_folder.glob("*/*.png"):
        target = tmp_path / "site" / path.relative_to(digits_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 90), (int(path.stem) * 5, 0, 0)).save(target)
    return tmp_path


def test_images_of_another_site_under_the_same_names_are_refused_before_the_extraction(run, sites):
    before = (sites / "own.h5").read_bytes()
    code, _, said = run("extract", "site", "-o", "own.h5")
    assert code == 1
    assert "they would leave the store" in said
    assert left(sites) == ["own.h5", "site"]
    assert (sites / "own.h5").read_bytes() == before


def test_the_message_on_two_sites_names_the_way_to_join_them(run, sites):
    _, _, said = run("extract", "site", "-o", "own.h5")
    assert "once each has a store of its own, join them: featurekit store merge own.h5 OTHER -o BOTH" in said


def test_rows_do_not_leave_because_the_root_is_another_one(run, table, digits_store_path, digits_folder, tmp_path):
    shutil.copy(digits_store_path, tmp_path / "own.h5")
    assert run("extract", *table, "-o", "own.h5")[0] == 0
    shutil.copytree(digits_folder / "0", tmp_path / "other" / "0")
    code, _, said = run("extract", "list.csv", "--root", "other", "-o", "own.h5")
    assert code == 1
    assert "of its 60 rows" in said
    assert "they would leave the store" in said
    assert "Name the folder that they are relative to (--root DIR)" in said
    with FeatureStore(tmp_path / "own.h5") as store:
        assert len(store) == 60
    code, _, said = run("extract", "list.csv", "--root", "other", "-o", "own.h5", "--replace")
    assert code == 0
    assert "40 images could not be read" in said


def test_notes_name_the_options_of_the_command(run, digits_folder, digits_store_path, tmp_path):
    shutil.copy(digits_store_path, tmp_path / "own.h5")
    lines = [f"{p.parent.name}/{p.name},{p.parent.name}" for p in sorted(digits_folder.glob("*/*.png"))]
    (tmp_path / "list.csv").write_text("path,kind\n" + "\n".join(lines))
    _, _, said = run("extract", "list.csv", "--root", digits_folder, "-o", "own.h5")
    assert "If another column holds them, name it (--label-column NAME)." in said
    assert "not used: the column kind. Name one that holds labels (--label-column NAME)" in said
    assert "label_column=" not in said
