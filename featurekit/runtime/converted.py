"""Networks converted for OpenVINO, kept on the disk: the second start needs neither PyTorch nor conversion."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backbones import MODULE, Backbone, Rows, short_name
from ..errors import BackboneError, StoreError
from ..fidelity import Fidelity
from ..folders import cache_folder
from ..store.atomic import replace_file

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

_MAGIC = b"featurekit network 2\n"
_HASH_BYTES = 32
# Measured: 2e-6. Beyond this the conversion is wrong.
_LARGEST_ERROR = 1e-4


class ConversionError(BackboneError):
    """OpenVINO cannot run a network as PyTorch does."""


@dataclass(frozen=True, slots=True)
class ConvertedNetwork:
    """A network as OpenVINO reads it.

    Attributes
    ----------
    graph : bytes
        XML.
    weights : ndarray of uint8
    """

    graph: bytes
    weights: NDArray[np.uint8]


def converted_network(backbone: Backbone, rows: Sequence[Rows], batch: int, *, anew: bool = False) -> ConvertedNetwork:
    """The network for batches of exactly `batch` images: from the disk, or converted now and written there.

    Parameters
    ----------
    backbone : Backbone
    rows : sequence of Rows
        Which it gives, side by side.
    batch : int
    anew : bool
        Convert it in any case, because what is on the disk is of no use.

    Returns
    -------
    ConvertedNetwork
        Its weights are float32, whatever the backbone's precision: OpenVINO lowers it itself.

    Raises
    ------
    ConversionError
        If the network cannot be converted, or its rows are not those of PyTorch.
    """
    path = cache_folder() / "networks" / f"{short_name(backbone.spec.name)}-{_key(backbone, rows, batch)}.openvino"
    # Of a network that the user brought, nobody knows all that decides what it gives: it is not kept.
    kept = backbone.module is None
    network = None if anew or not kept else _read(path)
    if network is None:
        logger.info("Converting %s for OpenVINO (once on this machine for these layers)", backbone.spec.name)
        network = _convert(replace(backbone, precision="float32"), rows, batch)
        if kept:
            _write(path, network)
    return network


def _key(backbone: Backbone, rows: Sequence[Rows], batch: int) -> str:
    """All that decides what the conversion gives."""
    spec = backbone.spec
    libraries = [] if spec.library == MODULE else [spec.library]
    parts = {
        "format": _MAGIC.decode(),
        "weights": backbone.space.weights,
        "architecture": [spec.library, spec.architecture, spec.classifier],
        "images": [spec.preprocessing.crop, *spec.preprocessing.mean, *spec.preprocessing.std],
        "rows": [asdict(each) for each in rows],
        "flip": backbone.flip,
        "batch": batch,
        "versions": {name: metadata.version(name) for name in ("openvino", "torch", *libraries)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> ConvertedNetwork | None:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        logger.warning("The converted network %s cannot be read (%s) and is made again", path, error.strerror)
        return None
    start = len(_MAGIC) + _HASH_BYTES
    content = data[start:]
    if data[: len(_MAGIC)].tobytes() != _MAGIC or data[len(_MAGIC) : start].tobytes() != _hash(content):
        logger.warning("The converted network %s is damaged and is made again", path)
        return None
    length = int.from_bytes(content[:8].tobytes(), "little")
    return ConvertedNetwork(content[8 : 8 + length].tobytes(), np.ascontiguousarray(content[8 + length :]))


def _write(path: Path, network: ConvertedNetwork) -> None:
    length = len(network.graph).to_bytes(8, "little")
    head = np.frombuffer(length + network.graph, dtype=np.uint8)
    content = np.concatenate([head, network.weights])
    try:
        replace_file(path, _MAGIC + _hash(content) + content.tobytes())
    except (StoreError, OSError) as error:
        logger.warning(
            "The converted network cannot be kept in %s, and is made again by the next run: %s. The environment "
            "variable FEATUREKIT_CACHE names another folder.",
            path.parent,
            error.__cause__ or error,
        )


def _hash(content: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(content.data).digest()


def _convert(backbone: Backbone, rows: Sequence[Rows], batch: int) -> ConvertedNetwork:
    from .torch_runtime import ImagesToRows

    images = sample_images(batch, backbone.spec.preprocessing.crop)
    return convert_module(ImagesToRows(backbone, rows).eval(), images, backbone.spec.name)


def convert_module(network: nn.Module, images: NDArray[np.uint8], name: str) -> ConvertedNetwork:
    """Convert what maps uint8 images to one float32 array, and compare the two on these images.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    images : ndarray of uint8, shape (batch, height, width, 3)
        Of the batch that it is converted for.
    name : str
        For messages.

    Raises
    ------
    ConversionError
        If it cannot be converted, or gives something else.
    """
    from .openvino_runtime import import_openvino

    openvino = import_openvino()
    import torch

    try:
        with torch.no_grad(), _quiet():
            exported = torch.export.export(network, (torch.from_numpy(images),), strict=False)
            model = openvino.convert_model(exported)
            model.reshape([*images.shape])
            compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            fidelity = Fidelity.of(
                compiled([images])[0].reshape(len(images), -1),
                network(torch.from_numpy(images)).numpy().reshape(len(images), -1),
            )
    except Exception as error:  # exporter and converter raise errors of their own kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConversionError(f"{name} cannot be converted for OpenVINO: {reason}.") from error
    if not fidelity.relative_error < _LARGEST_ERROR:
        raise ConversionError(f"{name} as OpenVINO runs it is not PyTorch's network: {fidelity}.")
    logger.info("%s, OpenVINO against PyTorch: %s", name, fidelity)
    return _serialised(openvino, model)


def _serialised(openvino: Any, model: Any) -> ConvertedNetwork:
    with tempfile.TemporaryDirectory(prefix="featurekit-") as folder:
        path = Path(folder, "network.xml")
        try:
            # Not halved to float16, which is the default.
            openvino.save_model(model, path, compress_to_fp16=False)
        except RuntimeError as error:
            raise ConversionError(
                f"a converted network cannot be written to the folder for temporary files, {folder}. Is the disk full? "
                "The environment variable TMPDIR names another one."
            ) from error
        return ConvertedNetwork(path.read_bytes(), np.fromfile(path.with_suffix(".bin"), dtype=np.uint8))


def sample_images(n: int, side: int) -> NDArray[np.uint8]:
    """Images with the smoothness and the range of photos, the same each time."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (n, 8, 8, 3))
    places = np.arange(side) * 8 // side
    smooth = coarse[:, places][:, :, places]
    return np.clip(smooth + random.normal(0, 12, (n, side, side, 3)), 0, 255).astype(np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of their own inner workings; what matters is compared with PyTorch afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
