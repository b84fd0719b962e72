"""The trunk cache: frozen stages run once over each view, and what they put out is kept on the disk.

Rows of the file are maps in float16, channels last, one after the other. It is written through ordinary writes, so
that a full disk is an error and not a crash, and gets its name when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import BackboneError, Remedy, TrainingError
from ..runtime.converted import convert_module, sample_images
from ..runtime.openvino_runtime import PIECE, import_openvino
from ..wording import count
from .pictures import Pictures, View
from .stages import Stages

_BATCH = 32
_NO_CACHE = Remedy("do without it", "trunk_cache", "off")
_MOST_BYTES = 20e9
_SHARE_OF_DISK = 0.5
_LARGEST = float(np.finfo(np.float16).max)

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trunk cache would hold.

    Attributes
    ----------
    images, views : int
    shape : tuple of int
        Of one map: height, width, channels; or d.
    """

    images: int
    views: int
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return self.images * self.views * int(np.prod(self.shape)) * 2

    def __str__(self) -> str:
        each = int(np.prod(self.shape)) * 2
        maps = f"{count(self.images, 'image')} x {count(self.views, 'view')}"
        return f"{maps} x {each / 1000:.0f} kB = {self.nbytes / 1e6:.0f} MB"


def shape_of(stages: Stages, start: int, crop: int) -> tuple[int, ...]:
    """Of the map of one image that enters a stage."""
    with torch.no_grad():
        maps = stages.below(torch.zeros((1, crop, crop, 3), dtype=torch.uint8, device=stages.mean.device), start)
    return tuple(_channels_last(maps).shape[1:])


def room_for(plans: Sequence[Plan], folder: Path) -> str:
    """Why there is no room for caches in a folder; empty if there is."""
    free, size = shutil.disk_usage(folder).free, sum(plan.nbytes for plan in plans)
    if size > min(_MOST_BYTES, free * _SHARE_OF_DISK):
        return (
            f"it would take {size / 1e9:.1f} GB, and at most {_MOST_BYTES / 1e9:.0f} GB and half of the "
            f"{free / 1e9:.1f} GB that are free in {folder} are used"
        )
    return ""


def is_complete(path: Path, plan: Plan) -> bool:
    """Whether a cache is there already."""
    return path.exists() and path.stat().st_size == plan.nbytes


def open_cache(path: Path, plan: Plan) -> NDArray[np.float16]:
    """The maps of a file, shape (images, views, ...), mapped from the disk, to be read only."""
    return np.memmap(path, np.float16, "r", shape=(plan.images, plan.views, *plan.shape))


def fill_cache(
    path: Path, plan: Plan, pictures: Pictures, views: Sequence[View], run: Run, advance: Callable[[int], object]
) -> None:
    """Write the maps of every view of every image.

    Parameters
    ----------
    path : Path
        A file, whose name says what is in it.
    plan : Plan
    pictures : Pictures
    views : sequence of View
    run : callable
        From :func:`trunk_runner`.
    advance : callable
        Called with how many maps were added.

    Raises
    ------
    TrainingError
        If it cannot be written, or a number is too large for float16.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", buffering=0) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, plan.nbytes)
            for maps in _maps(pictures, views, run):
                if not (np.abs(maps).max(initial=0) <= _LARGEST):
                    raise TrainingError(
                        "the frozen stages put out numbers that float16 cannot hold, so they cannot be cached.",
                        remedies=[_NO_CACHE],
                    )
                data = memoryview(maps.astype(np.float16).tobytes())
                while len(data):
                    data = data[file.write(data) or 0 :]
                advance(len(maps))
            os.fsync(file.fileno())  # a file of the right size is believed
        os.replace(temporary, path)
    except OSError as error:
        raise TrainingError(
            f"cannot write the trunk cache ({plan}) to {path.parent}: {error.strerror or error}.",
            remedies=[Remedy("make room"), Remedy("name another folder", "checkpoint"), _NO_CACHE],
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _maps(pictures: Pictures, views: Sequence[View], run: Run) -> Iterator[NDArray[np.float32]]:
    """Image by image, and of each view by view."""
    numbers = np.repeat(np.arange(len(pictures)), len(views))
    each = list(views) * len(pictures)
    starts = range(0, len(numbers), _BATCH)
    for pixels in pictures.batches([(numbers[i : i + _BATCH], each[i : i + _BATCH]) for i in starts]):
        yield run(pixels)


class _Below(nn.Module):
    """The frozen stages, from uint8 images to maps with channels last."""

    def __init__(self, stages: Stages, stop: int) -> None:
        super().__init__()
        self.stages = stages
        self.stop = stop

    def forward(self, images: Tensor) -> Tensor:
        return _channels_last(self.stages.below(images, self.stop))


def _channels_last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1) if maps.ndim == 4 else maps


def channels_first(maps: Tensor) -> Tensor:
    """Maps as networks take them, of those of the cache; nothing is moved."""
    return maps.permute(0, 3, 1, 2) if maps.ndim == 4 else maps


def trunk_runner(stages: Stages, stop: int, crop: int, runtime: str) -> Run:
    """What computes the maps that enter a stage, by OpenVINO on a CPU, else by PyTorch.

    Parameters
    ----------
    stages : Stages
        In eval mode.
    stop : int
        The stage.
    crop : int
        Side of the images.
    runtime : {"auto", "openvino", "torch"}
    """
    below = _Below(stages, stop).eval()
    device = stages.mean.device

    def by_torch(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            maps: NDArray[np.float32] = below(torch.from_numpy(pixels).to(device)).float().cpu().numpy()
        return maps

    if runtime == "torch" or device.type != "cpu":
        return by_torch
    try:
        return _by_openvino(below, crop)
    except BackboneError:
        if runtime == "openvino":
            raise
        return by_torch


def _by_openvino(below: _Below, crop: int) -> Run:
    openvino = import_openvino()
    network = convert_module(below, sample_images(PIECE, crop), "the frozen part of the network")
    model = openvino.Core().read_model(network.graph, openvino.Tensor(network.weights))
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        n = len(pixels)
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], -n % PIECE, axis=0)])
        parts = [compiled([filled[i : i + PIECE]])[0].copy() for i in range(0, n, PIECE)]
        maps: NDArray[np.float32] = np.concatenate(parts)[:n]
        return maps

    return run
