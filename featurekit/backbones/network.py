"""Build a backbone's network, frozen, and download weights. Importing this imports torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..fingerprint import PENULTIMATE
from .registry import Backbone, BackboneSpec, missing_weights

logger = logging.getLogger(__name__)


def load_network(backbone: Backbone) -> nn.Module:
    """Build the network, load its weights, remove its classifier and freeze it.

    Parameters
    ----------
    backbone : Backbone

    Returns
    -------
    torch.nn.Module
        In eval mode (BatchNorm uses and keeps its stored statistics), no parameter requires a gradient.
        Maps float32 images of shape (n, 3, height, width) to float32 features of shape (n, dim).

    Raises
    ------
    WeightsError
        If the file cannot be read or does not fit the network.
    """
    spec = backbone.spec
    network = random_network(spec)
    state = _read_state(backbone.weights_path)
    names = [*network.state_dict(), f"{spec.classifier}.weight", f"{spec.classifier}.bias"]
    if spec.package and len(state) == len(names) and set(state) != set(names):
        # The package's file names the tensors differently, in the same order (shapes are checked below).
        state = dict(zip(names, state.values(), strict=True))
    # The classifier goes, so a checkpoint with another number of classes fits as well.
    state = {key: value for key, value in state.items() if not key.startswith(f"{spec.classifier}.")}
    network = network.float()  # else the user's torch.set_default_dtype would round the weights
    _check_fit(network.state_dict(), state, backbone)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def random_network(spec: BackboneSpec) -> nn.Module:
    """The network without its classifier, with the random weights that its library gives it."""
    network = _architecture(spec)
    parent, _, last = spec.classifier.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return network


class LayerRows(nn.Module):
    """A network that gives rows of several of its layers, side by side, in one pass.

    Parameters
    ----------
    network : torch.nn.Module
        From :func:`load_network`. It is changed: its stages note what they put out.
    layers : sequence of str
        Names of modules whose output is a feature map (n, channels, height, width), which is averaged; or
        ``"penultimate"``, the network's own output.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._taps = {}
        for name in self._layers:
            if name != PENULTIMATE:
                parent, _, last = name.rpartition(".")
                tap = _Tap(network.get_submodule(name))
                setattr(network.get_submodule(parent), last, tap)
                self._taps[name] = tap
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Float images (n, 3, height, width) to rows (n, sum of the layers' lengths), in the order of the layers."""
        last: Tensor = self.network(images)
        rows = [
            last.flatten(1) if name == PENULTIMATE else self._taps[name].take().mean((2, 3)) for name in self._layers
        ]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)


class _Tap(nn.Module):
    """Notes what a module puts out, apart for each thread."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._noted: dict[int, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.module(images)
        self._noted[threading.get_ident()] = out
        return out

    def take(self) -> Tensor:
        return self._noted.pop(threading.get_ident())


def _architecture(spec: BackboneSpec) -> nn.Module:
    with torch.device("cpu"):  # whatever the user's torch.set_default_device says
        if spec.library == "timm":
            import timm

            network: nn.Module = timm.create_model(spec.architecture, pretrained=False)
        else:
            import torchvision

            network = torchvision.models.get_model(spec.architecture, weights=None)
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: never run code from the file.
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for foreign files.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"cannot read the weight file {path}: {reason}. Expected a state dict saved by torch.save "
            "or a .safetensors file; files that would run code are refused."
        ) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(
            f"{path} holds no state dict (names to tensors) but {type(loaded).__name__}. "
            "Save one with torch.save(model.state_dict(), path)."
        )
    return dict(loaded)


def _check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], backbone: Backbone) -> None:
    # num_batches_tracked is a counter that older files lack and that evaluation never reads.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    unusable = [key for key in expected if key in state and not _is_usable(state[key], expected[key])]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
        "not of ordinary finite numbers": unusable,
    }
    problems = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in kinds.items() if keys]
    if problems:
        raise WeightsError(
            f"the weights in {backbone.weights_path} are not those of {backbone.spec.name}: of its "
            f"{len(expected)} tensors, {'; '.join(problems)}. Is the file of another network, or damaged?"
        )


def _is_usable(tensor: Tensor, expected: Tensor) -> bool:
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_floating_point() != expected.is_floating_point():
        return False
    return not tensor.is_complex() and bool(torch.isfinite(tensor).all())


def download(spec: BackboneSpec, folder: Path) -> Path:
    """Fetch torchvision's weights into torch's hub cache, checking the hash in their name.

    Raises
    ------
    WeightsError
        If they cannot be fetched; the message says which file to copy where.
    """
    if spec.package:
        raise WeightsError(missing_weights(spec, "they are not in the installed package"))
    import torchvision

    url = torchvision.models.get_model_weights(spec.architecture)[spec.weights].url
    logger.warning("Downloading the weights of %s from %s to %s", spec.name, url, folder)
    path = folder / spec.weights_file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prefix = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError.
        raise WeightsError(missing_weights(spec, f"the download from {url} failed ({error})")) from error
    return path
