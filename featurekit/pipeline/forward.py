"""The second half of the pipeline: batches of prepared images go through a network, and rows to the caches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone, Rows
from ..errors import ImageError
from ..fidelity import Fidelity
from ..fingerprint import FAITHFUL_DECODERS, Preprocessing
from ..images import Item, open_origin, prepare
from ..runtime import Pending, Runtime, check_fidelity, load_runtime
from ..store import encode
from .records import Destination, Outcome, columns_of

# Rows are given to the cache when there are this many, or when this many seconds of work would be lost.
_SAVE_ROWS = 4096
_SAVE_SECONDS = 15.0

# Before the runtime is there to say what suits it; and at most so many images show how faithful rows are.
_FIRST_BATCH = 32


def forwards_for(
    destinations: Sequence[Destination], batch_size: int | None, device: str, runtime: str
) -> list[Forward]:
    """One `Forward` for each network: destinations that differ in the layer only share it."""
    groups: dict[Backbone, list[Destination]] = {}
    for destination in destinations:
        groups.setdefault(destination.backbone.network, []).append(destination)
    return [Forward(group, batch_size, device, runtime) for group in groups.values()]


@dataclass(slots=True)
class Forward:
    """Images that wait for one network, batches that are being computed, and rows that wait for the caches.

    Parameters
    ----------
    destinations : sequence of Destination
        For rows of different layers of one network.
    batch_size, device, runtime
        As in :func:`extract`.
    """

    destinations: Sequence[Destination]
    batch_size: int | None
    device: str
    runtime: str
    _network: Runtime | None = None
    _waiting: list[tuple[Item, Outcome, NDArray[np.uint8]]] = field(default_factory=list)
    _running: deque[tuple[list[tuple[Item, Outcome]], Pending]] = field(default_factory=deque)
    _done: list[tuple[Item, Outcome]] = field(default_factory=list)
    _rows: list[NDArray[np.float32]] = field(default_factory=list)
    _saved: float = 0.0

    @property
    def _backbone(self) -> Backbone:
        return self.destinations[0].backbone

    @property
    def _wanted(self) -> list[Rows]:
        return [destination.backbone.rows for destination in self.destinations]

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the images that it takes."""
        return self._backbone.preprocessing

    @property
    def size(self) -> int:
        """Images in a batch."""
        return self.batch_size or (self._network.batch_size if self._network is not None else _FIRST_BATCH)

    def add(self, item: Item, outcome: Outcome) -> None:
        """Take an image; as soon as there are enough, compute their rows."""
        if self._lacks(outcome):
            self._waiting.append((item, outcome, outcome.pixels[self.preprocessing]))
        if len(self._waiting) >= self.size:
            self._run()

    def finish(self) -> None:
        """Compute what waits, and give all to the caches."""
        self._run()
        while self._running:
            self._collect()
        self.save()

    def rescue(self) -> None:
        """Give to the caches what is computed already, after something went wrong."""
        while self._running and self._running[0][1].done():
            self._collect()
        self.save()

    def save(self) -> None:
        """Give the computed rows to the caches."""
        if not self._done or self._network is None:
            return
        rows, start = np.concatenate(self._rows), 0
        problem: Exception | None = None
        for destination in self.destinations:
            stop = start + destination.backbone.rows.dim
            try:
                self._give(destination, rows[:, start:stop], self._network.description)
            except Exception as error:  # which does not concern the others
                problem = problem or error
            start = stop
        self._done, self._rows, self._saved = [], [], time.monotonic()
        if problem is not None:
            raise problem

    def _give(self, destination: Destination, rows: NDArray[np.float32], runtime: str) -> None:
        new = [i for i, (_, outcome) in enumerate(self._done) if outcome.content not in destination.cache]
        if new:
            paths, nothing = encode(self._done[i][0].path for i in new), encode([""] * len(new))
            columns = columns_of(paths, nothing, nothing, [self._done[i][1] for i in new])
            destination.cache.add(columns, rows[new], runtime)
            destination.computed += len(new)

    def _lacks(self, outcome: Outcome) -> bool:
        return any(outcome.content not in destination.cache for destination in self.destinations)

    def _run(self) -> None:
        if self._network is None and self._waiting:
            self._begin()
        if not self._waiting or self._network is None:
            return
        batch = np.stack([pixels for _, _, pixels in self._waiting])
        self._running.append(([(item, outcome) for item, outcome, _ in self._waiting], self._network.submit(batch)))
        self._waiting = []
        while len(self._running) > self._network.depth or (self._running and self._running[0][1].done()):
            self._collect()

    def _begin(self) -> None:
        """Load the network and, where that can matter, compare its rows with exact ones."""
        for destination in self.destinations:
            destination.cache.begin()
        self._network = load_runtime(self._backbone, self.device, self.runtime, self._wanted)
        self._saved = time.monotonic()
        # Another process may have computed some of them while begin() waited for it.
        self._waiting = [each for each in self._waiting if self._lacks(each[1])]
        if not self._waiting:
            return
        fidelities = self._fidelities(self._network)
        for destination, fidelity in zip(self.destinations, fidelities, strict=True):
            destination.runtime, destination.fidelity = self._network.description, fidelity

    def _fidelities(self, network: Runtime) -> Sequence[Fidelity | None]:
        backbone, waiting = self._backbone, self._waiting[:_FIRST_BATCH]
        faithful = backbone.decoder in FAITHFUL_DECODERS
        if backbone.precision == "float32" and faithful:
            return [None] * len(self.destinations)
        batch = np.stack([pixels for _, _, pixels in waiting])
        reference = batch
        if not faithful:
            pillow = [_by_pillow(item, self.preprocessing) for item, _, _ in waiting]
            known = [i for i, pixels in enumerate(pillow) if pixels is not None]
            if not known:
                return [None] * len(self.destinations)
            batch, reference = batch[known], np.stack([pixels for pixels in pillow if pixels is not None])
        return check_fidelity(backbone, self._wanted, network, batch, reference, self.device)

    def _collect(self) -> None:
        """Take the rows of the batch that was submitted first."""
        batch, pending = self._running.popleft()
        rows = pending.result()
        good = [bool(np.isfinite(row).all()) for row in rows]
        for (_, outcome), is_good in zip(batch, good, strict=True):
            if not is_good:
                outcome.fail(f"its features are not finite in {self._backbone.precision}")
        self._rows.append(rows[good])
        self._done += [each for each, is_good in zip(batch, good, strict=True) if is_good]
        if len(self._done) >= _SAVE_ROWS or time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()


def _by_pillow(item: Item, wish: Preprocessing) -> NDArray[np.uint8] | None:
    """What the reference makes of an item, read once more; None if that fails now."""
    try:
        picture = open_origin(item.origin)
    except ImageError:
        return None
    return prepare(picture, wish.resize, wish.crop, wish.interpolation, squash=wish.squash)
