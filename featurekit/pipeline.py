"""The pipeline: read, hash, decode what is missing, run the network, hand the rows to a cache."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from .backbones import Backbone
from .errors import FeaturekitError, ImageError
from .fingerprint import HASH_BYTES, Preprocessing, content_hash, pixel_hash
from .images import Item, open_image, prepare, read_bytes, to_rgb
from .runtime import Pending, Runtime, check_precision, keep_freed_memory, load_runtime
from .store import Columns, RowCache, Signatures, Text, encode

# Rows are given to the cache when there are this many, or when this many seconds of work would be lost.
_SAVE_ROWS = 4096
_SAVE_SECONDS = 15.0

# Before the runtime is there to say what suits it; and at most so many images show how faithful a precision is.
_FIRST_BATCH = 32


@dataclass(slots=True)
class Outcome:
    """What became of one item: the content hash of an image that has a row, or the reason why it has none."""

    content: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    reason: str = ""
    pixels: dict[Preprocessing, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(slots=True)
class Destination:
    """A backbone and the cache that its rows go to; and what :func:`fill` did there.

    Attributes
    ----------
    backbone : Backbone
    cache : RowCache
    signatures : Signatures, optional
        Of files that were seen before, by item path: what spares reading an unchanged file.
    computed : int
        How many images the network ran over.
    runtime : str
        What ran it; empty if the network did not run.
    fidelity : str
        How a lower precision compared with float32; empty if the network did not run, or in float32.
    """

    backbone: Backbone
    cache: RowCache
    signatures: Signatures | None = None
    computed: int = 0
    runtime: str = ""
    fidelity: str = ""


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
    forwards = [_Forward(destination, batch_size, device, runtime) for destination in destinations]
    failures: dict[bytes, str] = {}
    try:
        for outcome, item in _looked_at(items, destinations, workers, lambda: 2 * max(f.size for f in forwards)):
            for forward in forwards:
                if forward.preprocessing in outcome.pixels:
                    forward.add(item, outcome)
            if outcome.pixels:
                outcome.pixels = {}  # the batches hold what is still needed
            elif outcome.reason and outcome.content:
                failures[outcome.content] = outcome.reason
            outcomes.append(outcome)
            advance()
        for forward in forwards:
            forward.finish()
    except BaseException:
        for forward in forwards:
            with suppress(FeaturekitError):
                forward.save()
        raise
    for outcome in outcomes:  # the later ones of equal files were not decoded
        outcome.reason = outcome.reason or failures.get(outcome.content, "")
    return outcomes


@dataclass(slots=True)
class _Forward:
    """Images that wait for one network, batches that are being computed, and rows that wait for the cache."""

    destination: Destination
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
    def preprocessing(self) -> Preprocessing:
        return self.destination.backbone.spec.preprocessing

    @property
    def size(self) -> int:
        """Images in a batch."""
        return self.batch_size or (self._network.batch_size if self._network is not None else _FIRST_BATCH)

    def add(self, item: Item, outcome: Outcome) -> None:
        """Take an image; as soon as there are enough, compute their rows."""
        if outcome.content not in self.destination.cache:
            self._waiting.append((item, outcome, outcome.pixels[self.preprocessing]))
        if len(self._waiting) >= self.size:
            self._run()

    def finish(self) -> None:
        """Compute what waits, and give all to the cache."""
        self._run()
        while self._running:
            self._collect()
        self.save()

    def _run(self) -> None:
        if self._network is None and self._waiting:
            self.destination.cache.begin()
            self._network = load_runtime(self.destination.backbone, self.device, self.runtime)
            self._saved = time.monotonic()
            # Another process may have computed some of them while begin() waited for it.
            self._waiting = [each for each in self._waiting if each[1].content not in self.destination.cache]
            if self._waiting:
                self.destination.runtime = self._network.description
                self._check_precision(self._network)
        if not self._waiting or self._network is None:
            return
        batch = np.stack([pixels for _, _, pixels in self._waiting])
        self._running.append(([(item, outcome) for item, outcome, _ in self._waiting], self._network.submit(batch)))
        self._waiting = []
        while len(self._running) > self._network.depth or (self._running and self._running[0][1].done()):
            self._collect()

    def _check_precision(self, network: Runtime) -> None:
        batch = np.stack([pixels for _, _, pixels in self._waiting[:_FIRST_BATCH]])
        fidelity = check_precision(self.destination.backbone, network, batch, self.device)
        self.destination.fidelity = "" if fidelity is None else str(fidelity)

    def _collect(self) -> None:
        """Take the rows of the batch that was submitted first."""
        batch, pending = self._running.popleft()
        self._rows.append(pending.result())
        self._done += batch
        self.destination.computed += len(batch)
        if len(self._done) >= _SAVE_ROWS or time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Give the computed rows to the cache."""
        if not self._done or self._network is None:
            return
        done, rows = self._done, np.concatenate(self._rows)
        self._done, self._rows, self._saved = [], [], time.monotonic()
        paths, nothing = encode(item.path for item, _ in done), encode([""] * len(done))
        columns = columns_of(paths, nothing, nothing, [outcome for _, outcome in done])
        self.destination.cache.add(columns, rows, self._network.description)


def _looked_at(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    workers: int | None,
    ahead: Callable[[], int],
) -> Iterator[tuple[Outcome, Item]]:
    """Yield an outcome for each item, in order: with pixels if a row of it has to be computed."""
    keep_freed_memory()
    pending: dict[bytes, int] = {}  # content hash -> the item that brings it; its duplicates need no decoding
    window: deque[tuple[Future[Outcome] | Outcome, Item]] = deque()
    # As many threads as processors, beside as many of the network: whichever is the slower of the two has the
    # processors while the other waits for it, and no split into fixed shares was faster
    # (tests/benchmarks/pipeline.py --workers).
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="featurekit-decode")
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large images; what matters is raised as an error. Filters
            # are process-wide, so they are set here once and not in the threads.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            for index, item in enumerate(items):
                seen = _unchanged(item, destinations)
                if seen is not None and not window:
                    yield seen, item
                    continue
                task = seen if seen is not None else pool.submit(_look, index, item, destinations, pending)
                window.append((task, item))
                if len(window) > ahead():
                    yield _finished(window)
            while window:
                yield _finished(window)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(window: deque[tuple[Future[Outcome] | Outcome, Item]]) -> tuple[Outcome, Item]:
    task, item = window.popleft()
    return (task.result() if isinstance(task, Future) else task), item


def _unchanged(item: Item, destinations: Sequence[Destination]) -> Outcome | None:
    """The outcome of a file that no destination needs to look at again."""
    outcome: Outcome | None = None
    for destination in destinations:
        known = destination.signatures.get(item.path) if destination.signatures is not None else None
        if known is None or not isinstance(item.origin, str) or item.problem:
            return None
        size, mtime_ns, content = known
        if outcome is None:
            try:
                stat = os.stat(item.origin)
            except (OSError, ValueError):
                return None
            outcome = Outcome(content, stat.st_size, stat.st_mtime_ns)
        if (outcome.size, outcome.mtime_ns, outcome.content) != (size, mtime_ns, content):
            return None
        if content not in destination.cache:
            return None
    return outcome


def _look(index: int, item: Item, destinations: Sequence[Destination], pending: dict[bytes, int]) -> Outcome:
    """Read and hash one item, and decode it if somewhere its row is missing. Runs in a thread."""
    outcome = Outcome(reason=item.problem)
    if item.problem:
        return outcome
    try:
        image, data = item.origin, b""
        if isinstance(image, str):
            data, info = read_bytes(image)
            outcome.size, outcome.mtime_ns = info.st_size, info.st_mtime_ns
            outcome.content = content_hash(data)
        else:
            image = _from_memory(image)
            outcome.content = pixel_hash(np.asarray(image))
        wanted = {d.backbone.spec.preprocessing for d in destinations if outcome.content not in d.cache}
        # setdefault is atomic: of equal files in several threads, exactly one is decoded.
        if not wanted or pending.setdefault(outcome.content, index) != index:
            return outcome
        picture = open_image(data) if isinstance(image, str) else image
        assert isinstance(picture, Image.Image)
        outcome.pixels = {pre: prepare(picture, pre.resize, pre.crop, pre.interpolation) for pre in wanted}
    except ImageError as error:
        outcome.reason = str(error)
    except (OSError, ValueError, MemoryError) as error:
        outcome.reason = f"unreadable: {type(error).__name__}: {error}"
    return outcome


def _from_memory(image: Image.Image | NDArray[np.uint8]) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    if not image.width or not image.height:
        raise ImageError(f"an image of {image.width} x {image.height} pixels")
    return to_rgb(image)


def check_counts(batch_size: int | None, workers: int | None) -> None:
    """Raise ValueError unless both are whole numbers from 1, or None."""
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value is not None and (not hasattr(value, "__index__") or value < 1):
            raise ValueError(f"{name} must be a whole number from 1, got {value!r}")


def columns_of(path: Text, label: Text, group: Text, outcomes: Sequence[Outcome]) -> Columns:
    """Columns of a store: the text of each row, and what its outcome knows."""
    return Columns(
        path,
        label,
        group,
        sha256=np.frombuffer(b"".join([o.content for o in outcomes]), dtype=np.uint8).reshape(-1, HASH_BYTES),
        size=np.array([o.size for o in outcomes], dtype=np.int64),
        mtime_ns=np.array([o.mtime_ns for o in outcomes], dtype=np.int64),
    )


@contextmanager
def progress_bar(total: int, show: bool) -> Iterator[Callable[[], object]]:
    """A progress bar with images/s and time left on standard error; yields the function that advances it."""
    # The size is asked for here: tqdm shows nothing on a terminal that says it has 0 rows and columns.
    columns, rows = shutil.get_terminal_size()
    with tqdm(total=total, unit=" images", disable=not show, ncols=columns, nrows=rows, smoothing=0.1) as bar:
        yield bar.update
