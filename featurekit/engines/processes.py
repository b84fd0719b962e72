"""Fill caches by processes of this machine, each with a device of its own: one process cannot feed many GPUs."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import joblib

from .._version import __version__
from ..errors import BackboneError, StoreError
from ..images import Item
from ..pipeline import Destination, Outcome, check_counts
from ..store import HashIndex
from .driving import Run, drive
from .worker import Done, Job, Output

_MODULE = "featurekit.engines.process"
_TRIES = 3
"""Processes that may die of one chunk."""


def fill_with_processes(
    items: Sequence[Item],
    destinations: Sequence[Destination],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    advance: Callable[..., object] = lambda: None,
) -> list[Outcome]:
    """As :func:`featurekit.pipeline.fill`, by one process for each device.

    Parameters
    ----------
    items, destinations, batch_size, runtime, advance
        As there. The caches are `ShardCache`.
    workers : int, optional
        Decoding threads of each process. Default: its share of the processors.
    device : str
        Devices with commas between them (``"cuda:0,cuda:1"``; ``"cpu,cpu"`` are two processes, each on half of the
        processors). ``"auto"`` or ``"cuda"``: all GPUs.

    Raises
    ------
    StoreError
        If processes die of the same images again and again.
    """
    check_counts(batch_size, workers)

    def begin() -> tuple[int, Run]:
        devices = _devices(device)
        share = workers or max(1, joblib.cpu_count() // len(devices))

        def run(outputs: list[Output], known: list[HashIndex], chunks: list[list[Item]]) -> Iterator[Done]:
            jobs = [Job(__version__, outputs, batch_size, share, each, runtime) for each in devices]
            return _Crew(jobs, known, chunks).work()

        return len(devices), run

    return drive(items, destinations, advance, begin)


def _devices(device: str) -> list[str]:
    if device not in {"auto", "cuda"}:
        names = [name.strip() for name in device.split(",")]
        if not all(names):
            raise BackboneError(f"device {device!r}: one of the names between the commas is empty. Use 'cpu,cpu'.")
        return names
    import torch

    gpus = torch.cuda.device_count()
    if device == "cuda" and not gpus:
        return [device]  # the process says what is wrong
    return [f"cuda:{i}" for i in range(gpus)] or ["cpu"]


class _Process:
    """One worker process."""

    def __init__(self, number: int, of: int, job: Job, known: list[HashIndex]) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", _MODULE, str(number), str(of)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except OSError:
            self._log.close()
            raise
        self._setup: Any = job, known

    def ask(self, chunk: tuple[int, list[Item]]) -> Any:
        """What it makes of a chunk. Raises OSError, EOFError or UnpicklingError if it dies."""
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None
        assert answers is not None
        if self._setup is not None:
            pickle.dump(self._setup, given)
            self._setup = None
        pickle.dump(chunk, given)
        given.flush()
        return pickle.load(answers)  # noqa: S301 (by our own process)

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def end(self) -> str:
        """End it, and what it said last."""
        self._process.kill()
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # of what was not written yet
                    stream.close()
        with self._log:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{code}: {said[-1] if said else 'it was killed. Not enough memory?'}"


class _Crew:
    """A thread for each process, that gives it chunks and takes what it returns."""

    def __init__(self, jobs: Sequence[Job], known: list[HashIndex], chunks: list[list[Item]]) -> None:
        self._jobs, self._known = jobs, known
        self._chunks: queue.SimpleQueue[tuple[int, list[Item]]] = queue.SimpleQueue()
        for chunk in enumerate(chunks):
            self._chunks.put(chunk)
        self._left = len(chunks)
        self._deaths: dict[int, int] = {}
        self._answers: queue.SimpleQueue[Done | Exception] = queue.SimpleQueue()
        self._running: dict[int, _Process] = {}
        self._over = threading.Event()

    def work(self) -> Iterator[Done]:
        """Yield what becomes of each chunk, as it is done."""
        threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(len(self._jobs))]
        try:
            for thread in threads:
                thread.start()
            while self._left:
                answer = self._answers.get()
                if isinstance(answer, Exception):
                    raise answer
                self._left -= 1
                yield answer
        finally:
            self._over.set()
            for process in list(self._running.values()):
                process.kill()
            for thread in threads:
                thread.join()

    def _serve(self, number: int) -> None:
        while not self._over.is_set():
            try:
                chunk = self._chunks.get(timeout=0.1)  # one that another process died of may come back
            except queue.Empty:
                continue
            try:
                if number not in self._running:
                    self._running[number] = _Process(number, len(self._jobs), self._jobs[number], self._known)
                self._answers.put(self._running[number].ask(chunk))
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                process = self._running.pop(number, None)
                self._died(chunk, f"none started: {error}" if process is None else process.end())
            except Exception as error:  # what cannot be sent: nobody else would say so
                self._answers.put(error)
        if number in self._running:
            self._running.pop(number).end()

    def _died(self, chunk: tuple[int, list[Item]], said: str) -> None:
        self._deaths[chunk[0]] = deaths = self._deaths.get(chunk[0], 0) + 1
        if deaths < _TRIES:
            self._chunks.put(chunk)
            return
        self._answers.put(
            StoreError(
                f"{deaths} processes died of the images from {chunk[1][0].path} on, the last with {said}. What was "
                "complete is kept: run the same command again, with fewer devices or a smaller batch size."
            )
        )
