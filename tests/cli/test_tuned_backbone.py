"""What was trained is a backbone again: models on it, and trainings that start there."""

from __future__ import annotations

import json

import pytest

from featurekit import FineTuneClassifier, TransferClassifier, load_model

# A conversion for OpenVINO takes longer than PyTorch takes for these few images.
TORCH = ("--runtime", "torch")


@pytest.fixture(scope="module")
def tuned(digits_folder, tmp_path_factory):
    """A network trained for an epoch from random weights, saved."""
    paths = sorted(digits_folder.glob("*/*.png"))
    model = FineTuneClassifier(pretrained=False, epochs=1, image_size=64, runtime="torch")
    return model.fit(paths, [path.parent.name for path in paths]).save(tmp_path_factory.mktemp("tuned") / "tuned")


@pytest.mark.slow
def test_a_model_on_a_tuned_network_keeps_it(run, digits_folder, tuned, tmp_path):
    code, said, errors = run("fit", digits_folder, "--backbone", tuned, "--cv", "0", "-o", "head", *TORCH)
    assert code == 0, errors
    saved = json.loads((tmp_path / "head" / "model.json").read_text())
    assert saved["settings"] == {"backbone": "efficientnet_lite0", "weights": None}
    assert (tmp_path / "head" / "network.safetensors").read_bytes() == (tuned / "network.safetensors").read_bytes()
    code, said, errors = run("evaluate", digits_folder, "--model", "head", "--json", *TORCH)
    assert code == 0, errors
    assert json.loads(said)["n"] == 60
    # And by way of a store.
    assert run("extract", digits_folder, "--backbone", tuned, "-o", "rows.h5", *TORCH)[0] == 0
    assert run("fit", "rows.h5", "--cv", "0", "-o", "second")[0] == 0
    assert run("predict", digits_folder, "--model", "second", *TORCH)[0] == 0


@pytest.mark.slow
def test_a_model_in_python_on_a_tuned_network_keeps_it(digits_folder, tuned, tmp_path, monkeypatch):
    paths = sorted(digits_folder.glob("*/*.png"))
    monkeypatch.chdir(tuned.parent)
    model = TransferClassifier("tuned", runtime="torch").fit(paths, [path.parent.name for path in paths])
    folder, expected = model.save(tmp_path / "model"), model.predict(paths)
    monkeypatch.chdir(tmp_path)
    assert (load_model(folder).set_params(runtime="torch").predict(paths) == expected).all()


@pytest.mark.slow
def test_training_goes_on_with_other_classes(run, digits_folder, tuned, tmp_path):
    (tmp_path / "words").mkdir()
    for number, word in enumerate(("zero", "one", "two")):
        (tmp_path / "words" / word).symlink_to(digits_folder / str(number))
    code, _, errors = run(
        *("finetune", "words", "--from", tuned, "--unfreeze", "1", "--epochs", "1", "-o", "new", "--json"),
        *TORCH,
    )
    assert code == 0, errors
    assert "knows the classes 0, 1, 2, and these images have one, two, zero: its network is taken" in errors
    assert "was trained before" in errors
    assert load_model(tmp_path / "new").classes_.tolist() == ["one", "two", "zero"]


@pytest.mark.slow
def test_models_show_names_it(run, tuned):
    code, said, _ = run("models", "show", tuned)
    assert code == 0
    assert said.startswith(f"{tuned}: tf_efficientnet_lite0 of timm, efficientnet_lite0, the network of a saved model")


@pytest.mark.slow
def test_weights_of_ones_own_are_found_again(run, digits_folder, tuned, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes((tuned / "network.safetensors").read_bytes())
    assert run("extract", digits_folder, "--weights", own, "--image-size", "64", "-o", "rows.h5", *TORCH)[0] == 0
    assert run("fit", "rows.h5", "--cv", "0", "-o", "model")[0] == 0
    assert json.loads((tmp_path / "model" / "model.json").read_text())["settings"]["weights"] == str(own)
    assert run("predict", digits_folder, "--model", "model", *TORCH)[0] == 0
