"""A damaged TIFF is told by its reason alone: libtiff prints nothing beside it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featurekit.backbones import find
from featurekit.images import Item, open_image, silent_libtiff
from featurekit.pipeline.looking import looked_at
from featurekit.pipeline.records import Destination
from featurekit.runtime import load_decoder
from featurekit.store import ShardCache


@pytest.fixture
def damaged():
    """The bytes of a TIFF whose compressed pixels are broken."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    data[2000:2400] = b"\xff" * 400
    return bytes(data)


def test_an_extraction_prints_nothing_of_libtiff_and_gives_its_handler_back(damaged, tmp_path, capfd):
    backbone = find("efficientnet_lite0")
    destination = Destination(backbone, ShardCache(tmp_path / "parts", backbone.space))
    found = looked_at([Item("a.tif", damaged)], [destination], load_decoder("auto", "cpu"), 1, lambda: 1)
    ((outcome, _),) = found
    assert "damaged or cut short" in outcome.reason
    assert capfd.readouterr().err == ""
    with pytest.raises(ValueError, match="damaged or cut short"):
        open_image(damaged)
    assert "not yet in table" in capfd.readouterr().err


def test_readers_that_overlap_give_the_handler_back(damaged, capfd):
    first, second = silent_libtiff(), silent_libtiff()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(ValueError, match="damaged or cut short"):
        open_image(damaged)
    assert capfd.readouterr().err == ""
    second.__exit__(None, None, None)
    with pytest.raises(ValueError, match="damaged or cut short"):
        open_image(damaged)
    assert "not yet in table" in capfd.readouterr().err
