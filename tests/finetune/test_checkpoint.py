from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from featurekit.errors import TrainingError
from featurekit.finetune.checkpoint import read_checkpoint, write_checkpoint


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "c"
    assert read_checkpoint(path) is None
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "step": 3,
        "none": None,
        "of optimizer": {0: {"average": shared, "step": torch.tensor(7)}, 1: {}},
        "again": [shared, "tensor", 1.5, True],
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    write_checkpoint(path, state)
    found = read_checkpoint(path)
    assert list(found) == list(state)
    assert found["of optimizer"][0]["average"].equal(shared)
    assert found["of optimizer"][0]["step"] == 7
    assert found["again"][1:] == ["tensor", 1.5, True]
    assert found["channels last"].equal(state["channels last"])


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(TrainingError, match="is no checkpoint.*Delete it to begin anew"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(TrainingError, match="is no checkpoint"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path, {"state": '{"keys": ["x"], "values": ["tensor:9"]}'})
    with pytest.raises(TrainingError, match="is no checkpoint"):
        read_checkpoint(path)
