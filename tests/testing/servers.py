"""Servers on this machine: HTTP with ranges and faults, and S3."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from featurekit.images import remote


class _Handler(SimpleHTTPRequestHandler):
    """Files with ranges; a name says what goes wrong with it: ``stall``, ``cut``, ``error``, ``flaky``, ``secret``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        name = unquote(self.path)
        if "stall" in name and path.is_file():
            self.server.stop.wait(60)
            return
        if "error" in name or ("flaky" in name and self.server.asked.count(self.path) < 2):
            self.send_error(500)
            return
        if "secret" in name:
            self.send_error(403)
            return
        if path.is_dir():
            super().do_GET()
            return
        if not path.is_file():
            self.send_error(404)
            return
        data, status, more = path.read_bytes(), 200, []
        if part := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(part[1]), int(part[2] or len(data) - 1)
            more, status = [("Content-Range", f"bytes {start}-{end}/{len(data)}")], 206
            data = data[start : end + 1]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        for key, value in more:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if "cut" in name else data)
        if "cut" in name:
            self.close_connection = True

    def log_message(self, *args):
        pass


def http_server(folder):
    """Serve the files of a folder, as :func:`serving` does."""
    return serving(lambda *args: _Handler(*args, directory=str(folder)))


@contextmanager
def serving(handler):
    """Run a server whose requests `handler` answers; yield its URL, and the list of requests that the handler fills.

    The handler has both at `self.server`: `asked`, and the event `stop`, which is set when the server ends.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked, server.stop, server.daemon_threads = [], threading.Event(), True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()


@contextmanager
def s3_server(monkeypatch):
    """A client of a real S3 server on loopback, which fsspec finds by AWS's own variables."""
    import s3fs

    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    url, client = _s3()
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    remote._of_host.cache_clear()  # of a server that a test before had
    s3fs.S3FileSystem.clear_instance_cache()
    yield client


@cache
def _s3():
    """The address and a client of a server that runs until this process ends: it starts and stops slowly."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=url)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.list_buckets()
            break
        except Exception:
            time.sleep(0.1)
    return url, client


def keys(client):
    """What is in the bucket `rows`."""
    return sorted(each["Key"] for each in client.list_objects_v2(Bucket="rows").get("Contents", []))
