"""Archives of images, and webdataset's shards."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
from servers import http_server

from featurekit import TransferClassifier, extract
from featurekit.errors import ImageError, SourceError
from featurekit.images import read_bytes, read_source


@pytest.fixture(scope="module")
def files(digits_folder):
    """Of some digits: name below the folder, bytes."""
    paths = sorted(digits_folder.glob("*/*.png"))[::6]
    return [(str(path.relative_to(digits_folder)), path.read_bytes()) for path in paths]


def make_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def make_zip(path, files, folder="", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(folder + name, data)
    return path


def of_webdataset(files):
    """Samples as webdataset writes them, the class beside the image."""
    samples = []
    for number, (name, data) in enumerate(files):
        samples += [(f"{number:05d}.png", data), (f"{number:05d}.cls", name.split("/")[0].encode() + b"\n")]
    return samples


def contents(source):
    return [(item.label, read_bytes(item.origin)[0]) for item in source.items]


def test_an_archive_is_the_folder_that_was_packed(files, tmp_path):
    expected = [(name.split("/")[0], data) for name, data in files]
    packed = [("__MACOSX/0/._1.png", b"x"), ("notes.txt", b"x"), ("0/.hidden.png", b"x"), *files]
    for place in (make_zip(tmp_path / "a.zip", packed), make_tar(tmp_path / "a.tar", packed)):
        source = read_source(place)
        assert contents(source) == expected
        assert [item.path for item in source.items] == [name for name, _ in files]
        assert source.root == str(place)
        kind = place.suffix[1:]
        assert contents(read_source(f"{kind}://::{place}")) == expected
        assert contents(read_source(f"{kind}://{place}")) == expected
        part = read_source(f"{kind}://1::{place}")
        assert [read_bytes(item.origin)[0] for item in part.items] == [d for n, d in files if n.startswith("1/")]


def test_rows_of_an_archive_are_those_of_the_folder(digits_folder, digits_store, files, tmp_path):
    row_of = {bytes(sha): row for sha, row in zip(digits_store.columns.sha256, digits_store.X[:], strict=True)}
    for place in (make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tar", files)):
        store = extract(place, output=place.with_suffix(".h5"))
        assert all(np.array_equal(store.X[i], row_of[bytes(sha)]) for i, sha in enumerate(store.columns.sha256))
        again = extract(place, output=place.with_suffix(".h5"))
        assert (again.summary.computed, again.summary.reused) == (0, len(files))
    origins = [item.origin for item in read_source(tmp_path / "a.tar").items]
    model = TransferClassifier(head="knn").fit(origins, [name.split("/")[0] for name, _ in files])
    assert len(model.predict(origins)) == len(files)


def test_shards_of_webdataset(files, tmp_path):
    samples = of_webdataset(files)
    make_tar(tmp_path / "train-000.tar", samples[:8])
    make_tar(tmp_path / "train-001.tar", samples[8:])
    expected = [(name.split("/")[0], data) for name, data in files]
    braces = read_source(str(tmp_path / "train-{000..001}.tar"))
    folder = read_source(tmp_path)
    assert contents(braces) == contents(folder) == expected
    assert braces.items[4].path == folder.items[4].path == "train-001.tar/00004.png"
    assert [item.label for item in read_source(tmp_path / "train-000.tar").items] == [
        label for label, _ in expected[:4]
    ]


def test_archives_behind_a_server(files, tmp_path):
    (tmp_path / "www" / "shards").mkdir(parents=True)
    make_zip(tmp_path / "www" / "a.zip", files)
    make_tar(tmp_path / "www" / "shards" / "train-0.tar", of_webdataset(files))
    expected = [(name.split("/")[0], data) for name, data in files]
    with http_server(tmp_path / "www") as (url, _):
        for place in (f"{url}/a.zip", f"{url}/shards/train-{{0..0}}.tar", f"{url}/shards/"):
            assert contents(read_source(place)) == expected, place


def test_a_tar_that_is_cut_short_keeps_what_is_before(files, tmp_path):
    whole = make_tar(tmp_path / "a.tar", files).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 5 * 1024 + 600])  # in the sixth image
    items = read_source(tmp_path / "a.tar").items
    assert 1 < len(items) < len(files)
    with pytest.raises(ImageError, match="cut short"):
        [read_bytes(item.origin) for item in items if not item.problem]
    store = extract(tmp_path / "a.tar", output=tmp_path / "a.h5")
    assert 0 < len(store) < len(files)
    assert any("cut short" in entry.reason for entry in store.ledger.where("failed"))


def test_archives_that_are_none(tmp_path):
    for name in ("a.zip", "a.tar"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 99)
        with pytest.raises(SourceError, match=r"is no (ZIP|tar) file, or damaged"):
            read_source(tmp_path / name)
        with pytest.raises(SourceError, match="cannot read"):
            read_source(tmp_path / f"missing-{name}")
    make_zip(tmp_path / "empty.zip", [("a.txt", b"")])
    with pytest.raises(SourceError, match=r"no image in .*empty\.zip"):
        read_source(tmp_path / "empty.zip")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(SourceError, match="unpack it"):
        read_source(tmp_path / "a.tar.gz")
    with pytest.raises(SourceError, match="no numbers of files in rising order"):
        read_source(str(tmp_path / "a-{5..1}.tar"))


def test_a_bomb_is_not_opened(tmp_path):
    make_zip(tmp_path / "bomb.zip", [("a.png", bytes(2**20))])
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    place = data.rfind(b"PK\1\2") + 24  # the size that the directory claims
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(data)
    (item,) = read_source(tmp_path / "bomb.zip").items
    with pytest.raises(ImageError, match="too many for an image"):
        read_bytes(item.origin)


def test_an_archive_that_changed_is_read_anew(files, tmp_path):
    place = make_zip(tmp_path / "a.zip", files[:3])
    assert len(read_source(place).items) == 3
    make_zip(place, files[3:5], method=zipfile.ZIP_STORED)
    assert [data for _, data in contents(read_source(place))] == [data for _, data in files[3:5]]
