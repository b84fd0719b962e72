"""The PyTorch runtime, on CPU, CUDA or MPS; and the network as a module from uint8 images to rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backbones import Backbone, Rows
from ..backbones.network import LayerRows, load_network
from ..errors import BackboneError
from .allocator import keep_freed_memory
from .tf32 import tf32

_DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class ImagesToRows(nn.Module):
    """A frozen backbone with its normalisation: uint8 images (n, crop, crop, 3) to float32 rows (n, d).

    Parameters
    ----------
    backbone : Backbone
        Its precision is the type of the weights; the normalisation is computed in float32 whatever it is.
    rows : sequence of Rows
        Which, side by side.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, rows: Sequence[Rows]) -> None:
        super().__init__()
        self.dtype = _DTYPES[backbone.precision]
        self.rows = LayerRows(load_network(backbone), rows, flip=backbone.flip).to(self.dtype)
        pre = backbone.spec.preprocessing
        mean, std = (np.array(values, dtype=np.float64) for values in (pre.mean, pre.std))
        # (pixel / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer("scale", _per_channel(1 / (255 * std)))
        self.register_buffer("shift", _per_channel(-mean / std))

    def forward(self, images: Tensor) -> Tensor:
        """Compute rows."""
        # NHWC in memory seen as NCHW is channels_last: no copy.
        normalised = images.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        rows: Tensor = self.rows(normalised.to(self.dtype))
        return rows.to(torch.float32)


def _per_channel(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)


class TorchRuntime:
    """Runs a backbone with PyTorch.

    On a CPU, a float32 row does not depend on the batch it was computed in: oneDNN's results were bit-equal for
    every batch size from 2 up and every position (another kernel serves a batch of 1, so a single image is sent
    twice). On CUDA, two streams let copies and computation overlap, and where memory does not suffice batches
    are halved from then on.

    Parameters
    ----------
    backbone : Backbone
        In ``float32``, TF32 is off.
    rows : sequence of Rows
        Which, side by side.
    device : str
        ``"auto"`` or a torch device.

    Raises
    ------
    BackboneError
        If there is no such device here, or it does not know the precision.
    """

    def __init__(self, backbone: Backbone, rows: Sequence[Rows], device: str = "auto") -> None:
        self._device = pick_device(device)
        self._tf32 = backbone.precision == "tf32"
        if self._tf32 and self._device.type != "cuda":
            raise BackboneError(f"TF32 is a mode of NVIDIA's GPUs, and the device is {self._device.type}. Use fp32.")
        cuda = self._device.type == "cuda"
        self.is_on_cpu = self._device.type == "cpu"
        if self.is_on_cpu:
            keep_freed_memory()
        # channels_last: half as long again as contiguous on the CPU this was tried on, and what CUDA prefers.
        self._network = ImagesToRows(backbone, rows).eval().to(self._device).to(memory_format=torch.channels_last)
        self.description = f"torch {torch.__version__} on {self._device}, {backbone.precision}"
        self.batch_size = 256 if cuda else 32
        self.depth = 3 if cuda else 2
        self._most: int | None = None  # images that fit into the memory, once that was found out
        self._threads = ThreadPoolExecutor(2 if cuda else 1, thread_name_prefix="featurekit-torch")
        self._local = threading.local()

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Begin to compute the rows of images of shape (n, crop, crop, 3)."""
        return self._threads.submit(self._rows, batch)

    def _rows(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        n = len(batch)
        if n == 1:
            batch = np.repeat(batch, 2, axis=0)
        rows, self._most = halving(self._run, batch, self._most)
        return rows[:n]

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            images = torch.from_numpy(batch)
            with self._on_cuda() if self._device.type == "cuda" else nullcontext():
                if self._device.type == "cuda":
                    images = images.pin_memory()
                rows: NDArray[np.float32] = self._network(images.to(self._device, non_blocking=True)).cpu().numpy()
        return rows

    @contextmanager
    def _on_cuda(self) -> Iterator[None]:
        """A stream of this thread's own, and TF32 only where the precision says so."""
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._local.stream), tf32(self._tf32):
            yield


def halving(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], batch: NDArray[np.uint8], most: int | None
) -> tuple[NDArray[np.float32], int | None]:
    """Run a batch in parts that fit into the memory.

    Parameters
    ----------
    run : callable
        Computes rows, and raises ``torch.cuda.OutOfMemoryError`` where the memory does not suffice.
    batch : ndarray of uint8, shape (n, crop, crop, 3)
    most : int or None
        Images that are known to fit at once.

    Returns
    -------
    rows : ndarray of float32, shape (n, d)
    most : int or None
        What is known now.
    """
    while True:
        size = min(most or len(batch), len(batch))
        try:
            return np.concatenate([run(batch[i : i + size]) for i in range(0, len(batch), size)]), most
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            most = (size + 1) // 2
        # Not in the handler: the error holds on to what was computed when it was raised.
        torch.cuda.empty_cache()


def pick_device(name: str) -> torch.device:
    """The torch device of this name, tried out; ``"auto"`` is CUDA, else MPS, else the CPU.

    Raises
    ------
    BackboneError
        If there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        else:
            name = "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA.
        reason = str(error).strip().splitlines()[0]
        raise BackboneError(f"cannot run on the device {name!r}: {reason}. Use 'cpu' or 'auto'.") from error
    return device
