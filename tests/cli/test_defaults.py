"""The main job on the command line with defaults alone."""

from __future__ import annotations

import json
from pathlib import Path


def test_fit_says_what_auto_chose(run, digits_store_path):
    code, out, _ = run("fit", digits_store_path, "-o", "model", "--cv", "0", "--json")
    found = json.loads(out)
    assert (code, found["head"]) == (0, "auto")
    assert found["chosen_head"] in found["candidates"]
    assert set(found["candidates"]) == {"logreg", "svm", "lda"}


def test_fine_tuning_makes_a_store_of_its_own_beside_the_default_one(run, digits_folder):
    size = ("--image-size", "64", "--runtime", "torch")
    assert run("extract", digits_folder, *size)[0] == 0
    code, _, err = run("finetune", digits_folder, "-o", "tuned", "--epochs", "1", "--unfreeze", "0", *size)
    assert code == 0, err
    name = f"{digits_folder.name}.efficientnet_lite0"
    assert {path.name for path in Path().glob("*.h5")} == {f"{name}.h5", f"{name}.penultimate.h5"}


def test_fine_tuning_starts_at_the_network_of_a_model_made_by_default(run, digits_folder):
    size = ("--image-size", "64", "--runtime", "torch")
    assert run("fit", digits_folder, "-o", "frozen", "--cv", "0", *size)[0] == 0
    more = ("--epochs", "1", "--unfreeze", "0", "--runtime", "torch")
    code, _, err = run("finetune", digits_folder, "-o", "tuned", "--from", "frozen", *more)
    assert code == 0, err
    assert "its network is taken, with a new last layer" in err
