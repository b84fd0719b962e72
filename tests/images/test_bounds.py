"""Bodies, redirects, archives and folders of a hostile sender are bounded."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import time
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler

import pytest
from odd_files import encoded, picture
from servers import serving

from featurekit.errors import ImageError, SourceError
from featurekit.images import read_origin, read_source
from featurekit.images.remote import Confined, fetch, listed, public

PNG = encoded(picture(0), "PNG")
MOST = 2**20


class _Hostile(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(self.path)
        port = self.server.server_port
        try:
            if "endless" in self.path:
                self._start(("Transfer-Encoding", "chunked"), ("Content-Type", "text/html"))
                while True:
                    self.wfile.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
            elif "bomb" in self.path:
                self._send(gzip.compress(bytes(2**27), 1), ("Content-Encoding", "gzip"))
            elif "elsewhere" in self.path:
                self._send(b"", ("Location", f"http://localhost:{port}/secret.png"), status=302)
            elif "moved" in self.path:
                self._send(b"", ("Location", "/good.png"), status=302)
            elif "links" in self.path:
                self._send(b"<a " * 10**5, ("Content-Type", "text/html"))
            elif "missing" in self.path:
                self._send(b"x" * 10**6, status=404)
            elif self.path == "/list.csv":
                self._send(b"path,label\nelsewhere.png,a\nmoved.png,b\n")
            else:
                self._send(PNG)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _start(self, *headers, status=200):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body, *headers, status=200):
        self._start(*headers, ("Content-Length", str(len(body))), status=status)
        if self.command != "HEAD":
            self.wfile.write(body)


def hostile_server():
    return serving(_Hostile)


@pytest.mark.parametrize("name", ["endless.png", "bomb.png"])
def test_a_body_without_end_is_refused_at_the_limit(name):
    with hostile_server() as (url, asked):
        with pytest.raises(ImageError, match=f"more than {MOST:,} bytes"):
            fetch(f"{url}/{name}", most=MOST)
    assert len(asked) == 1  # asking again would not help


def test_a_part_of_an_endless_body_is_refused():
    with hostile_server() as (url, _), pytest.raises(ImageError, match="whole files only"):
        fetch(f"{url}/endless.png", 0, 1000)


def test_a_listing_without_end_is_refused():
    with hostile_server() as (url, _), pytest.raises(SourceError, match="cannot be listed: more than"):
        listed(f"{url}/endless/")


def test_a_listing_of_unclosed_links_is_refused_at_once():
    with hostile_server() as (url, _):
        begun = time.monotonic()
        with pytest.raises(SourceError, match="its listing is no page of links"):
            listed(f"{url}/links/")
    assert time.monotonic() - begun < 60  # it took hours


def test_a_long_page_about_a_missing_file_is_no_long_image():
    with hostile_server() as (url, _):
        with pytest.raises(ImageError, match="no such file"):
            fetch(f"{url}/missing.png", 0, 100)


def test_a_redirect_of_a_manifests_server_stays_on_that_server():
    with hostile_server() as (url, asked):
        away, moved = read_source(f"{url}/list.csv").items
        with pytest.raises(ImageError, match="redirects to another one, localhost"):
            read_origin(away.origin)
        assert "/secret.png" not in asked
        assert read_origin(moved.origin)[0] == PNG


def test_a_redirect_of_an_address_that_the_user_wrote_is_followed():
    with hostile_server() as (url, _):
        assert fetch(f"{url}/elsewhere.png") == PNG
        with pytest.raises(ImageError, match="redirects to another one"):
            fetch(Confined(f"{url}/elsewhere.png"))


@pytest.mark.parametrize("text", ["http://" * 30000, "s3://a:" * 30000, "s3://" + "a:" * 100000, "x://" * 50000])
def test_passwords_are_looked_for_in_linear_time(text):
    begun = time.monotonic()
    public(text)
    assert time.monotonic() - begun < 5  # it was quadratic


def overlapping_zip(path, count):
    """A ZIP file whose entries share the bytes of one member."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data, size = packer.compress(PNG) + packer.flush(), len(PNG)
    names = [b"%s/%03d.png" % (b"ab"[i % 2 : i % 2 + 1], i) for i in range(count)]
    sizes = (zlib.crc32(PNG), len(data), size)
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 33, *sizes, len(names[0]), 0) + names[0] + data
    entries = b"".join(
        struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 33, *sizes, len(name), 0, 0, 0, 0, 0, 0) + name
        for name in names
    )
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(entries), len(local), 0)
    path.write_bytes(local + entries + end)
    return path


def test_members_of_a_zip_that_share_bytes_are_refused(tmp_path):
    items = read_source(overlapping_zip(tmp_path / "a.zip", 20)).items
    assert len(items) == 20
    assert all("those of another file of the archive" in item.problem for item in items)


def test_one_member_of_such_a_zip_is_read(tmp_path):
    (item,) = read_source(overlapping_zip(tmp_path / "a.zip", 1)).items
    assert (item.problem, read_origin(item.origin)[0]) == ("", PNG)


def test_a_member_that_reaches_into_the_list_of_a_zip_is_refused(tmp_path):
    data = bytearray(overlapping_zip(tmp_path / "a.zip", 1).read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 24] = struct.pack("<I", len(data))
    (tmp_path / "a.zip").write_bytes(data)
    (item,) = read_source(tmp_path / "a.zip").items
    assert "bytes are too many for an image" in item.problem


@pytest.mark.parametrize("name", ["a/../../b.png", "../b.png", "/b.png", "./../a/b.png"])
def test_every_name_that_leads_out_of_a_zip_is_in_the_ledger(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, PNG)
    (item,) = read_source(tmp_path / "a.zip").items
    assert (item.path, item.problem) == (name, "its name leads out of the archive")


@pytest.fixture
def nested(tmp_path):
    """Makes a folder with an image so many folders below it, however long its path gets."""

    def make(depth):
        (tmp_path / "deep").mkdir()
        here = os.open(tmp_path / "deep", os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        file = os.open("x.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
        os.write(file, PNG)
        os.close(file)
        os.close(here)
        return tmp_path / "deep"

    yield make
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)  # pytest cannot remove it


def test_an_image_1200_folders_deep_is_listed(nested):
    (item,) = read_source(nested(1200)).items
    assert (item.path, item.problem) == ("d/" * 1200 + "x.png", "")
    assert read_origin(item.origin)[0] == PNG


def test_a_path_that_is_too_long_for_the_system_is_in_the_ledger(nested):
    (item,) = read_source(nested(2500)).items
    assert item.problem.startswith("the folder cannot be listed: File name too long")
