"""Checkpoints: one file with all that a training needs to go on, replaced in one step. No pickle.

A safetensors file, whose metadata hold a JSON text: numbers and lists as they are, and in the place of each tensor its
name in the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import TrainingError
from ..folders import check_regular
from ..store.atomic import replace_file

_TENSOR = "tensor:"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write dictionaries and lists of tensors and JSON values.

    Raises
    ------
    StoreError
        If it cannot be written; an older checkpoint is still there then.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _without_tensors(state, tensors)
    replace_file(path, save(tensors, {"state": json.dumps(plain)}))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What was written, or None if there is nothing.

    Raises
    ------
    TrainingError
        If the file is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            state: Any = _with_tensors(json.loads((file.metadata() or {})["state"]), tensors)
        found: dict[str, Any] = dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path} is no checkpoint: {error}. Delete it to begin anew.") from error
    return found


def _without_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return _TENSOR + name
    if isinstance(value, dict):
        # JSON has text for keys only, and optimizers number their states.
        return {"keys": list(value), "values": [_without_tensors(each, tensors) for each in value.values()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(each, tensors) for each in value]
    return value


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, dict):
        return dict(zip(value["keys"], (_with_tensors(each, tensors) for each in value["values"]), strict=True))
    if isinstance(value, list):
        return [_with_tensors(each, tensors) for each in value]
    return value
