"""Images behind URLs: real servers on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from botocore.exceptions import NoCredentialsError
from servers import http_server, s3_server
from small import extract

from featurekit.errors import ImageError, SourceError
from featurekit.folders import is_url
from featurekit.images import read_source
from featurekit.images.remote import fetch, joined, public, reason_of


@pytest.fixture
def photos(digits_folder, tmp_path):
    """Nine digits in class folders, one with a blank in its name."""
    folder = tmp_path / "www" / "photos"
    for path in sorted(digits_folder.glob("*/*.png"))[::7]:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        name = "a b.png" if path.name == "007.png" else path.name
        (folder / path.parent.name / name).write_bytes(path.read_bytes())
    return folder


def rows(store):
    """Rows by content."""
    return {bytes(sha): row for sha, row in zip(store.columns.sha256, store.X[:], strict=True)}


def same(a, b):
    a, b = rows(a), rows(b)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_a_folder_behind_http_is_that_folder(photos, tmp_path):
    here = extract(photos, output=tmp_path / "here.h5")
    with http_server(photos.parent) as (url, _):
        store = extract(f"{url}/photos/", output=tmp_path / "far.h5")
    assert same(store, here)
    assert store.paths == here.paths
    assert store.columns.label.tolist() == here.columns.label.tolist()
    assert store.provenance["root"] == f"{url}/photos"


@pytest.mark.slow
def test_failures_of_a_server_are_in_the_ledger(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "1")
    good = sorted(photos.glob("*/*.png"))
    for name in ("stall", "cut", "error", "secret", "flaky"):
        (photos / f"{name}.png").write_bytes(good[0].read_bytes() + name.encode())
    (photos / "text.png").write_text("no picture")
    begun = time.monotonic()
    with http_server(photos.parent) as (url, asked):
        store = extract(f"{url}/photos/", output=tmp_path / "far.h5")
        gone = [f"{url}/photos/{name}" for name in ("gone.png", "0/000.png")]
        listed = extract(gone, output=tmp_path / "list.h5")
    assert time.monotonic() - begun < 100  # the time-outs are kept; nothing is measured here
    assert len(store) == len(good) + 1
    reasons = {entry.path: entry.reason for entry in store.ledger.where("failed")}
    assert reasons.keys() == {"stall.png", "cut.png", "error.png", "secret.png", "text.png"}
    assert "no answer within 1 s" in reasons["stall.png"]
    assert "3 times tried" in reasons["cut.png"]
    assert "the server answered 500" in reasons["error.png"]
    assert reasons["secret.png"].startswith("the server answered 403")
    assert asked.count("/photos/secret.png") == 1  # asking again would not help
    assert "not an image" in reasons["text.png"]
    assert [entry.reason for entry in listed.ledger.where("failed")] == ["no such file"]


def test_a_server_that_gives_nothing_is_not_waited_for_again_and_again(tmp_path, monkeypatch):
    (tmp_path / "error.png").write_bytes(b"x")
    (tmp_path / "good.png").write_bytes(b"x")
    with http_server(tmp_path) as (url, asked):
        for number in range(12):
            # The pauses between three tries last as long, and a single try gets a tenth of it.
            monkeypatch.setenv("FEATUREKIT_TIMEOUT", "0.2" if number < 8 else "0.5")
            with pytest.raises(ImageError):
                fetch(f"{url}/error.png")
        assert asked.count("/error.png") == 8 * 3 + 4
        assert fetch(f"{url}/good.png") == b"x"
        with pytest.raises(ImageError, match="3 times tried"):
            fetch(f"{url}/error.png")


def test_a_manifest_behind_http_and_one_of_urls(photos, tmp_path):
    here = extract(photos, output=tmp_path / "here.h5")
    lines = [f"{path},{label.decode()}" for path, label in zip(here.paths, here.columns.label, strict=True)]
    (photos / "list.csv").write_text("path,label\n" + "\n".join(lines) + "\n../../secret.png,0\n")
    with http_server(photos.parent) as (url, _):
        found = read_source(f"{url}/photos/list.csv")
        (problem,) = [item.problem for item in found.items if item.problem]
        assert problem.startswith(f"outside {url}/photos: a manifest from a server may not lead there")
        assert same(extract(f"{url}/photos/list.csv", output=tmp_path / "far.h5"), here)
        local = tmp_path / "urls.csv"
        local.write_text(f"path,label\n{url}/photos/{here.paths[0]},a\nfile:///etc/passwd,b\n")
        first, second = read_source(local).items
    assert (first.origin, first.problem) == (f"{url}/photos/{here.paths[0]}", "")
    assert second.problem == "a URL that a manifest may not name (of a file here, write its path)"


@pytest.mark.s3
def test_s3_is_listed_read_and_known_again(photos, tmp_path, monkeypatch):
    here = extract(photos, output=tmp_path / "here.h5")
    with s3_server(monkeypatch) as client:
        client.create_bucket(Bucket="photos")
        for path in photos.glob("*/*.png"):
            client.put_object(Bucket="photos", Key=f"in/{path.parent.name}/{path.name}", Body=path.read_bytes())
        store = extract("s3://photos/in", output=tmp_path / "far.h5")
        assert same(store, here)
        assert store.paths == here.paths
        again = extract("s3://photos/in", output=tmp_path / "far.h5")
        assert (again.summary.computed, again.summary.reused) == (0, len(here))
        changed = here.paths[0]
        client.put_object(Bucket="photos", Key=f"in/{changed}", Body=(photos / changed).read_bytes() + b"more")
        third = extract("s3://photos/in", output=tmp_path / "far.h5")
        assert (third.summary.computed, third.summary.reused) == (1, len(here) - 1)
        with pytest.raises(SourceError, match="no image in s3://photos/out"):
            read_source("s3://photos/out")
    with pytest.raises(SourceError, match="cannot be listed"):
        read_source("s3://nowhere-at-all/x")


def test_passwords_in_urls_are_refused_and_not_printed(tmp_path):
    with pytest.raises(SourceError, match=r"the URL https://\.\.\.@host/photos/ holds a password") as refused:
        read_source("https://me:secret@host/photos/")
    assert "secret" not in str(refused.value)
    assert public("abfss://container@account/a.jpg") == "abfss://container@account/a.jpg"
    assert public("https://host/a.jpg?token=secret") == "https://host/a.jpg"
    for url in ("https://me:secret@host/a.jpg", "s3://KEY:wJal/se/cret@bucket/a.jpg", "https://me:pa/secret@host/x"):
        with pytest.raises(SourceError, match="holds a password") as refused:
            read_source([url])
        assert "ret@" not in str(refused.value)
    assert public("http://host:8080/a@b.jpg") == "http://host:8080/a@b.jpg"


def test_query_strings_are_not_stored(photos, tmp_path):
    (name,) = [path.relative_to(photos.parent) for path in sorted(photos.glob("*/*.png"))[:1]]
    with http_server(photos.parent) as (url, _):
        extract(f"{url}/{name}?X-Amz-Signature=SECRET", output=tmp_path / "a.h5")
        with pytest.raises(SourceError, match=r"may have no '\?'"):
            read_source(f"{url}/photos/?sig=SECRET")
    assert b"SECRET" not in (tmp_path / "a.h5").read_bytes()
    with pytest.raises(SourceError, match="holds a password"):
        read_source("https://TOKEN@host/photos")


def test_an_unknown_protocol_is_named():
    with pytest.raises(SourceError, match="cannot be listed: ValueError: Protocol not known: nonsense"):
        read_source("nonsense://host/photos")


def test_a_package_that_is_missing_or_broken_is_named(tmp_path):
    code = (
        "import sys; from featurekit.images import read_source\n"
        "from featurekit.errors import SourceError\n"
        "try: read_source(sys.argv[1])\n"
        "except SourceError as error: print(error)"
    )

    def said(url, **packages):
        for name, text in packages.items():
            (tmp_path / f"{name}.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", code, url],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        return done.stdout

    assert "needs the package s3fs: pip install 'featurekit[remote]'" in said(
        "s3://bucket/x", s3fs="raise ModuleNotFoundError('No module named s3fs', name='s3fs')"
    )
    assert "needs the package ocifs, which is not installed: pip install ocifs" in said(
        "oci://bucket/x", ocifs="raise ModuleNotFoundError('No module named ocifs', name='ocifs')"
    )
    assert "is installed and cannot be used: cannot import name 'thing'" in said(
        "s3://bucket/x", s3fs="raise ImportError(\"cannot import name 'thing' from 'botocore'\")"
    )


def test_a_setting_that_is_wrong_is_not_blamed_on_a_file(monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "soon")
    with pytest.raises(SourceError, match=r"^FEATUREKIT_TIMEOUT must be"):
        read_source("http://127.0.0.1:1/photos/")


def test_missing_credentials_say_where_they_are_looked_for():
    error = reason_of(NoCredentialsError(), "s3://bucket/x")
    assert "Unable to locate credentials (its library looks for them in the environment" in error


@pytest.mark.parametrize("text", ["photos", "C:\\photos", "c:/photos", "/a/b", "a:b", "./x://y"])
def test_windows_paths_and_names_with_colons_are_not_urls(text):
    assert not is_url(text)


def test_a_time_limit_that_is_not_a_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "soon")
    (tmp_path / "list.csv").write_text("path,label\nhttp://127.0.0.1:1/a.png,x\n")
    with pytest.raises(SourceError, match="FEATUREKIT_TIMEOUT must be a number of seconds, got 'soon'"):
        read_source(tmp_path / "list.csv")


def test_a_name_may_not_lead_out_of_its_root():
    assert joined("s3://b/in", "a/../c.png") == "s3://b/in/c.png"
    assert joined("s3://b/in", "s3://b/in/c.png") == "s3://b/in/c.png"
    for name in ("../c.png", "/c.png", "s3://b/inside/c.png", "s3://b/in/../c.png", "file:///etc/passwd"):
        assert joined("s3://b/in", name) is None
    assert joined("http://h/in", "%2e%2e/secret.png") is None
    assert joined("http://h/in", "c at/a#1?.png") == "http://h/in/c at/a%231%3F.png"
