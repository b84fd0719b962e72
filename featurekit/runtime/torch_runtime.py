"""The PyTorch runtime: eager float32 on CPU, CUDA or MPS."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbones import Backbone
from ..backbones.network import load_network
from ..errors import BackboneError


class TorchRuntime:
    """Runs a backbone with eager PyTorch in exact float32.

    On a CPU, a row does not depend on the batch it was computed in: oneDNN's results were bit-equal for
    every batch size from 2 up and every position (another kernel serves a batch of 1, so a single image
    is sent twice). TF32 is off on CUDA.

    Parameters
    ----------
    backbone : Backbone
    device : str
        ``"auto"`` or a torch device.
    """

    def __init__(self, backbone: Backbone, device: str = "auto") -> None:
        self._device = _pick_device(device)
        if self._device.type == "cpu":
            _keep_freed_memory()
        # channels_last: half as long again as contiguous on the CPU this was tried on, and what CUDA prefers.
        self._network = load_network(backbone).to(self._device).to(memory_format=torch.channels_last)
        pre = backbone.spec.preprocessing
        mean, std = (np.array(values, dtype=np.float64) for values in (pre.mean, pre.std))
        # (pixel / 255 - mean) / std as one multiplication and one addition.
        self._scale = self._constant(1 / (255 * std))
        self._shift = self._constant(-mean / std)
        self.description = f"torch {torch.__version__} on {self._device.type}, float32"

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map images of shape (n, crop, crop, 3) to rows of shape (n, d)."""
        n = len(batch)
        if n == 1:
            batch = np.repeat(batch, 2, axis=0)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            # NHWC in memory seen as NCHW is channels_last: no copy.
            images = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
            features = self._network(images.to(torch.float32) * self._scale + self._shift)
            rows: NDArray[np.float32] = features.flatten(1).cpu().numpy()
        return rows[:n]

    def _constant(self, values: NDArray[np.float64]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        else:
            name = "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA.
        reason = str(error).strip().splitlines()[0]
        raise BackboneError(f"cannot run on the device {name!r}: {reason}. Use 'cpu' or 'auto'.") from error
    return device


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep the memory of a layer's output for the next layer instead of returning it.

    PyTorch asks for and frees tens of megabytes per layer; glibc's default maps and unmaps them every
    time and the kernel zeroes them again, which halves the speed (measured: 29 against 70 images/s).
    Process-wide, so it gives way to any setting of the user's own.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    with suppress(OSError, AttributeError):  # musl has no mallopt.
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 64 << 20)
