"""Fast decoding and resizing, against Pillow."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from odd_files import encoded, picture, write_bad, write_odd
from PIL import Image

from featurekit.errors import ImageError
from featurekit.images import (
    ORIENTATIONS,
    Stored,
    decode_fast,
    is_fast,
    jpeg_orientation,
    open_image,
    prepare,
    prepare_fast,
)

pytestmark = pytest.mark.skipif(not is_fast(), reason="simplejpeg or cykooz-resizer has no wheel for this platform")

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(stored: Stored) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(stored.pixels))
    return np.asarray(image.transpose(UPRIGHT[stored.orientation]) if stored.orientation > 1 else image)


def jpeg(image: Image.Image, orientation: int | None = None, **options: object) -> bytes:
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    return encoded(image, "JPEG", **options)


PHOTO = picture(1, (203, 157))
JPEGS = {
    "plain": jpeg(PHOTO),
    "progressive": jpeg(PHOTO, progressive=True),
    **{f"subsampling {kind}": jpeg(PHOTO, subsampling=kind) for kind in ("4:4:4", "4:2:2", "4:2:0")},
    "RGB inside": jpeg(PHOTO, keep_rgb=True),
    "gray": jpeg(PHOTO.convert("L")),
    "restart markers": jpeg(PHOTO, restart_marker_blocks=4),
    "worst quality": jpeg(PHOTO, quality=1),
    "one pixel": jpeg(picture(2, (1, 1))),
    "something behind it": jpeg(PHOTO) + b"more",
    "something odd inside": jpeg(PHOTO)[:-2] + b"\0\0\0\xff\xd9",
    "no such orientation": jpeg(PHOTO, orientation=9),
    **{f"orientation {i}": jpeg(PHOTO, orientation=i) for i in ORIENTATIONS},
}


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_ordinary_jpegs_have_pillows_pixels(data):
    assert jpeg_orientation(data) is not None
    assert np.array_equal(upright(decode_fast(data)), np.asarray(open_image(data)))


def test_real_photos_have_pillows_pixels(shared_data):
    paths = sorted(shared_data.glob("*/*/*/*.jpg"))[::150] + sorted(shared_data.glob("*/*/*.JPG"))[::100]
    assert len(paths) > 40
    for path in paths:
        data = path.read_bytes()
        assert np.array_equal(upright(decode_fast(data)), np.asarray(open_image(data))), path


def test_other_files_have_pillows_pixels(tmp_path):
    """The same pixels for odd files, and the same reasons for bad ones."""
    for name in write_odd(tmp_path):
        data = (tmp_path / name).read_bytes()
        assert np.array_equal(upright(decode_fast(data)), np.asarray(open_image(data))), name
    (tmp_path / "bad").mkdir()
    for name in write_bad(tmp_path / "bad"):
        path = tmp_path / "bad" / name
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        with pytest.raises(ImageError) as mine:
            decode_fast(data)
        with pytest.raises(ImageError) as pillows:
            open_image(data)
        assert str(mine.value) == str(pillows.value)


def assert_judged_by_pillow(data: bytes) -> None:
    reason = ""
    try:
        expected = np.asarray(open_image(data))
    except ImageError as error:
        reason = str(error)
    if reason:
        with pytest.raises(ImageError) as mine:
            decode_fast(data)
        assert str(mine.value) == reason
    else:
        assert np.array_equal(upright(decode_fast(data)), expected)


def test_jpegs_cut_anywhere_are_judged_by_pillow():
    """Never other pixels than Pillow's, and never an error of another kind."""
    data = jpeg(PHOTO, progressive=True)
    for length in range(2, len(data), 61):
        assert_judged_by_pillow(data[:length])


def test_flipped_bits_are_judged_by_pillow():
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(JPEGS["plain"])
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        assert_judged_by_pillow(bytes(data))


def reference(image: Image.Image, resize: int, crop: int, interpolation: str) -> np.ndarray:
    """Rows first, then columns, as Pillow did for all images before version 13."""
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    width, height = image.size
    size = tuple(int(resize * length / min(width, height)) for length in (width, height))
    resized = image.resize((size[0], height), filters[interpolation]).resize(size, filters[interpolation])
    left, top = (round((length - crop) / 2.0) for length in size)
    return np.asarray(resized.crop((left, top, left + crop, top + crop))).astype(int)


def test_prepared_pixels_are_pillows_to_rounding():
    """Of all sizes and orientations; noise is the worst case, of which every pixel is an edge."""
    rng, means = random.Random(0), []
    for case in range(200):
        width, height = (int(2 ** rng.uniform(0, 10)) for _ in range(2))
        if max(width, height) > 16 * min(width, height):
            continue  # a ribbon: see below
        pixels = np.random.default_rng(case).integers(0, 256, (height, width, 3), dtype=np.uint8)
        orientation, interpolation = rng.randint(1, 8), rng.choice(["bicubic", "bilinear"])
        resize, crop = rng.choice([(256, 224), (232, 224), (224, 224), (292, 260)])
        stored = Stored(pixels, orientation)
        expected = reference(Image.fromarray(upright(stored)), resize, crop, interpolation)
        got = prepare_fast(stored, resize, crop, interpolation)
        assert got.flags.c_contiguous
        difference = np.abs(got - expected)
        assert difference.max() <= 2, (width, height, orientation, interpolation, resize)
        means.append(difference.mean())
    assert np.mean(means) < 0.01


def test_photos_are_prepared_as_by_pillow(shared_data):
    """What the documentation says: a mean difference of 0.005 of 255, and 2 at most."""
    differences = []
    for path in sorted((shared_data / "clothing" / "test").glob("*/*.jpg"))[::6]:
        data = path.read_bytes()
        exact = prepare(open_image(data), 256, 224, "bicubic").astype(int)
        differences.append(np.abs(prepare_fast(decode_fast(data), 256, 224, "bicubic") - exact))
    assert np.mean(differences) < 0.006
    assert np.max(differences) <= 2


@pytest.mark.parametrize("size", [(60_000, 2), (2, 60_000), (4000, 1), (1, 1), (1, 17)])
def test_very_thin_and_tiny_images_are_prepared_as_by_pillow(size):
    """The middle is red, and so is what the network sees."""
    pixels = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    middle = tuple(slice(max(0, length // 2 - 20), length // 2 + 20) for length in pixels.shape[:2])
    pixels[middle] = (255, 0, 0)
    prepared = prepare_fast(Stored(pixels), 256, 224, "bicubic")
    assert prepared.shape == (224, 224, 3)
    assert prepared[112, 112].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(501, 20), (20, 501), (513, 30), (17, 300)])
def test_ribbons_are_cut_where_pillows_are(size):
    for orientation in range(1, 9):
        stored = Stored(np.asarray(picture(orientation, size)), orientation)
        exact = prepare(Image.fromarray(upright(stored)), 256, 224, "bicubic").astype(int)
        assert np.abs(prepare_fast(stored, 256, 224, "bicubic") - exact).max() <= 2


def test_scaled_decoding_keeps_what_is_needed():
    large = jpeg(picture(5, (2400, 1600)), quality=95)
    stored = decode_fast(large, least=512)
    assert stored.pixels.shape == (600, 900, 3)  # three eighths; a quarter would be 400
    exact = prepare(open_image(large), 256, 224, "bicubic").astype(int)
    assert np.abs(prepare_fast(stored, 256, 224, "bicubic") - exact).mean() < 1
    small = jpeg(picture(6, (600, 400)))
    assert decode_fast(small, least=512).pixels.shape == (400, 600, 3)
    png = io.BytesIO()
    picture(7, (2400, 1600)).save(png, "PNG")
    assert decode_fast(png.getvalue(), least=512).pixels.shape == (1600, 2400, 3)


def test_only_ordinary_jpegs_have_an_orientation():
    for data in (b"", b"GIF89a", jpeg(PHOTO)[:30], jpeg(PHOTO.convert("CMYK"))):
        assert jpeg_orientation(data) is None
