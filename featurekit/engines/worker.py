"""What one actor does: the extraction of this machine, for one chunk of images after the other."""

from __future__ import annotations

import pickle
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._optional import require
from .._version import __version__
from ..backbones import Backbone
from ..errors import StoreError
from ..fidelity import Fidelity
from ..images import Item
from ..pipeline import Destination, Outcome, fill
from ..store import Columns, HashIndex, Place, Rows, write_shard

_FOREIGN = (
    "no such folder on {node}: {folder}. Rows are written by every machine, so the output must lie where all of them "
    "see it under the same name (NFS, a URL)."
)


@dataclass(frozen=True, slots=True)
class Output:
    """Where the rows of one backbone go."""

    backbone: Backbone
    folder: Place
    root: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker is told."""

    version: str
    outputs: Sequence[Output]
    batch_size: int | None
    threads: int
    device: str
    runtime: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one chunk; for each place, what prepared images and computed rows, and how faithfully."""

    number: int
    outcomes: list[Outcome]
    decoder: list[str]
    runtime: list[str]
    fidelity: list[Fidelity | None]
    node: str
    seconds: float


class ShardWriter:
    """A cache that only writes: rows become immutable shards at once.

    It knows what was there when the driver began, and what it wrote itself; should two workers compute rows of equal
    images, the driver takes one of them.
    """

    def __init__(self, output: Output, known: HashIndex) -> None:
        self._output = output
        self._before = known
        self._known: set[bytes] = set()

    def __contains__(self, content: bytes) -> bool:
        return content in self._known or content in self._before

    def begin(self) -> None:
        """The driver holds the lock."""

    def add(self, columns: Columns, rows: Rows, runtime: str) -> None:
        """Write rows; they are safe on the disk when this returns."""
        output = self._output
        provenance = {"root": output.root, "runtime": runtime}
        write_shard(output.folder, output.backbone.space, provenance, columns, rows, output.dtype)
        self._known.update(map(bytes, columns.sha256))

    def gather(self, contents: Sequence[bytes]) -> Rows:
        """Never asked for."""
        raise NotImplementedError

    def drop_damaged(self) -> int:
        """Nothing is read."""
        return 0


class Worker:
    """An actor of Ray Data."""

    def __init__(self, pickled: bytes, known: Sequence[Any]) -> None:
        self._job: Job = pickle.loads(pickled)  # noqa: S301 (by our own driver)
        self._node = platform.node()
        if self._job.version != __version__:
            raise StoreError(f"{self._node} has featurekit {__version__}, and the driver {self._job.version}")
        for output in self._job.outputs:
            if isinstance(output.folder, Path) and not output.folder.is_dir():
                raise StoreError(_FOREIGN.format(node=self._node, folder=output.folder))
        self._writers = [ShardWriter(p, _here(k)) for p, k in zip(self._job.outputs, known, strict=True)]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Look at the images of some chunks, and compute and write their rows."""
        numbers, chunks = batch["number"], batch["items"]
        return {"done": [pickle.dumps(self._do(int(n), pickle.loads(c))) for n, c in zip(numbers, chunks, strict=True)]}  # noqa: S301

    def _do(self, number: int, items: list[Item]) -> Done:
        begun, job = time.perf_counter(), self._job
        into = [Destination(output.backbone, w) for output, w in zip(job.outputs, self._writers, strict=True)]
        outcomes = fill(
            items, into, batch_size=job.batch_size, workers=job.threads, device=job.device, runtime=job.runtime
        )
        return Done(
            number,
            outcomes,
            [each.decoder for each in into],
            [each.runtime for each in into],
            [each.fidelity for each in into],
            f"{self._node} ({_node_id()})",
            time.perf_counter() - begun,
        )


def _here(shared: Any) -> HashIndex:
    index: HashIndex = shared if isinstance(shared, HashIndex) else _ray().get(shared)
    return index


def _node_id() -> str:
    return str(_ray().get_runtime_context().get_node_id())[:6]


def _ray() -> Any:
    return require("ray", extra="ray", purpose="extraction with --engine ray")
