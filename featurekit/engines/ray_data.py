"""Fill caches by Ray Data's actors, on one machine or many.

Nothing of it is home-made: Ray Data gives out the chunks, restarts what is lost and does again what was lost with it.
Rows do not pass through the driver. Each actor writes the immutable shards that a run on this machine writes, so that
whatever fails, what is on the disk is good, and the next run goes on from there.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import re
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from .._optional import require
from .._version import __version__
from ..errors import FeaturekitError, StoreError
from ..images import Item
from ..pipeline import Destination, Outcome, check_counts
from ..store import HashIndex
from .driving import Run, drive
from .worker import Done, Job, Output, Worker

logger = logging.getLogger(__name__)

_SENT = 100_000
"""Of more rows that are there already, the machines share the list instead of getting one each."""

_BLOCKS = 4096
"""Of chunks, at most, that Ray Data keeps account of."""

_ANSWER = 10
"""Seconds in which a cluster must answer."""

_THREADS = 4
"""Processors of an actor: each has a network of its own in memory."""


def fill_with_ray(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    *,
    address: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    advance: Callable[..., object] = lambda: None,
) -> list[Outcome]:
    """As :func:`featurekit.pipeline.fill`, on a cluster.

    Parameters
    ----------
    items, destinations, batch_size, device, runtime, advance
        As there. The caches are `ShardCache`, in folders that every machine sees.
    address : str, optional
        Of the cluster, as ``ray.init`` takes it. Default: the one that this process is connected to already, or that
        ``RAY_ADDRESS`` names, or a new one on this machine.
    workers : int, optional
        Processors of an actor. Default: at most 4.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    StoreError
        If the cluster cannot be reached, is too small, or its machines do not see the output.
    """
    check_counts(batch_size, workers)

    def begin() -> tuple[int, Run]:
        ray = _ray()
        require("ray.data", extra="ray", purpose="extraction on a Ray cluster")
        _connect(ray, address)
        pool = _pool(ray.cluster_resources(), workers, device)

        def run(outputs: list[Output], known: list[HashIndex], chunks: list[list[Item]]) -> Iterator[Done]:
            job = Job(__version__, outputs, batch_size, pool.threads, pool.device, runtime)
            return _stream(ray, job, known, pool, chunks)

        return pool.actors, run

    return drive(items, destinations, advance, begin)


@dataclass(frozen=True, slots=True)
class _Pool:
    """How many actors, and what each has."""

    actors: int
    threads: int
    gpus: int
    device: str


def _pool(resources: dict[str, float], workers: int | None, device: str) -> _Pool:
    """Never all processors: Ray Data's own tasks would wait for ever."""
    processors, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if processors < 2:
        raise StoreError(f"the Ray cluster has {processors} processors; at least 2 are needed, one for Ray Data itself")
    if device not in {"auto", "cpu", "cuda"}:
        raise StoreError(f"on a cluster, device must be auto, cpu or cuda, got {device!r}")
    if gpus and device != "cpu":
        threads = max(1, min(workers or _THREADS, (processors - 1) // gpus))
        return _Pool(gpus, threads, 1, "cuda")
    if device == "cuda":
        raise StoreError("the Ray cluster has no GPU")
    nodes = max(1, int(sum(n for name, n in resources.items() if name.startswith("node:") and "internal" not in name)))
    threads = max(1, min(workers or _THREADS, (processors - 1) // nodes))
    return _Pool(max(1, (processors - 1) // threads), threads, 0, "cpu")


def _connect(ray: Any, address: str | None) -> None:
    if ray.is_initialized():
        return
    try:
        if address and (found := re.fullmatch(r"([^:/]+):(\d+)", address)):
            # Ray itself would try for minutes.
            socket.create_connection((found[1], int(found[2])), timeout=_ANSWER).close()
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except Exception as error:  # OSError, ConnectionError, ValueError, RuntimeError, ...
        where = address or os.environ.get("RAY_ADDRESS") or "on this machine"
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"no Ray cluster could be reached ({where}): {reason}") from error


def _stream(ray: Any, job: Job, known: list[HashIndex], pool: _Pool, chunks: list[list[Item]]) -> Iterator[Done]:
    """Yield what becomes of each chunk, as it is done."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # says that there are no bars
    shared = [ray.put(each) if len(each) > _SENT else each for each in known]
    rows = [{"number": number, "items": pickle.dumps(chunk)} for number, chunk in enumerate(chunks)]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS)).map_batches(
        _Actor,
        fn_constructor_args=(pickle.dumps(job), shared),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.actors),
        num_cpus=pool.threads,
        num_gpus=pool.gpus,
    )
    rates: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    try:
        for row in dataset.iter_rows():
            done: Done = pickle.loads(row["done"])  # noqa: S301 (by our own workers)
            rates[done.node][0] += len(done.outcomes)
            rates[done.node][1] += done.seconds
            yield done
    except Exception as error:
        raise _cause(error) from error
    for node, (images, seconds) in sorted(rates.items()):
        logger.info("%s: %d images, %.1f images/s of one actor's time", node, images, images / max(seconds, 1e-9))


class _Actor:
    """A worker as Ray Data calls it."""

    def __init__(self, job: bytes, known: Sequence[Any]) -> None:
        here = [each if isinstance(each, HashIndex) else _ray().get(each) for each in known]
        node = f"{platform.node()} ({str(_ray().get_runtime_context().get_node_id())[:6]})"
        self._worker = Worker(pickle.loads(job), here, node)  # noqa: S301 (by our own driver)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [
            self._worker.do(int(number), pickle.loads(items))  # noqa: S301
            for number, items in zip(batch["number"], batch["items"], strict=True)
        ]
        return {"done": [pickle.dumps(each) for each in done]}


def _ray() -> Any:
    return require("ray", extra="ray", purpose="extraction on a Ray cluster")


def _cause(error: BaseException) -> Exception:
    """What went wrong in an actor, without what Ray wraps around it."""
    inner: BaseException | None = error
    while inner is not None:
        wrapped = getattr(inner, "cause", None)  # Ray's own error may pass for one of ours
        if isinstance(inner, FeaturekitError) and wrapped is None:
            return copy(inner)  # with remedies and failures, but without the traceback
        inner = wrapped or inner.__cause__
    reason = " ".join(str(error).split())[-300:]
    return StoreError(f"the extraction on Ray failed: {reason}. What was complete is kept: run the same command again.")
