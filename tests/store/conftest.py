"""A bucket of a real S3 server on loopback."""

from __future__ import annotations

import pytest
from caches import own_caches
from servers import keys, s3_server


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A client, with an empty bucket `rows`; copies of shards go to a folder of the test."""
    own_caches(monkeypatch, tmp_path / "caches")
    with s3_server(monkeypatch) as client:
        client.create_bucket(Bucket="rows")
        yield client
        for key in keys(client):  # the server runs on
            client.delete_object(Bucket="rows", Key=key)
