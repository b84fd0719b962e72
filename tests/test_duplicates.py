from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from made_stores import SPACE, make_rows
from PIL import Image, ImageOps

from featurekit import FeatureExtractor, FeatureStore, extract
from featurekit.duplicates import find_duplicates, group_rows
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


def test_equal_rows_named_groups_and_both_together():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 40))
    X[5] = X[2] * 3  # length is no matter
    contents = np.arange(8, dtype=np.uint8)[:, None].repeat(32, axis=1)
    contents[7] = contents[0]
    X[7] = X[0]
    found = find_duplicates(X, contents=contents, groups=["", "a", "a", "", "", "", "b", ""])
    assert found.ids.tolist() == [0, 1, 1, 2, 3, 1, 4, 0]
    assert (found.exact, found.near, found.given, found.pairs, found.any) == (1, 2, 2, [(2, 5)], True)
    assert "1 equal files, 2 near duplicates (cosine of 0.9" in found.sentence()
    assert "2 groups of the source: kept on one side of every split" in found.sentence()


def test_chains_are_one_group():
    """A photograph, its half, and the half of that: the ends are far from each other."""
    angles = np.radians([0, 12, 24, 36, 90, 120, 200, 300])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = find_duplicates(X, closeness=0.03)
    assert found.ids.tolist() == [0, 0, 0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_rows(n):
    found = find_duplicates(np.eye(3)[:n], contents=np.arange(32 * n, dtype=np.uint8).reshape(n, 32), groups=[""] * n)
    assert found.ids.tolist() == list(range(n))
    assert not found.any


def test_blocks_change_nothing(monkeypatch):
    X = np.random.default_rng(1).normal(size=(50, 6))
    X[40] = X[3]
    whole = find_duplicates(X, closeness=0.2)
    monkeypatch.setattr("featurekit.duplicates._BLOCK", 7)
    parts = find_duplicates(X, closeness=0.2)
    assert whole.pairs == parts.pairs
    assert whole.pairs[0] == (3, 40)
    assert np.array_equal(whole.ids, parts.ids)


def saved_again(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file)


def test_pictures_in_other_files_are_found(shared_data):
    """Real photographs, and each of them once more: saved again, halved, mirrored, cropped."""
    paths = sorted(shared_data.glob("clothing/test/*/*.jpg"))[::6]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    changes = [
        saved_again,
        lambda i: i.resize((i.width // 2, i.height // 2)),
        ImageOps.mirror,
        lambda i: ImageOps.crop(i, 8),
    ]
    again = [changes[number % 4](picture) for number, picture in enumerate(pictures)]
    X = FeatureExtractor().fit_transform([*pictures, *again])
    found = find_duplicates(X)
    n = len(pictures)
    assert n > 50
    assert np.mean(found.ids[:n] == found.ids[n:]) > 0.9
    assert len(np.unique(found.ids)) > 0.97 * n  # hardly any two different photographs are taken for one
    assert 2 * 0.9 * n < found.near <= 2 * n


def test_duplicates_of_a_store_are_found(photos, tmp_path):
    store = extract([*photos, photos[0]], labels=["a"] * 9, groups=[*"xx", *[""] * 7], output=tmp_path / "s.h5")
    found = group_rows(store)
    assert found.ids.tolist()[8] == found.ids.tolist()[0] == found.ids.tolist()[1]
    assert found.exact == 1
    part = group_rows(store, np.array([8, 3]))
    assert part.ids.tolist() == [0, 1]


def test_a_class_that_is_one_picture_is_not_made_one_group(photos, tmp_path):
    """Else nothing could be split. It is said, because the scores are too good."""
    brighter = photos[0].point(lambda value: min(255, value + 8))
    again = [brighter, brighter, photos[0].resize((390, 292))]
    labels = ["a"] * 4 + ["b"] * 4
    store = extract([photos[0], *again, *photos[4:]], labels=labels, output=tmp_path / "s.h5")
    found = group_rows(store)
    assert not found.kept
    assert found.near >= 3
    assert len(np.unique(found.ids[:4])) == 3  # two are equal
    assert "near duplicates (cosine of 0.9" in found.sentence()
    assert "but for near duplicates of a class that is a single picture: its scores are too good" in found.sentence()


def made(tmp_path, X, labels):
    columns, _ = make_rows(len(X))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
    publish(path, SPACE, {"root": "/x"}, replace(columns, label=encode(labels)), ledger, [X.astype(np.float32)])
    return FeatureStore(path)


def test_one_class_of_one_picture_leaves_the_others_grouped(tmp_path):
    X = np.random.default_rng(0).normal(size=(9, 16))
    X[1] = X[2] = X[0]
    X[5] = X[4]
    found = group_rows(made(tmp_path, X, list("aaabbbccc")))
    assert found.ids.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    assert (found.near, found.kept) == (5, False)


def test_a_class_of_one_image_is_no_reason_to_separate_near_duplicates(tmp_path):
    """It said so, even where there were no near duplicates at all."""
    X = np.random.default_rng(0).normal(size=(7, 16))
    found = group_rows(made(tmp_path, X, list("abbbccc")))
    assert (found.near, found.kept, found.any) == (0, True, False)
    X[2] = X[1]
    found = group_rows(made(tmp_path, X, list("abbbccc")))
    assert (found.ids.tolist(), found.kept) == ([0, 1, 1, 2, 3, 4, 5], True)
    assert "but for" not in found.sentence()


def test_all_images_are_one_picture(tmp_path):
    found = group_rows(made(tmp_path, np.ones((6, 16)), list("aaabbb")))
    assert (found.ids.tolist(), found.near, found.kept) == ([0, 1, 2, 3, 4, 5], 6, False)


def test_labels_that_are_no_classes_separate_nothing(photos, tmp_path):
    """Each number is there once: taken for classes, they switched the search for near duplicates off."""
    for i, photo in enumerate(photos):
        for quality in (92, 85):
            photo.save(tmp_path / f"{i}-{quality}.jpg", quality=quality)
    with open(tmp_path / "m.csv", "w") as file:
        file.write("path,label\n" + "".join(f"{i}-{q}.jpg,{i}.5\n" for i in range(len(photos)) for q in (92, 85)))
    with extract(tmp_path / "m.csv", output=tmp_path / "s.h5") as store:
        as_classes, as_numbers = group_rows(store), group_rows(store, classes=False)
    assert as_numbers.kept
    assert len(np.unique(as_numbers.ids)) <= len(photos)
    assert not as_classes.kept
    assert as_classes.any  # and so it is said
    assert "scores are too good" in as_classes.sentence()
