"""Servers: which faults are asked for again, where they may redirect to, and how much of an answer is held."""

from __future__ import annotations

import os
import tracemalloc
from http.server import BaseHTTPRequestHandler

import pytest
from odd_files import encoded, picture
from servers import serving

from featurekit.errors import ImageError, UnavailableError
from featurekit.images import Member, read_origin, read_source
from featurekit.images.budget import MAX_BYTES, MAX_PIXELS, max_bytes
from featurekit.images.remote import fetch

PNG = encoded(picture(0), "PNG")
LEAST = 2**26
PART = bytes(2**16)


class _Odd(BaseHTTPRequestHandler):
    """A path is an answer: ``/403``, ``/flaky-503``, ``/to-URL``, ``/round``, ``/announces``, ``/sends-N``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        asked, path = self.server.asked, self.path[1:]
        asked.append(path)
        if path.isdigit():
            self._answer(int(path))
        elif path.startswith("flaky-") and asked.count(path) == 1:
            self._answer(int(path[6:]))
        elif path.startswith("round"):
            self._answer(302, Location=f"/round{len(asked)}")
        elif path.startswith("to-"):
            self._answer(302, Location=path[3:].replace("PORT", str(self.server.server_port)))
        elif path == "garbled":
            self.wfile.write(b"\xff\xd8\n\x1b[31m\r\n\r\n")
            self.close_connection = True
        elif path == "announces":
            self._answer(200, length=LEAST + 1)
            self.close_connection = True
        elif path.startswith("sends-"):
            count = int(path[6:])
            self._answer(200, length=count * len(PART))
            for _ in range(count):
                self.wfile.write(PART)
        else:
            self._answer(200, length=len(PNG))
            self.wfile.write(PNG)

    def _answer(self, status, length=0, **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": length}.items():
            self.send_header(name, value)
        self.end_headers()


def odd_server():
    return serving(_Odd)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("404", "^no such file$"),
        ("410", "^no such file$"),
        ("401", "^the server answered 401"),
        ("403", "^the server answered 403"),
        (
            "to-file:///etc/passwd",
            "^its server redirects to an address of file:, and only http and https are followed$",
        ),
        ("to-ftp://localhost/a.png", "^its server redirects to an address of ftp:"),
        ("to-http://localhost:99999999/", "^its server redirects to what is no address$"),
    ],
)
def test_what_lasts_is_asked_for_once(path, reason):
    with odd_server() as (url, asked), pytest.raises(ImageError, match=reason):
        fetch(f"{url}/{path}")
    assert asked == [path]


def test_redirects_in_a_circle_are_called_so_and_followed_once():
    with (
        odd_server() as (url, asked),
        pytest.raises(UnavailableError, match=r"^its server redirects more than 9 times$"),
    ):
        fetch(f"{url}/round")
    assert len(asked) == 10


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_is_asked_for_again(status):
    with odd_server() as (url, asked):
        assert fetch(f"{url}/flaky-{status}") == PNG
    assert len(asked) == 2


def test_an_answer_that_is_no_http_is_called_so_in_one_line(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with odd_server() as (url, asked), pytest.raises(UnavailableError, match="answered is no HTTP: ") as caught:
        fetch(f"{url}/garbled")
    assert "\n" not in str(caught.value)
    assert len(asked) > 1


def test_an_image_of_the_users_own_manifest_may_be_redirected_to_another_host(tmp_path):
    """So the README says; a manifest from elsewhere may not do that (test_bounds.py)."""
    with odd_server() as (url, asked):
        (tmp_path / "list.csv").write_text(f"path,label\n{url}/to-http://localhost:PORT/secret.png,a\n")
        (item,) = read_source(tmp_path / "list.csv").items
        assert read_origin(item.origin)[0] == PNG
    assert asked[-1] == "secret.png"


def test_the_most_bytes_of_an_image_follow_the_most_pixels(monkeypatch):
    assert max_bytes() == MAX_BYTES
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", str(2 * MAX_PIXELS))
    assert max_bytes() == 2 * MAX_BYTES
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "1000")
    assert max_bytes() == LEAST


@pytest.fixture
def few_pixels(monkeypatch):
    monkeypatch.setenv("FEATUREKIT_MAX_PIXELS", "1000")


def test_an_answer_that_announces_too_many_bytes_is_not_read(few_pixels):
    with odd_server() as (url, asked), pytest.raises(UnavailableError, match=f"more than {LEAST:,} bytes"):
        read_origin(f"{url}/announces")
    assert asked == ["announces"]


def test_a_file_is_held_to_the_same_bytes(few_pixels, tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, LEAST + 1)
    with pytest.raises(UnavailableError, match=f"at most {LEAST} are read of one image; FEATUREKIT_MAX_PIXELS"):
        read_origin(str(path))


def test_a_member_of_an_archive_is_held_to_the_same_bytes(few_pixels):
    with pytest.raises(UnavailableError, match=f"at most {LEAST} are read of one image; FEATUREKIT_MAX_PIXELS"):
        read_origin(Member("/a.tar", 0, LEAST + 1))


def test_an_answer_is_held_once_while_it_comes():
    with odd_server() as (url, _):
        fetch(f"{url}/a.png")
        tracemalloc.start()
        try:
            size = len(fetch(f"{url}/sends-256"))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (size, peak < 1.6 * size) == (2**24, True)
