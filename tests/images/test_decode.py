from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from featurekit.errors import ImageError
from featurekit.images import open_image, prepare, read_bytes, to_rgb


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_formats_without_loss_give_the_pixels_back(format):
    image = Image.new("RGB", (9, 7), (10, 200, 30))
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(np.asarray(open_image(encoded(image, format, **options))), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # A picture whose four corners differ; what the eye should see is `upright`.
    upright = Image.new("RGB", (64, 48), "white")
    upright.paste("red", (0, 0, 32, 24))
    upright.paste("blue", (32, 24, 64, 48))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = np.asarray(open_image(encoded(stored, "PNG", exif=exif)))
    assert np.array_equal(seen, np.asarray(upright))


def test_sixteen_bits_are_scaled_and_not_clipped():
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        rgb = np.asarray(open_image(encoded(Image.fromarray(values), format)))
        assert rgb[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_is_laid_over_white():
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        assert to_rgb(Image.new(mode, (2, 2), colour)).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    assert open_image(encoded(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encoded(palette, "PNG")).getpixel((0, 0)) == (255, 0, 0)


def test_cmyk_keeps_its_colour():
    image = Image.new("RGB", (16, 16), (200, 30, 60))
    seen = open_image(encoded(image.convert("CMYK"), "JPEG", quality=95)).getpixel((8, 8))
    assert np.allclose(seen, (200, 30, 60), atol=8)


def test_the_first_picture_of_many_is_taken():
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    for format in ("GIF", "TIFF", "WEBP"):
        data = encoded(first, format, save_all=True, append_images=[second])
        red, _, blue = open_image(data).getpixel((4, 4))
        assert red > 200 > 60 > blue


def test_integers_beyond_sixteen_bits_are_refused():
    with pytest.raises(ImageError, match="from 0 to 70000"):
        to_rgb(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_formats_that_start_other_programs_are_refused():
    with pytest.raises(ImageError, match="not an image"):
        open_image(encoded(Image.new("RGB", (8, 8)), "EPS"))


@pytest.mark.parametrize("size", [(400, 533), (533, 400), (256, 256), (31, 300), (225, 224), (1, 1), (300, 4500)])
@pytest.mark.parametrize(("interpolation", "resize"), [("bicubic", 256), ("bilinear", 232)])
def test_prepared_pixels_equal_torchvisions(size, interpolation, resize):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    reference = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(224)])(image)
    assert np.array_equal(prepare(image, resize, 224, interpolation), np.asarray(reference))


def test_a_ribbon_needs_little_memory_and_shows_its_centre():
    ribbon = Image.new("RGB", (60_000, 2), "white")
    ribbon.paste("red", (29_990, 0, 30_010, 2))
    assert prepare(ribbon, 256, 224, "bicubic")[112, 112].tolist() == [255, 0, 0]


def test_a_large_image_is_no_warning_but_a_bomb_is_an_error():
    from odd_files import _bomb

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="decompression bomb"):
            open_image(_bomb())


def test_reading_reports_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match="a directory"):
        read_bytes(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        read_bytes(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="not a usable path"):
        read_bytes("nul\0.jpg")
