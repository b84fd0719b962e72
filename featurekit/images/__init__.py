"""Images: where they come from (:mod:`.sources`) and how they become pixels (:mod:`.decode`, :mod:`.fast`)."""

from __future__ import annotations

from .blocks import Blocks
from .decode import centre_box, jpeg_orientation, open_image, prepare, to_rgb
from .fast import ORIENTATIONS, Stored, decode_fast, is_fast, prepare_fast
from .items import IMAGE_SUFFIXES, UNLISTED, Drawn, Item, Member, Origin, Source, is_missing
from .manifests import ManifestColumns, is_manifest
from .objects import items_from
from .opening import located, open_origin, read_bytes, read_origin
from .remote import FileInfo, public
from .remote import joined as below
from .sources import read_source

__all__ = [
    "IMAGE_SUFFIXES",
    "ORIENTATIONS",
    "UNLISTED",
    "Blocks",
    "Drawn",
    "FileInfo",
    "Item",
    "ManifestColumns",
    "Member",
    "Origin",
    "Source",
    "Stored",
    "below",
    "centre_box",
    "decode_fast",
    "is_fast",
    "is_manifest",
    "is_missing",
    "items_from",
    "jpeg_orientation",
    "located",
    "open_image",
    "open_origin",
    "prepare",
    "prepare_fast",
    "public",
    "read_bytes",
    "read_origin",
    "read_source",
    "to_rgb",
]
