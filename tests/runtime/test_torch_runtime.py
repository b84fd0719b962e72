from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from featurekit.backbones import find
from featurekit.errors import BackboneError
from featurekit.images import prepare
from featurekit.runtime import load_runtime

LITE0 = find("efficientnet_lite0")


@pytest.fixture(scope="module")
def pixels(photos):
    return np.stack([prepare(photo, 256, 224, "bicubic") for photo in photos])


def test_rows_equal_timms_own_pipeline(photos, pixels):
    """An independent reference: timm's transform and network, fp32, loaded without featurekit."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = torch.load(LITE0.weights_path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    network.reset_classifier(0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        expected = network.eval()(torch.stack([transform(photo) for photo in photos])).numpy()
    got = load_runtime(LITE0, "cpu").submit(pixels).result()
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 2e-5 * np.abs(expected).max()


def test_rows_do_not_depend_on_the_batch(pixels):
    runtime = load_runtime(LITE0, "cpu")
    whole = runtime(pixels)
    for size in (1, 2, 3, 5):
        parts = np.concatenate([runtime(pixels[i : i + size]) for i in range(0, len(pixels), size)])
        assert np.array_equal(parts, whole), size
    assert np.array_equal(runtime(pixels[::-1].copy()), whole[::-1])


def test_one_network_serves_all():
    assert load_runtime(LITE0, "cpu") is load_runtime(find("efficientnet_lite0"), "cpu")


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(BackboneError, match=r"cannot run on the device .* Use 'cpu' or 'auto'"):
        load_runtime(LITE0, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_rows_equal_those_of_the_cpu(pixels):
    cpu, cuda = load_runtime(LITE0, "cpu").submit(pixels).result(), load_runtime(LITE0, "cuda").submit(pixels).result()
    assert np.abs(cpu - cuda).max() < 1e-4 * np.abs(cpu).max()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("variable", "called"), [(None, True), ("MALLOC_ARENA_MAX", False)])
def test_the_allocator_is_left_alone_where_the_user_set_it(variable, called):
    code = (
        "import ctypes, featurekit.runtime.torch_runtime as r\n"
        "calls = []\n"
        "class Libc:\n"
        "    def __init__(self, name): pass\n"
        "    def mallopt(self, *args): calls.append(args)\n"
        "ctypes.CDLL = Libc\n"
        "r._keep_freed_memory(); print(bool(calls))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    if variable:
        environment[variable] = "2"
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(called)
