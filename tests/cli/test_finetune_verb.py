from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

from featurekit import load_model

# A network of its own is converted for ten seconds, which is longer than PyTorch takes for these few images.
TORCH = ("--runtime", "torch")
SMALL = ("--image-size", 64, *TORCH)


@pytest.mark.slow
def test_a_tuned_model_is_classifier_backbone_and_start(run, digits_folder, digits_store_path, tmp_path):
    """Train, go on from the model, use it as a backbone, as a classifier, and as a start."""
    common = ("--epochs", 2, "--unfreeze", 1, "--store", tmp_path / "digits.h5", "--png", "history.png", *TORCH)
    code, out, err = run("finetune", digits_folder, "-o", "tuned", "--image-size", 64, *common)
    assert code == 0, err
    assert out.startswith("tuned: efficientnet_lite0, ")
    assert "on 60 images of 3 classes" in out
    assert "points (95% interval" in out
    assert "trunk cache: 48 images x 2 views" in err
    assert "epoch 2/2: loss" in err
    assert not Path("tuned.training").exists()
    with Image.open("history.png") as picture:
        assert picture.size[0] > 500
    assert load_model("tuned").classes_.tolist() == ["0", "1", "2"]
    code, out, _ = run("evaluate", digits_folder, "-m", "tuned", "--json", *TORCH)
    assert json.loads(out)["accuracy"] > 0.95
    assert run("extract", digits_folder, "--backbone", "tuned", "-o", "rows.h5", *TORCH)[0] == 0
    code, out, _ = run("evaluate", "rows.h5", "--head", "knn")
    assert code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was trained before, unless the frozen network was kept
        code, out, err = run("finetune", digits_folder, "-o", "again", "--from", "tuned", *common, "--json", "-q")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {"model", "epochs", "frozen_score", "score", "seconds", "history", "moved"} <= set(found)
    assert found["epochs"] == 2


def test_a_bad_image_is_left_out(run, digits_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    for label in "01":
        (tmp_path / "photos" / label).mkdir()
        for path in sorted((digits_folder / label).glob("*.png"))[:8]:
            (tmp_path / "photos" / label / path.name).write_bytes(path.read_bytes())
    (tmp_path / "photos" / "0" / "bad.png").write_bytes(b"no image")
    code, out, err = run("finetune", "photos", "-o", "m", "--epochs", 1, "--unfreeze", 0, "--max-failed", 0)
    assert code == 3
    assert "frozen, with logreg on 16 images of 2 classes" in out
    assert "nothing beyond chance. Saved is the frozen network" in out
    assert "bad.png" in err


@pytest.mark.slow
def test_wrong_usage(run, digits_folder, digits_store_path, tmp_path):
    for arguments, message in (
        ((digits_store_path,), "needs the images themselves"),
        ((digits_folder, "--from", "m", "--image-size", "96"), "--from keeps the size of that model's images"),
        ((digits_folder, "--layer", "blocks.3"), "--l2 and --precision are for frozen features"),
        ((digits_folder, "--scratch", "--from", "m"), "exclude each other"),
        ((digits_folder, "--epochs", 0), "0 is less than 1"),
    ):
        code, _, err = run("finetune", *arguments, "-o", "m")
        assert (code, message in err) == (2, True), err
    for arguments, message in (
        ((digits_folder, "--unfreeze", "blocks.9"), "cannot unfreeze 'blocks.9'"),
        ((digits_folder, "--learning-rate", "-1"), "learning_rate must be a number above 0"),
        ((digits_folder, "--from", "nothing"), "no saved model in nothing"),
        ((tmp_path / "none",), "none"),
    ):
        code, _, err = run("finetune", *arguments, "-o", "m", "--store", tmp_path / "s.h5")
        assert (code, message in err, "Traceback" in err) == (1, True, False), err
    assert not Path("m").exists()


def some(folder, number=6):
    """A folder of two classes."""
    for label in "01":
        (folder / label).mkdir(parents=True)
        for path in sorted((folder.parent / "all" / label).glob("*.png"))[:number]:
            (folder / label / path.name).write_bytes(path.read_bytes())


@pytest.mark.slow
def test_nothing_of_the_users_is_deleted(run, digits_folder, tmp_path):
    """The default work folder has the name of the images' folder."""
    (tmp_path / "all").symlink_to(digits_folder)
    some(tmp_path / "m.training")
    before = sorted(tmp_path.glob("m.training/*/*"))
    code, _, err = run("finetune", "m.training", "-o", "m", "--epochs", 1, "--unfreeze", 0, *SMALL)
    assert code == 0, err
    assert sorted(tmp_path.glob("m.training/*/*")) == before
    code, _, err = run("finetune", "m.training", "-o", "m2", "--epochs", 1, "--unfreeze", 0, "--work", ".", *SMALL)
    assert code == 0, err
    assert {"m", "m2", "m.training"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_an_image_that_is_listed_twice_keeps_both_labels(run, digits_folder, tmp_path):
    lines = ["path,label"]
    for label in "01":
        lines += [f"{path},{label}" for path in sorted((digits_folder / label).glob("*.png"))[:6]]
    lines += [line.replace(",1", ",2") for line in lines if line.endswith(",1")]
    Path("man.csv").write_text("\n".join(lines))
    options = ("--epochs", 1, "--unfreeze", 0, "--json", *SMALL)
    code, out, err = run("finetune", "man.csv", "-o", "m", "--root", digits_folder, *options)
    assert code == 0, err
    assert (json.loads(out)["n"], json.loads(out)["classes"]) == (18, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scratch", "--unfreeze", "1"), "--scratch trains all from random numbers"),
        (("--scratch", "--head-start", "fitted"), "--scratch trains all from random numbers"),
        (("--validation", "x", "--validation-share", "0.3"), "--validation and --validation-share exclude each other"),
    ],
)
def test_options_that_exclude_each_other_are_refused(run, digits_folder, options, message):
    code, _, err = run("finetune", digits_folder, "-o", "m", *options)
    assert code == 2
    assert message in err


def test_the_output_is_looked_at_before_all_work(run, digits_folder):
    Path("m").mkdir()
    Path("m/diary.txt").touch()
    code, _, err = run("finetune", digits_folder, "-o", "m")
    assert code == 1
    assert "m exists and is not a saved model. Nothing was changed" in err
    assert [path.name for path in Path().iterdir()] == ["m"]


@pytest.mark.slow
def test_stores_are_called_by_their_weights(run, digits_folder, tmp_path):
    (tmp_path / "all").symlink_to(digits_folder)
    some(tmp_path / "photos")
    assert run("fit", "photos", "-o", "frozen", "--store", "x.h5", *SMALL)[0] == 0
    # The network of a tuned model without training it: its weights are in a file of its own.
    code, _, err = run("finetune", "photos", "-o", "tuned", "--scratch", "--epochs", 1, "--augment", "none", *SMALL)
    assert code == 0, err
    assert run("extract", "photos", "--backbone", "tuned/", *TORCH)[0] == 0
    assert Path("photos.tuned.h5").is_file()
    assert run("fit", "photos", "-o", "plain", *SMALL)[0] == 0
    assert Path("photos.efficientnet_lite0.h5").is_file()
    code, _, err = run("finetune", "photos", "-o", "again", "--from", "tuned", "--epochs", 1, "--unfreeze", 0, *TORCH)
    assert code == 0, err
