"""One image as path, PIL image, bytes and file object."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from odd_files import encoded, picture
from PIL import Image, ImageOps

from featurekit import FeatureExtractor, FineTuneClassifier, TransferClassifier, extract
from featurekit.backbones import find
from featurekit.errors import ImageError, SourceError
from featurekit.fingerprint import content_hash
from featurekit.images import items_from, read_origin
from featurekit.pipeline.looking import hash_of
from featurekit.runtime import load_decoder

PRE = find("efficientnet_lite0").preprocessing


def turned(orientation: int, size: tuple[int, int] = (203, 157), kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(orientation, size), kind, exif=exif)


def prepared(decoder: str, origin: object) -> np.ndarray:
    (item,) = items_from([origin])
    (found,) = load_decoder(decoder, "cpu")([read_origin(item.origin)[0]], [{PRE}])
    return found.pixels[PRE]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_from_pil_has_the_pixels_of_its_file(orientation, kind, tmp_path):
    data = turned(orientation, kind=kind)
    (tmp_path / "photo").write_bytes(data)
    for decoder in ("auto", "pillow"):
        expected = prepared(decoder, tmp_path / "photo")
        assert np.array_equal(prepared(decoder, Image.open(io.BytesIO(data))), expected)
        loaded = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert np.array_equal(prepared(decoder, loaded), expected)


def test_a_row_is_the_same_from_path_picture_bytes_and_file_objects(tmp_path):
    data = turned(6, (640, 431))
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with path.open("rb") as file:
        images = [path, Image.open(path), data, bytearray(data), io.BytesIO(data), file]
        rows = [FeatureExtractor().fit_transform([image])[0] for image in images]
    for row in rows[1:]:
        assert np.array_equal(row, rows[0])


def test_a_picture_in_memory_is_not_changed():
    image = Image.open(io.BytesIO(turned(6)))
    read_origin(image)
    assert image.size == (203, 157)
    assert image.getexif()[0x0112] == 6


def test_an_array_is_taken_as_it_is():
    image = Image.open(io.BytesIO(turned(6)))
    assert read_origin(np.asarray(image))[0].size == (203, 157)
    assert read_origin(image)[0].size == (157, 203)


def test_bytes_and_file_objects_have_the_content_hash_of_their_file():
    data = turned(6)
    for image in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        (item,) = items_from([image])
        assert hash_of(read_origin(item.origin)[0]) == content_hash(data)


def test_a_store_of_files_serves_bytes_without_the_network(tmp_path, photos, forwards):
    paths = []
    for number, photo in enumerate(photos[:3]):
        paths.append(tmp_path / f"{number}.jpg")
        photo.save(paths[-1])
    extract([str(path) for path in paths], output=tmp_path / "s.h5").close()
    del forwards[:]
    FeatureExtractor(cache=tmp_path / "s.h5").fit_transform([path.read_bytes() for path in paths])
    assert forwards == []


def test_a_file_object_is_read_from_its_start_and_keeps_its_position(tmp_path):
    data = turned(1)
    file = io.BytesIO(data)
    file.seek(100)
    (item,) = items_from([file])
    assert (item.origin, file.tell()) == (data, 100)


def test_a_stream_that_cannot_seek_is_read_from_where_it_is():
    class Stream(io.RawIOBase):
        def __init__(self, data):
            self._file = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self._file.readinto(buffer)

    (item,) = items_from([io.BufferedReader(Stream(b"GIF89a..."))])
    assert item.origin == b"GIF89a..."


@pytest.mark.parametrize("spoil", ["text", "closed"])
def test_a_file_object_that_cannot_be_read_is_named_by_its_number(spoil, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(turned(1))
    with path.open("rb") as good, path.open("r" if spoil == "text" else "rb") as bad:
        if spoil == "closed":
            bad.close()
        with pytest.raises(ImageError, match=r"image 1 of the list: "):
            FeatureExtractor().fit_transform([good, bad])


def test_a_truncated_picture_in_memory_is_named_by_its_number():
    data = turned(1, (400, 300))
    with pytest.raises(ImageError, match=r"image 1 of the list: cannot be loaded: image file is truncated"):
        FeatureExtractor().fit_transform([data, Image.open(io.BytesIO(data[: len(data) // 2]))])


def test_a_closed_picture_in_memory_is_named_by_its_number(tmp_path):
    (tmp_path / "a.jpg").write_bytes(turned(1))
    closed = Image.open(tmp_path / "a.jpg")
    closed.close()
    with pytest.raises(ImageError, match=r"image 0 of the list: cannot be loaded: "):
        FeatureExtractor().fit_transform([closed])


def test_one_picture_given_many_times_is_loaded_once():
    image = Image.open(io.BytesIO(turned(6, (1200, 900))))
    rows = FeatureExtractor(workers=8).fit_transform([image] * 16)
    assert np.array_equal(rows, np.repeat(rows[:1], 16, axis=0))


@pytest.mark.parametrize("one", [b"GIF89a", bytearray(b"GIF89a"), io.BytesIO(b"GIF89a")])
def test_a_single_image_is_no_sequence(one):
    with pytest.raises(SourceError, match=r"got one.*Put it into a list"):
        items_from(one)


def test_an_array_of_byte_strings_is_refused():
    with pytest.raises(SourceError, match="drops zero bytes"):
        items_from(np.array([b"GIF89a\0", b"GIF89a"]))


@pytest.mark.parametrize("new", [lambda p: p.read_bytes(), lambda p: io.BytesIO(p.read_bytes()), Image.open])
def test_a_classifier_predicts_the_same_from_memory(new, digits_folder):
    paths = sorted(Path(digits_folder).glob("*/*.png"))[::4]
    classifier = TransferClassifier(head="centroid").fit(paths, [path.parent.name for path in paths])
    expected = classifier.predict_proba(paths[:3])
    assert np.array_equal(classifier.predict_proba([new(path) for path in paths[:3]]), expected)


@pytest.mark.slow
def test_a_fine_tuned_classifier_learns_and_predicts_from_bytes(digits_folder):
    paths = sorted(Path(digits_folder).glob("*/*.png"))[::2]
    labels = [path.parent.name for path in paths]
    data = [path.read_bytes() for path in paths]
    tuned = FineTuneClassifier(unfreeze=1, epochs=1).fit(data, labels)
    assert np.array_equal(tuned.predict_proba(data[:3]), tuned.predict_proba(paths[:3]))
