"""Converted networks on the disk: the second start needs no PyTorch; damage, a full disk and strange networks."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import SIDE, TINY, tiny_weights

from featurekit.backbones import find
from featurekit.folders import cache_folder
from featurekit.runtime import load_runtime
from featurekit.runtime.converted import ConversionError, converted_network

pytest.importorskip("openvino")
from featurekit.runtime.openvino_runtime import OpenVinoRuntime

pytestmark = pytest.mark.conversion

LITE0 = find("efficientnet_lite0")
START = (
    "import sys, numpy as np\n"
    "from featurekit.backbones import find\n"
    "from featurekit.runtime import load_runtime\n"
    "network = load_runtime(find('efficientnet_lite0', image_size=64), 'cpu')\n"
    "rows = network.submit(np.zeros((1, 64, 64, 3), np.uint8)).result()\n"
    "print(network.description.split()[0], 'torch' in sys.modules, 'openvino_telemetry' in sys.modules\n"
    "      and sys.modules['openvino_telemetry'] is not None, rows.sum())"
)


def start(**environment):
    done = subprocess.run(
        [sys.executable, "-c", START], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split(), done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own, filled by the first start."""
    folder = tmp_path_factory.mktemp("cache")
    first, _ = start(FEATUREKIT_CACHE=str(folder))
    assert first[:3] == ["openvino", "True", "False"]  # converted by PyTorch, and nothing is reported to anybody
    return folder, first[3]


@pytest.mark.slow
def test_the_second_start_needs_no_pytorch(cache):
    folder, total = cache
    second, said = start(FEATUREKIT_CACHE=str(folder))
    assert second == ["openvino", "False", "False", total]
    assert said == ""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A tiny network, the file of its conversion, and what it makes of an image."""
    folder = tmp_path_factory.mktemp("kept")
    small = find(TINY, tiny_weights(folder / "small.pth", seed=0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FEATUREKIT_CACHE", str(folder))
        rows = computed(small)
    (file,) = (folder / "networks").iterdir()
    return small, file, rows


def computed(backbone):
    network = OpenVinoRuntime(backbone, [backbone.rows])
    return network.submit(np.full((1, SIDE, SIDE, 3), 99, np.uint8)).result()


def made_again(kept, tmp_path, monkeypatch, caplog, content):
    """What is said of a file with this content, which is replaced; the rows are the same, and stay so."""
    small, file, rows = kept
    place = tmp_path / "networks" / file.name
    place.parent.mkdir()
    place.write_bytes(content)
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    assert np.array_equal(computed(small), rows)
    said, written = caplog.text, place.stat().st_mtime_ns
    assert np.array_equal(computed(small), rows)
    assert (caplog.text, place.stat().st_mtime_ns) == (said, written)
    return said


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[:-1] + b"?", id="changed"),
        pytest.param(lambda data: b"", id="empty", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_damaged_file_is_made_again(kept, tmp_path, monkeypatch, caplog, spoil):
    said = made_again(kept, tmp_path, monkeypatch, caplog, spoil(kept[1].read_bytes()))
    assert "is damaged and is made again" in said


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_time_only(cache, tmp_path):
    (tmp_path / "file").touch()
    found, said = start(FEATUREKIT_CACHE=str(tmp_path / "file"))
    assert found == ["openvino", "True", "False", cache[1]]
    assert "cannot be kept" in said
    assert "FEATUREKIT_CACHE" in said


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("FEATUREKIT_CACHE")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "featurekit"


@pytest.mark.slow
def test_other_weights_and_layers_are_other_files(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    zero, one = (tiny_weights(tmp_path / f"{seed}.pth", seed) for seed in (0, 1))
    first = find(TINY, zero)
    converted_network(first, [first.rows], 2)
    converted_network(first, [find(TINY, zero, layer="layer2").rows], 2)
    converted_network(find(TINY, one), [first.rows], 2)
    assert len(list((tmp_path / "networks").iterdir())) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "networks").iterdir()}
    converted_network(find(TINY, zero, decoder="pillow"), [first.rows], 2)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "networks").iterdir()}


@pytest.mark.slow
def test_a_network_that_cannot_be_converted_is_run_by_pytorch(kept, monkeypatch, tmp_path, caplog):
    """A conversion that gives other rows than PyTorch is refused, and nothing wrong reaches the disk."""
    from featurekit.runtime import _load, converted

    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    small = kept[0]
    monkeypatch.setattr(converted, "_LARGEST_ERROR", 0.0)  # no conversion is that exact
    _load.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert load_runtime(small, "cpu").description.startswith("torch ")
        assert "PyTorch is used instead" in caplog.text
        with pytest.raises(ConversionError, match="as OpenVINO runs it is not PyTorch's network"):
            load_runtime(small, "cpu", "openvino")
        assert not (tmp_path / "networks").exists()
    finally:
        _load.cache_clear()


@pytest.mark.slow
def test_rows_are_pytorchs(photos):
    from featurekit.images import prepare

    pixels = np.stack([prepare(photo, 256, 224, "bicubic") for photo in photos])
    by_openvino = load_runtime(LITE0, "cpu", "openvino").submit(pixels).result()
    by_torch = load_runtime(LITE0, "cpu", "torch").submit(pixels).result()
    assert np.linalg.norm(by_openvino - by_torch) < 1e-5 * np.linalg.norm(by_torch)


@pytest.mark.parametrize("nonsense", ["garbage", "truncated weights", "other images", "length"])
@pytest.mark.slow
def test_a_whole_file_of_nonsense_is_made_again(kept, tmp_path, monkeypatch, caplog, nonsense):
    head = len(b"featurekit network 2\n")
    data = kept[1].read_bytes()
    magic, content = data[:head], data[head + 32 :]
    end = 8 + int.from_bytes(content[:8], "little")
    graph, weights = content[8:end], content[end:]
    if nonsense == "garbage":
        graph = b"<net>garbage"
    elif nonsense == "truncated weights":
        weights = weights[:-5000]
    elif nonsense == "other images":
        assert b"<dim>160</dim>" in graph
        graph = graph.replace(b"<dim>160</dim>", b"<dim>128</dim>").replace(b'"4,160,160,3"', b'"4,128,128,3"')
    content = len(graph).to_bytes(8, "little") + graph + weights
    if nonsense == "length":
        content = (2**62).to_bytes(8, "little") + content[8:]
    content = magic + hashlib.sha256(content).digest() + content
    assert "is of no use and is made again" in made_again(kept, tmp_path, monkeypatch, caplog, content)


@pytest.mark.slow
def test_no_room_for_temporary_files(cache, tmp_path):
    """Neither these nor the cache may take the network: PyTorch runs it."""
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n" + START
    environment = os.environ | {"FEATUREKIT_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "torch"
    assert "cannot be written to the folder for temporary files" in done.stderr


def test_a_cache_in_the_home_of_an_unknown_user(monkeypatch):
    monkeypatch.setenv("FEATUREKIT_CACHE", "~nobody-of-this-name/x")
    assert cache_folder() == Path("~nobody-of-this-name/x")
