"""Images whose bytes cannot be had just now: their known rows stay, and the ledger and the command say so."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import threading
from contextlib import contextmanager
from datetime import datetime
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
from servers import serving
from small import SIDE, extract

from featurekit.errors import ImageError, StoreError, UnavailableError
from featurekit.extraction.rows import Old, removed_paths
from featurekit.images import read_source
from featurekit.images.archives import read_archive, read_member
from featurekit.images.decode import read_file
from featurekit.images.remote import fetch
from featurekit.store import FeatureStore, LedgerEntry, merge, remove

SMALL = ["--image-size", str(SIDE)]
SINCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 ")


@pytest.fixture
def photos(digits_folder, tmp_path):
    """Nine of the digits, in three folders, and a store of them."""
    for label in "012":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for path in sorted((digits_folder / label).iterdir())[:3]:
            shutil.copy2(path, tmp_path / "photos" / label)
    return tmp_path / "photos"


@pytest.fixture(params=["s.h5", pytest.param("s", marks=pytest.mark.slow)])
def target(photos, tmp_path, request):
    extract(photos, output=tmp_path / request.param).close()
    return tmp_path / request.param


def unlink_and_dangle(folder, *names):
    for name in names:
        (folder / name).unlink()
        (folder / name).symlink_to("/not/mounted/here.png")


def kept(store):
    return store.ledger.where("kept")


def test_rows_of_dangling_links_stay(photos, target):
    before = FeatureStore(target)
    X, labels = before.X[...], before.y.tolist()
    unlink_and_dangle(photos, "0/000.png", "2/001.png")
    store = extract(photos, output=target)
    assert np.array_equal(store.X[...], X)
    assert store.y.tolist() == labels
    assert [entry.path for entry in kept(store)] == ["0/000.png", "2/001.png"]
    assert (store.summary.kept, store.summary.reused, store.summary.failed, store.summary.removed) == (2, 7, 0, 0)


def test_the_ledger_says_since_when_and_why(photos, target):
    unlink_and_dangle(photos, "0/000.png")
    (entry,) = kept(extract(photos, output=target))
    assert SINCE.match(entry.reason)
    assert entry.reason.endswith(" a symbolic link to a missing file")
    assert datetime.fromisoformat(entry.reason.partition(" ")[0]).tzinfo is not None


def test_the_time_of_the_first_run_that_noticed_stays(photos, target):
    unlink_and_dangle(photos, "0/000.png")
    first = kept(extract(photos, output=target))
    unlink_and_dangle(photos, "1/000.png")
    since = first[0].reason.partition(" ")[0]
    while datetime.now(datetime.fromisoformat(since).tzinfo).isoformat("T", "seconds") == since:
        pass
    second = kept(extract(photos, output=target))
    assert second[0] == first[0]
    assert second[1].reason.partition(" ")[0] > since


def test_a_second_run_without_the_images_writes_nothing(photos, tmp_path):
    target = tmp_path / "s.h5"
    extract(photos, output=target).close()
    unlink_and_dangle(photos, "0/000.png")
    extract(photos, output=target).close()
    before = target.stat()
    extract(photos, output=target).close()
    assert os.path.samestat(before, target.stat())


def test_an_image_that_is_back_is_stored_again(photos, target, digits_folder):
    unlink_and_dangle(photos, "0/000.png")
    extract(photos, output=target).close()
    (photos / "0/000.png").unlink()
    shutil.copy2(digits_folder / "0/000.png", photos / "0/000.png")
    store = extract(photos, output=target)
    assert store.ledger_counts == {"stored": 9}
    assert store.summary.computed == 0


def test_refresh_keeps_rows_too(photos, target):
    unlink_and_dangle(photos, "0/000.png")
    store = extract(photos, output=target, refresh=True)
    assert (len(store), store.summary.kept) == (9, 1)


def test_replace_lets_rows_of_unavailable_images_go(photos, target):
    unlink_and_dangle(photos, "0/000.png")
    store = extract(photos, output=target, replace=True)
    assert store.ledger_counts == {"failed": 1, "stored": 8}


def test_a_deleted_image_leaves(photos, target):
    (photos / "0/000.png").unlink()
    store = extract(photos, output=target)
    assert (len(store), store.summary.removed) == (8, 1)


@pytest.mark.parametrize("content", [b"", b"no image", bytes(3000), b"<!DOCTYPE html><title>Log in</title>", "cut"])
def test_an_image_that_is_garbage_now_keeps_its_row(photos, target, content):
    before = FeatureStore(target)
    X, contents = before.X[...], before.columns.sha256
    path = photos / "0/000.png"
    path.write_bytes(path.read_bytes()[:100] if content == "cut" else content)
    store = extract(photos, output=target)
    assert store.ledger_counts == {"kept": 1, "stored": 8}
    assert np.array_equal(store.X[...], X)
    assert np.array_equal(store.columns.sha256, contents)
    assert SINCE.match(store.ledger[0].reason)


def test_replace_lets_the_row_of_garbage_go(photos, target):
    (photos / "0/000.png").write_bytes(b"no image")
    assert extract(photos, output=target, replace=True).ledger_counts == {"failed": 1, "stored": 8}


def test_a_file_that_decodes_to_something_else_gets_another_row(photos, target, digits_folder):
    shutil.copy2(digits_folder / "1/010.png", photos / "0/000.png")
    store = extract(photos, output=target)
    assert store.ledger_counts == {"stored": 9}
    assert store.summary.computed == 1


def test_a_copy_that_is_complete_later_is_stored_again(photos, target):
    path = photos / "0/000.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    extract(photos, output=target).close()
    path.write_bytes(whole)
    store = extract(photos, output=target)
    assert store.ledger_counts == {"stored": 9}
    assert store.summary.computed == 0


def test_processes_keep_the_row_of_garbage(photos, target):
    (photos / "0/000.png").write_bytes(b"no image")
    store = extract(photos, output=target, engine="processes", device="cpu")
    assert store.ledger_counts == {"kept": 1, "stored": 8}


def test_a_file_with_too_many_bytes_keeps_its_row(photos, target):
    os.truncate(photos / "0/000.png", 2**30 + 1)  # sparse
    assert extract(photos, output=target).ledger_counts == {"kept": 1, "stored": 8}


def test_a_folder_in_place_of_an_image_keeps_its_row(photos, target):
    (photos / "0/000.png").unlink()
    (photos / "0/000.png").mkdir()
    (entry,) = kept(extract(photos, output=target))
    assert entry.path == "0/000.png"
    assert entry.reason.endswith(" a directory, not an image file")


def test_a_file_that_grows_while_it_is_read_is_unavailable(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bytes(2**20))
    stop = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            for _ in range(200_000):
                if stop.is_set():
                    return
                file.write(b"0")

    def read_until_it_grows():
        while writer.is_alive():
            read_file(path)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(UnavailableError, match="the file grew while it was read"):
            read_until_it_grows()
    finally:
        stop.set()
        writer.join()


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_class_folder_that_may_not_be_listed_changes_nothing(photos, tmp_path):
    extract(photos, output=tmp_path / "s.h5").close()
    (photos / "0").chmod(0o311)
    with FeatureStore(tmp_path / "s.h5") as store:
        old = Old(store, store.columns, store.ledger)
        child = os.fork()
        if not child:
            code = 1
            try:
                os.chdir(photos)
                os.setresuid(65534, 65534, 65534)
                removed_paths(old, read_source("."), False)
            except StoreError as error:
                code = 0 if "the folder 0 cannot be listed now" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_image_that_was_never_read_is_a_failed_row(photos, tmp_path):
    unlink_and_dangle(photos, "0/000.png")
    store = extract(photos, output=tmp_path / "new.h5")
    assert store.ledger[0] == LedgerEntry("0/000.png", "failed", "a symbolic link to a missing file", -1)


def test_the_label_of_a_kept_row_is_that_of_the_source(photos, tmp_path):
    lines = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.glob("*/*.png"))]
    manifest = photos / "list.csv"
    manifest.write_text("\n".join(["path,label", *lines]))
    extract(manifest, output=tmp_path / "s.h5").close()
    (photos / "0/000.png").unlink()
    (photos / "0/000.png").symlink_to("gone.png")
    manifest.write_text("\n".join(["path,label", *lines]).replace("0/000.png,0", "0/000.png,zero"))
    store = extract(manifest, output=tmp_path / "s.h5")
    assert (store.y[0], store.ledger[0].status) == ("zero", "kept")


def test_a_manifest_whose_disk_is_not_mounted_keeps_all_rows(photos, tmp_path):
    manifest = tmp_path / "list.csv"
    lines = [f"photos/{path.relative_to(photos)},a" for path in sorted(photos.glob("*/*.png"))]
    manifest.write_text("\n".join(["path,label", *lines]))
    extract(manifest, output=tmp_path / "s.h5").close()
    photos.rename(tmp_path / "elsewhere")
    photos.mkdir()
    assert extract(manifest, output=tmp_path / "s.h5").ledger_counts == {"kept": 9}


def test_a_link_that_leads_out_of_the_manifests_root_keeps_its_row(photos, tmp_path):
    manifest = photos / "list.csv"
    manifest.write_text("path,label\n0/000.png,a\n1/000.png,b\n")
    extract(manifest, output=tmp_path / "s.h5").close()
    unlink_and_dangle(photos, "0/000.png")
    assert extract(manifest, output=tmp_path / "s.h5").ledger_counts == {"kept": 1, "stored": 1}


def test_an_image_that_a_manifest_names_and_that_was_deleted_leaves(photos, tmp_path):
    manifest = photos / "list.csv"
    manifest.write_text("path,label\n0/000.png,a\n1/000.png,b\n")
    extract(manifest, output=tmp_path / "s.h5").close()
    (photos / "0/000.png").unlink()
    assert extract(manifest, output=tmp_path / "s.h5").ledger_counts == {"failed": 1, "stored": 1}


@pytest.mark.parametrize("how", ["empty", "dangling"])
def test_a_class_folder_whose_disk_is_not_mounted_changes_nothing(photos, target, tmp_path, how):
    (photos / "0").rename(tmp_path / "away")
    (photos / "0").mkdir() if how == "empty" else (photos / "0").symlink_to("/not/mounted")
    with pytest.raises(StoreError, match=r"the folder 0 is .* Nothing was changed"):
        extract(photos, output=target)
    assert len(FeatureStore(target)) == 9
    assert len(extract(photos, output=target, replace=True)) == 6


def test_another_folder_with_the_same_names_does_not_take_rows_over(photos, tmp_path):
    extract(photos, output=tmp_path / "s.h5").close()
    other = shutil.copytree(photos, tmp_path / "other")
    unlink_and_dangle(other, "0/000.png")
    with pytest.raises(StoreError, match="would leave the store"):
        extract(other, output=tmp_path / "s.h5")


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_image_without_permission_is_unavailable(photos):
    (photos / "0/000.png").chmod(0)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.chdir(photos)
            os.setresuid(65534, 65534, 65534)
            read_file("0/000.png")
        except UnavailableError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


class Drawing:
    """A data set of torch's kind, some of whose images raise."""

    def __init__(self, pictures, broken=()):
        self.pictures, self.broken = pictures, broken
        self.targets = [0] * len(pictures)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError("disk is away")
        return self.pictures[index], 0


def drawing(photos, **options):
    from PIL import Image
    from torch.utils.data import Dataset

    kind = type("Drawing", (Drawing, Dataset), {})
    return kind([Image.open(path).convert("RGB") for path in sorted(photos.glob("*/*.png"))], **options)


def test_rows_of_a_data_set_that_raises_stay(photos, tmp_path):
    extract(drawing(photos), output=tmp_path / "s.h5").close()
    store = extract(drawing(photos, broken={4}), output=tmp_path / "s.h5")
    assert store.ledger_counts == {"kept": 1, "stored": 8}


def test_a_row_is_not_kept_for_another_image_of_a_data_set_that_moved(photos, tmp_path):
    whole = drawing(photos)
    extract(whole, output=tmp_path / "s.h5").close()
    moved = drawing(photos, broken={4})
    moved.pictures = [*moved.pictures[1:], moved.pictures[0]]
    with pytest.raises(StoreError, match="would leave the store"):
        extract(moved, output=tmp_path / "s.h5")


def test_an_archive_that_is_damaged_keeps_its_rows(photos, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(photos.glob("*/*.png")):
            archive.write(path, path.relative_to(photos))
    extract(tmp_path / "a.zip", output=tmp_path / "s.h5").close()
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index((photos / "1/001.png").read_bytes()) + 40] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    store = extract(tmp_path / "a.zip", output=tmp_path / "s.h5", refresh=True)
    assert store.ledger_counts == {"kept": 1, "stored": 8}


def test_an_empty_member_of_a_tar_file_is_garbage(photos, tmp_path):
    (photos / "0/000.png").write_bytes(b"")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(photos, "")
    store = extract(tmp_path / "a.tar", output=tmp_path / "s.h5")
    (entry,) = store.ledger.where("failed")
    assert (entry.path, entry.reason) == ("0/000.png", "empty file (0 bytes)")


def test_a_tar_file_that_is_gone_is_unavailable(photos, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(photos, "")
    member = read_archive(str(tmp_path / "a.tar")).items[0].origin
    (tmp_path / "a.tar").unlink()
    with pytest.raises(UnavailableError):
        read_member(member)


# --- servers -----------------------------------------------------------------------------------------


@contextmanager
def server(folder):
    """A web server of a folder; `answers` says which status it gives for which path instead of the file."""
    answers = {}

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self):
            status = next((status for part, status in answers.items() if part in self.path), None)
            if status is None:
                super().do_GET()
            else:
                self.send_error(status)

        def log_message(self, *_):
            pass

    with serving(Handler) as (url, _):
        yield url, answers


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (503, {"kept": 3, "stored": 6}),
        (403, {"kept": 3, "stored": 6}),
        (404, {"failed": 3, "stored": 6}),
        (410, {"failed": 3, "stored": 6}),
    ],
)
def test_rows_stay_where_a_server_fails_and_leave_where_it_has_no_such_file(photos, tmp_path, status, counts):
    with server(photos) as (url, answers):
        lines = [f"{url}/{path.relative_to(photos)},a" for path in sorted(photos.glob("*/*.png"))]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
        extract(tmp_path / "list.csv", output=tmp_path / "s.h5").close()
        answers["/1/"] = status
        assert extract(tmp_path / "list.csv", output=tmp_path / "s.h5").ledger_counts == counts


def test_a_server_that_is_away_is_unavailable(photos):
    with server(photos) as (url, answers):
        with pytest.raises(ImageError, match="no such file") as caught:
            fetch(f"{url}/none.png")
        assert not isinstance(caught.value, UnavailableError)
        answers["000"] = 500
        with pytest.raises(UnavailableError, match="500"):
            fetch(f"{url}/0/000.png")
    with pytest.raises(UnavailableError):
        fetch(f"{url}/0/000.png")


def test_a_reason_that_a_server_makes_long_is_cut(photos, tmp_path):
    class Talkative(SimpleHTTPRequestHandler):
        def do_GET(self):
            self.send_response(500, "because " * 1000)
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(Talkative) as (url, _):
        store = extract([str(photos / "0/000.png"), f"{url}/a.png"], output=tmp_path / "s.h5")
    reason = store.ledger[1].reason
    assert len(reason) == 500
    assert reason.endswith("...")


# --- what comes after --------------------------------------------------------------------------------


def test_merged_stores_and_pruned_ones_still_say_it(photos, tmp_path):
    extract(photos, output=tmp_path / "s.h5").close()
    unlink_and_dangle(photos, "0/000.png")
    extract(photos, output=tmp_path / "s.h5").close()
    before = kept(FeatureStore(tmp_path / "s.h5"))
    assert kept(merge([tmp_path / "s.h5"], tmp_path / "copy")) == before
    remove(tmp_path / "copy", ["1/*"])
    assert kept(FeatureStore(tmp_path / "copy")) == before
    remove(tmp_path / "copy", ["0/000.png"])
    assert FeatureStore(tmp_path / "copy").ledger_counts == {"removed": 4, "stored": 5}


def test_processes_keep_rows_too(photos, tmp_path):
    extract(photos, output=tmp_path / "s.h5").close()
    unlink_and_dangle(photos, "0/000.png")
    store = extract(photos, output=tmp_path / "s.h5", engine="processes", device="cpu")
    assert (len(store), store.summary.kept) == (9, 1)


def test_the_command_says_how_many_rows_are_kept(photos, tmp_path, capsys):
    from featurekit_cli.main import main

    target = str(tmp_path / "s.h5")
    extract(photos, output=target).close()
    unlink_and_dangle(photos, "0/000.png", "2/001.png")
    assert main(["extract", str(photos), "-o", target, *SMALL]) == 0
    out, err = capsys.readouterr()
    assert "9 rows" in out
    assert "0 failed, 2 not readable just now" in out
    assert "2 images could not be read just now; their rows are kept:\n" in err
    assert "0/000.png: a symbolic link to a missing file (since 20" in err
    assert main(["extract", str(photos), "-o", target, *SMALL, "--json", "-q"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kept"], said["failed"], said["rows"]) == (2, 0, 9)
    assert [each["path"] for each in said["unavailable"]] == ["0/000.png", "2/001.png"]
    assert said["unavailable"][0]["reason"] == "a symbolic link to a missing file"
    assert main(["extract", str(photos), "-o", target, *SMALL, "--max-failed", "1"]) == 3
    assert main(["store", "info", target]) == 0
    assert "2 images could not be read, and have rows:" in capsys.readouterr().out


def test_a_dangling_link_is_unavailable_and_a_deleted_file_is_not(tmp_path):
    (tmp_path / "here.png").write_bytes(b"")
    (tmp_path / "link.png").symlink_to("gone.png")
    with pytest.raises(UnavailableError):
        read_file(tmp_path / "link.png")
    with pytest.raises(ImageError, match="no such file") as caught:
        read_file(tmp_path / "gone.png")
    assert not isinstance(caught.value, UnavailableError)
    with pytest.raises(UnavailableError, match="its folder is missing or empty"):
        read_file(tmp_path / "unmounted" / "a.png")
