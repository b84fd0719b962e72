"""Whole-network rows and the head auto on the command line."""

from __future__ import annotations

import json

import pytest

from featurekit import FeatureStore
from featurekit.advisor.growth import growth
from featurekit.heads import LDAPath


@pytest.fixture(scope="module")
def store(digits_folder, tmp_path_factory):
    """A store of two layers in one row."""
    from featurekit import extract

    target = tmp_path_factory.mktemp("whole") / "digits.h5"
    extract(digits_folder, output=target, layer="blocks.2+blocks.5", image_size=64, runtime="torch").close()
    return target


def test_fit_says_what_auto_chose(store, tmp_path, run):
    code, out, err = run("fit", store, "--head", "auto", "--cv", "2", "-o", tmp_path / "model")
    assert code == 0, err
    assert "model: auto on 60 images of 3 classes" in out
    assert "auto chose " in out
    code, out, _ = run("fit", store, "--head", "auto", "--cv", "0", "-o", tmp_path / "model", "--json")
    found = json.loads(out)
    assert found["head"] == "auto"
    assert found["chosen_head"] in found["candidates"]
    assert list(found["candidates"]) == ["logreg", "svm", "lda"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Head: auto (AutoHead)" in card
    assert f"Chosen by cross-validation: {found['chosen_head']}" in card
    assert "layer blocks.2+blocks.5, 232 features" in card


def test_info_names_the_layers(store, run):
    code, out, _ = run("store", "info", store)
    assert code == 0
    assert "layer blocks.2+blocks.5" in out
    assert "blocks.2 40, blocks.5 192" in out
    code, out, _ = run("store", "info", store, "--json")
    assert json.loads(out)["space"]["blocks"] == [["blocks.2", 40], ["blocks.5", 192]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "{store}", "--head", "lda", "--cv", "2"),
        ("compare", "{store}", "--head", "lda", "--cv", "2", "--report", "page"),
        ("evaluate", "{store}", "--head", "lda"),
        ("fit", "{store}", "--head", "lda", "--cv", "2", "-o", "model"),
    ],
)
def test_every_verb_tells_the_head_the_layers(arguments, store, run, monkeypatch):
    told = []
    fit = LDAPath.fit

    def noted(self, *args, **options):
        told.append(self.blocks)
        return fit(self, *args, **options)

    monkeypatch.setattr(LDAPath, "fit", noted)
    code, _, err = run(*(str(each).format(store=store) for each in arguments))
    assert code == 0, err
    assert told
    assert set(told) == {(40, 192)}


def test_the_advisor_tells_the_head_the_layers(store, monkeypatch):
    told = []
    fit = LDAPath.fit
    monkeypatch.setattr(
        LDAPath, "fit", lambda self, *args, **more: told.append(self.blocks) or fit(self, *args, **more)
    )
    with FeatureStore(store) as whole:
        growth(whole.X[...], whole.y, "lda", blocks=whole.space.widths)
    assert set(told) == {(40, 192)}


def test_rows_of_other_layers_are_not_mixed(store, digits_folder, run):
    code, _, err = run("extract", digits_folder, "-o", store, "--layer", "blocks.2+blocks.4", "--image-size", "64")
    assert code == 1
    assert "blocks.2+blocks.4" in err
    with FeatureStore(store) as whole:
        assert whole.space.columns["blocks.5"] == slice(40, 232)


def test_layers_joined_twice_are_refused(digits_folder, tmp_path, run):
    code, _, err = run("extract", digits_folder, "-o", tmp_path / "x.h5", "--layer", "stages+blocks.2")
    assert code == 1
    assert "has blocks.2 in it more than once" in err
    assert not (tmp_path / "x.h5").exists()
