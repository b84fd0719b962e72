"""A run that gives the rows of an older store their perceptual hashes, and is killed half-way."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from odd_files import encoded, picture
from old_layout import write_version_2
from servers import serving

from featurekit import FeatureStore, extract
from featurekit.backbones import find
from featurekit.images import has_hash
from featurekit.store import Columns, encode

LAST = encoded(picture(9).resize((64, 64)), "PNG")


@pytest.fixture
def server():
    """The address of a server that gives its image when it may, and what says that it was asked and that it may."""
    asked, may = threading.Event(), threading.Event()

    class Waiting(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            may.wait(120)
            self.send_response(200)
            self.send_header("Content-Length", str(len(LAST)))
            self.end_headers()
            self.wfile.write(LAST)

        def log_message(self, *_):
            pass

    with serving(Waiting) as (url, _):
        yield f"{url}/last.png", asked, may
        may.set()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_run_that_fills_in_hashes_goes_on(server, tmp_path, forwards):
    url, asked, may = server
    names = [*(f"{i}.png" for i in range(4)), url]
    files = [*(encoded(picture(i).resize((64, 64)), "PNG") for i in range(4)), LAST]
    for name, data in zip(names[:-1], files, strict=False):
        (tmp_path / name).write_bytes(data)
    manifest, path, n = tmp_path / "list.csv", tmp_path / "s.h5", len(names)
    manifest.write_text("\n".join(["path", *names, ""]))
    hashes = np.array([list(hashlib.sha256(data).digest()) for data in files], dtype=np.uint8)
    texts, numbers = encode([""] * n), np.zeros(n, dtype=np.int64)
    columns = Columns(encode(names), texts, texts, hashes, numbers, numbers)
    space = find("efficientnet_lite0").space
    rows = np.random.default_rng(0).normal(size=(n, space.dim)).astype(np.float32)
    places = {"root": str(tmp_path), "place": str(manifest)}
    write_version_2(path, space, columns, rows, [(name, "stored", "", i) for i, name in enumerate(names)], places)
    before = path.read_bytes()

    process = subprocess.Popen([sys.executable, "-m", "featurekit_cli", "extract", manifest, "-o", path, "-q"])
    try:
        assert asked.wait(120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.read_bytes() == before
    may.set()
    with extract(manifest, output=path) as store:
        assert (store.summary.computed, store.summary.reused, store.summary.failed) == (0, n, 0)
    with FeatureStore(path) as store:
        assert np.array_equal(store.X[...], rows)
        assert has_hash(store.columns.perceptual).all()
    assert not forwards
