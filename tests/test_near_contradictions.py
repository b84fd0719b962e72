"""Near duplicates under different labels are named, apart from equal files."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from featurekit import FeatureStore, TransferClassifier, TransferRegressor, evaluate, extract
from featurekit.errors import LabelWarning
from featurekit.labels import connected_ids, find_near_contradictions, find_problems

NEAR = (
    r"2 images look like one under another label \(near duplicates\): (\S*cat/0\.png \(cat\), \S*dog/copy\.jpg \(dog\))"
)
COPY = [{"paths": ["cat/0.png", "dog/copy.jpg"], "labels": ["cat", "dog"]}]


def blobs(number):
    """A picture of smooth shapes, which no other number resembles."""
    coarse = np.random.default_rng(number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three cats and three dogs; one of the dogs is a cat, saved again."""
    folder = tmp_path_factory.mktemp("near") / "pets"
    for number, name in enumerate(["cat/0", "cat/1", "cat/2", "dog/3", "dog/4"]):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blobs(number).save(path)
    blobs(0).save(folder / "dog" / "copy.jpg", quality=80)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    with extract(folder, output=folder.parent / "s.h5") as store:
        yield store


def images(folder):
    paths = sorted(folder.glob("*/*"))
    return paths, [path.parent.name for path in paths]


def test_only_pairs_of_different_labels_contradict():
    found = find_near_contradictions([(0, 1), (1, 2), (3, 4)], ["a", "a", "b", "c", "c"], list("vwxyz"))
    assert [(each.paths, each.labels) for each in found] == [(("w", "x"), ("a", "b"))]


def test_chain_of_near_duplicates_is_one_contradiction():
    (found,) = find_near_contradictions([(0, 1), (1, 2)], ["a", "b", "a"], list("xyz"))
    assert found.paths == ("x", "y", "z")


def test_near_duplicates_may_differ_in_numbers():
    assert not find_problems(["1", "2"], pairs=[(0, 1)], paths=["x", "y"], numbers=True).near
    assert find_problems(["1", "2"], pairs=[(0, 1)], paths=["x", "y"]).near


def test_same_labels_in_another_order_are_no_contradiction():
    assert not find_problems(["a;b", "b; a"], pairs=[(0, 1)], paths=["x", "y"], separator=";").near


def test_links_through_others_connect():
    assert connected_ids(5, [(np.array([0]), np.array([4])), (np.array([4]), np.array([2]))]).tolist() == [
        0,
        1,
        0,
        2,
        0,
    ]
    assert len(connected_ids(0, [(np.empty(0, int), np.empty(0, int))])) == 0


def test_fit_on_a_store_names_near_duplicates(store):
    with pytest.warns(LabelWarning, match=NEAR):
        TransferClassifier(head="centroid").fit(store)


def test_fit_and_evaluate_on_images_name_near_duplicates(folder, store):
    paths, labels = images(folder)
    with pytest.warns(LabelWarning, match=NEAR):
        fitted = TransferClassifier(head="centroid", cache=store.path).fit(paths, labels)
    with pytest.warns(LabelWarning, match=NEAR):
        of_images = evaluate(fitted, paths, labels)
    with pytest.warns(LabelWarning, match=NEAR):
        of_store = evaluate(fitted, store)
    assert of_images.intervals == of_store.intervals  # both count the duplicates once


def test_numbers_of_near_duplicates_are_not_compared(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TransferRegressor().fit(store, np.arange(6.0))


def test_json_has_a_key_of_its_own_for_near_duplicates(store, capsys):
    from featurekit_cli.main import main

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the command prints them
        assert main(["evaluate", str(store.path), "--head", "centroid", "--test-size", "0.5", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "(near duplicates): cat/0.png (cat), dog/copy.jpg (dog)" in err
    said = json.loads(out)
    assert said["contradictions"] == []
    assert said["near_contradictions"] == COPY


def test_rows_without_a_label_are_left_out(folder, tmp_path):
    """Row numbers of pairs are those of the labelled rows."""
    manifest = tmp_path / "list.csv"
    names = ["cat/1.png,", "cat/0.png,cat", "cat/2.png,cat", "dog/3.png,dog", "dog/copy.jpg,dog"]
    manifest.write_text("\n".join(["path,label", *names, ""]))
    extract(manifest, root=folder, output=tmp_path / "s.h5").close()
    with FeatureStore(tmp_path / "s.h5") as store, pytest.warns(LabelWarning, match=NEAR):
        TransferClassifier(head="centroid").fit(store)
