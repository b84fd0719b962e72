"""A folder of broken and odd image files among good ones: what people's folders really hold.

``python tests/testing/odd_files.py FOLDER`` writes it, to be tried by hand.
"""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A smooth colourful image: compresses like a photo and differs from every other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", body) + _png_chunk(b"IEND", b"")


def write_bad(folder: Path) -> dict[str, str]:
    """Write files that cannot be read; path below `folder` -> a part of the reason that the ledger must give."""
    jpeg, png = encoded(picture(1), "JPEG"), encoded(picture(2), "PNG")
    contents: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "empty file"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "header-only.jpg": (jpeg[:20], "damaged or cut short"),
        "text.jpg": (b"this is not an image\n", "text"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "HTML"),
        "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        "document.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        "zeros.jpg": (bytes(5000), "zero bytes"),
        "noise.png": (random.Random(0).randbytes(3000), "not an image"),
        "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        "bomb.png": (_bomb(), "decompression bomb"),
        "crc.png": (png[:60] + bytes([png[60] ^ 255]) + png[61:], "damaged or cut short"),
        "cut.gif": (encoded(picture(3), "GIF")[:40], "damaged or cut short"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "text"),
        "float.tif": (encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "floating-point"),
    }
    expected = {}
    for name, (data, reason) in contents.items():
        (folder / name).write_bytes(data)
        expected[name] = reason
    (folder / "folder.jpg").mkdir()
    expected["folder.jpg"] = "a directory"
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    expected["dangling.jpg"] = "symbolic link to a missing file"
    (folder / "loop.jpg").symlink_to("loop.jpg")
    expected["loop.jpg"] = "symbolic link"
    os.mkfifo(folder / "pipe.jpg")
    expected["pipe.jpg"] = "a device, pipe or socket, not"
    if os.geteuid() != 0:  # root may read everything
        (folder / "secret.jpg").write_bytes(jpeg)
        (folder / "secret.jpg").chmod(0)
        expected["secret.jpg"] = "Permission denied"
    return expected


def write_odd(folder: Path) -> list[str]:
    """Write files that are unusual and must be read; returns their paths below `folder`."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    gray16 = Image.fromarray(np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16))
    rgba = picture(10).convert("RGBA")
    rgba.putalpha(128)
    palette = picture(11).quantize(16)
    files = {
        "cmyk.jpg": encoded(picture(12).convert("CMYK"), "JPEG"),
        "gray.jpg": encoded(picture(13).convert("L"), "JPEG"),
        "progressive.jpg": encoded(picture(14), "JPEG", progressive=True),
        "rotated.jpg": encoded(picture(15), "JPEG", exif=rotated),
        "sixteen.png": encoded(gray16, "PNG"),
        "sixteen.tif": encoded(gray16.rotate(90), "TIFF"),
        "alpha.png": encoded(rgba, "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=0),
        "two-channel.png": encoded(picture(16).convert("LA"), "PNG"),
        "one-bit.png": encoded(picture(17).convert("1"), "PNG"),
        "animated.gif": encoded(picture(18), "GIF", save_all=True, append_images=[picture(19)]),
        "pages.tiff": encoded(picture(20), "TIFF", save_all=True, append_images=[picture(21)]),
        "picture.bmp": encoded(picture(22), "BMP"),
        "picture.webp": encoded(picture(23), "WEBP"),
        "picture.ppm": encoded(picture(24), "PPM"),
        "UPPER.JPG": encoded(picture(25), "JPEG"),
        "really-a-png.jpg": encoded(picture(26), "PNG"),
        "one-pixel.png": encoded(picture(27, (1, 1)), "PNG"),
        "ribbon.png": encoded(picture(28, (6000, 2)), "PNG"),
        'née, "日本" \n.jpg': encoded(picture(29), "JPEG"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    raw = os.fsdecode(b"latin-\xe9.jpg")  # a file name that is not UTF-8
    (folder / raw).write_bytes(encoded(picture(30), "JPEG"))
    return [*files, raw]


if __name__ == "__main__":
    home = Path(sys.argv[1])
    (home / "bad").mkdir(parents=True)
    (home / "odd").mkdir()
    write_bad(home / "bad")
    write_odd(home / "odd")
