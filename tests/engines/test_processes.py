"""Real processes of this machine: the same store, whatever dies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from small import extract

from featurekit.errors import BackboneError, SourceError, StoreError
from featurekit.store import ShardCache, verify

PROC = Path("/proc")
linux = pytest.mark.skipif(not (PROC / "self" / "cmdline").exists(), reason="finds processes in /proc")


@pytest.fixture
def photos(digits_folder, tmp_path):
    """120 images of two classes, some equal, one broken: four chunks."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    files = sorted(digits_folder.glob("*/*.png"))
    from PIL import Image

    for number in range(120):
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        if number < 20:
            (place / f"{number:03d}.png").write_bytes(files[number % 10].read_bytes())
        else:
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place / f"{number:03d}.png")
    (folder / "1" / "bad.png").write_bytes(b"no picture")
    return folder


def processes():
    """The workers of this machine: process numbers by parent."""
    found = []
    for entry in PROC.glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"featurekit.engines.process" in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def assert_same(store, here):
    assert store.paths == here.paths
    assert np.array_equal(store.X[:], here.X[:])
    assert store.y.tolist() == here.y.tolist()
    assert store.ledger == here.ledger


def test_the_store_is_that_of_one_process(photos, tmp_path):
    here = extract(photos, output=tmp_path / "here.h5")
    options = {"output": tmp_path / "several.h5", "engine": "processes", "device": "cpu,cpu"}
    store = extract(photos, **options)
    assert_same(store, here)
    assert (store.summary.computed, store.summary.duplicates, store.summary.failed) == (110, 10, 1)
    assert store.summary.runtime == here.summary.runtime
    again = extract(photos, **options)
    assert (again.summary.computed, again.summary.reused) == (0, 110)


@pytest.mark.slow
def test_shards_that_were_lost_or_damaged_are_computed_again(photos, tmp_path):
    """The same rows make a shard of the same name."""
    here = extract(photos, output=tmp_path / "here.h5", image_size=64)
    options = {"output": tmp_path / "far", "engine": "processes", "device": "cpu,cpu", "image_size": 64}
    extract(photos, **options)
    first, second = sorted((tmp_path / "far").glob("rows-*.h5"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1000])
    store = extract(photos, **options)
    assert store.summary.computed > 30
    assert_same(store, here)
    assert verify(tmp_path / "far").ok
    assert extract(photos, **options).summary.computed == 0


@pytest.mark.slow
def test_a_shard_that_vanishes_meanwhile_is_no_row(photos, tmp_path, monkeypatch):
    """What was lost is computed again; if it is lost again, that is said, and the published state stays."""
    options = {"output": tmp_path / "far", "engine": "processes", "device": "cpu,cpu", "image_size": 64}
    extract(photos / "0", **options)
    before = set((tmp_path / "far").glob("rows-*.h5"))
    index = (tmp_path / "far" / "index.h5").read_bytes()
    plain, gone = ShardCache.refresh, []

    def refresh(cache):
        for path in sorted(set((tmp_path / "far").glob("rows-*.h5")) - before)[: most - len(gone)]:
            path.unlink()
            gone.append(path)
        plain(cache)

    monkeypatch.setattr(ShardCache, "refresh", refresh)
    most = 99
    with pytest.raises(StoreError, match="rows that were computed are not in .*was something deleted there"):
        extract(photos, replace=True, **options)
    assert (tmp_path / "far" / "index.h5").read_bytes() == index
    gone.clear()
    most = 1
    store = extract(photos, replace=True, **options)
    assert len(gone) == 1
    here = extract(photos, output=tmp_path / "here.h5", image_size=64)
    assert store.paths == here.paths
    assert np.array_equal(store.X[:], here.X[:])


@linux
@pytest.mark.slow
def test_a_process_that_dies_is_replaced(photos, tmp_path):
    here = extract(photos, output=tmp_path / "here.h5")
    killed = []

    def kill():
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            if list((tmp_path / "far").glob("rows-*.h5")) and (found := processes()):
                with suppress(OSError):
                    os.kill(found[0], signal.SIGKILL)
                    killed.append(found[0])
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    store = extract(photos, output=tmp_path / "far", engine="processes", device="cpu,cpu")
    thread.join()
    assert killed
    assert_same(store, here)


@linux
@pytest.mark.slow
def test_nothing_is_left_of_a_run_that_was_killed(photos, tmp_path):
    command = [
        "extract",
        str(photos),
        "-o",
        str(tmp_path / "far"),
        "--engine",
        "processes",
        "--device",
        "cpu,cpu",
        "-q",
    ]
    with subprocess.Popen([sys.executable, "-m", "featurekit_cli", *command], stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 300
        while len(processes()) < 2:
            assert time.monotonic() < deadline
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.01)
        run.kill()
    while processes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_images_that_kill_every_process_are_named(photos, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'featurekit.engines.process' in ' '.join(sys.orig_argv):\n    sys.exit('as if killed')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StoreError, match="3 processes died of the images from .*png on.*as if killed"):
        extract(photos, output=tmp_path / "far", engine="processes", device="cpu,cpu")


def test_processes_that_cannot_be_started_are_an_error(photos, tmp_path, monkeypatch):
    """The system has no more of them: no thread may end without saying so."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(StoreError, match="3 processes died of the images from .*none started: .*no-python"):
        extract(photos, output=tmp_path / "far", engine="processes", device="cpu,cpu")


class OddError(Exception):
    """One that cannot be sent (of which a class without its arguments is an example, unless tblib is there)."""

    def __reduce__(self):
        raise TypeError("not this one")


def test_errors_that_cannot_be_pickled_are_sent_as_text():
    from featurekit.engines.process import _sendable

    sent = pickle.loads(pickle.dumps(_sendable(OddError("this"))))
    assert (type(sent), str(sent)) == (RuntimeError, "OddError: this")
    assert isinstance(_sendable(StoreError("full")), StoreError)


def test_an_address_without_ray_is_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="address goes with engine='ray'"):
        extract(photos, output=tmp_path / "a.h5", address="auto")


def test_an_unknown_engine_is_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="no engine called 'spark'"):
        extract(photos, output=tmp_path / "a.h5", engine="spark")


@pytest.mark.slow
def test_impossible_devices_and_sources_are_refused(photos, tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.raises(BackboneError, match="cannot run on the device 'cuda:7'"):
        extract(photos, output=tmp_path / "a", engine="processes", device="cuda:7")
    with pytest.raises(BackboneError, match="one of the names between the commas is empty"):
        extract(photos, output=tmp_path / "a", engine="processes", device="cpu,,cpu")

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, number):
            return np.zeros((40, 40, 3), np.uint8), "a"

    with pytest.raises(SourceError, match="name its files"):
        extract(Pictures(), output=tmp_path / "b", engine="processes")
