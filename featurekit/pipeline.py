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
from .runtime import Runtime, load_runtime
from .store import Columns, RowCache, Signatures, Text, encode

# Rows are given to the cache when there are this many, or when this many seconds of work would be lost.
_SAVE_ROWS = 4096
_SAVE_SECONDS = 15.0


@dataclass(slots=True)
class Outcome:
    """What became of one item: the content hash of an image that has a row, or the reason why it has none."""

    content: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    reason: str = ""
    pixels: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class Filled:
    """What :func:`fill` did: an outcome for each item, in order, and how many images it computed."""

    outcomes: list[Outcome]
    computed: int = 0


def fill(
    items: Sequence[Item],
    backbone: Backbone,
    cache: RowCache,
    *,
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    signatures: Signatures | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Filled:
    """Bring the row of every readable item into `cache`.

    Each file is read once, hashed, and decoded only if its row is missing; threads do that while the
    network runs. Rows are added to the cache as they come, and those computed before an error or an
    interruption are added before it goes on its way.

    Parameters
    ----------
    items : sequence of Item
    backbone : Backbone
    cache : RowCache
    batch_size, workers, device
        As in :func:`extract`.
    signatures : Signatures, optional
        Of files that were seen before, by item path: what spares reading an unchanged file.
    advance : callable
        Called once for each item that is done.

    Returns
    -------
    Filled
    """
    check_counts(batch_size, workers)
    filled = Filled([])
    work = _Work(backbone, cache, device)
    failures: dict[bytes, str] = {}
    try:
        for outcome, item in _looked_at(items, cache, backbone.spec.preprocessing, signatures, workers, 2 * batch_size):
            if outcome.pixels is not None:
                work.add(item, outcome)
                if work.waiting >= batch_size:
                    work.run()
            elif outcome.reason and outcome.content:
                failures[outcome.content] = outcome.reason
            filled.outcomes.append(outcome)
            advance()
        work.run()
    except BaseException:
        with suppress(FeaturekitError):
            work.save()
        raise
    work.save()
    for outcome in filled.outcomes:  # the later ones of equal files were not decoded
        outcome.reason = outcome.reason or failures.get(outcome.content, "")
    filled.computed = work.computed
    return filled


@dataclass(slots=True)
class _Work:
    """Images that wait for the network, and rows that wait for the cache."""

    backbone: Backbone
    cache: RowCache
    device: str
    computed: int = 0
    runtime: str = ""
    _network: Runtime | None = None
    _batch: list[tuple[Item, Outcome]] = field(default_factory=list)
    _done: list[tuple[Item, Outcome]] = field(default_factory=list)
    _rows: list[NDArray[np.float32]] = field(default_factory=list)
    _saved: float = 0.0

    @property
    def waiting(self) -> int:
        return len(self._batch)

    def add(self, item: Item, outcome: Outcome) -> None:
        self._batch.append((item, outcome))

    def run(self) -> None:
        """Compute the rows of the waiting images."""
        if self._network is None and self._batch:
            self.cache.begin()
            self._network = load_runtime(self.backbone, self.device)
            self.runtime = self._network.description
            self._saved = time.monotonic()
        # Another process may have computed some of them while begin() waited for it.
        batch = [(item, outcome) for item, outcome in self._batch if outcome.content not in self.cache]
        if batch and self._network is not None:
            self._rows.append(self._network(np.stack([_pixels(outcome) for _, outcome in batch])))
            self._done += batch
            self.computed += len(batch)
        for _, outcome in self._batch:
            outcome.pixels = None
        self._batch = []
        if len(self._done) >= _SAVE_ROWS or time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Give the computed rows to the cache."""
        if not self._done:
            return
        done, rows = self._done, np.concatenate(self._rows)
        self._done, self._rows, self._saved = [], [], time.monotonic()
        paths, nothing = encode(item.path for item, _ in done), encode([""] * len(done))
        columns = columns_of(paths, nothing, nothing, [outcome for _, outcome in done])
        self.cache.add(columns, rows, self.runtime)


def _looked_at(
    items: Sequence[Item],
    cache: RowCache,
    preprocessing: Preprocessing,
    signatures: Signatures | None,
    workers: int | None,
    ahead: int,
) -> Iterator[tuple[Outcome, Item]]:
    """Yield an outcome for each item, in order: with pixels if its row has to be computed."""
    pending: dict[bytes, int] = {}  # content hash -> the item that brings it; its duplicates need no decoding
    window: deque[tuple[Future[Outcome] | Outcome, Item]] = deque()
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="featurekit-decode")
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large images; what matters is raised as an error. Filters
            # are process-wide, so they are set here once and not in the threads.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            for index, item in enumerate(items):
                seen = _unchanged(item, cache, signatures) if signatures is not None else None
                if seen is not None and not window:
                    yield seen, item
                    continue
                task = seen if seen is not None else pool.submit(_look, index, item, cache, preprocessing, pending)
                window.append((task, item))
                if len(window) > ahead:
                    yield _finished(window)
            while window:
                yield _finished(window)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(window: deque[tuple[Future[Outcome] | Outcome, Item]]) -> tuple[Outcome, Item]:
    task, item = window.popleft()
    return (task.result() if isinstance(task, Future) else task), item


def _unchanged(item: Item, cache: RowCache, signatures: Signatures) -> Outcome | None:
    known = signatures.get(item.path)
    if known is None or not isinstance(item.origin, str) or item.problem:
        return None
    try:
        stat = os.stat(item.origin)
    except (OSError, ValueError):
        return None
    size, mtime_ns, content = known
    if stat.st_size == size and stat.st_mtime_ns == mtime_ns and content in cache:
        return Outcome(content, size, mtime_ns)
    return None


def _look(index: int, item: Item, cache: RowCache, preprocessing: Preprocessing, pending: dict[bytes, int]) -> Outcome:
    """Read and hash one item, and decode it if nobody has its row. Runs in a thread."""
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
        # setdefault is atomic: of equal files in several threads, exactly one is decoded.
        if outcome.content in cache or pending.setdefault(outcome.content, index) != index:
            return outcome
        picture = open_image(data) if isinstance(image, str) else image
        assert isinstance(picture, Image.Image)
        outcome.pixels = prepare(picture, preprocessing.resize, preprocessing.crop, preprocessing.interpolation)
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


def _pixels(outcome: Outcome) -> NDArray[np.uint8]:
    assert outcome.pixels is not None
    return outcome.pixels


def check_counts(batch_size: int, workers: int | None) -> None:
    """Raise ValueError unless both are whole numbers from 1 (or `workers` None)."""
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
