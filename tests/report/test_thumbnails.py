"""Pictures in a report: only from below a folder that the caller named."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler

import pytest
from servers import serving

from featurekit import compare
from featurekit.fingerprint import content_hash
from featurekit.report import write_page
from featurekit.report.thumbnails import thumbnail


@pytest.fixture
def image(digits_folder):
    """An image, and the hash that a store keeps of it."""
    path = sorted(digits_folder.glob("0/*.png"))[0]
    return path, content_hash(path.read_bytes())


def recording_server(data):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    return serving(Handler)


def test_a_file_below_the_folder_is_shown(image):
    path, content = image
    assert thumbnail(str(path.parent), "/elsewhere", path.name, content).startswith("data:image/jpeg")
    assert thumbnail(str(path.parents[1]), str(path.parent), path.name, content).startswith("data:image/jpeg")


@pytest.mark.parametrize("spelled", ["absolute", "dots", "root"])
def test_a_file_outside_the_folder_is_not_opened(image, tmp_path, spelled):
    path, content = image
    names = {
        "absolute": ("", str(path)),
        "dots": ("", os.path.relpath(path, tmp_path)),
        "root": (str(path.parent), path.name),
    }
    root, name = names[spelled]
    assert thumbnail(str(tmp_path), root, name, content) == ""


@pytest.mark.parametrize("name", ["/proc/kmsg", "/dev/zero", "/proc/self/mem"])
def test_what_is_no_plain_file_is_not_opened(name):
    assert thumbnail("/", "/", name, b"") == ""


def test_no_url_is_asked_unless_it_is_named(image):
    path, content = image
    with recording_server(path.read_bytes()) as (url, asked):
        for root, name in ((url, "admin?delete=1.png"), ("", f"{url}/a.png")):
            assert thumbnail(str(path.parent), root, name, content) == ""
        assert asked == []
        assert thumbnail(url, url, "a.png", content).startswith("data:image/jpeg")
        assert thumbnail(f"{url}/b", url, "a.png", content).startswith("data:image/jpeg")
    assert asked == ["/a.png", "/b/a.png"]


@pytest.mark.slow
def test_a_page_about_a_store_asks_nobody(digits_store, image, tmp_path):
    with recording_server(image[0].read_bytes()) as (url, asked):
        digits_store.provenance["root"] = url
        result = compare(digits_store, heads=["centroid"], cv=2)
        page = write_page(result, tmp_path / "r.html")
        assert asked == []
    assert "<img" not in page.read_text(encoding="utf-8")
