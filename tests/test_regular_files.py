"""Pipes and devices where a file should be: refused, and never waited for."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from featurekit_cli.main import main

from featurekit import TransferClassifier, load_model
from featurekit.backbones.checkpoints import read_state
from featurekit.errors import FeaturekitError, WeightsError
from featurekit.fingerprint import file_sha256
from featurekit.folders import open_regular
from featurekit.images import read_source

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names"),
    pytest.mark.timeout(60),
]


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="module")
def model(digits_store_path, tmp_path_factory):
    from featurekit import FeatureStore

    with FeatureStore(digits_store_path) as store:
        return TransferClassifier(head="centroid").fit(store).save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def bundle(model, tmp_path):
    return shutil.copytree(model, tmp_path / "bundle")


def test_a_pipe_is_no_regular_file(pipe):
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(pipe)


def test_a_folder_is_no_regular_file(tmp_path):
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_is_no_regular_file():
    with pytest.raises(OSError, match="not a regular file"):
        open_regular("/dev/zero")


def test_a_regular_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 5000)
    with open_regular(tmp_path / "a") as file:
        assert file.read() == (tmp_path / "a").read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_file_of_the_kernel_that_claims_to_be_empty_is_empty():
    with open_regular("/proc/self/status") as file:
        assert file.read() == b""


def test_a_pipe_as_the_network_of_a_model_is_refused(bundle, digits_folder, capsys):
    os.mkfifo(bundle / "network.safetensors")
    with pytest.raises(FeaturekitError, match="not a regular file"):
        load_model(bundle)
    assert main(["predict", str(digits_folder), "-m", str(bundle)]) == 1
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.json", "head.skops"])
def test_a_pipe_as_a_part_of_a_model_is_refused(name, bundle):
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(FeaturekitError, match="no saved model"):
        load_model(bundle)


@pytest.mark.skipif(not Path("/proc/kmsg").exists() or os.geteuid() != 0, reason="needs /proc/kmsg and its owner")
def test_the_kernels_log_as_weights_of_a_model_is_refused(bundle, digits_folder, capsys):
    manifest = json.loads((bundle / "model.json").read_text())
    manifest["settings"]["weights"] = "/proc/kmsg"
    (bundle / "model.json").write_text(json.dumps(manifest))
    assert main(["predict", str(digits_folder), "-m", str(bundle)]) == 1
    assert capsys.readouterr().err.startswith("featurekit: error: ")


def test_a_pipe_as_a_weight_file_is_refused(pipe):
    with pytest.raises(WeightsError, match="not a regular file"):
        read_state(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        file_sha256(pipe)


def test_a_pipe_as_a_manifest_is_refused(tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(FeaturekitError):
        read_source(tmp_path / "list.csv")


def test_a_pipe_as_a_store_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "s.h5")
    assert main(["store", "info", str(tmp_path / "s.h5")]) == 1
    assert capsys.readouterr().err.startswith("featurekit: error: ")
