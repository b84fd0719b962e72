from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import torch
from calls import lengths
from odd_files import encoded, picture, write_bad, write_odd
from small import SIDE, extract

from featurekit import FeatureExtractor, FeatureStore
from featurekit.errors import FeatureSpaceError, SourceError, StoreError, StoreLockedError
from featurekit.runtime.torch_runtime import TorchRuntime
from featurekit.store import WriteLock


@pytest.fixture
def grown(digits_folder, tmp_path):
    """A copy of the digits that a test may change."""
    return shutil.copytree(digits_folder, tmp_path / "photos")


def contents(path):
    """Every dataset of a store, to be compared byte for byte."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, thing: found.update({name: thing[...]}) if isinstance(thing, h5py.Dataset) else None
        )
    return found


def assert_equal_stores(first, second):
    a, b = contents(first), contents(second)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].tobytes() == b[name].tobytes(), name


def test_a_second_run_computes_and_writes_nothing(digits_folder, tmp_path, forwards):
    target = tmp_path / "s.h5"
    first = extract(digits_folder, output=target)
    assert (first.summary.images, first.summary.computed, sum(forwards)) == (60, 60, 60)
    before = target.stat()
    second = extract(digits_folder, output=target)
    assert (second.summary.computed, second.summary.reused, sum(forwards)) == (0, 60, 60)
    assert target.stat().st_mtime_ns == before.st_mtime_ns
    assert target.stat().st_ino == before.st_ino
    assert os.listdir(tmp_path) == ["s.h5"]


def test_a_second_run_does_not_even_import_torch(digits_folder, small_store_path):
    code = (
        "import sys; from featurekit import extract\n"
        f"s = extract({str(digits_folder)!r}, output={str(small_store_path)!r}, image_size={SIDE})\n"
        "print(s.summary.reused, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["60", "False"]


def test_only_what_is_new_is_computed(grown, tmp_path, forwards):
    target = tmp_path / "s.h5"
    old = extract(grown, output=target)
    old_rows, old_paths = old.X[...], old.paths
    picture(1).save(grown / "0" / "0new.png")  # in the middle of the order
    (grown / "1" / "000.png").rename(grown / "1" / "renamed.png")
    shutil.copy(grown / "2" / "000.png", grown / "2" / "copy.png")
    (grown / "2" / "001.png").unlink()
    picture(2).save(grown / "2" / "002.png")  # changed in place
    store = extract(grown, output=target)
    s = store.summary
    assert (s.images, s.computed, s.reused, s.duplicates, s.failed, s.removed) == (61, 2, 58, 1, 0, 2)
    assert sum(forwards) == 62
    assert store.paths == sorted(store.paths)
    rows = dict(zip(store.paths, store.X[...], strict=True))
    for path, row in zip(old_paths, old_rows, strict=True):
        if path not in {"1/000.png", "2/001.png", "2/002.png"}:
            assert np.array_equal(rows[path], row)
    assert np.array_equal(rows["1/renamed.png"], old_rows[old_paths.index("1/000.png")])
    assert np.array_equal(rows["2/copy.png"], rows["2/000.png"])
    ledger = {entry.path: entry for entry in store.ledger}
    assert ledger["2/copy.png"].reason == "" or ledger["2/copy.png"].reason == "2/000.png"
    assert [entry.path for entry in store.ledger if entry.status == "removed"] == ["1/000.png", "2/001.png"]
    # What was removed stays in the ledger, and a run without changes still writes nothing.
    assert extract(grown, output=target).summary.computed == 0
    assert FeatureStore(target).ledger_counts["removed"] == 2


def test_a_new_label_costs_nothing(grown, tmp_path, forwards):
    target = tmp_path / "s.h5"
    extract(grown, output=target)
    (grown / "0").rename(grown / "zero")
    store = extract(grown, output=target)
    assert (store.summary.computed, sum(forwards)) == (0, 60)
    assert store.class_counts == {"1": 20, "2": 20, "zero": 20}


def test_a_file_changed_within_its_size_is_noticed(grown, tmp_path):
    target = tmp_path / "s.h5"
    first = extract(grown, output=target)
    a, b = grown / "0" / "000.png", grown / "0" / "001.png"
    data = b.read_bytes()
    a.write_bytes(data)
    second = extract(grown, output=target)
    assert second.summary.duplicates == 1
    assert np.array_equal(second.X[0], first.X[1])


@pytest.mark.parametrize("same_names", [True, False])
def test_another_place_does_not_silently_replace_the_rows(digits_folder, tmp_path, same_names):
    """The folders 0 and 1 hold different images under the same names."""
    target, other = tmp_path / "s.h5", digits_folder / "1"
    extract(digits_folder / "0", output=target)
    before = target.read_bytes()
    if not same_names:
        other = tmp_path / "other"
        other.mkdir()
        for path in (digits_folder / "1").iterdir():
            shutil.copy(path, other / f"new-{path.name}")
    with pytest.raises(StoreError, match=r"images of (at least )?\d+ of its 20 rows .* would leave the store.*replace"):
        extract(other, output=target)
    assert target.read_bytes() == before
    store = extract(other, output=target, replace=True)
    assert (len(store), store.summary.removed) == (20, 0 if same_names else 20)
    assert os.listdir(tmp_path) == ["s.h5"] if same_names else True


def test_a_moved_folder_is_recognised(digits_folder, tmp_path, forwards):
    target = tmp_path / "s.h5"
    moved = shutil.copytree(digits_folder, tmp_path / "a")
    extract(moved, output=target)
    moved = moved.rename(tmp_path / "b")
    assert extract(moved, output=target).summary.computed == 0
    assert FeatureStore(target).provenance["root"] == str(moved)
    assert sum(forwards) == 60


def test_another_feature_space_is_refused(digits_folder, tmp_path):
    import torchvision

    target = tmp_path / "s.h5"
    extract(digits_folder, output=target)
    before = target.read_bytes()
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    with pytest.raises(FeatureSpaceError) as caught:
        extract(digits_folder, output=target, backbone="resnet18", weights=tmp_path / "w.pth", runtime="torch")
    message = str(caught.value)
    assert "backbone: 'efficientnet_lite0', not 'resnet18'" in message
    assert "dim: 816, not 1024" in message
    assert target.read_bytes() == before
    few = digits_folder / "0"
    store = extract(few, output=tmp_path / "r.h5", backbone="resnet18", weights=tmp_path / "w.pth", runtime="torch")
    assert store.X.shape == (20, 1024)


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 7, "workers": 1}, {"workers": 5}])
def test_content_does_not_depend_on_the_settings(digits_folder, small_store_path, tmp_path, settings):
    extract(digits_folder, output=tmp_path / "s.h5", **settings)
    assert_equal_stores(small_store_path, tmp_path / "s.h5")


def test_broken_and_odd_files_among_good_ones(tmp_path):
    """Every good image has its row under its own name, every bad one its reason."""
    folder = tmp_path / "photos"
    folder.mkdir()
    expected = write_bad(folder)
    odd = write_odd(folder)
    good = {f"good-{i:02d}.jpg": encoded(picture(100 + i), "JPEG") for i in range(30)}
    for name, data in good.items():
        (folder / name).write_bytes(data)
    store = extract(folder, output=tmp_path / "s.h5")
    assert len(expected) >= 20
    assert store.paths == sorted([*good, *odd])
    failed = {entry.path: entry.reason for entry in store.ledger if entry.status == "failed"}
    assert failed.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in failed[name], (name, failed[name])
        assert "not a usable path" not in failed[name], name
    assert store.summary.failed == len(expected)
    # Under its own name: each row equals that of the same picture extracted alone.
    rows = dict(zip(store.paths, store.X[...], strict=True))
    extractor = FeatureExtractor(image_size=SIDE)
    for name in [*list(good)[::7], *odd]:
        assert np.array_equal(extractor.fit_transform([folder / name])[0], rows[name]), name


def test_a_source_of_only_broken_files_is_refused(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    write_bad(folder)
    with pytest.raises(SourceError, match=r"none of the \d+ images could be read(.|\n)*bomb\.png: too large"):
        extract(folder, output=tmp_path / "s.h5")
    assert os.listdir(tmp_path) == ["photos"]


def test_a_bad_file_that_is_mended_is_computed(grown, tmp_path):
    (grown / "0" / "bad.png").write_bytes(b"")
    assert extract(grown, output=tmp_path / "s.h5").summary.failed == 1
    picture(3).save(grown / "0" / "bad.png")
    summary = extract(grown, output=tmp_path / "s.h5").summary
    assert (summary.failed, summary.computed) == (0, 1)


def test_equal_broken_files_all_fail(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(b"nonsense" * 10)
    picture(0).save(tmp_path / "good.jpg")
    summary = extract(tmp_path, output=tmp_path / "s.h5").summary
    assert (summary.failed, summary.computed, summary.duplicates) == (8, 1, 0)


def test_manifests_bring_labels_and_groups(digits_folder, tmp_path):
    frame = pandas.DataFrame(
        {
            "path": ["0/001.png", "2/000.png", "0/001.png", "none.png"],
            "label": ["a", "b", "c", "d"],
            "group": list("ggxy"),
        }
    )
    for name in ("m.csv", "m.parquet"):
        getattr(frame, {"m.csv": "to_csv", "m.parquet": "to_parquet"}[name])(tmp_path / name, index=False)
        store = extract(tmp_path / name, root=digits_folder, output=tmp_path / f"{name}.h5")
        assert store.paths == ["0/001.png", "2/000.png", "0/001.png"]
        assert store.y.tolist() == ["a", "b", "c"]
        assert store.groups.tolist() == ["g", "g", "x"]
        assert [entry.status for entry in store.ledger] == ["stored", "stored", "duplicate", "failed"]
        assert np.array_equal(store.X[0], store.X[2])


def test_arrays_and_pil_images(photos, tmp_path):
    arrays = [np.asarray(photo) for photo in photos]
    store = extract([*photos, arrays[0]], labels=list("aabbccdda"), output=tmp_path / "s.h5")
    assert (store.summary.computed, store.summary.duplicates) == (8, 1)
    assert store.paths[1] == "image-0000001"
    assert store.y.tolist() == list("aabbccdda")


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_the_same(grown, tmp_path, monkeypatch, forwards):
    from featurekit.pipeline import forward

    monkeypatch.setattr(forward, "_SAVE_ROWS", 8)
    whole = extract(grown, output=tmp_path / "whole.h5")
    done = sum(forwards)
    original = forward.Forward._collect

    def stop_at_the_third(self):
        if sum(forwards) > done + 32:
            raise KeyboardInterrupt
        original(self)

    monkeypatch.setattr(forward.Forward, "_collect", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract(grown, output=tmp_path / "s.h5", batch_size=8)
    assert not (tmp_path / "s.h5").exists()
    computed = sum(len(FeatureStore(path)) for path in (tmp_path / "s.h5.parts").glob("rows-*.h5"))
    assert 0 < computed < sum(forwards) - done < 60
    monkeypatch.setattr(forward.Forward, "_collect", original)
    resumed = extract(grown, output=tmp_path / "s.h5", batch_size=8)
    assert (resumed.summary.computed, resumed.summary.reused) == (60 - computed, computed)
    assert_equal_stores(whole.path, resumed.path)
    assert not (tmp_path / "s.h5.parts").exists()


KILLED = """
from featurekit.pipeline import forward
forward._SAVE_ROWS = 16
from featurekit import extract
extract({source!r}, output={target!r}, batch_size=8, image_size=64)
"""


def test_a_killed_run_goes_on_and_ends_the_same(grown, tmp_path):
    """A real process, a real SIGKILL, once the first shard is on the disk."""
    for i in range(60):
        picture(i).save(grown / "0" / f"more-{i:03d}.png")
    target = tmp_path / "s.h5"
    process = subprocess.Popen([sys.executable, "-c", KILLED.format(source=str(grown), target=str(target))])
    parts = Path(f"{target}.parts")
    while process.poll() is None and len(list(parts.glob("rows-*.h5"))) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"
    assert not target.exists()
    resumed = extract(grown, output=target)
    assert resumed.summary.reused >= 32
    assert resumed.summary.computed + resumed.summary.reused == 120
    extract(grown, output=tmp_path / "whole.h5")
    assert_equal_stores(target, tmp_path / "whole.h5")
    assert sorted(os.listdir(tmp_path)) == ["photos", "s.h5", "whole.h5"]


def test_a_locked_store_names_the_process_that_holds_it(digits_folder, tmp_path):
    with WriteLock(tmp_path / "s.h5.lock"), pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
        extract(digits_folder, output=tmp_path / "s.h5")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s.npz", r"an \.h5 file"),
        ("d.h5", "is a folder"),
        ("l.h5", "symbolic link"),
        ("file/s.h5", "cannot make the folder"),
    ],
)
def test_impossible_outputs_are_refused(digits_folder, tmp_path, name, message):
    (tmp_path / "d.h5").mkdir()
    (tmp_path / "l.h5").symlink_to(tmp_path / "elsewhere.h5")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=message):
        extract(digits_folder, output=tmp_path / name)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}], ids=str)
def test_numbers_below_one_are_refused(digits_folder, tmp_path, wrong):
    with pytest.raises(ValueError, match="whole number from 1"):
        extract(digits_folder, output=tmp_path / "s.h5", **wrong)


def test_provenance_says_how_it_was_made(small_store, digits_folder):
    p = small_store.provenance
    assert p["root"] == str(digits_folder)
    assert p["runtime"].startswith("openvino ")
    assert p["decoder"].startswith("simplejpeg ")
    assert p["version_torch"] == torch.__version__.split("+")[0] or p["version_torch"] == torch.__version__
    assert {"created", "kind", "source", "version_featurekit", "version_timm", "version_h5py"} <= p.keys()


@pytest.mark.slow
def test_several_backbones_and_layers_get_a_store_each(digits_folder, tmp_path):
    """By PyTorch, which needs no conversion of each."""
    names, layers = ["efficientnet_lite0", "efficientnet_lite1"], ["blocks.1", "penultimate"]
    by_torch = partial(extract, digits_folder, runtime="torch")
    stores = by_torch(output=tmp_path / "{backbone}.{layer}.h5", backbone=names, layer=layers)
    assert [(s.space.backbone, s.space.layer) for s in stores] == [(n, part) for n in names for part in layers]
    assert [s.path.name for s in stores[:2]] == ["efficientnet_lite0.blocks.1.h5", "efficientnet_lite0.penultimate.h5"]
    assert [s.X.shape for s in stores] == [(60, 24), (60, 1280), (60, 24), (60, 1280)]
    assert np.array_equal(stores[1].X[...], by_torch(output=tmp_path / "usual.h5", layer="penultimate").X[...])
    alone = by_torch(output=tmp_path / "alone.h5", layer="blocks.1")
    assert_equal_stores(alone.path, stores[0].path)
    again = by_torch(output=tmp_path / "{backbone}.{layer}.h5", backbone=names, layer=layers)
    assert [s.summary.computed for s in again] == [0] * 4
    (one,) = by_torch(output=tmp_path / "alone.h5", layer=["blocks.1"])
    assert one.summary.reused == 60


@pytest.mark.slow
def test_one_of_several_lacks_images(grown, tmp_path, monkeypatch):
    names = ["efficientnet_lite0", "efficientnet_lite1"]
    extract(grown, output=tmp_path / "efficientnet_lite0.h5", runtime="torch")
    forwards = lengths(monkeypatch, TorchRuntime, "submit", argument=1)
    stores = extract(grown, output=tmp_path / "{backbone}.h5", backbone=names, runtime="torch")
    assert [s.summary.computed for s in stores] == [0, 60]
    assert sum(forwards) == 60


def test_several_need_names_of_their_own(digits_folder, tmp_path):
    two = ["efficientnet_lite0", "efficientnet_lite1"]
    with pytest.raises(
        StoreError, match=r"Say where backbone and layer go .* such as photos\.\{backbone\}\.\{layer\}\.h5"
    ):
        extract(digits_folder, output=tmp_path / "s.h5", backbone=two)
    with pytest.raises(StoreError, match="one layer of one backbone"):
        extract(digits_folder, output=tmp_path / "{backbone}.h5", layer=["blocks.1", "blocks.2"])
    for wrong in ([], ["efficientnet_lite0", "efficientnet_lite0"]):
        with pytest.raises(ValueError, match="one or more different backbones"):
            extract(digits_folder, output=tmp_path / "{backbone}.h5", backbone=wrong)
    with pytest.raises(ValueError, match="a mapping of their names to files"):
        extract(digits_folder, output=tmp_path / "{backbone}.h5", backbone=two, weights="w.pth")
    with pytest.raises(ValueError, match=r"weights are given for resnet18, which is not among"):
        extract(digits_folder, output=tmp_path / "{backbone}.h5", backbone=two, weights={"resnet18": "w.pth"})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"precision": "bf16"}, "precision: 'float32', not 'bfloat16'"),
        ({"layer": "blocks.6"}, "layer: 'stages', not 'blocks.6'"),
        ({"decoder": "pillow"}, "preprocessing.decoder: 'auto', not 'pillow'"),
    ],
)
def test_precisions_layers_and_decoders_are_never_mixed(grown, tmp_path, options, named):
    extract(grown, output=tmp_path / "s.h5").close()
    before = (tmp_path / "s.h5").read_bytes()
    with pytest.raises(FeatureSpaceError, match="rows of two are never mixed") as raised:
        extract(grown, output=tmp_path / "s.h5", **options)
    assert named in str(raised.value)
    assert (tmp_path / "s.h5").read_bytes() == before


@pytest.mark.slow
def test_exact_runtimes_share_a_feature_space(grown, tmp_path):
    """Fp32 is one space whatever computes it: a store that OpenVINO began, PyTorch may go on with."""
    few = grown / "0"
    extract(few, output=tmp_path / "s.h5").close()
    picture(1).save(few / "new.png")
    store = extract(few, output=tmp_path / "s.h5", runtime="torch")
    assert store.summary.computed == 1
    assert store.summary.runtime.startswith("torch ")
    assert [part.split()[0] for part in store.provenance["runtime"].split("; ")] == ["openvino", "torch"]
    rows = extract(few, output=tmp_path / "torch.h5", runtime="torch").X[...]
    assert np.abs(store.X[...] - rows).max() < 2e-5 * np.abs(rows).max()
