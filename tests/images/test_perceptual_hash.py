"""Perceptual hashes: the same picture has nearly the same hash, whatever file it comes in."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from featurekit.duplicates import NEAR_DISTANCE, hash_distance
from featurekit.images import NO_HASH, PERCEPTUAL_BYTES, Stored, has_hash, perceptual_hash
from featurekit.runtime import load_decoder


def saved_again(image, quality=80):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def hash_of(image):
    return perceptual_hash(np.asarray(image))


CHANGES = {
    "saved again": saved_again,
    "of low quality": lambda image: saved_again(image, 30),
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "of another shape": lambda image: image.resize((200, 200)),
    "mirrored": ImageOps.mirror,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "cropped by a twentieth": lambda image: ImageOps.crop(image, round(min(image.size) / 40)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_photo_keeps_its_hash_nearly(photos, change):
    distances = [hash_distance(hash_of(photo), hash_of(CHANGES[change](photo))) for photo in photos]
    assert max(distances) <= NEAR_DISTANCE


def test_different_photos_have_distant_hashes(photos):
    china, flower = hash_of(photos[0]), hash_of(photos[4])
    assert hash_distance(china, flower) > 2 * NEAR_DISTANCE


def test_mirror_image_has_distance_zero():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert hash_distance(perceptual_hash(pixels), perceptual_hash(pixels[:, ::-1])) == 0


@pytest.mark.parametrize("side", [32, 100])
def test_small_images_are_recognized(photos, side):
    small = [photo.resize((side, side)) for photo in photos]
    distances = [hash_distance(hash_of(image), hash_of(saved_again(image))) for image in small]
    assert max(distances) <= NEAR_DISTANCE


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((100, 100, 3), 200, np.uint8),
        np.zeros((50, 60, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8),
        np.random.default_rng(0).integers(0, 256, (15, 400, 3), dtype=np.uint8),
    ],
    ids=["blank", "black", "8 x 8", "15 pixels high"],
)
def test_blank_and_tiny_pictures_have_no_hash(pixels):
    assert perceptual_hash(pixels) == NO_HASH
    assert not has_hash(np.frombuffer(perceptual_hash(pixels), np.uint8)[None]).any()


def test_hash_has_the_declared_length(photos):
    assert len(hash_of(photos[0])) == PERCEPTUAL_BYTES


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_orientation_does_not_change_the_hash(photos, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    photos[0].save(file, "JPEG", quality=95, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    (found,) = load_decoder("auto", "cpu")([file.getvalue()], [set()], hashed=True)
    assert hash_distance(found.perceptual, hash_of(upright)) <= 2


def test_upright_view_turns_stored_pixels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(Stored(pixels, 6).upright, np.rot90(pixels, -1))


@pytest.mark.parametrize("name", ["auto", "pillow", "scaled"])
def test_every_decoder_gives_the_hash_of_the_picture(photos, name):
    file = io.BytesIO()
    photos[1].save(file, "JPEG", quality=95)
    (found,) = load_decoder(name, "cpu")([file.getvalue()], [set()], hashed=True)
    assert hash_distance(found.perceptual, hash_of(photos[1])) <= 4


def test_hash_is_not_computed_unless_asked_for(photos):
    (found,) = load_decoder("auto", "cpu")([photos[0]], [set()])
    assert found.perceptual == b""
