"""Reasons why the content of a file is no accepted image: what it is instead."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import TiffImagePlugin

from ..errors import ImageError
from ..wording import count

_CONVERT = "which is not supported; convert it to JPEG"

_DAMAGED = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"))

# Offset, bytes there, and name of formats that people keep among photographs.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    *((4, b"ftyp" + brand, "HEIC") for brand in b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()),
    (4, b"ftypcrx ", "camera raw (Canon CR3)"),
    (0, b"II\x1a\0\0\0HEAPCCDR", "camera raw (Canon CRW)"),
    (0, b"IIU\0", "camera raw (Panasonic RW2)"),
    (0, b"IIRO", "camera raw (Olympus ORF)"),
    (0, b"IIRS", "camera raw (Olympus ORF)"),
    (0, b"MMOR", "camera raw (Olympus ORF)"),
    (0, b"FUJIFILMCCD-RAW", "camera raw (Fujifilm RAF)"),
    (0, b"FOVb", "camera raw (Sigma X3F)"),
    (0, b"\0MRM", "camera raw (Minolta MRW)"),
    (128, b"DICM", "DICOM"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\0\0\1\0", "a Windows icon"),
)
_BARE = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")  # JPEG 2000
HEAD_BYTES = 132
"""Bytes of a file by which :func:`is_image_content` tells."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Tags of TIFF.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _CHANNELS, _KIND = 254, 258, 259, 262, 277, 339
_SUBFILES, _DNG_VERSION = 330, 50706
_FILTERED, _LINEAR_RAW = 32803, 34892  # Photometric interpretations of what a sensor counted.
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65000, 65535})
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
_KINDS = {2: "signed whole numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}


def reason_for(data: bytes, accepted: Sequence[str]) -> str:
    """Reason why bytes that Pillow does not take for an image of an accepted format are none.

    Parameters
    ----------
    data : bytes
    accepted : sequence of str
        Names of the formats that are accepted.

    Examples
    --------
    >>> reason_for(b"<html>404</html>", ["JPEG"])
    'not an image: the content is an HTML page (a failed download?)'
    >>> reason_for(bytes(128) + b"DICM", ["JPEG"])
    'the content is DICOM, which is not supported; convert it to JPEG'
    """
    for start, magic, name in _FOREIGN:
        if data.startswith(magic, start):
            return f"the content is {name}, {_CONVERT}"
    if data.startswith(_TIFF):
        return _tiff_reason(data)
    return f"not an image: {_looks_like(data[:512], accepted)}"


def is_image_content(head: bytes) -> bool:
    r"""Whether a file begins as an image does, of a format that can be read or of one that people keep among images.

    Parameters
    ----------
    head : bytes
        Its first `HEAD_BYTES`.

    Examples
    --------
    >>> is_image_content(b"\xff\xd8\xff\xe0"), is_image_content(bytes(128) + b"DICM"), is_image_content(b"hello")
    (True, True, False)
    """
    if any(head.startswith(magic, start) for start, magic, _ in _FOREIGN if len(magic) > 2):
        return True
    if head.startswith((*(magic for magic, _ in _DAMAGED), *_TIFF, *_BARE)):
        return True
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return True
    if head.startswith(b"BM") and head[6:10] == bytes(4) and len(head) > 18:  # two reserved numbers, which are 0
        return True
    return head[4:12] in {b"ftypavif", b"ftypavis"} or re.match(rb"P[4-6]\s+[#\d]", head) is not None


def check_not_raw(tags: Mapping[int, Any]) -> None:
    """Raise for the tags of a TIFF that holds what a camera's sensor counted, beside a preview of it.

    Raises
    ------
    ImageError
        The reason.
    """
    reduced = bool(_number(tags, _SUBFILE, 0) & 1) and _SUBFILES in tags
    if (
        reduced
        or _DNG_VERSION in tags
        or _number(tags, _PHOTOMETRIC, 0) in {_FILTERED, _LINEAR_RAW}
        or _number(tags, _COMPRESSION, 1) in _RAW_COMPRESSIONS
    ):
        raise ImageError(f"the content is camera raw, {_CONVERT}")


def _tiff_reason(data: bytes) -> str:
    cut = "starts as TIFF does, but is damaged or cut short"
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        check_not_raw(tags)
        bits = [int(bits) for bits in tags.get(_BITS, (1,))]
        channels = _number(tags, _CHANNELS, 1)
        kind = _KINDS.get(_number(tags, _KIND, 1), "")
        photometric = _number(tags, _PHOTOMETRIC, -1)
    except ImageError as error:
        return str(error)
    except Exception:  # Whatever damage the directory has.
        return f"not an image: {cut}"
    if photometric < 0:
        return f"not an image: {cut}"
    colors = _COLORS.get(photometric, channels)
    extra = f" ({colors} of color, {channels - colors} more)" if channels > colors else ""
    return (
        f"a TIFF of {count(channels, 'channel')}{extra}, {'/'.join(map(str, sorted(set(bits))))} bits"
        f"{f', {kind}' * bool(kind)}, compression {_number(tags, _COMPRESSION, 1)}, photometric interpretation "
        f"{photometric}, which is not supported: expected gray, RGB or CMYK in 8 or 16 bits; convert it"
    )


def _number(tags: Mapping[int, Any], tag: int, default: int) -> int:
    value = tags.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _looks_like(head: bytes, accepted: Sequence[str]) -> str:
    for start, name in _DAMAGED:
        if head.startswith(start):
            return f"starts as {name} does, but is damaged or cut short"
    if head.startswith(b"RIFF") and head[8:12] in {b"WEBP", b""}:
        return "starts as WebP does, but is damaged or cut short"
    lower = head.lstrip().lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        return "the content is an HTML page (a failed download?)"
    if b"version https://git-lfs" in lower:
        return "the content is a Git LFS pointer (run 'git lfs pull')"
    if lower.startswith(b"%pdf"):
        return "the content is a PDF document"
    if lower.startswith(b"%!ps") or b"<svg" in lower:
        return f"the content is the text of a drawing (EPS, SVG), {_CONVERT}"
    if head[4:8] == b"ftyp":
        return "the content is a video"
    if not head.strip(b"\0"):
        return "the content is all zero bytes (an interrupted copy?)"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "the content is text"
    return f"no {', '.join(accepted)} content found"
