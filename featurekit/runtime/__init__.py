"""Runtimes: a frozen backbone becomes a fast function from uint8 batches to float32 rows."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone, Rows
from ..errors import BackboneError
from ..fidelity import ENOUGH, Fidelity
from .allocator import keep_freed_memory
from .decoders import Decoder, load_decoder

__all__ = [
    "RUNTIMES",
    "Decoder",
    "Pending",
    "Runtime",
    "check_fidelity",
    "keep_freed_memory",
    "load_decoder",
    "load_runtime",
]

RUNTIMES = ("auto", "openvino", "torch")
"""What may be asked for."""

logger = logging.getLogger(__name__)


class Pending(Protocol):
    """Rows that are being computed."""

    def done(self) -> bool:
        """Whether `result` would return at once."""
        ...

    def result(self) -> NDArray[np.float32]:
        """The rows, shape (n, d). Waits for them."""
        ...


class Runtime(Protocol):
    """A frozen network, ready to run."""

    description: str
    """What computes, for provenance: library, version, device and precision."""

    batch_size: int
    """Images in one batch that suit it."""

    depth: int
    """Batches that should be under way at once, so that it never waits."""

    def submit(self, batch: NDArray[np.uint8]) -> Pending:
        """Begin to compute the rows of images of shape (n, crop, crop, 3)."""
        ...


def load_runtime(
    backbone: Backbone, device: str = "auto", runtime: str = "auto", rows: Sequence[Rows] | None = None
) -> Runtime:
    """Load a backbone for running. Cached, so that clones of an estimator share one network.

    Parameters
    ----------
    backbone : Backbone
        From :func:`featurekit.backbones.find`; its precision is that of the arithmetic.
    device : str
        ``"auto"`` (CUDA, else Apple's MPS, else CPU) or a torch device such as ``"cpu"`` or ``"cuda:1"``, or
        several that share the work: ``"cuda:0,cuda:1"``.
    runtime : {"auto", "openvino", "torch"}
        ``"auto"`` is OpenVINO on a CPU, where it is installed, and PyTorch otherwise.
    rows : sequence of Rows, optional
        What is computed in one pass, side by side. Default: the backbone's own.

    Returns
    -------
    Runtime

    Raises
    ------
    BackboneError
        If there is no such device or runtime here, it cannot compute in this precision, or a network ran already in
        the process that this one was forked from.
    WeightsError
        If the weights do not fit the network.
    """
    _refuse_fork()
    if runtime not in RUNTIMES:
        raise BackboneError(f"no runtime called {runtime!r}. There are: {', '.join(RUNTIMES)}.")
    devices = tuple(name.strip() for name in str(device).split(","))
    weights = backbone.space.weights
    # What does not change the network is no part of the key.
    return _load(backbone.network, weights, tuple(rows or (backbone.rows,)), devices, runtime)


@lru_cache(maxsize=4)
def _load(backbone: Backbone, weights: str, rows: tuple[Rows, ...], devices: tuple[str, ...], runtime: str) -> Runtime:
    # `weights`, the hash, is part of the key: a file that was replaced is another network.
    if len(devices) > 1:
        return _Several([_load_one(backbone, rows, device, runtime) for device in devices])
    return _load_one(backbone, rows, devices[0], runtime)


# The process that loaded a runtime. In one forked from it, OpenVINO crashes and PyTorch hangs: their threads are not
# there, and they do not notice.
_loaded_by: int | None = None


def _refuse_fork() -> None:
    if _loaded_by not in {None, os.getpid()}:
        raise BackboneError(
            f"this process was forked from process {_loaded_by} after a network had run there, and neither OpenVINO "
            "nor PyTorch survives that. Start processes with 'spawn' or 'forkserver' "
            "(multiprocessing.set_start_method), or with joblib, whose default is safe."
        )


def _load_one(backbone: Backbone, rows: Sequence[Rows], device: str, runtime: str) -> Runtime:
    global _loaded_by
    _loaded_by = os.getpid()
    if runtime == "openvino" and device not in {"auto", "cpu"}:
        raise BackboneError(
            f"OpenVINO runs on the CPU here, not on the device {device!r}. Use PyTorch: runtime 'torch'."
        )
    if runtime == "openvino" or (runtime == "auto" and _prefers_openvino(backbone, device)):
        from .openvino_runtime import ConversionError, OpenVinoRuntime

        try:
            return OpenVinoRuntime(backbone, rows)
        except ConversionError as error:
            if runtime == "openvino":
                raise
            logger.warning("%s PyTorch is used instead.", error)
    from .torch_runtime import TorchRuntime

    network = TorchRuntime(backbone, rows, device)
    if network.is_on_cpu and backbone.precision != "float32" and not _cpu_computes_in(backbone.precision):
        logger.warning("this CPU has no %s arithmetic and emulates it: slower than fp32", backbone.precision)
    return network


def _prefers_openvino(backbone: Backbone, device: str) -> bool:
    if device not in {"auto", "cpu"} or (device == "auto" and _has_accelerator()):
        return False
    return _cpu_computes_in(backbone.precision)


def _cpu_computes_in(precision: str) -> bool:
    """Whether OpenVINO is there and has arithmetic of this precision."""
    if importlib.util.find_spec("openvino") is None:
        return False
    from .openvino_runtime import computes_in

    return computes_in(precision)


def _has_accelerator() -> bool:
    # To ask torch takes seconds, and most machines without a GPU have no driver of one either.
    if sys.platform == "linux" and not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


class _Several:
    """Devices that share the work: a batch goes to the one with the fewest before it."""

    def __init__(self, parts: Sequence[Runtime]) -> None:
        self._parts = parts
        self._under_way: list[list[Pending]] = [[] for _ in parts]
        self.description = " and ".join(dict.fromkeys(part.description for part in parts))
        self.batch_size = max(part.batch_size for part in parts)
        self.depth = sum(part.depth for part in parts)

    def submit(self, batch: NDArray[np.uint8]) -> Pending:
        self._under_way = [[pending for pending in each if not pending.done()] for each in self._under_way]
        number = min(range(len(self._parts)), key=lambda i: len(self._under_way[i]))
        pending = self._parts[number].submit(batch)
        self._under_way[number].append(pending)
        return pending


def check_fidelity(
    backbone: Backbone,
    rows: Sequence[Rows],
    network: Runtime,
    batch: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    device: str,
) -> list[Fidelity]:
    """Compare rows with those of exact float32 on reference pixels, and warn where they are far from it.

    Parameters
    ----------
    backbone : Backbone
    rows : sequence of Rows
    network : Runtime
        Of this backbone and these rows.
    batch, reference : ndarray of uint8, shape (n, crop, crop, 3)
        Real images, as they were decoded, and as Pillow decodes them.
    device : str
        As for :func:`load_runtime`.

    Returns
    -------
    list of Fidelity
        One for each of `rows`.
    """
    exact = network
    if backbone.precision != "float32":
        exact = _load_one(replace(backbone, precision="float32"), rows, device.split(",")[0].strip(), "auto")
    got, expected = network.submit(batch).result(), exact.submit(reference).result()
    ends = np.cumsum([each.dim for each in rows])[:-1]
    fidelities = []
    for each, a, b in zip(rows, np.split(got, ends, axis=1), np.split(expected, ends, axis=1), strict=True):
        fidelities.append(fidelity := Fidelity.of(a, b))
        if fidelity.cosine < ENOUGH:
            what = f"{backbone.spec.name}, {each.layer}, {backbone.precision}, decoder {backbone.decoder}"
            logger.warning("not close to float32 and Pillow's pixels (%s): %s", what, fidelity)
    return fidelities
