"""Manifests that may be of somebody else: which URLs they may name."""

from __future__ import annotations

import pytest
from servers import http_server

from featurekit.images import read_source


@pytest.fixture
def served(tmp_path):
    """A manifest on a server that names a picture of its folder, a URL of its folder, and one of another server."""
    (tmp_path / "site").mkdir()
    with http_server(tmp_path / "site") as (url, asked):
        names = ["a.png", f"{url}/b.png", "http://127.0.0.1:9/latest/meta-data"]
        (tmp_path / "site" / "m.csv").write_text("\n".join(["path", *names]))
        yield f"{url}/m.csv", asked


def test_a_manifest_from_a_server_names_urls_of_its_own_folder_only(served):
    near, own, foreign = read_source(served[0]).items
    assert (near.problem, own.problem) == ("", "")
    assert "a manifest from a server may not lead there" in foreign.problem


def test_a_manifest_from_a_server_with_a_root_here_names_no_urls(served, tmp_path):
    near, own, foreign = read_source(served[0], root=tmp_path).items
    assert near.problem == ""
    for item in (own, foreign):
        assert item.problem == (
            f"outside {tmp_path}: a manifest from a server may not lead there. If you trust it, download it"
        )


def test_a_manifest_here_with_a_root_names_no_urls(tmp_path):
    (tmp_path / "m.csv").write_text("path\nhttp://127.0.0.1:9/a.png\n")
    (item,) = read_source(tmp_path / "m.csv", root=tmp_path).items
    assert item.problem.startswith(f"outside {tmp_path}, the root that was named: leave root= or --root out")


def test_a_manifest_here_without_a_root_names_any_url(tmp_path):
    (tmp_path / "m.csv").write_text("path\nhttp://127.0.0.1:9/a.png\n")
    (item,) = read_source(tmp_path / "m.csv").items
    assert item.problem == ""
