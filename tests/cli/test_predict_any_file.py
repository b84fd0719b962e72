"""Files of any name as the sources of `predict`: each gets its line, whatever it is."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from featurekit_cli.main import main

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture(scope="module")
def model(digits_store_path, tmp_path_factory):
    """A model of the digits."""
    folder = tmp_path_factory.mktemp("any") / "model"
    assert main(["fit", str(digits_store_path), "-o", str(folder), "--head", "centroid", "--cv", "0"]) == 0
    return folder


@pytest.fixture
def predict(run, model, digits_folder, digits_folder_store_path, tmp_path):
    """Calls the verb beside a digit, a text, a HEIC file and a folder; gives exit code, lines and messages."""
    shutil.copy(digits_folder / "0/000.png", tmp_path / "good.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "photo.HEIC").write_bytes(HEIC)
    (tmp_path / "folder").mkdir()
    (tmp_path / "own.h5.parts").mkdir()  # work of an interrupted run: no network has to run
    for path in digits_folder_store_path.glob("rows-*.h5"):
        shutil.copy(path, tmp_path / "own.h5.parts")

    def predict(*arguments):
        code, out, said = run("predict", *arguments, "-m", model, "--store", "own.h5")
        return code, list(csv.DictReader(io.StringIO(out))), said

    return predict


@pytest.mark.slow
def test_a_file_that_is_no_image_takes_nothing_from_the_others(predict):
    code, (bad, good), said = predict("notes.txt", "good.png")
    assert code == 0
    assert (bad["path"], bad["label"]) == ("notes.txt", "")
    assert "the content is text" in bad["error"]
    assert (good["path"], good["label"]) == ("good.png", "0")
    assert "1 image could not be read:\n  notes.txt:" in said


def test_it_counts_as_a_failed_image_does(predict):
    assert predict("notes.txt", "good.png", "--max-failed", "0")[0] == 3


def test_a_folder_among_files_has_a_line_and_a_note(predict):
    code, (bad, good), said = predict("folder", "good.png")
    assert code == 0
    assert "a directory" in bad["error"]
    assert good["label"] == "0"
    assert "note: folder is no image file: name a folder, table, archive or store alone" in said


def test_a_missing_file_among_files_has_a_line(predict):
    _, (bad, _), _ = predict("missing.png", "good.png")
    assert bad["error"].startswith("no such file")


@pytest.mark.parametrize("sources", [["photo.HEIC"], ["photo.HEIC", "notes.txt"], ["notes.txt"]])
def test_where_nothing_can_be_read_the_table_is_written_all_the_same(predict, sources):
    code, lines, said = predict(*sources)
    assert code == 1
    assert [line["path"] for line in lines] == sources
    assert all(line["error"] and not line["label"] for line in lines)
    assert ("none of the 2 images could be read" if len(sources) == 2 else "the image could not be read") in said


def test_an_output_that_holds_failures_only_is_written(predict, tmp_path):
    code, _, _ = predict("photo.HEIC", "-o", "out.json")
    assert code == 1
    (line,) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert "HEIC" in line["error"]


def test_an_image_without_an_ending_is_labeled(predict, tmp_path):
    (tmp_path / "IM0001").write_bytes((tmp_path / "good.png").read_bytes())
    code, (line,), _ = predict("IM0001")
    assert (code, line["label"]) == (0, "0")


def test_predict_says_nothing_of_labels(predict, tmp_path):
    (tmp_path / "new" / "some").mkdir(parents=True)
    shutil.copy(tmp_path / "good.png", tmp_path / "new")
    shutil.copy(tmp_path / "good.png", tmp_path / "new" / "some")
    _, lines, said = predict("new")
    assert len(lines) == 2
    assert "beside the class folders" not in said
    (tmp_path / "new.csv").write_text("path,kind\ngood.png,a\n")
    _, _, said = predict("new.csv")
    assert "label" not in said


def test_a_compressed_tar_file_is_told_how_to_be_read(predict, tmp_path):
    (tmp_path / "photos.tar.gz").write_bytes(b"\x1f\x8b")
    code, lines, said = predict("photos.tar.gz")
    assert (code, lines) == (1, [])
    assert "can only be read from its beginning: unpack it" in said


def test_an_image_without_an_ending_has_the_path_that_one_with_an_ending_has(predict, tmp_path):
    (tmp_path / "folder" / "IM0001").write_bytes((tmp_path / "good.png").read_bytes())
    _, (line,), _ = predict("folder/IM0001")
    assert line["path"] == "IM0001"
