"""Archives of images, and webdataset's shards."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from servers import http_server
from small import extract

from featurekit import FeatureStore, TransferClassifier
from featurekit.errors import ImageError, SourceError, StoreError
from featurekit.images import read_origin, read_source


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
    return [(item.label, read_origin(item.origin)[0]) for item in source.items]


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
        assert [read_origin(item.origin)[0] for item in part.items] == [d for n, d in files if n.startswith("1/")]


@pytest.mark.slow
def test_rows_of_an_archive_are_those_of_the_folder(digits_folder, small_store, files, tmp_path):
    row_of = {bytes(sha): row for sha, row in zip(small_store.columns.sha256, small_store.X[:], strict=True)}
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
    assert items[-1].problem.startswith("the folder cannot be listed: the tar file is damaged or cut short")
    with pytest.raises(ImageError, match="cut short"):
        [read_origin(item.origin) for item in items if not item.problem]
    store = extract(tmp_path / "a.tar", output=tmp_path / "a.h5")
    assert 0 < len(store) < len(files)
    assert any("cut short" in entry.reason for entry in store.ledger.where("failed"))


def test_files_that_are_not_archives_of_images_are_refused(tmp_path):
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


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    make_zip(tmp_path / "bomb.zip", [("a.png", bytes(2**20))])
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    place = data.rfind(b"PK\1\2") + 24  # the size that the directory claims
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(data)
    (item,) = read_source(tmp_path / "bomb.zip").items
    with pytest.raises(ImageError, match="bytes, and at most .* are read of one image"):
        read_origin(item.origin)


def test_an_archive_that_changed_is_read_anew(files, tmp_path):
    place = make_zip(tmp_path / "a.zip", files[:3])
    assert len(read_source(place).items) == 3
    make_zip(place, files[3:5], method=zipfile.ZIP_STORED)
    assert [data for _, data in contents(read_source(place))] == [data for _, data in files[3:5]]


def test_rows_of_a_damaged_archive_stay_in_the_store(files, tmp_path):
    place = make_tar(tmp_path / "a.tar", files)
    whole = place.read_bytes()
    extract(place, output=tmp_path / "a.h5").close()
    place.write_bytes(whole[: 5 * 1024 + 600])
    with pytest.raises(StoreError, match="would leave"):
        extract(place, output=tmp_path / "a.h5")
    with FeatureStore(tmp_path / "a.h5") as store:
        assert len(store) == len(files)


def test_keys_of_webdataset_with_dots(files, tmp_path):
    data = [data for _, data in files]
    entries = [
        ("IMG.2020.01.png", data[0]),
        ("IMG.2020.01.cls", b"cat"),
        ("IMG.2020.02.CLS", b"dog"),
        ("IMG.2020.02.png", data[1]),
        ("k.cls", b"coarse"),
        ("k.fine.cls", b"fine"),
        ("k.left.png", data[2]),
        ("x.cls", b"1"),
        ("x.cls", b"2"),
        ("x.png", data[3]),
    ]
    first, second, third, fourth = read_source(make_tar(tmp_path / "a.tar", entries)).items
    assert [item.label for item in (first, second, third, fourth)] == ["cat", "dog", "coarse", ""]
    assert fourth.problem == "x.cls is there more than once, with different labels"
    entries = [("a.png", data[0]), ("a.cls", b"\xff\xfe"), ("b.png", data[1]), ("b.cls", b"x" * 9000)]
    first, second = read_source(make_tar(tmp_path / "b.tar", entries)).items
    assert first.problem.startswith("a.cls holds no label: 'utf-8' codec")
    assert second.problem == "b.cls holds no label: it is too long"


def test_sizes_that_cannot_be_end_the_reading(tmp_path):
    header = bytearray(tarfile.TarInfo("a.png").tobuf(format=tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # -512
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(SourceError, match="no tar file, or damaged"):
        read_source(tmp_path / "a.tar")


def test_members_that_are_packed_otherwise_or_named_alike(files, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("0/a.png", files[0][1], zipfile.ZIP_LZMA)
        archive.writestr("0/b::c.png", files[1][1])
        archive.writestr("0/d.png", files[2][1])
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("0/d.png", files[3][1])
    items = read_source(tmp_path / "a.zip").items
    assert "compressed in a way that is not read" in items[0].problem
    assert [item.path for item in items[1:]] == ["0/b::c.png", "0/d.png"]  # as unpacked: the last of one name counts
    assert [read_origin(item.origin)[0] for item in items[1:]] == [files[1][1], files[3][1]]
    damaged = bytearray((tmp_path / "a.zip").read_bytes())
    damaged[damaged.find(files[1][1]) + 20] ^= 1
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(ImageError, match="its checksum is wrong"):
        read_origin(items[1].origin)


def test_a_tar_that_is_replaced_while_it_is_read(files, tmp_path):
    """It has no checksums: what lies where another image lay is not that image."""
    same = [("0/a.png", files[0][1]), ("1/b.png", files[0][1][:-1] + b"?")]
    items = read_source(make_tar(tmp_path / "a.tar", same)).items
    make_tar(tmp_path / "b.tar", [(same[1][0], same[1][1]), (same[0][0], same[0][1])]).replace(tmp_path / "a.tar")
    with pytest.raises(ImageError, match="was written anew while its images were read"):
        read_origin(items[0].origin)


def test_members_of_one_name_links_and_names_that_lead_out(files, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("0/a.png", b"none"), ("0/b.png", files[1][1]), ("0/a.png", files[0][1])):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, kind, target in (
            ("1/hard.png", tarfile.LNKTYPE, "0/b.png"),
            ("1/lost.png", tarfile.LNKTYPE, "0/z.png"),
            ("1/soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("../out.png", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    items = {item.path: item for item in read_source(tmp_path / "a.tar").items}
    assert sorted(items) == ["../out.png", "0/a.png", "0/b.png", "1/hard.png", "1/lost.png", "1/soft.png"]
    assert read_origin(items["0/a.png"].origin)[0] == files[0][1]
    assert read_origin(items["1/hard.png"].origin)[0] == files[1][1]
    assert items["1/lost.png"].problem == items["1/soft.png"].problem != ""
    assert items["../out.png"].problem == "its name leads out of the archive"
    first = extract(tmp_path / "a.tar", output=tmp_path / "a.h5")
    assert (first.summary.images, first.summary.failed) == (6, 3)
    assert extract(tmp_path / "a.tar", output=tmp_path / "a.h5").ledger == first.ledger
    make_zip(tmp_path / "a.zip", [("../out.png", files[0][1]), files[1]])
    assert [item.problem for item in read_source(tmp_path / "a.zip").items] == ["its name leads out of the archive", ""]


def test_a_member_name_without_end_is_one_failure(files, tmp_path):
    source = read_source(make_tar(tmp_path / "a.tar", [("0/" + "x" * 10**5 + ".png", files[0][1]), files[1]]))
    assert [(len(item.path), bool(item.problem)) for item in source.items] == [(4096, True), (len(files[1][0]), False)]


def test_sizes_of_a_zip_that_cannot_be(files, tmp_path):
    import struct

    data = make_zip(tmp_path / "a.zip", files[:2], method=zipfile.ZIP_STORED).read_bytes()
    at = data.index(b"PK\1\2")
    extra = struct.pack("<HHQ", 1, 8, 2**63 + 5)  # ZIP64's compressed size
    entry = bytearray(data[at : at + 46 + len(files[0][0])])
    entry[20:24], entry[30:32] = b"\xff" * 4, struct.pack("<H", len(extra))
    rest = bytearray(data[at + len(entry) :])
    end = rest.index(b"PK\5\6")
    rest[end + 12 : end + 16] = struct.pack("<I", struct.unpack("<I", rest[end + 12 : end + 16])[0] + len(extra))
    (tmp_path / "a.zip").write_bytes(data[:at] + bytes(entry) + extra + bytes(rest))
    store = extract(tmp_path / "a.zip", output=tmp_path / "a.h5")
    assert (store.summary.computed, store.summary.failed) == (1, 1)
    assert "bytes are too many for an image" in store.ledger[0].reason


def test_shards_of_one_name_in_several_folders(files, tmp_path):
    for number in (0, 1):
        (tmp_path / f"part-{number}").mkdir()
        make_tar(tmp_path / f"part-{number}" / "data.tar", files[number : number + 1])
    source = read_source(str(tmp_path / "part-{0..1}" / "data.tar"))
    assert [item.path.split("/")[0] for item in source.items] == ["part-0", "part-1"]
    assert source.root == str(tmp_path)
    (tmp_path / "x.tar").mkdir()
    (tmp_path / ".trash").mkdir()
    make_tar(tmp_path / ".trash" / "old.tar", files)
    assert contents(read_source(tmp_path)) == contents(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_as_an_archive(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(SourceError, match="is no plain file"):
        read_source(tmp_path / "a.tar")


def test_a_server_that_stalls_is_left_in_time(files, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "1")
    make_zip(tmp_path / "stall.zip", files)
    with http_server(tmp_path) as (url, _), pytest.raises(SourceError, match="no answer within 1 s"):
        read_source(f"{url}/stall.zip")


def test_names_that_look_like_places_are_names(files, tmp_path):
    path = tmp_path / "f.tar#bytes=0-4" / "a::b.png"
    path.parent.mkdir()
    path.write_bytes(files[0][1])
    (item,) = read_source(path.parent).items
    assert read_origin(item.origin)[0] == files[0][1]


def test_a_server_that_fails_within_an_archive(files, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATUREKIT_TIMEOUT", "5")
    (tmp_path / "www").mkdir()
    make_zip(tmp_path / "www" / "a.zip", files)
    with http_server(tmp_path / "www") as (url, _):
        source = read_source(f"{url}/a.zip?X-Amz-Signature=SECRET")
        assert [item.problem for item in source.items] == [""] * len(files)
        assert "SECRET" not in source.root + source.place
        (tmp_path / "www" / "a.zip").rename(tmp_path / "www" / "b.zip")
        with pytest.raises(ImageError, match="no such file"):
            read_origin(source.items[0].origin)
        (tmp_path / "www" / "secret.tar").write_bytes(bytes(600))
        with pytest.raises(SourceError) as refused:
            read_source(f"{url}/secret.tar?X-Amz-Signature=SECRET")
    assert "403" in str(refused.value)
    assert "SECRET" not in str(refused.value)
