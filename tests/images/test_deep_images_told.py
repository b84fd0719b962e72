"""Images of more than 8 bits are reduced to 8, and the extraction says so once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featurekit.backbones import find
from featurekit.extraction.rows import Old
from featurekit.extraction.update import _notes
from featurekit.images import is_deep, read_source
from featurekit.pipeline.looking import _Look
from featurekit.pipeline.records import Destination
from featurekit.runtime import load_decoder
from featurekit.store import ShardCache


def file_of(image, kind):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


GRAY16 = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
COLORS8 = Image.new("RGB", (64, 64), (10, 200, 30))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_known_by_the_header(kind):
    assert is_deep(file_of(GRAY16, kind))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000", "JPEG", "BMP"])
def test_eight_bits_are_not_deep(kind):
    assert not is_deep(file_of(COLORS8, kind))


@pytest.mark.parametrize("data", [b"", b"II*\0", b"\x89PNG\r\n"])
def test_damaged_headers_are_not_deep(data):
    assert not is_deep(data)


def test_the_extraction_says_how_many_images_were_reduced(tmp_path):
    GRAY16.save(tmp_path / "b.tif")
    GRAY16.point(lambda value: value / 2).save(tmp_path / "a.png")
    COLORS8.save(tmp_path / "c.png")
    listing = read_source(tmp_path)
    backbone = find("efficientnet_lite0")
    look = _Look([Destination(backbone, ShardCache(tmp_path / "parts", backbone.space))], load_decoder("auto", "cpu"))
    outcomes = look(list(enumerate(listing.items)))
    deep = {item.path for item, outcome in zip(listing.items, outcomes, strict=True) if outcome.deep}
    assert deep == {"a.png", "b.tif"}
    (note,) = _notes(Old(None), listing, None, deep)
    assert note == (
        "2 images have more than 8 bits for each value (such as a.png): 8 are kept, which is what the network takes."
    )
    assert _notes(Old(None), listing, None, set()) == ()
