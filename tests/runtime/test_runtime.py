"""What every runtime must do: the right rows, whatever the batch, the order, the threads and the process."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from featurekit import runtime as runtimes
from featurekit.backbones import find
from featurekit.errors import BackboneError
from featurekit.fidelity import Fidelity
from featurekit.images import prepare
from featurekit.runtime import load_runtime

LITE0 = find("efficientnet_lite0")
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
NAMES = ["torch", pytest.param("openvino", marks=pytest.mark.skipif(not HAS_OPENVINO, reason="no OpenVINO here"))]


@pytest.fixture(scope="module")
def pixels(photos):
    return np.stack([prepare(photo, 256, 224, "bicubic") for photo in photos])


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """ResNet-18 with random weights."""
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return find("resnet18", path)


def rows_of(network, images):
    return network.submit(images).result()


def timms_rows(photos):
    """An independent reference: timm's transform and network, fp32, loaded without featurekit."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = torch.load(LITE0.weights_path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    network.reset_classifier(0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        return network.eval()(torch.stack([transform(photo) for photo in photos])).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_timms_own_pipeline(name, photos, pixels):
    expected = timms_rows(photos)
    got = rows_of(load_runtime(LITE0, "cpu", name), pixels)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_depend_on_the_batch(name, pixels):
    network = load_runtime(LITE0, "cpu", name)
    whole = rows_of(network, pixels)
    for size in (1, 3):
        parts = [rows_of(network, pixels[i : i + size]) for i in range(0, len(pixels), size)]
        assert np.array_equal(np.concatenate(parts), whole), size
    assert np.array_equal(rows_of(network, pixels[::-1].copy()), whole[::-1])
    many = [network.submit(pixels[[i % len(pixels)]]) for i in range(10)]  # under way together
    assert all(np.array_equal(each.result()[0], whole[i % len(pixels)]) for i, each in enumerate(many))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_OPENVINO, reason="no OpenVINO here")
def test_rows_do_not_depend_on_threads_or_processes(pixels, tmp_path):
    np.save(tmp_path / "pixels.npy", pixels)
    code = (
        "import sys, numpy as np\n"
        "from featurekit.backbones import find\n"
        "from featurekit.runtime import load_runtime\n"
        "network = load_runtime(find('efficientnet_lite0'), 'cpu', 'openvino')\n"
        "np.save(sys.argv[2], network.submit(np.load(sys.argv[1])).result())"
    )
    expected = rows_of(load_runtime(LITE0, "cpu", "openvino"), pixels)
    for number, more in enumerate(({"OMP_NUM_THREADS": "1"}, {"OPENBLAS_NUM_THREADS": "1", "TBB_NUM_THREADS": "1"})):
        out = tmp_path / f"{number}.npy"
        command = [sys.executable, "-c", code, str(tmp_path / "pixels.npy"), str(out)]
        if number and hasattr(os, "sched_getaffinity"):
            one = min(os.sched_getaffinity(0))
            command[2] = f"import os; os.sched_setaffinity(0, {{{one}}})\n" + code
        subprocess.run(command, env=os.environ | more, check=True)
        assert np.array_equal(np.load(out), expected)


@pytest.mark.parametrize(
    ("backbone", "name"), [("resnet18", "torch"), *(("efficientnet_lite0", name) for name in ("torch", "openvino"))]
)
@pytest.mark.slow
@pytest.mark.conversion
def test_layers_equal_what_hooks_see(backbone, name, pixels, resnet18):
    """Every layer of a network in one pass, against PyTorch's own forward hooks."""
    if name == "openvino" and not HAS_OPENVINO:
        pytest.skip("no OpenVINO here")
    from featurekit.backbones.network import load_network
    from featurekit.runtime.torch_runtime import ImagesToRows

    chosen = LITE0 if backbone == "efficientnet_lite0" else resnet18
    layers = [layer for layer, _ in chosen.spec.layers]
    seen = {}
    network = load_network(chosen)
    for layer in layers[:-1]:
        network.get_submodule(layer).register_forward_hook(
            lambda module, inputs, out, layer=layer: seen.update({layer: out.mean((2, 3)).numpy()})
        )
    whole = ImagesToRows(chosen, [chosen.rows]).eval()  # for its normalisation
    whole.rows.network = network
    with torch.no_grad():
        seen["penultimate"] = whole(torch.from_numpy(pixels)).numpy()
    wanted = [find(backbone, chosen.weights_path, layer=layer).rows for layer in layers]
    got = rows_of(load_runtime(chosen, "cpu", name, wanted), pixels)
    ends = np.cumsum([each.dim for each in wanted])
    assert got.shape == (len(pixels), ends[-1])
    for layer, part in zip(layers, np.split(got, ends[:-1], axis=1), strict=True):
        assert np.allclose(part, seen[layer], atol=2e-5 * np.abs(seen[layer]).max()), layer


def test_a_loaded_network_is_reused():
    first = load_runtime(LITE0, "cpu")
    assert first is load_runtime(find("efficientnet_lite0"), "cpu")
    assert first is load_runtime(find("efficientnet_lite0", decoder="pillow"), "cpu")
    # By PyTorch, which needs no conversion of another layer.
    whole = load_runtime(LITE0, "cpu", "torch")
    assert whole is load_runtime(find("efficientnet_lite0"), "cpu", "torch")
    assert whole is not load_runtime(find("efficientnet_lite0", layer="blocks.1"), "cpu", "torch")


@pytest.mark.slow
def test_several_devices_share_the_work(pixels):
    """Two CPUs stand for two GPUs."""
    network = load_runtime(LITE0, "cpu,cpu", "torch")
    expected = rows_of(load_runtime(LITE0, "cpu", "torch"), pixels)
    assert network.depth == 2 * load_runtime(LITE0, "cpu", "torch").depth
    pending = [network.submit(pixels[[i]]) for i in range(len(pixels))]
    assert np.array_equal(np.concatenate([each.result() for each in pending]), expected)
    assert all(part._threads._work_queue.empty() and part._threads._threads for part in network._parts)


@pytest.mark.parametrize("device", ["cuda:77", "nonsense", "cpu,nonsense"])
def test_a_missing_device_is_refused(device):
    with pytest.raises(BackboneError, match=r"cannot run on the device .* Use 'cpu' or 'auto'"):
        load_runtime(LITE0, device)


def test_impossible_runtimes_precisions_and_layers_are_refused():
    with pytest.raises(BackboneError, match="no runtime called 'tpu'"):
        load_runtime(LITE0, "cpu", "tpu")
    with pytest.raises(BackboneError, match="TF32 is a mode of NVIDIA's GPUs"):
        load_runtime(find("efficientnet_lite0", precision="tf32"), "cpu")
    with pytest.raises(BackboneError, match="OpenVINO runs on the CPU here"):
        load_runtime(LITE0, "cuda", "openvino")
    with pytest.raises(BackboneError, match="no precision called 'int8'"):
        find("efficientnet_lite0", precision="int8")
    with pytest.raises(
        BackboneError, match=r"no layer of efficientnet_lite0 called 'block.3'. Did you mean 'blocks.3'"
    ):
        find("efficientnet_lite0", layer="block.3")
    with pytest.raises(BackboneError, match="no decoder called 'opencv'"):
        find("efficientnet_lite0", decoder="opencv")


@pytest.mark.slow
def test_a_lower_precision_is_compared_with_float32(pixels, caplog):
    low = find("efficientnet_lite0", precision="bf16")
    with caplog.at_level(logging.WARNING):
        network = load_runtime(low, "cpu")
        (found,) = runtimes.check_fidelity(low, [low.rows], network, pixels[:2], pixels[:2], "cpu")
    expected = Fidelity.of(rows_of(network, pixels[:2]), rows_of(load_runtime(LITE0, "cpu"), pixels[:2]))
    assert found == expected
    assert 0.98 < found.cosine < 0.9999
    assert ("not close to float32" in caplog.text) == (found.cosine < 0.999)
    assert ("emulates" in caplog.text) == ("torch" in network.description and not runtimes._cpu_computes_in("bfloat16"))


def test_a_precision_that_the_cpu_lacks_is_refused_by_openvino():
    from featurekit.runtime.openvino_runtime import computes_in

    if computes_in("bfloat16"):
        assert "bfloat16" in load_runtime(find("efficientnet_lite0", precision="bf16"), "cpu", "openvino").description
    else:
        with pytest.raises(BackboneError, match="no bfloat16 arithmetic that OpenVINO could use"):
            load_runtime(find("efficientnet_lite0", precision="bf16"), "cpu", "openvino")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_a_forked_process_says_why_it_cannot(name, pixels):
    """OpenVINO would crash and PyTorch hang."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    code = (
        "import os, sys, warnings, numpy as np\n"
        "from featurekit.backbones import find\n"
        "from featurekit.runtime import load_runtime\n"
        "backbone, images = find('efficientnet_lite0'), np.zeros((2, 224, 224, 3), np.uint8)\n"
        f"load_runtime(backbone, 'cpu', {name!r}).submit(images).result()\n"
        "warnings.simplefilter('ignore')\n"
        "if os.fork() == 0:\n"
        "    try: load_runtime(backbone, 'cpu', 'torch')\n"
        "    except Exception as error: print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "forked from process" in out
    assert "spawn" in out


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_cuda_rows_equal_those_of_the_cpu(pixels, precision):
    cpu = rows_of(load_runtime(LITE0, "cpu"), pixels)
    cuda = rows_of(load_runtime(find("efficientnet_lite0", precision=precision), "cuda"), pixels)
    if precision == "fp32":
        assert np.abs(cpu - cuda).max() < 1e-4 * np.abs(cpu).max()
    assert Fidelity.of(cuda, cpu).cosine > 0.98


@pytest.mark.cuda
def test_memory_that_does_not_suffice_costs_no_row(pixels):
    """A real out-of-memory error of a GPU, made by leaving it little."""
    network = load_runtime(LITE0, "cuda")
    expected = rows_of(network, np.repeat(pixels, 64, axis=0))
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (total - free + 0.5e9) / total))
    try:
        rows = rows_of(network, np.repeat(pixels, 64, axis=0))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.allclose(rows, expected, atol=1e-4 * np.abs(expected).max())
