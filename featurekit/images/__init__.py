"""Images: where they come from (:mod:`.sources`) and how they become pixels (:mod:`.decode`, :mod:`.fast`)."""

from __future__ import annotations

from .decode import centre_box, jpeg_orientation, open_image, prepare, read_bytes, to_rgb
from .fast import ORIENTATIONS, Stored, decode_fast, is_fast, prepare_fast
from .sources import IMAGE_SUFFIXES, UNLISTED, Item, Source, is_missing, items_from, read_source

__all__ = [
    "IMAGE_SUFFIXES",
    "ORIENTATIONS",
    "UNLISTED",
    "Item",
    "Source",
    "Stored",
    "centre_box",
    "decode_fast",
    "is_fast",
    "is_missing",
    "items_from",
    "jpeg_orientation",
    "open_image",
    "prepare",
    "prepare_fast",
    "read_bytes",
    "read_source",
    "to_rgb",
]
