from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from made_stores import SPACE, make_rows
from PIL import Image, ImageOps

from featurekit import FeatureStore, FineTuneClassifier, TransferClassifier, evaluate, extract
from featurekit.duplicates import find_duplicates, group_rows
from featurekit.images import perceptual_hash
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


def random_hashes(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 64), dtype=np.uint8)


def contents_of(n):
    return np.random.default_rng(7).integers(0, 256, (n, 32), dtype=np.uint8)


def test_equal_files_named_groups_and_near_duplicates_are_one_group():
    hashes, contents = random_hashes(8), contents_of(8)
    hashes[5] = hashes[2]
    hashes[7], contents[7] = hashes[0], contents[0]
    found = find_duplicates(hashes, contents=contents, groups=["", "a", "a", "", "", "", "b", ""])
    assert found.ids.tolist() == [0, 1, 1, 2, 3, 1, 4, 0]
    assert (found.exact, found.near, found.given, found.pairs, found.any) == (1, 2, 2, [(2, 5)], True)


def test_sentence_counts_equal_files_near_duplicates_and_groups():
    hashes = random_hashes(4)
    hashes[3] = hashes[0]
    found = find_duplicates(hashes, contents=contents_of(4)[[0, 1, 1, 2]], groups=["a", "", "", ""])
    assert found.sentence() == (
        "1 equal file, 2 near duplicates, 1 group of the source: kept on one side of every split"
    )


def test_chain_of_near_duplicates_is_one_group():
    hashes = random_hashes(5)
    for i in (1, 2, 3):
        hashes[i] = hashes[i - 1]
        hashes[i, 8 * i : 8 * i + 4] ^= 0xFF  # 32 bits of the whole picture
        hashes[i, 32 + 4 * i : 36 + 4 * i] ^= 0xFF
    assert find_duplicates(hashes).ids.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_images_are_no_duplicates(n):
    found = find_duplicates(random_hashes(n), contents=contents_of(n), groups=[""] * n)
    assert found.ids.tolist() == list(range(n))
    assert not found.any


@pytest.mark.parametrize("name", ["contents", "groups", "labels"])
def test_arguments_of_another_length_are_refused(name):
    with pytest.raises(ValueError, match=f"3 hashes but 2 {name}"):
        find_duplicates(random_hashes(3), **{name: contents_of(2) if name == "contents" else ["a", "b"]})


def test_images_without_a_hash_are_counted_and_stay_alone():
    hashes = random_hashes(5)
    hashes[[1, 3]] = 0
    found = find_duplicates(hashes, contents=contents_of(5))
    assert (found.unknown, found.ids.tolist()) == (2, [0, 1, 2, 3, 4])


def saved_again(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file)


def test_real_photos_in_other_files_are_found(shared_data):
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
    hashes = [perceptual_hash(np.asarray(picture.convert("RGB"))) for picture in [*pictures, *again]]
    found = find_duplicates([list(each) for each in hashes])
    n = len(pictures)
    assert n > 50
    assert np.mean(found.ids[:n] == found.ids[n:]) > 0.98
    assert len(np.unique(found.ids)) == n
    assert found.near == 2 * n


def test_store_groups_equal_files_and_named_groups(photos, tmp_path):
    store = extract([*photos, photos[0]], labels=["a"] * 9, groups=[*"xx", *[""] * 7], output=tmp_path / "s.h5")
    found = group_rows(store)
    assert found.ids.tolist()[8] == found.ids.tolist()[0] == found.ids.tolist()[1]
    assert found.exact == 1
    part = group_rows(store, np.array([8, 3]))
    assert part.ids.tolist() == [0, 1]


def test_class_of_one_picture_is_not_made_one_group(photos, tmp_path):
    """Nothing could be split otherwise. It is said, because the scores are too good."""
    brighter = photos[0].point(lambda value: min(255, value + 8))
    again = [brighter, brighter, photos[0].resize((390, 292))]
    labels = ["a"] * 4 + ["b"] * 4
    store = extract([photos[0], *again, *photos[4:]], labels=labels, output=tmp_path / "s.h5")
    found = group_rows(store)
    assert not found.kept
    assert found.near >= 3
    assert len(np.unique(found.ids[:4])) == 3  # two are equal
    assert "except near duplicates of a class that is a single picture: its scores are too good" in found.sentence()


def made(tmp_path, hashes, labels, X=None):
    columns, rows = make_rows(len(hashes))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
    columns = replace(columns, label=encode(labels), perceptual=hashes)
    publish(path, SPACE, {"root": "/x"}, columns, ledger, [rows if X is None else X.astype(np.float32)])
    return FeatureStore(path)


def test_one_class_of_one_picture_leaves_the_others_grouped(tmp_path):
    hashes = random_hashes(9)
    hashes[1] = hashes[2] = hashes[0]
    hashes[5] = hashes[4]
    found = group_rows(made(tmp_path, hashes, list("aaabbbccc")))
    assert found.ids.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    assert (found.near, found.kept) == (5, False)


def test_class_of_one_image_stays_with_its_copy_of_another_class():
    hashes = random_hashes(6)
    hashes[1] = hashes[0]
    found = find_duplicates(hashes, labels=list("abbbcc"))
    assert (found.ids.tolist(), found.kept) == ([0, 0, 1, 2, 3, 4], True)


def test_class_of_one_image_is_no_reason_to_separate_near_duplicates(tmp_path):
    hashes = random_hashes(7)
    found = group_rows(made(tmp_path, hashes, list("abbbccc")))
    assert (found.near, found.kept, found.any) == (0, True, False)
    hashes[2] = hashes[1]
    found = group_rows(made(tmp_path, hashes, list("abbbccc")))
    assert (found.ids.tolist(), found.kept) == ([0, 1, 1, 2, 3, 4, 5], True)
    assert "except" not in found.sentence()


def test_images_that_are_all_one_picture_are_not_one_group(tmp_path):
    found = group_rows(made(tmp_path, random_hashes(1)[[0] * 6], list("aaabbb")))
    assert (found.ids.tolist(), found.near, found.kept) == ([0, 1, 2, 3, 4, 5], 6, False)


def test_numbers_as_labels_separate_nothing(tmp_path):
    hashes = random_hashes(8)[[0, 0, 1, 1, 2, 2, 3, 3]]
    with made(tmp_path, hashes, [f"{i}.5" for i in (0, 0, 1, 1, 2, 2, 3, 3)]) as store:
        as_classes, as_numbers = group_rows(store), group_rows(store, classes=False)
    assert as_numbers.kept
    assert as_numbers.ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not as_classes.kept


def test_collapsed_rows_of_a_tuned_network_make_no_groups(tmp_path):
    """In the space of a fine-tuned network, the images of a class lie nearly on one point."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(3, 16)), 20, axis=0) + rng.normal(size=(60, 16)) * 1e-3
    found = group_rows(made(tmp_path, random_hashes(60), ["abc"[i // 20] for i in range(60)], X))
    assert len(np.unique(found.ids)) == 60


def test_groups_do_not_depend_on_the_backbone_beside(tmp_path):
    hashes = random_hashes(30)
    hashes[20] = hashes[3]
    rng = np.random.default_rng(2)
    first = made(tmp_path, hashes, ["a", "b"] * 15)
    other = made(tmp_path, hashes, ["a", "b"] * 15, np.ones((30, 16)) + rng.normal(size=(30, 16)) * 1e-4)
    alone, beside = group_rows(first), group_rows([first, other])
    assert alone.ids.tolist() == beside.ids.tolist() == group_rows(other).ids.tolist()


def test_hash_that_one_store_lacks_is_taken_from_another(tmp_path):
    hashes = random_hashes(10)
    hashes[6] = hashes[1]
    old = made(tmp_path, np.zeros_like(hashes), ["a", "b"] * 5)
    new = made(tmp_path, hashes, ["a", "b"] * 5)
    assert group_rows(old).near == 0
    assert group_rows([old, new]).near == 2


@pytest.fixture(scope="module")
def copies(photos, tmp_path_factory):
    """Eight photographs of two classes, and each of them saved again."""
    folder = tmp_path_factory.mktemp("copies")
    for i, photo in enumerate(photos):
        for quality in (92, 60):
            home = folder / ("china" if i < 4 else "flower")
            home.mkdir(exist_ok=True)
            photo.save(home / f"{i}-{quality}.jpg", quality=quality)
    return folder


@pytest.mark.slow
def test_tuned_model_is_scored_with_the_groups_of_the_images(copies, tmp_path):
    paths = sorted(map(str, copies.glob("*/*.jpg")))
    labels = [path.split("/")[-2] for path in paths]
    tuned = FineTuneClassifier(unfreeze=1, epochs=1, image_size=64).fit(paths, labels)
    tuned.save(tmp_path / "tuned")
    frozen = extract(copies, output=tmp_path / "frozen.h5", image_size=64)
    own = extract(copies, output=tmp_path / "own.h5", backbone=str(tmp_path / "tuned"))
    assert group_rows(own).ids.tolist() == group_rows(frozen).ids.tolist()
    assert len(np.unique(group_rows(own).ids)) == 8
    assert evaluate(tuned, own).n == 16


def test_fit_on_paths_keeps_near_duplicates_together(copies):
    """The head's strength is chosen as from a store, where copies are one group."""
    paths = sorted(map(str, copies.glob("*/*.jpg")))
    labels = [path.split("/")[-2] for path in paths]
    grouped = TransferClassifier(head="logreg", image_size=64).fit(paths, labels)
    named = TransferClassifier(head="logreg", image_size=64).fit(
        paths, labels, groups=[path.split("-")[-2] for path in paths]
    )
    assert grouped.head_.C_ == named.head_.C_
    assert np.array_equal(grouped.head_.scores_, named.head_.scores_)
