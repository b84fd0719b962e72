"""Images: where they come from (:mod:`.sources`) and how they become pixels (:mod:`.decode`, :mod:`.fast`)."""

from __future__ import annotations

from .archives import is_archive, is_compressed_tar
from .blocks import Blocks
from .budget import Room, max_pixels
from .colors import to_rgb
from .decode import centre_box, is_deep, jpeg_orientation, open_image, open_pixels, prepare
from .fast import ORIENTATIONS, Stored, decode_fast, is_fast, prepare_fast
from .items import IMAGE_SUFFIXES, LISTED_SUFFIXES, Drawn, Item, Member, Origin, Source, Unlisted
from .libtiff import silent_libtiff
from .manifests import ManifestColumns, is_manifest
from .objects import check_sequence, items_from
from .opening import file_state, located, open_origin, read_bytes, read_origin
from .perceptual import HASH_SIDE, NO_HASH, PERCEPTUAL_BYTES, has_hash, mirror_mask, perceptual_hash
from .remote import FileInfo
from .remote import joined as below
from .sources import begins_as_image, read_source
from .urls import public

__all__ = [
    "HASH_SIDE",
    "IMAGE_SUFFIXES",
    "LISTED_SUFFIXES",
    "NO_HASH",
    "ORIENTATIONS",
    "PERCEPTUAL_BYTES",
    "Blocks",
    "Drawn",
    "FileInfo",
    "Item",
    "ManifestColumns",
    "Member",
    "Origin",
    "Room",
    "Source",
    "Stored",
    "Unlisted",
    "begins_as_image",
    "below",
    "centre_box",
    "check_sequence",
    "decode_fast",
    "file_state",
    "has_hash",
    "is_archive",
    "is_compressed_tar",
    "is_deep",
    "is_fast",
    "is_manifest",
    "items_from",
    "jpeg_orientation",
    "located",
    "max_pixels",
    "mirror_mask",
    "open_image",
    "open_origin",
    "open_pixels",
    "perceptual_hash",
    "prepare",
    "prepare_fast",
    "public",
    "read_bytes",
    "read_origin",
    "read_source",
    "silent_libtiff",
    "to_rgb",
]
