"""The layer that is taken where none is named, and the head where none is named."""

from __future__ import annotations

import pytest
import torch
from featurekit_cli._sources import default_store
from torch import nn

from featurekit import FeatureExtractor, FeatureStore, TransferClassifier, compare, evaluate, extract, load_model
from featurekit.backbones import default_layer, find
from featurekit.errors import BackboneError
from featurekit.extraction.update import Update
from featurekit.heads import AutoHead

SMALL = {"image_size": 64, "runtime": "torch"}


@pytest.fixture(scope="module")
def folder(digits_folder, tmp_path_factory):
    """Ten images of each of two classes."""
    home = tmp_path_factory.mktemp("photos") / "photos"
    for label in "01":
        (home / label).mkdir(parents=True)
        for path in sorted((digits_folder / label).glob("*.png"))[:10]:
            (home / label / path.name).write_bytes(path.read_bytes())
    return home


@pytest.fixture
def penultimate(folder, tmp_path):
    """A store as older versions made it by default."""
    with extract(folder, output=tmp_path / "old.h5", layer="penultimate", **SMALL) as store:
        return store.path


def test_a_new_store_takes_all_stages(folder, tmp_path):
    with extract(folder, output=tmp_path / "new.h5", **SMALL) as store:
        assert (store.space.layer, store.space.dim) == ("stages", 816)
        assert store.summary.notes == ()


def test_a_store_of_another_layer_keeps_it_and_says_so(folder, penultimate):
    with extract(folder, output=penultimate, **SMALL) as store:
        assert (store.space.layer, store.summary.computed) == ("penultimate", 0)
        (note,) = store.summary.notes
    assert "holds the layer penultimate and keeps it; a new store takes stages" in note
    with extract(folder, output=penultimate, layer="penultimate", **SMALL) as store:
        assert store.summary.notes == ()


def test_an_interrupted_first_run_goes_on_with_its_layer(folder, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(Update, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(folder, output=tmp_path / "s.h5", layer="blocks.3", **SMALL)
    with extract(folder, output=tmp_path / "s.h5", **SMALL) as store:
        assert (store.space.layer, store.summary.computed, store.summary.reused) == ("blocks.3", 0, 20)


def test_a_store_as_cache_decides_the_layer(folder, penultimate, tmp_path):
    paths = sorted(folder.glob("*/*.png"))[:3]
    cached = FeatureExtractor(cache=penultimate, **SMALL)
    assert cached.fit_transform(paths).shape == (3, 1280)
    assert cached.get_params()["layer"] is None
    assert FeatureExtractor(cache=tmp_path / "folder", **SMALL).fit_transform(paths).shape == (3, 816)


def test_a_fitted_extractor_keeps_its_layer_with_another_cache(folder, penultimate):
    paths = sorted(folder.glob("*/*.png"))[:3]
    extractor = FeatureExtractor(cache=penultimate, **SMALL).fit(paths)
    assert extractor.set_params(cache=None).transform(paths).shape == (3, 1280)


def test_a_saved_model_as_backbone_brings_its_layer(folder, penultimate, tmp_path):
    with FeatureStore(penultimate) as store:
        TransferClassifier(head="centroid", **SMALL).fit(store).save(tmp_path / "model")
    with extract(folder, output=tmp_path / "own.h5", backbone=str(tmp_path / "model"), runtime="torch") as own:
        assert own.space.layer == "penultimate"
        assert evaluate(load_model(tmp_path / "model"), own).n == 20


class Flat(nn.Module):
    """A network without stages."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(3, 8)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x):
        return self.classifier(torch.relu(self.scale(x.mean((2, 3)))))


def test_a_network_without_stages_gives_its_penultimate_layer(folder):
    network = Flat().eval()
    assert default_layer(find(network)) == "penultimate"
    extractor = FeatureExtractor(network, **SMALL)
    assert extractor.fit_transform(sorted(folder.glob("*/*.png"))[:3]).shape == (3, 8)


def test_compare_takes_all_stages(folder, tmp_path):
    result = compare(folder, heads=["centroid"], output=tmp_path, **SMALL)
    assert (result.best.layer, result.best.features) == ("stages", "efficientnet_lite0.stages")


def test_names_of_stores_have_the_layer_that_was_named(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def name(layer):
        return default_store(str(folder), "efficientnet_lite0", layer).name

    assert name(None) == "photos.efficientnet_lite0.h5"
    assert name("stages") == "photos.efficientnet_lite0.stages.h5"
    assert name("penultimate") == "photos.efficientnet_lite0.penultimate.h5"
    extract(folder, output=name(None), layer="penultimate", **SMALL).close()  # as an older version did
    assert name("penultimate") == "photos.efficientnet_lite0.h5"
    assert name("stages") == "photos.efficientnet_lite0.stages.h5"


def test_the_head_is_chosen_by_cross_validation(folder):
    paths = sorted(folder.glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    classifier = TransferClassifier(**SMALL).fit(paths, labels)
    assert isinstance(classifier.head_, AutoHead)
    assert set(classifier.head_.candidates_) == {"logreg", "svm", "lda"}
    assert classifier.head_.estimator_.blocks == (32, 16, 24, 40, 80, 112, 192, 320)


def test_explicit_layers_of_several_backbones_are_in_the_name(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    extract(folder, output="photos.efficientnet_lite0.penultimate.h5", layer="penultimate", **SMALL).close()
    assert default_store(str(folder), "{backbone}", "penultimate").name == "photos.{backbone}.penultimate.h5"


def test_a_template_is_filled_with_the_layer_that_is_taken(folder, tmp_path):
    with extract(folder, output=tmp_path / "{layer}.h5", backbone=Flat().eval(), **SMALL) as store:
        assert (store.path.name, store.space.layer) == ("penultimate.h5", "penultimate")


def test_a_layer_without_a_name_is_refused(folder, tmp_path):
    with pytest.raises(BackboneError, match="no layer of efficientnet_lite0 called ''"):
        extract(folder, output=tmp_path / "s.h5", layer="", **SMALL)
