"""The pipeline: one pass for all, in order, whatever the chunks; nothing lost on the way."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from calls import lengths
from odd_files import picture, write_bad
from small import SIDE, extract

from featurekit import FeatureExtractor
from featurekit.backbones import find
from featurekit.errors import ImageError, SourceError
from featurekit.fidelity import Fidelity
from featurekit.images import read_source
from featurekit.pipeline import Destination, fill, forward, looking
from featurekit.runtime import load_decoder
from featurekit.runtime.torch_runtime import TorchRuntime
from featurekit.store import MemoryCache

LITE0, LITE1 = (find(name, image_size=SIDE) for name in ("efficientnet_lite0", "efficientnet_lite1"))


class Chunked:
    """A decoder that takes several images at a time, as a GPU's does; some of them break it as a whole."""

    def __init__(self, chunk, breaks_on=b""):
        self.chunk, self.breaks_on, self.description = chunk, breaks_on, "chunked"
        self.calls = []
        self._decoder = load_decoder("auto", "cpu")

    def __call__(self, images, wanted, *, hashed=False):
        self.calls.append(len(images))
        if self.breaks_on and self.breaks_on in images:
            raise ValueError("this one breaks the decoder")
        return self._decoder(images, wanted, hashed=hashed)


@pytest.fixture
def decoder(monkeypatch):
    """Puts a decoder in the place of featurekit's own."""

    def use(other):
        monkeypatch.setitem(fill.__globals__, "load_decoder", lambda name, device: other)
        return other

    return use


def filled(items, *backbones, **options):
    destinations = [Destination(backbone, MemoryCache(backbone.space.dim)) for backbone in backbones]
    outcomes = fill(items, destinations, **options)
    good = [outcome.content for outcome in outcomes if not outcome.reason]
    return outcomes, [destination.cache.gather(good) for destination in destinations], destinations


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(23):
        picture(i, (90 + i, 120 - i)).save(folder / f"{i:03d}.jpg")
    return folder


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7, "workers": 1}, {"workers": 5}])
def test_rows_do_not_depend_on_batches_or_workers(photos_folder, options):
    items = read_source(photos_folder).items
    _, (expected,), _ = filled(items, LITE0)
    _, (rows,), _ = filled(items, LITE0, **options)
    assert np.array_equal(rows, expected)
    _, (backwards,), _ = filled(items[::-1], LITE0, **options)
    assert np.array_equal(backwards[::-1], expected)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_decoders_that_take_several_at_a_time(photos_folder, tmp_path, decoder, chunk):
    """Order and reasons stay, though bad files are among them and one breaks its whole chunk."""
    for path in photos_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_bad(tmp_path)
    (tmp_path / "000-copy.jpg").write_bytes((tmp_path / "000.jpg").read_bytes())
    items = read_source(tmp_path).items
    expected, (rows,), _ = filled(items, LITE0)
    other = decoder(Chunked(chunk, (tmp_path / "011.jpg").read_bytes()))
    outcomes, (found,), _ = filled(items, LITE0, batch_size=5)
    assert max(other.calls) <= chunk
    assert chunk == 1 or max(other.calls) > 1
    broken = next(i for i, item in enumerate(items) if item.path == "011.jpg")
    assert outcomes[broken].reason == "unreadable: ValueError: this one breaks the decoder"
    assert [o.reason for i, o in enumerate(outcomes) if i != broken] == [
        o.reason for i, o in enumerate(expected) if i != broken
    ]
    good = [i for i, outcome in enumerate(expected) if not outcome.reason]
    assert np.array_equal(found, np.delete(rows, good.index(broken), axis=0))


@pytest.mark.slow
def test_several_backbones_and_layers_read_and_decode_once(photos_folder, monkeypatch):
    """Four destinations, two networks: each file is read once, and each network runs once over it."""
    items = read_source(photos_folder).items
    layers = [
        find("efficientnet_lite0", layer=layer, image_size=SIDE) for layer in ("blocks.2", "penultimate", "blocks.5")
    ]
    alone = [filled(items, backbone, runtime="torch")[1][0] for backbone in (*layers, LITE1)]
    read, lock = [], threading.Lock()
    original = looking.read_origin

    def count(path):
        with lock:
            read.append(path)
        return original(path)

    monkeypatch.setattr(looking, "read_origin", count)
    forwards = lengths(monkeypatch, TorchRuntime, "submit", argument=1)
    _, together, destinations = filled(items, *layers, LITE1, runtime="torch")
    assert sorted(read) == sorted(str(item.origin) for item in items)
    assert sum(forwards) == 2 * len(items)
    assert [destination.computed for destination in destinations] == [len(items)] * 4
    for mine, theirs in zip(together, alone, strict=True):
        assert np.array_equal(mine, theirs)


def test_only_what_a_destination_lacks_is_added(photos_folder):
    items = read_source(photos_folder).items
    first = Destination(LITE0, MemoryCache(1280))
    fill(items[:10], [first], runtime="torch")
    second = Destination(find("efficientnet_lite0", layer="blocks.0", image_size=SIDE), MemoryCache(16))
    first.computed = 0
    fill(items, [first, second], runtime="torch")
    assert (first.computed, second.computed) == (13, 23)


def test_everything_is_loaded_only_when_something_is_missing(photos_folder, monkeypatch):
    items = read_source(photos_folder).items
    destination = Destination(LITE0, MemoryCache(1280))
    fill(items, [destination])
    monkeypatch.setattr(forward, "load_runtime", None)
    fill(items, [destination])


def test_an_error_of_the_network_keeps_what_was_computed(photos_folder, monkeypatch):
    items = read_source(photos_folder).items
    destination = Destination(LITE0, MemoryCache(1280))
    original, calls = forward.load_runtime, []

    class Fails:
        batch_size, depth, description = 4, 1, "fails"

        def __init__(self, network):
            self._network = network

        def submit(self, batch):
            if len(calls) == 3:
                raise RuntimeError("the device is gone")
            calls.append(len(batch))
            pending = self._network.submit(batch)
            pending.result()
            return pending

    monkeypatch.setattr(forward, "load_runtime", lambda *arguments: Fails(original(*arguments)))
    with pytest.raises(RuntimeError, match="the device is gone"):
        fill(items, [destination], batch_size=4)
    kept = sum(1 for item in items if _hash(item) in destination.cache)
    assert kept == sum(calls) == 12


def _hash(item):
    import hashlib

    with open(item.origin, "rb") as file:
        return hashlib.sha256(file.read()).digest()


@pytest.mark.slow
def test_a_precision_and_a_decoder_are_measured(photos_folder, tmp_path):
    """The first images show how far rows are from exact ones; store, summary and provenance say it."""
    exact = extract(photos_folder, output=tmp_path / "exact.h5", decoder="pillow")
    assert exact.summary.fidelity is None
    assert "fidelity" not in exact.provenance
    store = extract(photos_folder, output=tmp_path / "torchcodec.h5", decoder="torchcodec")
    expected, found = Fidelity.of(store.X[...], exact.X[...]), store.summary.fidelity
    assert found.images == 23
    assert np.allclose([found.cosine, found.relative_error], [expected.cosine, expected.relative_error])
    assert store.provenance["fidelity"] == str(store.summary.fidelity)
    assert store.provenance["decoder"].startswith("torchcodec ")
    again = extract(photos_folder, output=tmp_path / "torchcodec.h5", decoder="torchcodec", refresh=True)
    assert again.summary.computed == 0
    picture(99).save(tmp_path / "one.jpg")
    assert extract([tmp_path / "one.jpg"], output=tmp_path / "one.h5", precision="bf16").summary.fidelity.images == 1


@pytest.mark.slow
def test_pictures_from_memory_are_measured_too(photos):
    extractor = FeatureExtractor(decoder="torchcodec").fit([])
    exact = FeatureExtractor(decoder="pillow").fit_transform(photos)
    assert Fidelity.of(extractor.transform(photos), exact).cosine > 0.999


@pytest.mark.slow
def test_a_file_that_is_gone_when_it_is_measured(photos_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "open_origin", _gone)
    store = extract(photos_folder, output=tmp_path / "s.h5", decoder="torchcodec")
    assert (store.summary.computed, store.summary.fidelity) == (23, None)


def _gone(path):
    raise ImageError("no such file")


def test_threads_decode_on_the_processors_that_this_process_may_use(photos_folder, monkeypatch):
    """One under `LOKY_MAX_CPU_COUNT=1`, as under a container's quota or an affinity, however many the machine has."""
    threads = set()

    def seen(*args):
        threads.add(threading.get_ident())
        return read_origin(*args)

    read_origin = looking.read_origin
    monkeypatch.setattr(looking, "read_origin", seen)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    FeatureExtractor(image_size=SIDE).fit_transform(sorted(photos_folder.rglob("*.jpg")))
    assert len(threads) == 1


@pytest.mark.parametrize("broken", [0, 1])
def test_rows_that_one_store_cannot_take_are_kept_by_the_others(photos_folder, broken, monkeypatch):
    destinations = [
        Destination(find("efficientnet_lite0", layer=layer, image_size=SIDE), MemoryCache(LITE0.spec.dim(layer)))
        for layer in ("penultimate", "blocks.1")
    ]

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(destinations[broken].cache, "add", full)
    with pytest.raises(OSError, match="no room"):
        fill(read_source(photos_folder).items, destinations, runtime="torch")
    assert [destination.computed for destination in destinations] == [23 * (i != broken) for i in range(2)]


def test_rows_that_are_no_numbers_are_failures(photos_folder, tmp_path):
    import torch
    import torchvision

    state = torchvision.models.mobilenet_v3_small().state_dict()
    state["features.0.0.weight"] *= 1e30  # finite, but what comes of it is not
    options = {"backbone": "mobilenet_v3_small", "weights": tmp_path / "w.pth", "runtime": "torch"}
    state["features.0.1.running_var"][:] = 1e-30
    state["features.0.1.weight"] *= 1e30
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(SourceError, match="its features are not finite in float32"):
        extract(sorted(photos_folder.iterdir())[:3], output=tmp_path / "s.h5", **options)
