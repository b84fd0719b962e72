"""Build a backbone's network with its weights, frozen, and take rows of its layers. Importing this imports torch."""

from __future__ import annotations

import copy
import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BackboneError, WeightsError
from ..fingerprint import OUTPUT, PENULTIMATE
from .checkpoints import is_usable, misfit, named_as, of_colour, read_state
from .libraries import build, is_auxiliary, of_size, without_classifier
from .spec import MODULE, Backbone, BackboneSpec, Rows

_SMALLEST = 1e-6  # GeM's: roots and powers of what is below have no finite slope


def load_network(backbone: Backbone) -> nn.Module:
    """Build the network, load its weights, remove its classifier and freeze it.

    Parameters
    ----------
    backbone : Backbone
        Where its layer is ``"output"``, the classifier stays.

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
    classifier = backbone.layer == OUTPUT
    if backbone.module is not None:
        network = copy.deepcopy(backbone.module)
        if not classifier:
            network = without_classifier(network, MODULE, backbone.spec.classifier)
    else:
        network = bare(backbone.spec, classifier=classifier)
        network = network.float()  # else the user's torch.set_default_dtype would round the weights
        _load(network, backbone, classifier)
    return network.float().eval().requires_grad_(False)


def bare(spec: BackboneSpec, *, classifier: bool = False, weightless: bool = False) -> nn.Module:
    """The network with the random weights that its library gives it.

    Parameters
    ----------
    spec : BackboneSpec
    classifier : bool
        Whether it keeps its classifier.
    weightless : bool
        On the meta device, where that can be: shapes only.
    """
    network = build(spec, weightless=weightless)
    _set_size(network, spec)
    return network if classifier else without_classifier(network, spec.library, spec.classifier)


def _set_size(network: nn.Module, spec: BackboneSpec) -> None:
    """Transformers have a number of places; timm's can be given another."""
    if not spec.preprocessing.changed or not hasattr(network, "set_input_size"):
        return
    side = spec.preprocessing.crop
    try:
        network.set_input_size(img_size=side)  # type: ignore[operator]
    except Exception as error:  # whatever timm's own code raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BackboneError(f"{spec.name} cannot be made for images of {side} x {side} pixels: {reason}") from error


def _load(network: nn.Module, backbone: Backbone, classifier: bool) -> None:
    spec = backbone.spec
    assert backbone.weights_path is not None
    expected = network.state_dict()
    state = named_as(read_state(backbone.weights_path), list(expected))
    names = [
        *expected,
        *(f"{spec.classifier[0]}.{part}" for part in ("weight", "bias") if not classifier and spec.classifier),
    ]
    if spec.package and len(state) == len(names) and set(state) != set(names):
        # The package's file names the tensors differently, in the same order (shapes are checked below).
        state = dict(zip(names, state.values(), strict=True))
    state = {key: value for key, value in state.items() if not is_auxiliary(key)}
    if not classifier:
        # The classifier goes, so a checkpoint with another number of classes fits as well.
        starts = tuple(f"{name}." for name in spec.classifier)
        state = {key: value for key, value in state.items() if key in expected or not key.startswith(starts)}
        if spec.library == "timm" and not state.keys() <= expected.keys():
            # Some have more in their heads than the layer that timm calls the classifier; all of it goes.
            whole = build(spec, weightless=True).state_dict().keys()
            state = {key: value for key, value in state.items() if key in expected or key not in whole}
    state = of_size(of_colour(state, expected), expected, spec)
    problem = misfit(expected, state)
    ordinary = all(is_usable(tensor, expected[key]) for key, tensor in state.items() if _fits(key, tensor, expected))
    if problem and spec.library == "timm" and ordinary:
        problem = _load_as_timm(network, spec, state, problem, classifier)
        if not problem:
            return
    if problem:
        raise WeightsError(
            f"the weights in {backbone.weights_path} are not those of {spec.name}: {problem}. "
            "Is the file of another network, or damaged?"
        )
    versioned: Any = OrderedDict(state)
    # Which versions of its modules wrote it. Files without it are taken for those of today: shapes were looked at.
    versioned._metadata = getattr(expected, "_metadata", {})
    network.load_state_dict(versioned, strict=False)  # what may be missing was looked at, too


def _fits(key: str, tensor: Tensor, expected: Mapping[str, Tensor]) -> bool:
    return key in expected and tensor.numel() <= 64 * expected[key].numel()


def _load_as_timm(
    network: nn.Module, spec: BackboneSpec, state: dict[str, Tensor], problem: str, classifier: bool
) -> str:
    """Older checkpoints have other names, and transformers' positions another number: timm knows how to adapt them."""
    if classifier:
        return problem
    import timm

    try:
        adapted = timm.create_model(
            spec.architecture,
            pretrained=True,
            # Some of its builders let anything pass; they raise here, where it is given twice.
            pretrained_strict=True,
            pretrained_cfg_overlay={"state_dict": dict(state), "num_classes": 0, "classifier": ()},
            num_classes=0,
        )
    except Exception:
        return problem
    _set_size(adapted, spec)
    left = misfit(network.state_dict(), adapted.state_dict())
    if not left:
        network.load_state_dict(adapted.state_dict())
    return left and problem


def module_digest(module: nn.Module) -> str:
    """SHA-256 of a network's structure, code, settings and tensors, hexadecimal."""
    hashed = hashlib.sha256(repr(module).encode())
    for name, part in module.named_modules():
        settings = {key: value for key, value in sorted(vars(part).items()) if _is_setting(key, value)}
        kind: Any = type(part)
        hooks = [_code(hook) for hook in (*part._forward_pre_hooks.values(), *part._forward_hooks.values())]
        hashed.update(f"{name} {_code(kind)} {settings} {hooks}".encode())
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        hashed.update(flat.view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _is_setting(key: str, value: Any) -> bool:
    """Whether an attribute is a plain value that may decide what a module does."""
    if isinstance(value, tuple | list):
        return all(_is_setting(key, each) for each in value)
    return key != "training" and isinstance(value, bool | int | float | str | None)


@cache
def _code(kind: Any) -> str:
    """The source of a module's class, where there is one."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return str(kind)


class LayerRows(nn.Module):
    """A network that gives rows of several of its layers, side by side, in one pass.

    Parameters
    ----------
    network : torch.nn.Module
        From :func:`load_network`. It is changed: its layers note what they put out.
    rows : sequence of Rows
        Which, and how each becomes a row.
    flip : bool
        Rows are the means of those of the images and of their mirror images.
    """

    def __init__(self, network: nn.Module, rows: Sequence[Rows], *, flip: bool = False) -> None:
        super().__init__()
        self._wanted = tuple(rows)
        self._single = tuple(part for each in rows for part in each.parts or (each,))
        self._flip = flip
        layers = {each.layer for each in self._single} - {PENULTIMATE, OUTPUT}
        self._notes = {
            layer: _Notes(network.get_submodule(layer), [each for each in self._single if each.layer == layer])
            for layer in sorted(layers)
        }
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Float images (n, 3, height, width) to rows (n, sum of the rows' lengths), in their order."""
        rows = self._rows(images)
        if self._flip:
            rows = [(a + b) / 2 for a, b in zip(rows, self._rows(images.flip(3)), strict=True)]
        single = iter(rows)
        rows = [
            torch.cat([next(single) for _ in wanted.parts], 1) if wanted.parts else next(single)
            for wanted in self._wanted
        ]
        rows = [
            functional.normalize(part.float()).to(part.dtype) if wanted.l2 else part
            for part, wanted in zip(rows, self._wanted, strict=True)
        ]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    def _rows(self, images: Tensor) -> list[Tensor]:
        for notes in self._notes.values():
            notes.clear()
        last: Tensor = self.network(images)
        taken = {layer: notes.take() for layer, notes in self._notes.items()}
        return [taken[each.layer][each] if each.layer in taken else pooled(last, each) for each in self._single]


class _Notes:
    """Notes the rows of what a module puts out, apart for each thread.

    At once, for what follows may write into the output: a ReLU in place, a sum.
    """

    def __init__(self, module: nn.Module, wanted: Sequence[Rows]) -> None:
        self._wanted = wanted
        self._noted: dict[int, dict[Rows, Tensor]] = {}
        module.register_forward_hook(self._note)

    def _note(self, module: nn.Module, inputs: Any, out: Tensor) -> None:
        # A vector, a class token and a flat map are views of the output.
        self._noted[threading.get_ident()] = {
            each: pooled(out.clone() if each.layout == "vector" or each.pooling in {"cls", "flatten"} else out, each)
            for each in self._wanted
        }

    def clear(self) -> None:
        self._noted.pop(threading.get_ident(), None)

    def take(self) -> dict[Rows, Tensor]:
        try:
            return self._noted.pop(threading.get_ident())
        except KeyError:
            raise BackboneError("a layer did not run") from None


def pooled(out: Tensor, rows: Rows) -> Tensor:
    """A layer's output as rows, shape (n, dim).

    Parameters
    ----------
    out : Tensor
        As ``rows.layout`` says.
    rows : Rows

    References
    ----------
    GeM, the generalised mean with exponent 3: F. Radenovic, G. Tolias, O. Chum, "Fine-tuning CNN image retrieval with
    no human annotation", 2018.
    """
    if rows.layout == "vector":
        return out.flatten(1)
    if rows.pooling == "cls":
        return out[:, 0]
    if rows.layout == "tokens":
        out = out[:, rows.prefix :].transpose(1, 2)  # (n, channels, places)
        if rows.pooling.startswith("grid"):
            side = int(out.shape[2] ** 0.5 + 0.5)
            out = out.reshape(out.shape[0], out.shape[1], side, side)
    elif rows.layout == "map-last":
        out = out.permute(0, 3, 1, 2)
    if rows.pooling == "flatten":
        return out.flatten(1)
    if rows.pooling.startswith("grid"):
        return functional.adaptive_avg_pool2d(out, int(rows.pooling[4:])).flatten(1)
    places = tuple(range(2, out.dim()))
    if rows.pooling == "max":
        return out.amax(places)
    if rows.pooling == "gem":
        return out.float().clamp(min=_SMALLEST).pow(3).mean(places).pow(1 / 3).to(out.dtype)
    mean = out.mean(places)
    return torch.cat([mean, out.amax(places)], 1) if rows.pooling == "avg+max" else mean
