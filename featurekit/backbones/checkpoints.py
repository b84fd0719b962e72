"""Read weight files of any origin, running nothing of them, and say what does not fit. Importing this imports torch."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsError
from ..folders import check_regular
from .anatomy import Anatomy

# Where training programs put the state dict, the best first: averaged weights are those that were evaluated.
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "module",
    "weights",
    "params",
)
# What programs put before the names: DistributedDataParallel, torch.compile, Lightning, this and that.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.", "_backbone.")
_COUNTER = "n_averaged"
_SHOWN = 3


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.pth`` or ``.safetensors`` file, out of the dictionaries that may be around it.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    WeightsError
        If the file cannot be read, would run code, or holds no state dict.
    """
    try:
        check_regular(path)
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            # weights_only: never run code from the file.
            with torch.serialization.safe_globals(_plain_types()):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for foreign files.
        object_ = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if reason.isdecimal():  # the unpickler's KeyError
            reason = "its content is no saved tensors"
        if object_:
            reason = f"it holds more than tensors and numbers, an object of {object_[1][:100]}"
        raise WeightsError(
            f"cannot read the weight file {path}: {reason}. Expected a state dict saved by torch.save "
            "or a .safetensors file; files that would run code are refused. A checkpoint that holds more than tensors "
            "and numbers: save its state dict alone."
        ) from error
    state = _unwrapped(loaded)
    if state is None:
        kind = type(loaded).__name__
        inside = ""
        if isinstance(loaded, Mapping):
            inside = f" of {', '.join(sorted(str(key)[:40] for key in loaded)[:_SHOWN]) or 'nothing'}"
        raise WeightsError(
            f"{path} holds no state dict (names to tensors) but {kind}{inside}. "
            "Save one with torch.save(model.state_dict(), path)."
        )
    return state


@cache
def _plain_types() -> list[Any]:
    """What training programs keep beside weights and that runs no code: options of a command line, NumPy's numbers."""
    numbers = {type(np.dtype(code)) for code in np.typecodes["AllFloat"] + np.typecodes["AllInteger"] + "?"}
    scalar: Any = np.float64(0).__reduce__()[0]
    # NumPy 1 wrote another name of the function that makes a number.
    return [argparse.Namespace, np.dtype, *numbers, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _unwrapped(loaded: Any, depth: int = 0) -> dict[str, Tensor] | None:
    if not isinstance(loaded, Mapping) or depth > _SHOWN:
        return None
    if loaded and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()):
        return dict(loaded)
    for wrapper in _WRAPPERS:
        if (found := _unwrapped(loaded.get(wrapper), depth + 1)) is not None:
            return found
    return None


def named_as(state: dict[str, Tensor], expected: Sequence[str]) -> dict[str, Tensor]:
    """The same tensors without what a program put before their names, if that makes more of them fit.

    Parameters
    ----------
    state : dict of str to Tensor
    expected : sequence of str
        Names in the network.
    """
    wanted = set(expected)
    # A counter that torch.optim.swa_utils.AveragedModel keeps beside the averaged weights.
    state = {name: tensor for name, tensor in state.items() if name in wanted or name.split(".")[-1] != _COUNTER}
    best, fits = state, len(wanted & state.keys())
    while True:
        longer = None
        for prefix in _PREFIXES:
            shorter = {name.removeprefix(prefix): tensor for name, tensor in best.items()}
            if len(shorter) == len(best) and shorter.keys() != best.keys():
                fit = len(wanted & shorter.keys())
                if fit > fits or (fit == fits and all(name.startswith(prefix) for name in best)):
                    longer, fits = shorter, fit
                    break
        if longer is None:
            return best
        best = longer


def classes_in(path: Path, anatomy: Anatomy, classifiers: Sequence[str]) -> int:
    """Return the number of classes that the classifier in a weight file tells apart; 0 if the file has none.

    Parameters
    ----------
    path : Path
    anatomy : Anatomy
        Of the network that the weights are of.
    classifiers : sequence of str
        Names of its last layers.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    state = named_as(read_state(path), [f"{layer.name}.weight" for layer in anatomy.layers])
    found = [state[f"{name}.weight"].shape for name in classifiers if f"{name}.weight" in state]
    return int(found[0][0]) if found and found[0] else 0


def misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from being that of a network, in a few words; empty if nothing does."""
    # num_batches_tracked is a counter that older files lack and that evaluation never reads.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    # Only of the right shape: a file of a few bytes can ask for a tensor that fills the memory.
    fitting = [key for key in expected if key in state and state[key].shape == expected[key].shape]
    unusable = [key for key in fitting if not is_usable(state[key], expected[key])]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
        "not of ordinary finite numbers": unusable,
    }
    problems = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys]
    return f"of its {len(expected)} tensors, {'; '.join(problems)}" if problems else ""


def _first(keys: Sequence[str]) -> str:
    shown = ", ".join(key[:80] for key in keys[:_SHOWN])
    return f"first: {shown}" if len(keys) > 1 else shown


def is_usable(tensor: Tensor, expected: Tensor) -> bool:
    """Whether a tensor holds ordinary finite numbers of the kind that is expected."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_floating_point() != expected.is_floating_point():
        return False
    return not tensor.is_complex() and bool(torch.isfinite(tensor.to(torch.float32)).all())


def of_colour(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for grey images as weights for colour: the first convolution sees the luminance."""
    return {
        name: of_grey(tensor)
        if name in expected
        and tensor.dim() == 4
        and tensor.shape[1] == 1
        and expected[name].shape == (tensor.shape[0], 3, *tensor.shape[2:])
        else tensor
        for name, tensor in state.items()
    }


def of_grey(kernels: Tensor) -> Tensor:
    """A convolution's weights for one channel, shape (n, 1, height, width), as those for three.

    ITU-R 601's luminance, as Pillow turns colour into grey, so that the network sees what it saw in training.
    """
    luminance = torch.tensor([0.299, 0.587, 0.114], device=kernels.device).view(1, 3, 1, 1)
    return kernels.to(torch.float32) * luminance
