"""Files that could be images and are not supported, and pixels of more than 8 bits."""

from __future__ import annotations

import csv
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from featurekit_cli.main import main
from odd_files import _png_chunk, encoded, picture
from PIL import Image

from featurekit import extract
from featurekit.errors import ImageError
from featurekit.images import Stored, open_image, open_pixels, prepare, prepare_fast, read_source, to_rgb

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def tiff(*tags: tuple[int, int, int, bytes], pixels: bytes = bytes(64 * 64 * 8)) -> bytes:
    """A little-endian TIFF of one uncompressed strip with these tags: number, type, count, value or offset."""
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    given = [*tags, (273, 4, 1, struct.pack("<I", start)), (279, 4, 1, struct.pack("<I", len(pixels)))]
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3].ljust(4, b"\0") for tag in sorted(given))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(given)) + entries + bytes(4) + pixels


def short(tag: int, *values: int) -> tuple[int, int, int, bytes]:
    return tag, 3, len(values), struct.pack(f"<{len(values)}H", *values)


def size(channels: int, bits: int, photometric: int) -> list[tuple[int, int, int, bytes]]:
    return [
        short(256, 64), short(257, 64), short(258, bits), short(259, 1), short(262, photometric), short(277, channels),
        short(278, 64),
    ]  # fmt: skip


REASONS = {
    "HEIC": (HEIC, "HEIC"),
    "HEIC of several": (HEIC.replace(b"ftypheic", b"ftypmsf1"), "HEIC"),
    "Canon CR3": (b"\0\0\0\x18ftypcrx " + bytes(50), "camera raw"),
    "Fujifilm": (b"FUJIFILMCCD-RAW 0201" + bytes(50), "camera raw"),
    "Panasonic": (b"IIU\0\x18\0\0\0" + bytes(50), "camera raw"),
    "Olympus": (b"IIRO\x08\0\0\0" + bytes(50), "camera raw"),
    "DNG with a preview": (tiff(*size(1, 8, 1), (50706, 1, 4, b"\1\4\0\0")), "camera raw"),
    "raw with a preview": (tiff((254, 4, 1, b"\1\0\0\0"), *size(1, 8, 1), (330, 4, 1, b"\x08\0\0\0")), "camera raw"),
    "sensor counts": (tiff(*size(1, 16, 32803)), "camera raw"),
    "DICOM": (bytes(128) + b"DICM" + bytes(50), "DICOM"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
    "JPEG XL stream": (b"\xff\x0a" + bytes(20), "JPEG XL"),
    "Photoshop": (b"8BPS\0\1" + bytes(20), "Photoshop"),
    "OpenEXR": (b"v/1\x01\x02\0\0\0" + bytes(20), "OpenEXR"),
    "SVG": (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n", "EPS"),
    "FITS": (b"SIMPLE  =                    T" + bytes(50), "FITS"),
}


@pytest.mark.parametrize(("data", "name"), REASONS.values(), ids=REASONS)
def test_content_that_is_not_supported_is_named(data, name):
    with pytest.raises(ImageError, match=rf"{name}.*, which is not supported; convert it to JPEG"):
        open_image(data)


def test_a_tiff_of_six_channels_says_what_it_is():
    with pytest.raises(ImageError, match=r"a TIFF of 6 channels \(3 of color, 3 more\), 8 bits"):
        open_image(tiff(*size(6, 8, 2)))


def test_a_gray_tiff_with_three_more_channels_says_what_it_is():
    with pytest.raises(ImageError, match=r"a TIFF of 4 channels \(1 of color, 3 more\), 8 bits"):
        open_image(tiff(*size(4, 8, 1)))


def test_a_tiff_of_floats_says_what_it_is():
    with pytest.raises(ImageError, match=r"a TIFF of 3 channels, 32 bits, floating-point numbers"):
        open_image(tiff(*size(3, 32, 2), short(339, 3)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_tiff_says_so():
    with pytest.raises(ImageError, match="starts as TIFF does, but is damaged or cut short"):
        open_image(tiff(*size(3, 8, 2))[:40])


@pytest.fixture
def mixed(tmp_path):
    """A folder of one photo and files of formats that are not supported, one of which is a JPEG in truth."""
    folder = tmp_path / "h"
    folder.mkdir()
    for name, data in {
        "a.jpg": encoded(picture(1), "JPEG"), "b.HEIC": HEIC, "c.dng": REASONS["DNG with a preview"][0],
        "d.dcm": REASONS["DICOM"][0], "e.heif": encoded(picture(2), "JPEG"), "notes.txt": b"x",
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_lists_files_that_are_not_supported(mixed):
    source = read_source(mixed)
    assert [item.path for item in source.items] == ["a.jpg", "b.HEIC", "c.dng", "d.dcm", "e.heif"]
    assert source.notes == ["Ignored 1 x .txt: not image file names."]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_lists_files_that_are_not_supported(kind, mixed, tmp_path):
    target = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(mixed.iterdir()):
                archive.write(path, path.name)
    else:
        with tarfile.open(target, "w") as archive:
            for path in sorted(mixed.iterdir()):
                archive.add(path, path.name)
    assert [item.path for item in read_source(target).items] == ["a.jpg", "b.HEIC", "c.dng", "d.dcm", "e.heif"]


def test_the_ledger_says_why_files_are_not_supported(mixed, tmp_path):
    with extract(mixed, output=tmp_path / "s.h5") as store:
        assert list(store.paths) == ["a.jpg", "e.heif"]
        failed = {entry.path: entry.reason for entry in store.ledger if entry.status == "failed"}
    assert sorted(failed) == ["b.HEIC", "c.dng", "d.dcm"]
    assert "HEIC" in failed["b.HEIC"]
    assert "camera raw" in failed["c.dng"]
    assert "DICOM" in failed["d.dcm"]


@pytest.fixture(scope="session")
def model(digits_store_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    assert main(["fit", str(digits_store_path), "-o", str(folder), "--head", "centroid", "-q"]) == 0
    return folder


def test_predictions_have_a_line_for_each_file_that_is_not_supported(mixed, model, tmp_path):
    target = tmp_path / "labels.csv"
    assert main(["predict", str(mixed), "-m", str(model), "-o", str(target), "--max-failed", "0", "-q"]) == 3
    with target.open() as file:
        lines = {line["path"]: line["error"] for line in csv.DictReader(file)}
    assert sorted(lines) == ["a.jpg", "b.HEIC", "c.dng", "d.dcm", "e.heif"]
    assert "HEIC" in lines["b.HEIC"]
    assert not lines["a.jpg"]


def test_one_file_that_is_not_supported_is_predicted_as_failed(mixed, model, capsys):
    main(["predict", str(mixed / "b.HEIC"), "-m", str(model), "-q"])
    said = capsys.readouterr()
    assert "HEIC, which is not supported; convert it to JPEG" in said.out + said.err


def test_a_gray_image_of_twelve_bits_in_sixteen_is_not_nearly_black():
    values = (np.arange(64 * 64).reshape(64, 64)).astype(np.uint16)  # 0 to 4095
    for kind in ("PNG", "TIFF"):
        seen = np.asarray(open_image(encoded(Image.fromarray(values), kind)))
        assert seen.max() == 255
        assert np.array_equal(seen[..., 0], np.round(values.astype(float) * 255 / 4095).astype(np.uint8))


def test_a_gray_image_of_sixteen_bits_has_the_pixels_that_it_had():
    values = np.random.default_rng(0).integers(0, 65536, (300, 200), dtype=np.uint16)
    values[0, 0] = 4096
    seen = np.asarray(open_image(encoded(Image.fromarray(values), "PNG")))
    assert np.array_equal(seen[..., 0], (values.astype(np.int64) + 128) // 257)


def deep_png(values: np.ndarray) -> bytes:
    """An RGB image of 16 bits as a PNG file, which Pillow does not write."""
    import zlib

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(rows)) + _png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_colors_of_twelve_bits_in_sixteen_are_refused_with_a_reason():
    values = np.random.default_rng(0).integers(0, 4096, (20, 30, 3), dtype=np.uint16)
    with pytest.raises(ImageError, match="none reaches 4096"):
        open_image(deep_png(values))
    with pytest.raises(ImageError, match="none reaches 4096"):
        open_image(
            tiff(*size(3, 16, 2)[:2], short(259, 1), short(262, 2), short(277, 3), short(278, 64), short(258, 16))
        )


def test_colors_of_sixteen_bits_are_read():
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert np.array_equal(np.asarray(open_image(deep_png(values))), values >> 8)


LARGE = (2100, 2100)  # converted in more than one part


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_large_transparent_image_lies_over_white(mode):
    image = picture(4, LARGE)
    image.putalpha(picture(5, LARGE).convert("L"))
    image = image.convert(mode)
    white = Image.new("RGBA", LARGE, "white")
    expected = np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    assert np.array_equal(np.asarray(to_rgb(image)), expected)
    assert np.array_equal(open_pixels(encoded(image, "PNG", compress_level=1)), expected)


@pytest.mark.parametrize("mode", ["P", "L", "CMYK", "1"])
def test_a_large_image_is_converted_as_pillow_does(mode):
    image = picture(4, LARGE).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(to_rgb(image)), expected)
    assert np.array_equal(open_pixels(encoded(image, "TIFF")), expected)


def test_a_large_gray_image_of_sixteen_bits_has_one_white():
    values = np.full(LARGE, 100, dtype=np.uint16)
    values[-1, -1] = 65535
    seen = np.asarray(open_image(encoded(Image.fromarray(values), "TIFF")))
    assert (seen[0, 0, 0], seen[-1, -1, 0]) == (0, 255)


def test_a_large_image_is_resized_in_parts_without_seams():
    image = picture(6, (3700, 2400))
    for orientation in (1, 6):
        turned = image.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else image
        seen = prepare_fast(Stored(np.asarray(image), orientation), 256, 224, "bicubic").astype(int)
        assert np.abs(seen - prepare(turned, 256, 224, "bicubic")).max() <= 2
