"""The first half of the pipeline: read and hash each item, and decode those whose rows are missing."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import joblib
import numpy as np
from PIL import Image

from ..errors import ImageError, UnavailableError
from ..fingerprint import Preprocessing, content_hash, pixel_hash
from ..images import Item, Member, file_state, is_deep, read_origin, silent_libtiff
from ..runtime import Decoder, keep_freed_memory
from .records import NOTHING, Destination, Outcome


def looked_at(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    decoder: Decoder,
    workers: int | None,
    ahead: Callable[[], int],
) -> Iterator[tuple[Outcome, Item]]:
    """Yield an outcome for each item, in order: with pixels if a row of it has to be computed.

    Parameters
    ----------
    items, destinations, decoder
    workers : int, optional
        Threads.
    ahead : callable
        How many items may be looked at before the first of them is asked for.
    """
    keep_freed_memory()
    look = _Look(destinations, decoder)
    window: deque[tuple[Outcome | _Place, Item]] = deque()
    chunk = _Chunk()
    # As many threads as processors, beside as many of the network: whichever is the slower of the two has the
    # processors while the other waits for it, and no split into fixed shares was faster
    # (tests/benchmarks/pipeline.py --workers).
    # joblib counts what this process may use: its affinity and its container's quota, not all that there is.
    pool = ThreadPoolExecutor(workers or joblib.cpu_count(), thread_name_prefix="featurekit-decode")

    def next_of_window() -> tuple[Outcome, Item]:
        found, item = window.popleft()
        if isinstance(found, Outcome):
            return found, item
        if found.chunk.outcomes is None:
            found.chunk.submit(pool, look)
        return found.outcome(), item

    done = False
    try:
        with warnings.catch_warnings(), silent_libtiff():
            # Pillow warns of odd metadata and of large images; what matters is raised as an error. Filters
            # are process-wide, so they are set here once and not in the threads.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            for index, item in enumerate(items):
                seen = unchanged(item, destinations)
                if seen is not None and not window:
                    yield seen, item
                    continue
                if seen is not None:
                    window.append((seen, item))
                else:
                    if chunk.outcomes is not None:
                        chunk = _Chunk()
                    window.append((_Place(chunk, len(chunk.items)), item))
                    chunk.items.append((index, item))
                    if len(chunk.items) == decoder.chunk:
                        chunk.submit(pool, look)
                if len(window) > max(ahead(), 2 * decoder.chunk):
                    yield next_of_window()
            while window:
                yield next_of_window()
        done = True
    finally:
        # After an error or Ctrl-C, a thread may be in a long decode: what was computed is saved without waiting for it.
        pool.shutdown(wait=done, cancel_futures=True)


@dataclass(slots=True)
class _Chunk:
    """Items that one thread looks at together."""

    items: list[tuple[int, Item]] = field(default_factory=list)
    outcomes: Future[list[Outcome]] | None = None

    def submit(self, pool: ThreadPoolExecutor, look: _Look) -> None:
        self.outcomes = pool.submit(look, self.items)


@dataclass(frozen=True, slots=True)
class _Place:
    """One of a chunk."""

    chunk: _Chunk
    number: int

    def outcome(self) -> Outcome:
        assert self.chunk.outcomes is not None
        return self.chunk.outcomes.result()[self.number]


class _Look:
    """Reads, hashes and decodes; called by threads."""

    def __init__(self, destinations: Sequence[Destination], decoder: Decoder) -> None:
        self._destinations = destinations
        self._decoder = decoder
        self._first: dict[bytes, int] = {}  # content hash -> the item that brings it: equal files are decoded once

    def __call__(self, items: Sequence[tuple[int, Item]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        images: list[_Image] = []
        for index, item in items:
            outcome = Outcome()
            outcomes.append(outcome)
            if item.problem:
                outcome.fail(item.problem, unavailable=True)  # nothing was read, so nothing is known of its bytes
                continue
            with _noting_failure(outcome):
                image = _read(item, outcome)
                wanted = {d.backbone.preprocessing for d in self._destinations if outcome.content not in d.cache}
                needed = wanted or any(d.hashed and d.cache.lacks_hash(outcome.content) for d in self._destinations)
                # setdefault is atomic: of equal files in several threads, exactly one is decoded.
                if needed and self._first.setdefault(outcome.content, index) == index:
                    images.append((outcome, image, wanted))
        if images:
            self._decode(images)
        return outcomes

    def _decode(self, images: Sequence[_Image]) -> None:
        if len(images) > 1:
            try:
                self._decode_together(images)
                return
            except _FAILURES:
                pass  # which of them was it?
        for each in images:
            with _noting_failure(each[0]) if each[2] else suppress(*_FAILURES):
                self._decode_together([each])

    def _decode_together(self, images: Sequence[_Image]) -> None:
        prepared = self._decoder([image for _, image, _ in images], [wanted for _, _, wanted in images], hashed=True)
        for (outcome, image, wanted), found in zip(images, prepared, strict=True):
            if not isinstance(found, ImageError):
                outcome.pixels, outcome.perceptual = found.pixels or NOTHING, found.perceptual
                outcome.deep = is_deep(image) if isinstance(image, bytes) else image.mode.startswith("I")
            elif wanted:  # A row that is known stays, even if its image cannot be decoded for a hash.
                outcome.fail(str(found))


def unchanged(item: Item, destinations: Sequence[Destination]) -> Outcome | None:
    """The outcome of a file that no destination needs to look at again."""
    outcome: Outcome | None = None
    for destination in destinations:
        known = destination.signatures.get(item.path) if destination.signatures is not None else None
        if known is None or not isinstance(item.origin, str | Member) or item.problem:
            return None
        size, mtime_ns, content = known
        if outcome is None:
            info = file_state(item)
            if info is None:
                return None
            outcome = Outcome(content, *info)
        if (outcome.size, outcome.mtime_ns, outcome.content) != (size, mtime_ns, content):
            return None
        if content not in destination.cache or (destination.hashed and destination.cache.lacks_hash(content)):
            return None
    return outcome


_Image = tuple[Outcome, bytes | Image.Image, set[Preprocessing]]
_FAILURES = (OSError, ValueError, ArithmeticError, MemoryError)


@contextmanager
def _noting_failure(outcome: Outcome) -> Iterator[None]:
    """An image that cannot be read or decoded stops nothing."""
    try:
        yield
    except ImageError as error:  # a ValueError, too
        outcome.fail(str(error), unavailable=isinstance(error, UnavailableError))
    except _FAILURES as error:
        # Before the content is known, it was not the image that failed.
        outcome.fail(f"unreadable: {type(error).__name__}: {error}", unavailable=not outcome.content)


def _read(item: Item, outcome: Outcome) -> bytes | Image.Image:
    """The file or the picture of an item; notes its hash, size and time."""
    image, info = read_origin(item.origin)
    if isinstance(image, bytes):
        info = info or item.info
        outcome.size, outcome.mtime_ns = (len(image), 0) if info is None else info
    outcome.content = hash_of(image)
    return image


def hash_of(image: bytes | Image.Image) -> bytes:
    """Content hash of a file, or of a picture."""
    return content_hash(image) if isinstance(image, bytes) else pixel_hash(np.asarray(image))
