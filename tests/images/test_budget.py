"""Limits of pixels, bytes and scans."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from odd_files import _png_chunk, encoded, picture
from PIL import Image

from featurekit.errors import ImageError, SourceError
from featurekit.images import Room, decode_fast, open_image, read_bytes
from featurekit.images.budget import MAX_BYTES
from featurekit.images.decode import MAX_SCANS, has_too_many_scans

MEASURE = """
import re, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from featurekit.backbones import find
from featurekit.runtime import keep_freed_memory, load_decoder

wish = find("efficientnet_lite0").preprocessing
keep_freed_memory()
decoder = load_decoder(sys.argv[1], "cpu")
with ThreadPoolExecutor(2) as pool:
    found = list(pool.map(lambda path: decoder([Path(path).read_bytes()], [{wish}])[0], sys.argv[2:]))
# The peak that getrusage tells begins at that of the process that started this one.
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(sum(hasattr(each, "pixels") for each in found), int(peak[1]) // 1000)
"""


def flat_png(path: Path, side: int, kind: int, bits: int) -> Path:
    """A square PNG of zeros, which takes a few hundred kilobytes."""
    row = bytes(1 + side * {0: 1, 2: 3, 6: 4}[kind] * bits // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, 0)
    chunks = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", body) + _png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def decoded_and_megabytes(decoder: str, *paths: Path) -> tuple[int, int]:
    """How many files two threads of a new process decode, and its peak memory."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, decoder, *map(str, paths)],
        capture_output=True, text=True, check=True, env=os.environ | {"FEATUREKIT_MAX_PIXELS": ""},
    )  # fmt: skip
    good, megabytes = done.stdout.split()
    return int(good), int(megabytes)


WEBP = bytes.fromhex("524946461a000000574542505650384c0d0000002ffeffa41a071011118888fe0700")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_webp_of_34_bytes_and_178_million_pixels_is_refused_with_its_remedy(tmp_path):
    with pytest.raises(ImageError, match=r"16383 x 10900 pixels, .*set FEATUREKIT_MAX_PIXELS=535724100"):
        open_image(WEBP)
    (tmp_path / "a.webp").write_bytes(WEBP)
    good, megabytes = decoded_and_megabytes("auto", *[tmp_path / "a.webp"] * 4)
    assert good == 0
    assert megabytes < 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bits", "decoder"),
    [pytest.param(6, 8, "pillow", id="transparent-pillow"), pytest.param(0, 16, "auto", id="16 bits-auto")],
)
def test_two_threads_decode_the_largest_images_in_one_and_a_half_gigabytes(kind, bits, decoder, tmp_path):
    path = flat_png(tmp_path / "a.png", 13_370, kind, bits)
    good, megabytes = decoded_and_megabytes(decoder, path, path)
    assert good == 2
    assert megabytes < 1700


def test_images_in_other_threads_wait_until_there_is_room(monkeypatch):
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "100")
    order = []
    inside = threading.Barrier(2)

    def second():
        with Room() as room:
            inside.wait()
            room.take(10, 8, "PNG")
            order.append("second")

    with Room() as room:
        room.take(10, 9, "PNG")
        other = threading.Thread(target=second)
        other.start()
        inside.wait()
        other.join(0.2)
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]


def test_many_threads_never_decode_more_than_the_budget(monkeypatch):
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "100")
    lock, used, most = threading.Lock(), 0, 0

    def work(seed):
        nonlocal used, most
        for pixels in np.random.default_rng(seed).integers(1, 101, 50).tolist():
            with Room() as room:
                room.take(1, pixels, "PNG")
                with lock:
                    used += pixels
                    most = max(most, used)
                with lock:
                    used -= pixels

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 100


def test_the_variable_changes_the_limit_of_an_image(monkeypatch):
    data = encoded(picture(1, (20, 10)), "PNG")
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "199")
    with pytest.raises(ImageError, match=r"20 x 10 pixels, more than 199 .*FEATUREKIT_MAX_PIXELS=200"):
        open_image(data)
    with pytest.raises(ImageError, match=r"20 x 10 pixels, more than 199 "):
        decode_fast(encoded(picture(1, (20, 10)), "JPEG"))
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "200")
    assert open_image(data).size == (20, 10)


def test_the_variable_allows_more_than_pillow_does_by_itself():
    code = (
        "import io; from PIL import Image; from featurekit.images import open_image; buffer = io.BytesIO();"
        "Image.MAX_IMAGE_PIXELS = 50; Image.new('RGB', (20, 10)).save(buffer, 'PNG');"
        "print(open_image(buffer.getvalue()).size)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, check=True, env=os.environ | {"FEATUREKIT_MAX_PIXELS": "1000"},
    )  # fmt: skip
    assert run.stdout == "(20, 10)\n"


@pytest.mark.parametrize("text", ["much", "0", "-1", "1.5"])
def test_nonsense_in_the_variable_is_an_error(text, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", text)
    with pytest.raises(SourceError, match="must be a whole number of pixels"):
        Room()


def test_a_file_of_more_bytes_than_the_limit_is_not_read(tmp_path):
    path = tmp_path / "video.jpg"
    path.touch()
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(ImageError, match=f"too large: {MAX_BYTES + 1} bytes"):
        read_bytes(path)


def with_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose scans beyond the first say nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    blocks = ((side + 7) // 8) ** 2
    assert blocks <= 32767  # one run of empty blocks
    data = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    data += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    data += segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\x00")
    data += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    data += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    run = f"0{max(0, blocks - 16384):014b}1"
    empty = int(run, 2).to_bytes(2, "big").replace(b"\xff", b"\xff\0")
    for number in range(scans - 1):
        data += segment(0xDA, bytes([1, 1, 0, 1 + number % 63, 1 + number % 63, 0])) + empty
    return data + b"\xff\xd9"


@pytest.mark.parametrize("decode", [open_image, decode_fast])
def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded(decode):
    with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans"):
        decode(with_scans(1040, 20_000))


def test_a_jpeg_of_as_many_scans_as_are_allowed_is_decoded():
    assert open_image(with_scans(1040, MAX_SCANS)).size == (1040, 1040)


def test_scans_of_a_picture_in_memory_are_bounded():
    from featurekit.images import read_origin

    with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans"):
        read_origin(Image.open(io.BytesIO(with_scans(1040, 20_000))))


def test_what_follows_a_jpeg_does_not_count_as_its_scans():
    data = encoded(picture(1), "JPEG", progressive=True) + b"\xff\xda\0\1" * 1000
    assert not has_too_many_scans(data)
    assert open_image(data).size == (80, 60)


def test_a_thumbnail_in_a_jpeg_does_not_count_as_its_scans():
    comment = b"\xff\xda\0\1" * 1000
    data = encoded(picture(1), "JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(comment) + 2) + comment + data[2:]
    assert not has_too_many_scans(data)
