from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from featurekit.backbones import describe, find
from featurekit.backbones.network import load_network
from featurekit.errors import ImageError, TrainingError
from featurekit.finetune.pictures import Pictures, View, views_of, whole_square
from featurekit.finetune.stages import Stages
from featurekit.finetune.trunk import (
    Plan,
    channels_first,
    fill_cache,
    is_complete,
    open_cache,
    room_for,
    shape_of,
    trunk_runner,
)
from featurekit.images import items_from, prepare
from featurekit.runtime import load_decoder

SPEC = describe("efficientnet_lite0")
WISH = SPEC.preprocessing


@pytest.fixture(scope="module")
def stages():
    return Stages(load_network(find(SPEC.name)), SPEC, 3).eval()


@pytest.fixture
def pictures(photos):
    with Pictures(items_from(photos), load_decoder("pillow", "cpu")) as opened:
        yield opened


def test_views_are_crops_and_mirror_images(photos, pictures):
    views = views_of("light", WISH)
    (pixels,) = pictures.batches([(np.zeros(4, dtype=np.intp), views)])
    assert np.array_equal(pixels[0], prepare(photos[0], 256, 224, "bicubic"))
    assert np.array_equal(pixels[1], pixels[0][:, ::-1])
    assert np.array_equal(pixels[2], prepare(photos[0], 224, 224, "bicubic"))
    assert np.array_equal(pixels[3], prepare(photos[0], 294, 224, "bicubic")[:, ::-1])
    (square,) = pictures.batches([(np.array([1]), [whole_square(WISH)])])
    assert square.shape == (1, 256, 256, 3)


def test_images_that_cannot_be_read_any_more(tmp_path, photos):
    path = tmp_path / "a.jpg"
    photos[0].save(path)
    with Pictures(items_from([str(path)]), load_decoder("auto", "cpu")) as pictures:
        for spoil in (lambda: path.write_bytes(b""), path.unlink):
            spoil()
            with pytest.raises(ImageError, match=r"a\.jpg cannot be read any more"):
                list(pictures.batches([(np.array([0]), [View(WISH)])]))


@pytest.mark.slow
@pytest.mark.parametrize(("start", "runtime"), [(5, "torch"), (7, "torch"), (5, "openvino")])
def test_maps_are_those_of_the_network(stages, pictures, tmp_path, start, runtime):
    views = views_of("flip", WISH)
    plan = Plan(len(pictures), 2, shape_of(stages, start, 224))
    assert plan.shape == ((14, 14, 112) if start == 5 else (1280,))
    assert plan.nbytes == 8 * 2 * np.prod(plan.shape) * 2
    advanced = []
    run = trunk_runner(stages, start, 224, runtime)
    assert not is_complete(tmp_path / "t.f16", plan)
    fill_cache(tmp_path / "t.f16", plan, pictures, views, run, advanced.append)
    cache = open_cache(tmp_path / "t.f16", plan)
    assert sum(advanced) == 16
    assert (tmp_path / "t.f16").stat().st_size == plan.nbytes
    for view in range(2):
        (pixels,) = pictures.batches([(np.arange(8), [views[view]] * 8)])
        with torch.no_grad():
            expected = stages.below(torch.from_numpy(pixels), start).numpy()
            found = channels_first(torch.from_numpy(np.array(cache[:, view]))).float().numpy()
        assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
    assert is_complete(tmp_path / "t.f16", plan)


def test_maps_beyond_float16_are_refused(pictures, tmp_path):
    plan = Plan(8, 1, (4,))
    for wrong in (1e5, np.nan, np.inf):
        with pytest.raises(TrainingError, match="float16 cannot hold"):
            fill_cache(
                tmp_path / "t", plan, pictures, [View(WISH)], lambda p, w=wrong: np.full((len(p), 4), w), lambda n: None
            )
    assert not list(tmp_path.iterdir())


def test_a_cache_too_large_for_the_disk_is_refused(tmp_path):
    assert "at most 20 GB and half of" in room_for([Plan(10**9, 4, (14, 14, 112))], tmp_path)
    assert not room_for([Plan(10, 4, (14, 14, 112))] * 2, tmp_path)


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_no_crash(tmp_path):
    code = (
        "import resource, signal, numpy as np\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "from pathlib import Path\n"
        "from featurekit.backbones import LITE\n"
        "from featurekit.finetune.trunk import Plan, fill_cache\n"
        "from featurekit.finetune.pictures import Pictures, View\n"
        "from featurekit.images import items_from\n"
        "from featurekit.runtime import load_decoder\n"
        "items = items_from([np.zeros((9, 9, 3), np.uint8)] * 40)\n"
        "with Pictures(items, load_decoder('pillow', 'cpu')) as pictures:\n"
        "    view = View(LITE['efficientnet_lite0'].preprocessing)\n"
        "    fill_cache(Path('t'), Plan(40, 1, (1000,)), pictures, [view],\n"
        "               lambda pixels: np.zeros((len(pixels), 1000), np.float32), lambda n: None)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert out.returncode == 1
    assert "TrainingError: cannot write the trunk cache (40 images x 1 view x 2 kB = 0 MB)" in out.stderr
    assert not list(tmp_path.iterdir())
