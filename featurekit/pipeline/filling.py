"""Fill caches: the whole pipeline from items to rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from ..images import Item
from ..runtime import load_decoder
from .forward import forwards_for
from .looking import looked_at
from .records import NOTHING, Destination, Outcome


def fill(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    advance: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Bring the row of every readable item into each destination.

    Each file is read once, hashed, and decoded only if a row of it is missing; threads do that while the
    networks run, and rows are written while the next ones are computed. No more is kept in memory than some
    batches. Rows that were computed before an error or an interruption are added before it goes on its way.

    Parameters
    ----------
    items : sequence of Item
    destinations : sequence of Destination
        Their backbones name the same decoder. Those that differ in the layer only share a network and its pass.
    batch_size, workers, device, runtime
        As in :func:`extract`.
    advance : callable
        Called once for each item that is done.

    Returns
    -------
    list of Outcome
        One for each item, in order.
    """
    check_counts(batch_size, workers)
    outcomes: list[Outcome] = []
    forwards = forwards_for(destinations, batch_size, device, runtime)
    (decoder,) = {load_decoder(destination.backbone.decoder, device) for destination in destinations}
    for destination in destinations:
        destination.decoder = decoder.description

    def ahead() -> int:
        return 2 * max(forward.size for forward in forwards)

    try:
        for outcome, item in looked_at(items, destinations, decoder, workers, ahead):
            for forward in forwards:
                if forward.preprocessing in outcome.pixels:
                    forward.add(item, outcome)
            if outcome.pixels:
                outcome.pixels = NOTHING  # the batches hold what is still needed
            outcomes.append(outcome)
            advance()
        for forward in forwards:
            forward.finish()
    except BaseException:
        for forward in forwards:
            with suppress(Exception):  # what went wrong is more interesting
                forward.rescue()
        raise
    failures = {outcome.content: outcome.reason for outcome in outcomes if outcome.reason and outcome.content}
    hashes = {outcome.content: outcome.perceptual for outcome in outcomes if outcome.perceptual}
    for outcome in outcomes:  # the later ones of equal files were not decoded
        outcome.perceptual = outcome.perceptual or hashes.get(outcome.content, b"")
        outcome.reason = outcome.reason or failures.get(outcome.content, "")
    return outcomes


def check_counts(batch_size: int | None, workers: int | None) -> None:
    """Raise ValueError unless both are whole numbers from 1, or None."""
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and (not hasattr(value, "__index__") or value < 1):
            raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
