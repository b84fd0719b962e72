from __future__ import annotations

import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

from featurekit.backbones import describe, find
from featurekit.backbones.network import load_network
from featurekit.backbones.weights import hugging_face_cache
from featurekit.errors import WeightsError

NAME = "timm/resnet10t.c3_in1k"


@pytest.fixture
def homes(monkeypatch, tmp_path):
    """Caches of torch and Hugging Face of their own, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("FEATUREKIT_OFFLINE", "1")
    return tmp_path


def put_into_hub(homes, state, name="model.safetensors"):
    """As huggingface_hub keeps files: a blob by its SHA-256, and a link to it."""
    repository = homes / "hf" / "models--timm--resnet10t.c3_in1k"
    save_file(state, homes / "w.safetensors")
    data = (homes / "w.safetensors").read_bytes()
    blob = repository / "blobs" / hashlib.sha256(data).hexdigest()
    snapshot = repository / "snapshots" / "abc"
    for folder in (blob.parent, snapshot, repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    (snapshot / name).symlink_to(blob)
    (repository / "refs" / "main").write_text("abc")
    return blob


def test_weights_in_the_cache_of_hugging_face_are_found_and_checked(homes):
    torch.manual_seed(0)
    network = timm.create_model("resnet10t").eval()
    blob = put_into_hub(homes, network.state_dict())
    found = find(NAME)
    assert found.found_in == "Hugging Face cache"
    assert found.space.weights == blob.name
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.allclose(load_network(found)(images), expected, atol=1e-6)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged"):
        _ = find(NAME).space


def test_a_named_file_comes_first_and_torchs_cache_second(homes, tmp_path):
    put_into_hub(homes, timm.create_model("resnet10t").state_dict())
    spec = describe(NAME)
    path = homes / "torch" / "hub" / "checkpoints" / spec.weights_file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    assert find(NAME).found_in == "torch hub cache"
    assert find(NAME, homes / "w.safetensors").found_in == "file"


def test_offline_says_what_to_copy_where(homes):
    with pytest.raises(WeightsError) as caught:
        find(NAME)
    message = str(caught.value)
    assert "Copy model.safetensors of the Hugging Face repository timm/resnet10t.c3_in1k" in message
    assert str(homes / "hf") in message
    assert "switched off" in message


def test_a_failed_download_from_hugging_face_says_the_same(homes, monkeypatch):
    monkeypatch.delenv("FEATUREKIT_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # it tries five times, and waits in between
    with pytest.raises(WeightsError, match=r"the download failed .*Copy model.safetensors of the Hugging Face"):
        find(NAME)


def test_the_cache_of_hugging_face_is_its_own(monkeypatch):
    import huggingface_hub

    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert str(hugging_face_cache()) == huggingface_hub.constants.HF_HUB_CACHE


def test_models_without_weights_ask_for_a_file(homes):
    with pytest.raises(WeightsError, match="has no published weights. Name a file"):
        find(bare_model())


def bare_model():
    """A model of timm that has no weights."""
    with_weights = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    return next(f"timm/{name}" for name in timm.list_models("resnet*") if name not in with_weights)
