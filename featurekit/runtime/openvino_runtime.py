"""The OpenVINO runtime: a CPU's fastest exact float32, started without PyTorch. Importing this imports neither.

OpenVINO reports its use over the network as soon as it is imported, if the package ``openvino-telemetry`` is there;
it is kept from finding it.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone, Rows
from ..errors import BackboneError
from .converted import ConversionError, ConvertedNetwork, converted_network

logger = logging.getLogger(__name__)

__all__ = ["ConversionError", "OpenVinoRuntime", "computes_in"]

# Images in one call of the compiled network. Rows were bit-equal for 1 to 4 whatever the number of threads and
# streams, other kernels serve more; and no larger number was faster. Batches are cut into such pieces and the last is
# filled up, so that a row depends on nothing but its image.
PIECE = 4

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


class OpenVinoRuntime:
    """Runs a backbone with OpenVINO on the CPU.

    Parameters
    ----------
    backbone : Backbone
    rows : sequence of Rows
        Which, side by side.

    Raises
    ------
    BackboneError
        If OpenVINO is not installed, or this CPU does not compute in the precision.
    ConversionError
        If OpenVINO cannot run the network as PyTorch does.
    """

    def __init__(self, backbone: Backbone, rows: Sequence[Rows]) -> None:
        if not computes_in(backbone.precision):
            raise BackboneError(
                f"this CPU has no {backbone.precision} arithmetic that OpenVINO could use. Use fp32, or have PyTorch "
                "emulate it, which is slower than fp32 (runtime 'torch')."
            )
        openvino = import_openvino()
        self._dim = sum(each.dim for each in rows)
        try:
            compiled = self._compiled(converted_network(backbone, rows, PIECE), backbone)
        except RuntimeError as error:
            logger.warning("The converted network of %s is of no use and is made again: %s", backbone.spec.name, error)
            compiled = self._compiled(converted_network(backbone, rows, PIECE, anew=True), backbone)
        streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self._idle = list(self._requests)
        self._threads = _threads(streams)
        self.description = f"openvino {openvino.__version__.partition('-')[0]} on cpu, {backbone.precision}"
        self.batch_size = max(32, 2 * PIECE * streams)
        self.depth = 2

    def _compiled(self, network: ConvertedNetwork, backbone: Backbone) -> Any:
        """Raises RuntimeError where OpenVINO cannot read the network, or it has other inputs or outputs."""
        model = _core().read_model(network.graph, import_openvino().Tensor(network.weights))
        crop = backbone.spec.preprocessing.crop
        shapes = [tuple(port.get_partial_shape().to_shape()) for port in (*model.inputs, *model.outputs)]
        if shapes != [(PIECE, crop, crop, 3), (PIECE, self._dim)]:
            raise RuntimeError(f"it has the shapes {shapes}")
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _HINTS[backbone.precision],
            # The decoding threads run on the same processors, and the system knows best which of them is free.
            "ENABLE_CPU_PINNING": False,
        }
        return _core().compile_model(model, "CPU", settings)

    def submit(self, batch: NDArray[np.uint8]) -> _Pieces:
        """Begin to compute the rows of images of shape (n, crop, crop, 3)."""
        rows = np.empty((len(batch), self._dim), dtype=np.float32)
        starts = range(0, len(batch), PIECE)
        return _Pieces(rows, [self._threads.submit(self._run, batch, rows, start) for start in starts])

    def _run(self, batch: NDArray[np.uint8], rows: NDArray[np.float32], start: int) -> None:
        request = self._idle.pop()  # there are as many as threads can take
        try:
            piece = batch[start : start + PIECE]
            n = len(piece)
            if n < PIECE:
                piece = np.concatenate([piece, np.repeat(piece[-1:], PIECE - n, axis=0)])
            request.infer([np.ascontiguousarray(piece)], share_inputs=True)
            rows[start : start + n] = request.get_output_tensor().data[:n]
        finally:
            self._idle.append(request)


class _Pieces:
    """Rows whose pieces are being computed."""

    def __init__(self, rows: NDArray[np.float32], pieces: Sequence[Future[None]]) -> None:
        self._rows = rows
        self._pieces = pieces

    def done(self) -> bool:
        return all(piece.done() for piece in self._pieces)

    def result(self) -> NDArray[np.float32]:
        for piece in self._pieces:
            piece.result()
        return self._rows


def computes_in(precision: str) -> bool:
    """Whether this CPU has arithmetic of this precision that OpenVINO uses."""
    capability = _CAPABILITIES.get(precision)
    return capability is not None and capability in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    """Shared by all networks: two at a time would only take each other's processors and caches."""
    return ThreadPoolExecutor(n, thread_name_prefix="featurekit-openvino")


@cache
def _core() -> Any:
    return import_openvino().Core()


def import_openvino() -> Any:
    """Import OpenVINO, without its telemetry.

    Raises
    ------
    BackboneError
        If it is not installed, or does not work here.
    """
    # With None there, importing it fails, and OpenVINO goes on without. Loaded already, it is the caller's wish.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise BackboneError(
            f"OpenVINO cannot be imported ({error}). Install it with: pip install openvino; or use PyTorch "
            "(runtime 'torch')."
        ) from error
