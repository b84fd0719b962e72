"""Images: where they come from (:mod:`.sources`) and how they become pixels (:mod:`.decode`)."""

from __future__ import annotations

from .decode import open_image, prepare, read_bytes, to_rgb
from .sources import IMAGE_SUFFIXES, UNLISTED, Item, Source, is_missing, items_from, read_source

__all__ = [
    "IMAGE_SUFFIXES",
    "UNLISTED",
    "Item",
    "Source",
    "is_missing",
    "items_from",
    "open_image",
    "prepare",
    "read_bytes",
    "read_source",
    "to_rgb",
]
