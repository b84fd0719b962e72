"""What engines have in common: chunks of what is missing are given to workers, whose shards are then taken in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import SourceError
from ..folders import is_url
from ..images import Drawn, Item
from ..pipeline import Destination, Outcome, unchanged
from ..store import HashIndex, ShardCache
from .worker import Done, Output

_CHUNK = 32, 4096
"""Images that are given out, and done again if they are lost, together. A GPU does the most of them in seconds."""

_SHARES = 8
"""Chunks of a worker, so that none is idle for long in the end."""

Run = Callable[[list[Output], list[HashIndex], list[list[Item]]], Iterable[Done]]
"""Has workers do chunks, given where rows go and what is there already; yields what becomes of each, as it is done."""


def drive(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    advance: Callable[..., object],
    begin: Callable[[], tuple[int, Run]],
) -> list[Outcome]:
    """As :func:`featurekit.pipeline.fill`, by workers.

    Parameters
    ----------
    items, destinations, advance
        As there. The caches are `ShardCache`, which every worker sees.
    begin : callable
        Called if anything is missing: the number of workers, and what has them work.
    """
    caches = [_cache(destination) for destination in destinations]
    outcomes = [unchanged(item, destinations) for item in items]
    missing = [i for i, outcome in enumerate(outcomes) if outcome is None]
    advance(len(items) - len(missing))
    if missing:
        workers, run = begin()
        size = min(max(len(missing) // (_SHARES * workers), _CHUNK[0]), _CHUNK[1])
        chunks = [missing[start : start + size] for start in range(0, len(missing), size)]
        given = [[_absolute(items[i]) for i in chunk] for chunk in chunks]
        outputs = [
            Output(d.backbone, c.prepare(), c.root, c.dtype, c.any_unhashed)
            for d, c in zip(destinations, caches, strict=True)
        ]
        try:
            for done in run(outputs, [cache.known for cache in caches], given):
                for i, outcome in zip(chunks[done.number], done.outcomes, strict=True):
                    outcomes[i] = outcome
                _note(destinations, done)
                advance(len(done.outcomes))
        finally:
            for destination, cache in zip(destinations, caches, strict=True):
                before = len(cache.known)
                cache.refresh()  # takes in what was done before something went wrong, too
                destination.computed += len(cache.known) - before
    found = [outcome for outcome in outcomes if outcome is not None]
    assert len(found) == len(items)
    return found


def _cache(destination: Destination) -> ShardCache:
    assert isinstance(destination.cache, ShardCache)
    return destination.cache


def _absolute(item: Item) -> Item:
    if isinstance(item.origin, Drawn):
        raise SourceError("a data set object cannot be given to other processes or machines; name its files")
    if not isinstance(item.origin, str) or is_url(item.origin):
        return item
    return replace(item, origin=os.path.abspath(item.origin))


def _note(destinations: Sequence[Destination], done: Done) -> None:
    for i, destination in enumerate(destinations):
        destination.decoder = done.decoder[i] or destination.decoder
        destination.runtime = done.runtime[i] or destination.runtime
        known, new = destination.fidelity, done.fidelity[i]
        destination.fidelity = known if new is None else new if known is None else min(known, new, key=_cosine)


def _cosine(fidelity: Any) -> float:
    return float(fidelity.cosine)
