"""A store after its first run: images come, change, move and go; folders, precisions, places that forbid writing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from odd_files import picture
from small import SIDE, extract

from featurekit import FeatureExtractor, FeatureStore, TransferClassifier
from featurekit.errors import SourceError, StoreError
from featurekit.store import verify


@pytest.fixture
def grown(digits_folder, tmp_path):
    """A copy of the digits that a test may change."""
    return shutil.copytree(digits_folder, tmp_path / "photos")


@pytest.fixture(params=["s.h5", pytest.param("s", marks=pytest.mark.slow)])
def target(request, tmp_path):
    """The name of a file, and of a folder."""
    return tmp_path / request.param


def assert_same(store, expected):
    assert np.array_equal(store.X[...], expected.X[...])
    assert store.columns.same_as(expected.columns)
    assert store.ledger == expected.ledger


def test_only_changes_are_computed_over_the_life_of_a_store(grown, target, tmp_path, forwards):
    """Only what changed is computed, and each time the result is that of a new store of the same source."""
    extract(grown, output=target).close()
    forwards.clear()

    picture(1).save(grown / "0" / "new.png")
    assert extract(grown, output=target).summary.computed == 1

    picture(2).save(grown / "0" / "new.png")  # changed in place
    assert extract(grown, output=target).summary.computed == 1

    (grown / "0" / "new.png").rename(grown / "1" / "renamed.png")  # moved, and so relabelled
    store = extract(grown, output=target)
    assert (store.summary.computed, store.summary.removed) == (0, 1)
    assert str(store.y[store.paths.index("1/renamed.png")]) == "1"
    assert [(e.path, e.reason) for e in store.ledger.where("removed")] == [("0/new.png", "no longer in the source")]

    shutil.copy(grown / "1" / "renamed.png", grown / "2" / "zz-copy.png")
    store = extract(grown, output=target)
    assert (store.summary.computed, store.summary.duplicates) == (0, 1)
    assert store.ledger[-2].reason == "1/renamed.png"

    (grown / "1" / "renamed.png").write_bytes(b"no image any more")
    store = extract(grown, output=target)
    assert (store.summary.computed, store.summary.kept, len(store)) == (0, 1, 62)  # it may be a copy under way

    (grown / "1" / "renamed.png").unlink()
    (grown / "2").rename(grown / "3")  # a whole class gets another name
    store = extract(grown, output=target)
    assert (store.summary.computed, store.class_counts) == (0, {"0": 20, "1": 20, "3": 21})

    assert sum(forwards) == 2
    assert verify(target).ok
    fresh = extract(grown, output=tmp_path / f"fresh-{target.name}")
    assert np.array_equal(store.X[...], fresh.X[...])
    assert store.columns.same_as(fresh.columns)
    present = [entry for entry in store.ledger if entry.status != "removed"]
    assert present == list(fresh.ledger)


@pytest.mark.slow
def test_a_folder_keeps_its_shards(grown, tmp_path, monkeypatch):
    from featurekit.pipeline import forward

    monkeypatch.setattr(forward, "_SAVE_ROWS", 16)
    target = tmp_path / "s"
    first = extract(grown, output=target, batch_size=8)
    shards = {path.name: path.stat().st_ino for path in target.glob("rows-*.h5")}
    assert len(shards) == 4
    assert sorted(path.name for path in target.iterdir()) == ["index.h5", *sorted(shards)]
    picture(1).save(grown / "0" / "new.png")
    store = extract(grown, output=target)
    after = {path.name: path.stat().st_ino for path in target.glob("rows-*.h5")}
    assert len(after) == 5
    assert shards.items() <= after.items()  # not one row was written again
    assert len(store) == 61
    first.close()
    with pytest.raises(StoreError, match="written anew"):
        first.X[0]
    # Shards that nothing needs any more go.
    for path in (grown / "2").iterdir():
        path.unlink()
    (grown / "2").rmdir()
    assert len(extract(grown, output=target)) == 41
    assert verify(target).ok


def test_both_kinds_hold_the_same(grown, small_store, tmp_path):
    folder = extract(grown, output=tmp_path / "s")
    file = extract(grown, output=tmp_path / "s.h5")
    assert_same(folder, file)
    assert folder.y.tolist() == small_store.y.tolist()
    assert TransferClassifier(head="lda", image_size=SIDE).fit(folder).score(folder, folder.y) == 1.0


def test_a_folder_does_not_depend_on_the_settings(grown, tmp_path):
    one, other = (
        extract(grown, output=tmp_path / "one"),
        extract(grown, output=tmp_path / "other", batch_size=7, workers=1),
    )
    assert_same(one, other)


def test_a_folder_serves_as_a_cache(grown, tmp_path, forwards):
    extract(grown, output=tmp_path / "s").close()
    before = (tmp_path / "s" / "index.h5").read_bytes()
    forwards.clear()
    paths = sorted(grown.glob("*/*.png"))
    FeatureExtractor(cache=tmp_path / "s", image_size=SIDE).fit_transform(paths)
    assert sum(forwards) == 0
    picture(1).save(grown / "0" / "new.png")
    FeatureExtractor(cache=tmp_path / "s", image_size=SIDE).fit_transform([*paths, grown / "0" / "new.png"])
    assert sum(forwards) == 1
    assert (tmp_path / "s" / "index.h5").read_bytes() == before
    assert extract(grown, output=tmp_path / "s").summary.computed == 0


def test_refresh_reads_every_image_again(grown, target, forwards):
    extract(grown, output=target).close()
    forwards.clear()
    changed = grown / "0" / "000.png"
    old = changed.stat()
    picture(3).resize((3, 3)).save(changed)
    changed.write_bytes(changed.read_bytes().ljust(old.st_size, b"\0"))  # PNG readers stop at its end mark
    os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert changed.stat().st_size == old.st_size
    assert extract(grown, output=target).summary.computed == 0  # size and time say nothing has changed
    assert extract(grown, output=target, refresh=True).summary.computed == 1
    assert extract(grown, output=target, refresh=True).summary.computed == 0


def test_replaced_rows_are_in_the_ledger(grown, target, tmp_path):
    extract(grown / "0", output=target).close()
    with pytest.raises(StoreError, match="replace=True"):
        extract(grown / "1", output=target)
    for path in (grown / "1").iterdir():
        path.rename(path.with_name(f"one-{path.name}"))
    store = extract(grown / "1", output=target, replace=True)
    assert (len(store), store.summary.removed) == (20, 20)
    assert store.ledger_counts == {"removed": 20, "stored": 20}


def test_another_manifest_of_the_same_folder_does_not_take_rows_away(grown, tmp_path, caplog):
    names = [f"{path.parent.name}/{path.name}" for path in sorted(grown.glob("*/*.png"))]
    (grown / "all.csv").write_text("path,label,group\n" + "".join(f"{name},x,g\n" for name in names))
    (grown / "some.csv").write_text("path\n" + "".join(f"{name}\n" for name in names[:9]))
    (grown / "bare.csv").write_text("path\n" + "".join(f"{name}\n" for name in names))
    extract(grown / "all.csv", output=tmp_path / "s.h5").close()
    with pytest.raises(StoreError, match=r"was written from .*all\.csv, and the images of 51 of its 60 rows"):
        extract(grown / "some.csv", output=tmp_path / "s.h5")
    summary = extract(grown / "bare.csv", output=tmp_path / "s.h5").summary
    assert "The rows had labels, and this source has none: they are gone from the store." in summary.notes
    assert "The rows had groups, and this source has none: they are gone from the store." in summary.notes


def test_another_list_of_images_does_not_take_rows_away(photos, tmp_path):
    extract(photos[:4], output=tmp_path / "s.h5").close()
    assert extract(photos[:6], output=tmp_path / "s.h5").summary.computed == 2
    with pytest.raises(StoreError, match="would leave the store"):
        extract(photos[4:], output=tmp_path / "s.h5")


def test_a_folder_that_cannot_be_listed_does_not_take_rows_away(grown, tmp_path, monkeypatch):
    extract(grown, output=tmp_path / "s.h5").close()
    real = os.scandir

    def fail(path):
        if str(path).endswith("/1"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StoreError, match="the folder 1 cannot be listed now"):
        extract(grown, output=tmp_path / "s.h5")
    assert extract(grown, output=tmp_path / "s.h5", replace=True).summary.removed == 20


def test_what_computed_the_rows_is_noted_once(grown, tmp_path):
    for i in range(2):
        picture(i).save(grown / "0" / f"new-{i}.png")
        store = extract(grown, output=tmp_path / "s.h5")
    assert ";" not in store.provenance["runtime"]


def test_a_store_is_no_source_of_images(grown, target):
    extract(grown, output=target).close()
    with pytest.raises(SourceError, match="is a store: its features are there already"):
        extract(target, output=target.parent / "other.h5")


def test_half_precision_halves_the_file(grown, target, tmp_path):
    store = extract(grown, output=target, dtype="float16")
    full = extract(grown, output=tmp_path / "full.h5")
    assert store.dtype == np.float16
    assert np.array_equal(store.X[...], full.X[...].astype(np.float16))
    assert (
        store.nbytes < 0.85 * full.nbytes
    )  # what is kept of each image beside its row is a good part of so small rows
    picture(1).save(grown / "0" / "new.png")
    assert extract(grown, output=target).dtype == np.float16  # a store keeps its type
    with pytest.raises(StoreError, match=r"holds rows of float16, not float32.*store merge"):
        extract(grown, output=target, dtype="float32")
    with pytest.raises(ValueError, match="dtype must be one of"):
        extract(grown, output=tmp_path / "x.h5", dtype="int8")
    rows = FeatureExtractor(cache=target, image_size=SIDE).fit_transform([grown / "0" / "000.png"])
    assert rows.dtype == np.float32
    classifier = TransferClassifier(head="lda", image_size=SIDE).fit(FeatureStore(target))
    assert classifier.predict([grown / "0" / "000.png"]).tolist() == ["0"]


def test_folders_of_other_files_are_refused_as_stores(grown, tmp_path):
    with pytest.raises(StoreError, match="holds other files"):
        extract(grown, output=grown)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="symbolic link"):
        extract(grown, output=tmp_path / "link")
    assert sorted(path.name for path in grown.iterdir()) == ["0", "1", "2"]


def test_a_planted_link_is_not_written_through(grown, tmp_path):
    """Neither by the merge, nor by the lock."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "s.h5.parts").mkdir()
    (tmp_path / "s.h5.parts" / "merged.tmp").symlink_to(tmp_path / "victim")
    extract(grown, output=tmp_path / "s.h5").close()
    (tmp_path / "t.h5.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="cannot write in"):
        extract(grown, output=tmp_path / "t.h5")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounts a file system")
def test_read_only_media(grown, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        extract(grown, output=disk / "s.h5").close()
        extract(grown, output=disk / "s").close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        paths = sorted(grown.glob("*/*.png"))
        for name in ("s.h5", "s"):
            with FeatureStore(disk / name) as store:
                assert len(store.X[...]) == 60
            assert verify(disk / name).ok
            # As a cache it can be read; what is new could not be kept.
            assert FeatureExtractor(cache=disk / name, image_size=SIDE).fit_transform(paths).shape == (60, 816)
            picture(1).save(tmp_path / "new.png")
            with pytest.raises(StoreError, match="Read-only file system"):
                FeatureExtractor(cache=disk / name, image_size=SIDE).fit_transform([tmp_path / "new.png"])
            with pytest.raises(StoreError, match="cannot write in .*Read-only file system.*Choose another output"):
                extract(grown, output=disk / name)
        with pytest.raises(StoreError, match="Read-only file system"):
            extract(grown, output=disk / "new")
    finally:
        subprocess.run(["umount", disk], check=False)
