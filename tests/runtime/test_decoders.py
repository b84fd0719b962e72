from __future__ import annotations

import numpy as np
import pytest
from odd_files import encoded, picture, write_bad, write_odd
from PIL import Image

from featurekit.backbones import find
from featurekit.errors import BackboneError, ImageError
from featurekit.images import open_image, prepare
from featurekit.runtime import decoders, load_decoder

PRE = find("efficientnet_lite0").preprocessing
OTHER = find("efficientnet_lite2").preprocessing


def pillows(data, pre=PRE):
    return prepare(open_image(data), pre.resize, pre.crop, pre.interpolation).astype(int)


@pytest.mark.parametrize("name", ["auto", "pillow", "scaled", "torchcodec"])
def test_odd_files_are_decoded_by_all(name, tmp_path):
    decoder = load_decoder(name, "cpu")
    paths = [tmp_path / path for path in write_odd(tmp_path)]
    files = [path.read_bytes() for path in paths]
    found = decoder(files, [{PRE, OTHER}] * len(files))
    assert len(found) == len(files)
    for path, data, prepared in zip(paths, files, found, strict=True):
        assert prepared.pixels.keys() == {PRE, OTHER}
        for pre, pixels in prepared.pixels.items():
            assert pixels.shape == (pre.crop, pre.crop, 3)
            assert pixels.dtype == np.uint8
            if path.name == "ribbon.png":  # cut at another place before it is resized
                continue
            assert np.abs(pixels - pillows(data, pre)).max() <= (0 if name == "pillow" else 2), path


@pytest.mark.parametrize("name", ["auto", "pillow", "scaled", "torchcodec"])
def test_bad_files_among_good_ones_harm_nobody(name, tmp_path):
    decoder = load_decoder(name, "cpu")
    bad = [path for path in map(tmp_path.joinpath, write_bad(tmp_path)) if path.is_file() and not path.is_symlink()]
    files, good = [], encoded(picture(1), "JPEG")
    for path in bad:
        files += [good, path.read_bytes()]
    for data, prepared in zip(files, decoder(files, [{PRE}] * len(files)), strict=True):
        if data == good:
            assert np.abs(prepared.pixels[PRE] - pillows(good)).max() <= 2
        else:
            with pytest.raises(ImageError) as expected:
                open_image(data)
            assert str(prepared) == str(expected.value)


@pytest.mark.parametrize("name", ["auto", "pillow", "scaled", "torchcodec"])
def test_pictures_from_memory(name):
    image = picture(3, (300, 400))
    (prepared,) = load_decoder(name, "cpu")([image], [{PRE}])
    assert np.abs(prepared.pixels[PRE] - prepare(image, PRE.resize, PRE.crop, PRE.interpolation).astype(int)).max() <= 2


@pytest.mark.parametrize("head", [b"Exif", b"EXIF"])  # Pillow does not know the second
@pytest.mark.parametrize("orientation", range(1, 9))
def test_torchcodec_turns_photos_as_pillow_does(orientation, head):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(4, (203, 157)), "JPEG", exif=exif).replace(b"Exif\0\0", head + b"\0\0")
    (prepared,) = load_decoder("torchcodec", "cpu")([data], [{PRE}])
    assert np.abs(prepared.pixels[PRE] - pillows(data)).max() <= 2


def test_auto_and_torchcodec_give_the_same_pixels():
    """Both resize as Pillow-SIMD does: features equal those of torchvision's transforms on tensors."""
    for seed in range(5):
        data = encoded(picture(seed, (533, 400)), "JPEG")
        pixels = [load_decoder(name, "cpu")([data], [{PRE}])[0].pixels[PRE] for name in ("auto", "torchcodec")]
        assert np.array_equal(*pixels)


def test_without_the_fast_libraries_pillow_decodes(monkeypatch):
    monkeypatch.setattr(decoders, "is_fast", lambda: False)
    decoders.load_decoder.cache_clear()
    try:
        decoder = load_decoder("auto", "cpu")
        assert decoder.description.startswith("pillow ")
        data = encoded(picture(1), "JPEG")
        assert np.array_equal(decoder([data], [{PRE}])[0].pixels[PRE], pillows(data))
        with pytest.raises(BackboneError, match=r"which the decoder 'scaled' needs\. Use 'auto'"):
            load_decoder("scaled", "cpu")
    finally:
        decoders.load_decoder.cache_clear()


def test_a_device_that_is_not_there():
    with pytest.raises(BackboneError, match="cannot run on the device"):
        load_decoder("torchcodec", "cuda:77")
