"""What the verbs say of labels: contradictions, names of different form, and labels that are missing."""

from __future__ import annotations

import json
import shutil

import pytest

# The command prints warnings; in this process pytest would make errors of them.
pytestmark = pytest.mark.filterwarnings("always::featurekit.errors.LabelWarning")

CONTRADICTION = {"paths": ["0/000.png", "1/copy.png"], "labels": ["0", "1"]}
SAID = "2 images are there under more than one label (equal files): 0/000.png (0), 1/copy.png (1)"


@pytest.fixture(scope="module")
def store(digits_folder, tmp_path_factory):
    """A store of two classes of six images, and one picture that is in both."""
    from featurekit import extract

    folder = tmp_path_factory.mktemp("twice")
    for label in ("0", "1"):
        (folder / label).mkdir()
        for number in range(6):
            shutil.copy(digits_folder / label / f"{number:03d}.png", folder / label)
    shutil.copy(folder / "0" / "000.png", folder / "1" / "copy.png")
    path = tmp_path_factory.mktemp("store") / "twice.h5"
    extract(folder, output=path).close()
    return path


@pytest.mark.parametrize(
    "verb",
    [
        ["fit", "-o", "model", "--head", "centroid", "--cv", "2"],
        ["evaluate", "--head", "centroid"],
        ["compare", "--head", "centroid", "--cv", "2"],
    ],
    ids=lambda verb: verb[0],
)
def test_a_verb_names_contradicting_files(verb, store, run):
    code, out, err = run(verb[0], store, *verb[1:], "--json")
    assert code == 0, err
    assert err.count(SAID) == 1
    assert json.loads(out)["contradictions"] == [CONTRADICTION]


def test_evaluate_of_a_model_names_contradicting_files(store, digits_store_path, run):
    assert run("fit", digits_store_path, "-o", "model", "--head", "centroid")[0] == 0
    code, out, err = run("evaluate", store, "--model", "model", "--json")
    assert code == 0, err
    assert err.count(SAID) == 1
    assert json.loads(out)["contradictions"] == [CONTRADICTION]


def test_the_report_names_contradicting_files(store, run, tmp_path):
    assert run("compare", store, "--head", "centroid", "--cv", "2", "--report", "report")[0] == 0
    assert SAID in (tmp_path / "report" / "report.html").read_text()


def test_classes_that_differ_in_case_are_named(digits_folder, run, tmp_path):
    lines = [
        f"{label}/{number:03d}.png,{name}" for label, name in (("0", "Dress"), ("1", "dress")) for number in range(4)
    ]
    (tmp_path / "photos.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    code, out, err = run("fit", "photos.csv", "--root", digits_folder, "-o", "model", "--head", "centroid", "--json")
    assert code == 0, err
    assert "'Dress' and 'dress'" in err
    assert json.loads(out)["alike_labels"] == [["Dress", "dress"]]


@pytest.mark.parametrize(
    "verb",
    [
        ["fit", "-o", "model"],
        ["fit", "-o", "model", "--target", "number"],
        ["fit", "-o", "model", "--target", "labels"],
        ["evaluate", "--head", "ridge", "--target", "number"],
        ["compare"],
    ],
    ids=" ".join,
)
def test_images_without_labels_are_refused_before_the_extraction(verb, digits_folder, run, tmp_path):
    (tmp_path / "price.csv").write_text("path,price\n0/000.png,3\n1/000.png,4\n")
    code, _, err = run(verb[0], "price.csv", "--root", digits_folder, *verb[1:])
    assert code == 1
    assert "none of these 2 images has a label" in err
    assert not list(tmp_path.glob("**/*.h5"))


def test_a_store_without_labels_is_refused_for_numbers(digits_folder, run, tmp_path):
    from featurekit import extract

    extract(sorted(digits_folder.glob("0/00*.png")), output=tmp_path / "x.h5").close()
    for verb in (["fit", "x.h5", "-o", "model"], ["evaluate", "x.h5", "--head", "ridge"]):
        code, _, err = run(*verb, "--target", "number")
        assert code == 1
        assert "label" in err
        assert "sample" not in err
