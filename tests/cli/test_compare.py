"""``featurekit compare``, as a person types it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_second_comparison_reuses_the_results_of_the_first(run, digits_folder):
    arguments = ["compare", digits_folder, "--head", "lda,centroid", "--report", "r", "--csv", "t.csv"]
    code, out, err = run(*arguments)
    assert code == 0
    assert "efficientnet_lite0.stages lda: accuracy" in err
    assert out.startswith("features                   head      accuracy")
    assert "60 images, 5 folds, the same for every line" in out
    assert out.endswith("report: r/report.html\n")
    assert Path("r/report.html").stat().st_size > 10_000
    assert {line["head"] for line in csv.DictReader(Path("t.csv").read_text().splitlines())} == {"lda", "centroid"}
    home = Path(f"{digits_folder.name}.compare")
    assert (home / "efficientnet_lite0.stages.h5").is_file()
    code, again, err = run(*arguments)
    assert (code, again) == (0, out)
    assert err.count("(of an earlier run)") == 2
    data = json.loads(run(*arguments, "--json", "-q")[1])
    assert {"results", "seconds", "phases", "duplicates", "output", "report"} <= set(data)
    assert {"backbone", "head", "score", "low", "high", "difference_to_best", "fit_seconds"} <= set(data["results"][0])
    assert len(data["curve"]) == 5


def test_a_store_is_compared_with_the_given_folds(run, digits_store_path):
    code, out, err = run("compare", digits_store_path, "--head", "centroid", "--cv", 3, "--repeats", 2, "-o", "c", "-q")
    assert (code, err) == (0, "")
    assert "60 images, 3 folds, drawn 2 times" in out
    assert Path("c/results").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--head", "tree"], "--head: no head called 'tree'; there are: auto, logreg"),
        (["--head", "lda,lda"], "--head names one twice"),
        (["--cv", "1"], "1 is less than 2"),
        (["--repeats", "0"], "0 is less than 1"),
        (["--head", ","], "one of the names is empty"),
        (["--seed", "99999999999"], "99999999999 is not less than"),
    ],
)
def test_wrong_usage(run, digits_store_path, arguments, message):
    code, out, err = run("compare", digits_store_path, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_mistakes_have_one_line(run, digits_store_path, digits_folder):
    assert run("compare", digits_store_path, digits_folder)[0] == 2
    for source, message in (("nowhere", "nowhere"), ("nowhere.h5", "nowhere.h5")):
        code, out, err = run("compare", source)
        assert (code, out) == (1, "")
        assert message in err
        assert len(err.splitlines()) == 1
    code, _, err = run("compare", digits_store_path, digits_store_path)
    assert code == 1
    assert "the same features" in err


@pytest.mark.slow
def test_comparing_stores_never_imports_torch(digits_store_path, tmp_path):
    code = (
        "import sys; from featurekit_cli.main import main; "
        "assert main(sys.argv[1:]) == 0; assert not {'torch', 'timm', 'openvino'} & set(sys.modules)"
    )
    command = ["compare", str(digits_store_path), "--head", "centroid", "-o", str(tmp_path / "c")]
    out = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
