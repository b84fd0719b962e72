"""Runtimes: a frozen backbone becomes a fast function from uint8 batches to float32 rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone


class Runtime(Protocol):
    """A frozen network, ready to run."""

    description: str
    """What computes, for provenance: library, version and device."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map images of shape (n, crop, crop, 3) to rows of shape (n, d)."""
        ...


def load_runtime(backbone: Backbone, device: str = "auto") -> Runtime:
    """Load a backbone for running. Cached, so that clones of an estimator share one network.

    Parameters
    ----------
    backbone : Backbone
        From :func:`featurekit.backbones.find`.
    device : str
        ``"auto"`` (CUDA, else Apple's MPS, else CPU) or a torch device such as ``"cpu"`` or ``"cuda:1"``.

    Returns
    -------
    Runtime

    Raises
    ------
    BackboneError
        If there is no such device here.
    WeightsError
        If the weights do not fit the network.
    """
    return _load(backbone, backbone.space.weights, device)


@lru_cache(maxsize=2)
def _load(backbone: Backbone, weights: str, device: str) -> Runtime:
    # `weights`, the hash, is part of the key: a file that was replaced is another network.
    from .torch_runtime import TorchRuntime

    return TorchRuntime(backbone, device)
