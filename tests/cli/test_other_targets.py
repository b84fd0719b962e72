"""Labels beside each other, numbers, and abstaining, on the command line."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from featurekit import FeatureStore, extract


@pytest.fixture(scope="module")
def stores(digits_folder, tmp_path_factory):
    """The digits with a number, and with labels, instead of a class; some have none."""
    home = tmp_path_factory.mktemp("targets")
    paths = sorted(digits_folder.glob("*/*.png"))
    says = {
        "number": lambda digit: f"{digit * 10 + 0.5}",
        "labels": lambda digit: {"0": "even;round", "1": ";", "2": "even"}[str(digit)],
    }
    for name, say in says.items():
        with open(home / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label"])
            for number, path in enumerate(paths):
                writer.writerow([path.relative_to(digits_folder), say(int(path.parent.name)) if number % 20 else ""])
        extract(home / f"{name}.csv", output=home / f"{name}.h5", root=digits_folder).close()
    return home


def test_numbers_are_fitted_evaluated_and_predicted(run, stores, tmp_path):
    code, out, _ = run("fit", stores / "number.h5", "--target", "number", "-o", "model")
    assert code == 0
    assert "model: ridge on 57 images (" in out
    assert "3 rows have no label and were left out" in out
    assert "cross-validated R squared 0." in out
    assert "a number for each image" in (tmp_path / "model" / "README.md").read_text()
    code, out, _ = run("evaluate", stores / "number.h5", "-m", "model", "--json")
    scores = json.loads(out)
    assert (code, scores["n"]) == (0, 57)
    assert scores["r2"] > 0.8
    assert scores["intervals"]["r2"][0] < scores["r2"] < scores["intervals"]["r2"][1]
    code, out, _ = run("predict", stores / "number.h5", "-m", "model")
    lines = list(csv.DictReader(out.splitlines()))
    truth = np.array([float(line["path"][0]) * 10 + 0.5 for line in lines])
    assert np.abs(np.array([float(line["label"]) for line in lines]) - truth).mean() < 5
    assert list(lines[0]) == ["path", "label", "probability", "error"]
    code, out, _ = run("evaluate", stores / "number.h5", "--head", "knn", "--target", "number")
    assert re.search(r"R squared +[01]\.\d+", out)


def test_labels_beside_each_other(run, stores, tmp_path):
    code, out, _ = run("fit", stores / "labels.h5", "--target", "labels", "-o", "model", "--json")
    fitted = json.loads(out)
    assert (code, fitted["classes"], fitted["n"], fitted["target"]) == (0, ["even", "round"], 57, "labels")
    assert fitted["cv_score"] > 0.8
    assert "which of 2 labels each image has: even, round" in (tmp_path / "model" / "README.md").read_text()
    code, out, _ = run("evaluate", stores / "labels.h5", "-m", "model")
    assert "exact match" in out
    assert "round" in out
    code, out, _ = run("predict", stores / "labels.h5", "-m", "model")
    lines = list(csv.DictReader(out.splitlines()))
    expected = {"0": "even;round", "1": ";", "2": "even"}
    assert np.mean([line["label"] == expected[line["path"][0]] for line in lines]) > 0.9
    assert float(lines[0]["p(round)"]) > 0.5
    code, out, _ = run("evaluate", stores / "labels.h5", "--head", "svm", "--target", "labels", "--json")
    assert {label["label"] for label in json.loads(out)["per_label"]} == {"even", "round"}


def test_options_of_other_targets_are_refused(run, stores, digits_store_path):
    for arguments, code, message in (
        (("fit", stores / "labels.h5", "--target", "number", "-o", "m"), 1, "expected a number as the label"),
        (("fit", stores / "number.h5", "--target", "number", "--head", "lda", "-o", "m"), 2, "does not predict num"),
        (("fit", stores / "labels.h5", "--target", "labels", "--head", "lda", "-o", "m"), 2, "one class to each"),
        (("evaluate", digits_store_path, "--head", "lda", "--abstain-below", 0.5), 2, "--abstain-below is for"),
        (("evaluate", digits_store_path, "--head", "lda", "--target", "labels"), 2, "one class to each image"),
    ):
        got, _, err = run(*arguments)
        assert (got, message in err) == (code, True), err


def test_predict_abstains_below_the_threshold(run, digits_store_path):
    assert run("fit", digits_store_path, "-o", "model", "--head", "centroid", "--cv", 0)[0] == 0
    with FeatureStore(digits_store_path) as store:
        from featurekit import load_model

        surest = load_model("model").predict_proba(store).max(axis=1)
    below = float(np.median(surest))
    code, out, err = run("predict", digits_store_path, "-m", "model", "--abstain-below", below, "--json")
    lines = json.loads(out)["predictions"]
    assert code == 0
    assert [line["abstained"] for line in lines] == (surest < below).tolist()
    assert all((line["label"] is None) == line["abstained"] for line in lines)
    assert f"abstained from {(surest < below).sum()} of 60 images" in err
    code, out, _ = run("evaluate", digits_store_path, "-m", "model", "--abstain-below", below, "--json")
    found = json.loads(out)["abstention"]
    assert found["answered"] == pytest.approx((surest >= below).mean())
    assert found["accuracy"] >= json.loads(out)["accuracy"]
    code, out, _ = run("evaluate", digits_store_path, "-m", "model", "--abstain-below", 1)
    assert "answered           0.0000" in out
    assert run("predict", digits_store_path, "-m", "model", "--abstain-below", 2)[0] == 2


def test_abstaining_needs_one_class_for_each_image(run, stores):
    assert run("fit", stores / "number.h5", "--target", "number", "-o", "model")[0] == 0
    for verb in ("predict", "evaluate"):
        code, _, err = run(verb, stores / "number.h5", "-m", "model", "--abstain-below", 0.5)
        assert code == 1
        assert "one class to each image" in err
