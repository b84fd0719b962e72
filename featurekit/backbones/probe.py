"""Look at a network without running it: what each module puts out, costs and sees. Importing this imports torch.

The network and an image are put on torch's meta device, where tensors have shapes and no content, so that a network
of a billion parameters takes as long as a small one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from ..errors import BackboneError
from .anatomy import Anatomy, Layer

_BATCH = 3  # no window or head divides it by chance: a module whose output has another first length mixes images

_aten = torch.ops.aten
_POOLS = {_aten.max_pool2d_with_indices, _aten.avg_pool2d, _aten.max_pool2d}
_GLOBAL = {_aten.adaptive_avg_pool2d, _aten._adaptive_avg_pool2d, _aten.adaptive_max_pool2d}
# Each output place sees all places: attention, and whatever goes through a Fourier transform.
_KEPT = _POOLS | _GLOBAL
_MIXING = {_aten.bmm, _aten.baddbmm, _aten._fft_r2c, _aten._fft_c2c, _aten._fft_c2r}


def probe(
    network: nn.Module,
    side: int,
    *,
    classifier: str | None = None,
    prefix: int = 0,
    last: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> Anatomy:
    """Look at all modules of a network.

    Parameters
    ----------
    network : torch.nn.Module
        Of images (n, 3, side, side). It is copied to the meta device, and left as it is.
    side : int
        Pixels of its images.
    classifier : str, optional
        The module that is removed. Default: the last one of the types `last`, if the network puts out what that does,
        or the means of it.
    prefix : int
        Tokens before those of the image's places, such as the class token.
    last : tuple of types
        What a classifier may be.

    Returns
    -------
    Anatomy

    Raises
    ------
    BackboneError
        If the network does not take such images.
    """
    try:
        try:
            network = network if _is_meta(network) else on_meta(network)
            trace, output = _run(network, side, "meta")
        except Exception:
            if _is_meta(network):
                raise
            # Tensors that are neither parameters nor buffers stay where they are: then it runs, on what it has.
            network = copy.deepcopy(network).cpu().float()
            trace, output = _run(network, side, "cpu")
    except Exception as error:  # whatever the network's own code raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BackboneError(
            f"the network does not take images of {side} x {side} pixels: {reason}. Some networks take one size only, "
            "or sizes that a number divides."
        ) from error
    layers = list(trace.layers(prefix))
    if any(_is_cube(layer) for layer in layers):
        layers = _told_apart(layers, network, side)
    if not isinstance(output, Tensor):
        raise BackboneError(f"the network puts out {type(output).__name__}, and a backbone must put out one tensor")
    found = classifier if classifier is not None else trace.last_of(last, output)
    return Anatomy(
        side=side,
        layers=tuple(layers),
        classifier=found or "",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=trace.total,
        output=tuple(output.shape[1:]),
    )


def _is_cube(layer: Layer) -> bool:
    """Whether all three lengths are equal, so that any of them may be the channels."""
    return len(layer.shape) == 3 and len(set(layer.shape)) == 1


def _told_apart(layers: list[Layer], network: nn.Module, side: int) -> list[Layer]:
    """Layouts by a look at larger images, where the channels alone are as many as before; none where that fails."""
    for other in (2 * side, side + 32):
        try:
            trace, _ = _run(network, other, next(network.parameters()).device.type)
        except Exception:  # noqa: S112 (networks that take one size only)
            continue
        shapes = {layer.name: layer.shape for layer in trace.layers(0)}
        return [
            replace(layer, layout="map" if shapes[layer.name][0] == layer.shape[0] else "map-last")
            if _is_cube(layer)
            else layer
            for layer in layers
        ]
    return [replace(layer, layout="") if _is_cube(layer) else layer for layer in layers]


def _run(network: nn.Module, side: int, device: str) -> tuple[_Trace, Any]:
    training = {module: module.training for module in network.modules()}
    network.eval()
    trace = _Trace(network)
    try:
        with torch.no_grad(), trace, torch.device(device):
            return trace, network(torch.zeros(_BATCH, 3, side, side))
    finally:
        trace.close()
        for module, mode in training.items():
            module.training = mode


def _is_meta(network: nn.Module) -> bool:
    tensors = [*network.parameters(), *network.buffers()]
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def on_meta(network: nn.Module) -> nn.Module:
    """A copy on the meta device, made without a copy of the weights."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        twin = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(twin, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else twin
    return copy.deepcopy(network, memo).to("meta").float()


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches a network run: each operation's multiply-adds and receptive field, each module's output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self._names = {module: name for name, module in network.named_modules() if name}
        self._fields: Any = WeakTensorKeyDictionary()  # of tensors
        self._began: dict[str, int] = {}
        self._running: dict[str, list[int]] = {}
        self._work: dict[str, int] = {}
        self._ended: dict[str, tuple[Any, int, _Field | None]] = {}
        self._calls = 0
        self._hooks = [
            handle
            for module in self._names
            for handle in (module.register_forward_pre_hook(self._begin), module.register_forward_hook(self._end))
        ]

    def close(self) -> None:
        for handle in self._hooks:
            handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and packet not in _KEPT:
            with self:  # for the parts of an operation that is made of others
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=out) // (2 * _BATCH)
        seen = self._seen(packet, args)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and seen is not None:
                self._fields[tensor] = seen
        return out

    def _seen(self, packet: Any, args: Any) -> _Field | None:
        """What a place of an operation's output sees of the image."""
        inputs = [tensor for tensor in _tensors(args) if tensor in self._fields]
        if not inputs:
            # The image itself is the first tensor of four dimensions that goes into anything but the making of it.
            image = next((t for t in _tensors(args) if t.dim() == 4 and t.shape[0] == _BATCH and t.shape[1] == 3), None)
            if image is None:
                return None
            seen = _Field(1.0, 1.0, 1.0)
        else:
            seen = _Field.widest(self._fields[tensor] for tensor in inputs)
        if packet is _aten.convolution:
            return seen.through(args[1].shape[2:], args[3], args[5], transposed=args[6])
        if packet in _POOLS:
            kernel, stride = args[1], (args[2] if len(args) > 2 and args[2] else args[1])
            return seen.through(kernel, stride, [1])
        if packet in _MIXING or "scaled_dot_product" in str(packet):
            return _Field(math.inf, math.inf, seen.stride)
        if packet in _GLOBAL:
            return None
        if packet is _aten.mean and len(args) > 1 and args[0].dim() == 4 and len(args[1] or ()) >= 2:
            return (
                None  # of the whole image: what is multiplied with it, as in squeeze-and-excitation, sees what it did
            )
        return seen

    def _begin(self, module: nn.Module, args: Any) -> None:
        name = self._names[module]
        if name not in self._began:
            self._began[name] = self._calls
            self._calls += 1
        self._running.setdefault(name, []).append(self.total)

    def _end(self, module: nn.Module, args: Any, out: Any) -> None:
        name = self._names[module]
        # Of all its calls: what runs between two of them is not its own.
        self._work[name] = self._work.get(name, 0) + self.total - self._running[name].pop()
        field = self._fields.get(out) if isinstance(out, Tensor) else None
        self._ended[name] = (out, self._work[name], field)

    def layers(self, prefix: int) -> Iterable[Layer]:
        """All modules that ran, in the order in which they began."""
        for module, name in sorted(self._names.items(), key=lambda pair: self._began.get(pair[1], math.inf)):
            if name not in self._ended:
                continue
            out, work, field = self._ended[name]
            single = isinstance(out, Tensor) and out.dim() >= 2 and out.shape[0] == _BATCH
            shape = tuple(out.shape[1:]) if single else ()
            layout, skipped = _layout(shape, prefix)
            sees = None if field is None or layout in {"", "vector"} else field
            yield Layer(
                name=name,
                kind=type(module).__name__,
                shape=shape,
                layout=layout,
                prefix=skipped,
                parameters=sum(parameter.numel() for parameter in module.parameters()),
                multiply_adds=work,
                field=None if sees is None or math.isinf(sees.high) else round(max(sees.high, sees.wide)),
                stride=None if sees is None or layout == "tokens" else round(sees.stride),
            )

    def last_of(self, types: tuple[type[nn.Module], ...], output: Tensor) -> str | None:
        """The last module of some types, if the network's output is its own, or that of its places.

        Of linear layers alone, only if nothing comes after it.
        """
        found = [
            (self._began[name], name) for m, name in self._names.items() if isinstance(m, types) and name in self._ended
        ]
        ran = sorted(found)
        if not ran or output.dim() != 2:
            return None
        name = ran[-1][1]
        out = self._ended[name][0]
        if types == (nn.Linear,):
            return name if out is output else None
        return name if isinstance(out, Tensor) and out.dim() in {2, 4} and out.shape[1] == output.shape[1] else None


def _tensors(values: Any) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@dataclass(frozen=True, slots=True)
class _Field:
    """What a place sees: so many pixels down and across, and how many pixels lie between two places."""

    high: float
    wide: float
    stride: float

    @classmethod
    def widest(cls, fields: Iterable[_Field]) -> _Field:
        """Of what is added up or laid side by side."""
        known = list(fields)
        return cls(*(max(getattr(field, name) for field in known) for name in ("high", "wide", "stride")))

    def through(self, kernel: Any, stride: Any, dilation: Any, transposed: bool = False) -> _Field:
        """After a convolution or a pooling."""
        kernel = [*kernel, *kernel][:2]
        dilation = [*dilation, *dilation][:2]
        step = max(stride)
        jump = self.stride / step if transposed else self.stride
        down, across = (jump * (k - 1) * d for k, d in zip(kernel, dilation, strict=True))
        return _Field(self.high + down, self.wide + across, jump if transposed else jump * step)


def _layout(shape: tuple[int, ...], prefix: int) -> tuple[str, int]:
    """How an output's lengths are to be read, and how many tokens come before those of places."""
    if len(shape) == 1:
        return "vector", 0
    if len(shape) == 2:
        places = shape[0] - prefix
        return "tokens", prefix if places > 0 and math.isqrt(places) ** 2 == places else 0
    if len(shape) == 3:
        a, b, c = shape
        return ("map-last" if a == b and b != c else "map"), 0
    return "", 0
