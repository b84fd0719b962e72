"""What one worker does: the extraction of this machine, for one chunk of images after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Where the rows of one backbone go, and whether rows there lack perceptual hashes."""

    backbone: Backbone
    folder: Place
    root: str
    dtype: np.dtype[Any]
    unhashed: bool


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

    def perceptual(self, contents: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Never asked for."""
        raise NotImplementedError

    def lacks_hash(self, content: bytes) -> bool:
        """Tell whether the row may lack a perceptual hash: it was there before, in a store where some lack one."""
        return self._output.unhashed and content in self._before

    def drop_damaged(self) -> int:
        """Nothing is read."""
        return 0


class Worker:
    """Does chunks of a job.

    Parameters
    ----------
    job : Job
    known : sequence of HashIndex
        What each output held when the driver began.
    node : str
        What this worker is called.

    Raises
    ------
    StoreError
        If the driver is another version, or an output cannot be seen from here.
    """

    def __init__(self, job: Job, known: Sequence[HashIndex], node: str) -> None:
        self._job, self._node = job, node
        if job.version != __version__:
            raise StoreError(f"{node} has featurekit {__version__}, and the driver {job.version}")
        for output in job.outputs:
            if isinstance(output.folder, Path) and not output.folder.is_dir():
                raise StoreError(_FOREIGN.format(node=node, folder=output.folder))
        self._writers = [ShardWriter(output, index) for output, index in zip(job.outputs, known, strict=True)]

    def do(self, number: int, items: list[Item]) -> Done:
        """Look at the images of a chunk, and compute and write their rows."""
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
            self._node,
            time.perf_counter() - begun,
        )
