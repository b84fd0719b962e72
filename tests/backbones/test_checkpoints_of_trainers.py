"""Checkpoints of averaged weights and of torchvision's reference scripts, and what is said of a weight file."""

from __future__ import annotations

import argparse
import json
import os
import pickle

import numpy as np
import pytest
import torch
import torchvision
from featurekit_cli.main import main

from featurekit.backbones import anatomy, describe, find
from featurekit.backbones.network import load_network
from featurekit.errors import WeightsError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=7)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def expected(network, images):
    bare = torchvision.models.resnet18(num_classes=7)
    bare.load_state_dict(network.state_dict())
    bare.fc = torch.nn.Identity()
    with torch.no_grad():
        return bare.eval()(images)


def averaged(network):
    return torch.optim.swa_utils.AveragedModel(network).state_dict()


def zeros(network):
    return {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}


CHECKPOINTS = {
    "averaged model": averaged,
    "averaged model of a distributed one": lambda n: {f"module.{name}": value for name, value in averaged(n).items()},
    "options of a command line": lambda n: {"model": n.state_dict(), "args": argparse.Namespace(lr=0.1, model="x")},
    "torchvision's reference": lambda n: {
        "model": zeros(n),
        "optimizer": torch.optim.SGD(n.parameters(), lr=0.1).state_dict(),
        "lr_scheduler": {"last_epoch": 1},
        "epoch": 1,
        "args": argparse.Namespace(lr=0.1, output_dir=".", workers=[1, {"a": None}]),
        "model_ema": averaged(n),
    },
    "a score as a NumPy number": lambda n: {
        "state_dict": n.state_dict(),
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "loss": np.float32(0.5),
    },
}


@pytest.mark.parametrize("how", CHECKPOINTS)
def test_checkpoint_is_read(how, network, images, expected, tmp_path):
    torch.save(CHECKPOINTS[how](network), tmp_path / "w.pth")
    with torch.no_grad():
        found = load_network(find("resnet18", tmp_path / "w.pth"))(images)
    assert torch.allclose(found, expected, atol=1e-6)


class Runs:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_options_that_would_run_code_are_refused(network, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"model": network.state_dict(), "args": argparse.Namespace(hook=Runs(str(mark)))}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="cannot read the weight file"):
        load_network(find("resnet18", tmp_path / "w.pth"))
    assert not mark.exists()


def test_reading_a_checkpoint_allows_nothing_to_later_loads(network, tmp_path):
    torch.save({"model": network.state_dict(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pth")
    load_network(find("resnet18", tmp_path / "w.pth"))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pth", weights_only=True)


# --- what is said of a file ---


@pytest.fixture
def shown(capsys, tmp_path):
    """Calls ``models show`` and gives its output."""

    def show(*arguments):
        assert main(["models", "show", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return show


@pytest.fixture
def file(network, tmp_path):
    torch.save(averaged(network), tmp_path / "seven.pth")
    return tmp_path / "seven.pth"


def test_published_scores_are_not_said_of_a_file(file, shown):
    assert "69.758" in shown("resnet18")
    out = shown("resnet18", "--weights", file)
    assert "acc@1" not in out
    assert "69.758" not in out
    assert "weights seven.pth" in out


def test_the_classes_of_a_file_are_its_own(file, shown):
    fc = next(line for line in shown("resnet18", "--weights", file).splitlines() if line.startswith("fc"))
    assert fc.split()[3:5] == ["7", "3,591"]


def test_json_of_a_file_has_no_published_facts(file, shown):
    found = json.loads(shown("resnet18", "--weights", file, "--json", "--layers"))
    assert (found["facts"], found["hub"], found["weights"], found["output"]) == ({}, "", "seven.pth", [7])
    assert not any(1000 in layer["shape"] for layer in found["stages"])


def test_a_file_without_a_classifier_is_said_to_have_none(network, shown, tmp_path):
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "bare.pth")
    out = shown("resnet18", "--weights", tmp_path / "bare.pth")
    assert "there is no classifier" in out
    assert "1000" not in out.replace("1,000", "1000")


def test_costs_follow_the_number_of_classes():
    spec = describe("resnet18")
    whole = anatomy(spec)
    few, none = whole.with_classes(spec.classifier, 7), whole.with_classes(spec.classifier, 0)
    assert whole.parameters - few.parameters == 993 * 513
    assert whole.parameters - none.parameters == 1000 * 513
    assert few.layer("fc").shape == few.output == (7,)
    assert none.layer("fc") is None
    assert whole.with_classes(spec.classifier, 1000) == whole


def test_costs_of_containers_follow_too():
    spec = describe("mobilenet_v3_small")
    few = anatomy(spec).with_classes(spec.classifier, 10)
    assert few.layer("classifier").parameters == few.layer("classifier.0").parameters + 10 * 1025
    assert few.output == few.layer("classifier").shape == (10,)
