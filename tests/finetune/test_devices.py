"""Real processes, on the CPU, as they would be on several GPUs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from featurekit_cli.main import main
from sklearn.base import clone

from featurekit import FineTuneClassifier, extract
from featurekit.errors import ImageError, MissingExtraError, TrainingError

# Most of what these tests take is the start of processes, and torchvision would double that: Lite0 needs none of it.
SMALL = {"image_size": 64, "runtime": "torch", "device": "cpu"}


@pytest.fixture
def together():
    return FineTuneClassifier(epochs=2, devices=2, learning_rate=1e-4, batch_size=14, **SMALL)


@pytest.mark.slow
def test_two_devices_train_as_one_does(paths, labels, tmp_path):
    """From the trunk cache; the last batch has 6 of 48 images."""
    options = {"balance": "weights", "accumulate": 2, "batch_size": 14, "learning_rate": 1e-4, "epochs": 2}
    model = FineTuneClassifier(cache=tmp_path, **SMALL, **options)
    one, two = (clone(model).set_params(devices=devices).fit(paths, labels) for devices in (1, 2))
    for key in ("loss", "log_loss"):
        first, second = ([record[key] for record in each.history_[1:]] for each in (one, two))
        assert second == pytest.approx(first, rel=1e-3)
    assert two.trained_ == one.trained_
    assert two.moved_ == pytest.approx(one.moved_, rel=1e-2)


@pytest.mark.slow
def test_an_interrupted_training_on_two_devices_resumes_to_the_same_weights(together, paths, labels, tmp_path):
    """From scratch, which decodes in each epoch, augments at random, and has statistics that follow the batches."""
    together.set_params(pretrained=False, mix="mixup", learning_rate=1e-3)
    whole = clone(together).fit(paths, labels)

    def interrupt(text):
        if text.startswith("epoch 2/"):
            os.kill(os.getpid(), signal.SIGINT)

    first = clone(together).set_params(checkpoint=tmp_path / "work", say=interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.fit(paths, labels)
    said = []
    resumed = clone(together).set_params(checkpoint=tmp_path / "work", say=said.append).fit(paths, labels)
    assert any("going on after epoch 1" in text for text in said)
    assert [record["loss"] for record in resumed.history_] == [record["loss"] for record in whole.history_]
    assert resumed.network_
    assert resumed.network_ == whole.network_
    assert [path.name for path in (tmp_path / "work").glob("*/*")] == ["checkpoint.safetensors"]
    assert resumed.predict(paths).shape == (60,)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(digits_folder, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom featurekit import FineTuneClassifier\n"
        "paths = sorted(str(path) for path in Path(sys.argv[1]).glob('*/*.png'))\n"
        "model = FineTuneClassifier(runtime='torch', image_size=64, devices=2, epochs=99,\n"
        "    device='cpu', patience=99, checkpoint=sys.argv[2], say=lambda text: print(text, flush=True))\n"
        "model.fit(paths, [Path(path).parent.name for path in paths])\n"
    )
    arguments = [sys.executable, "-c", code, str(digits_folder), str(tmp_path / "work")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    assert len(list(workers(tmp_path))) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while list(workers(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(workers(tmp_path))


def workers(folder):
    """Of the processes of this machine those that train in a folder."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if b"featurekit.finetune.worker" in words and any(os.fsencode(folder) in word for word in words):
                yield name


@pytest.mark.slow
def test_an_error_in_a_worker_is_raised(together, photos, tmp_path):
    """A photo that is gone in the middle of training."""
    paths = [str(tmp_path / f"{i}.png") for i in range(16)]
    for i, path in enumerate(paths):
        photos[i % 8].rotate(i // 8).save(path)
    y = np.arange(16) % 2
    together.set_params(trunk_cache="off", epochs=50, batch_size=4)

    def lose(text):
        if text.startswith("epoch 1/"):
            for path in paths:
                os.unlink(path)

    with pytest.raises(ImageError, match=r"\d.png cannot be read any more: no such file"):
        clone(together).set_params(say=lose).fit(paths, y)


@pytest.mark.slow
def test_a_killed_worker_is_an_error(together, paths, labels, tmp_path):
    def kill(text):
        if text.startswith("epoch 1/"):
            os.kill(int(next(workers(tmp_path))), signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"process \d of 2 ended with -9"):
        together.set_params(epochs=50, patience=50, checkpoint=tmp_path / "work", say=kill).fit(paths, labels)
    assert [path.name for path in (tmp_path / "work").glob("*/*") if path.name.startswith(".")] == []


@pytest.mark.slow
def test_wrong_numbers_of_devices_are_refused(together, paths, labels, monkeypatch):
    for devices in (0, 1.5, True, "2"):
        with pytest.raises(TrainingError, match="devices must be a whole number from 1"):
            clone(together).set_params(devices=devices).fit(paths, labels)
    with pytest.raises(TrainingError, match="cannot train on 999 devices: there are"):
        clone(together).set_params(devices=999).fit(paths, labels)
    with pytest.raises(TrainingError, match="too few for 2 devices"):
        clone(together).set_params(batch_size=3).fit(paths, labels)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match="training on several devices needs the package 'accelerate'"):
        clone(together).fit(paths, labels)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
@pytest.mark.slow
def test_two_machines_train_as_one_device_does(digits_folder, tmp_path, capsys):
    """Two launches of torchrun, each as on a machine of its own; killed after an epoch, and gone on with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = tmp_path / "rows.h5"
    extract(digits_folder, output=store, layer="penultimate", image_size=96, runtime="torch").close()
    options = "--epochs 3 --unfreeze 1 --train-batch 14 --learning-rate 1e-4 --image-size 96 --runtime torch".split()
    options += ["--device", "cpu", "--json", "--store", str(store)]
    lo = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))

    def start(machine):
        launcher = f"--nnodes 2 --node-rank {machine} --nproc-per-node 1 --master-addr 127.0.0.1 --master-port {port}"
        command = ["-m", "torch.distributed.run", *launcher.split(), "-m", "featurekit_cli", "finetune"]
        return subprocess.Popen(
            [sys.executable, *command, str(digits_folder), "-o", "together", *options],
            env=os.environ | {"GLOO_SOCKET_IFNAME": lo, "TMPDIR": str(tmp_path / f"tmp{machine}")},
            cwd=tmp_path / str(machine),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    for machine in (0, 1):
        (tmp_path / str(machine)).mkdir()
        (tmp_path / f"tmp{machine}").mkdir()
    both = [start(machine) for machine in (0, 1)]
    checkpoints = tmp_path / "0" / "together.training"
    deadline = time.monotonic() + 600
    while not list(checkpoints.glob("*/checkpoint.safetensors")):
        assert time.monotonic() < deadline
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.02)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):  # launchers and what they started
        with suppress(OSError):
            if str(store).encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
    for process in both:
        process.communicate()
    both = [start(machine) for machine in (0, 1)]
    (out, err), (other, _) = (process.communicate(timeout=600) for process in both)
    assert [process.returncode for process in both] == [0, 0], err
    assert "going on after epoch" in err
    assert other == ""
    assert not (tmp_path / "1" / "together").exists()
    assert not list(tmp_path.glob("tmp*/featurekit-finetune-*"))
    # With one device, as with two of one machine.
    assert main(["finetune", str(digits_folder), "-o", str(tmp_path / "one"), *options]) == 0
    losses, expected = ([r["loss"] for r in json.loads(text)["history"]] for text in (out, capsys.readouterr().out))
    assert losses[1:] == pytest.approx(expected[1:], rel=1e-3)
