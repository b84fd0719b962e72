"""The name of the store that nobody named: sources of the same name do not share it, and old names are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from featurekit_cli._sources import default_store
from odd_files import picture

from featurekit import FeatureStore, extract


@pytest.fixture
def sites(tmp_path, monkeypatch):
    """Two folders with a part for training in each."""
    for i, site in enumerate(("siteA", "siteB")):
        folder = tmp_path / site / "train" / "cat"
        folder.mkdir(parents=True)
        picture(i).save(folder / f"{site}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def name_of(source, backbone="efficientnet_lite0", layer=None):
    return default_store(str(source), backbone, layer).name


def test_splits_of_two_sites_have_stores_of_their_own(sites):
    assert name_of("siteA/train") == "siteA-train.efficientnet_lite0.h5"
    assert name_of("siteB/train/") == "siteB-train.efficientnet_lite0.h5"
    assert name_of("siteB/Test.csv") == "siteB-Test.efficientnet_lite0.h5"
    assert name_of("https://host/data/val.csv") == "data-val.efficientnet_lite0.h5"


def test_split_is_called_the_same_from_anywhere(sites, monkeypatch):
    monkeypatch.chdir("siteA/train")
    assert name_of(".") == name_of("../train") == name_of(sites / "siteA" / "train")


def test_other_names_stay_as_they_are(sites):
    assert name_of("siteA/photos") == "photos.efficientnet_lite0.h5"


def test_store_of_the_old_name_is_used_again(sites, run):
    extract("siteA/train", output="train.efficientnet_lite0.h5").close()
    assert name_of("siteA/train") == "train.efficientnet_lite0.h5"
    assert name_of("siteA/train", "{backbone}") == "train.{backbone}.h5"
    assert name_of("siteB/train") == "siteB-train.efficientnet_lite0.h5"
    for site in ("siteA", "siteB"):
        assert run("extract", f"{site}/train")[0] == 0
    assert sorted(path.name for path in Path().glob("*.h5")) == [
        "siteB-train.efficientnet_lite0.h5",
        "train.efficientnet_lite0.h5",
    ]
    with FeatureStore("train.efficientnet_lite0.h5") as store:
        assert store.paths == ["cat/siteA.png"]


def test_damaged_store_of_the_old_name_is_left_alone(sites):
    Path("train.efficientnet_lite0.h5").write_bytes(b"no store")
    assert name_of("siteA/train") == "siteA-train.efficientnet_lite0.h5"
