"""Archives in whose place something else lies when an image is read."""

from __future__ import annotations

import os
import tarfile
import zipfile

import pytest
from odd_files import encoded, picture

from featurekit.errors import SourceError, UnavailableError
from featurekit.images import read_source
from featurekit.images.archives import read_member


@pytest.fixture(params=["a.zip", "a.tar"])
def archive(tmp_path, request):
    image = tmp_path / "a.png"
    image.write_bytes(encoded(picture(0), "PNG"))
    place = tmp_path / request.param
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as file:
            file.write(image, "a.png")
    else:
        with tarfile.open(place, "w") as file:
            file.add(image, "a.png")
    return place


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(archive):
    (item,) = read_source(archive).items
    archive.unlink()
    os.mkfifo(archive)
    with pytest.raises(UnavailableError):
        read_member(item.origin)


def test_an_empty_file_in_place_of_an_archive_is_unavailable(archive):
    (item,) = read_source(archive).items
    archive.write_bytes(b"")
    with pytest.raises(UnavailableError, match="is empty"):
        read_member(item.origin)


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_empty_archive_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.(zip|tar)"):
        read_source(tmp_path / name)
