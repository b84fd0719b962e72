"""Several processes that train together, each on a device of its own. Importing this imports torch.

Accelerate sets up their group (NCCL, Gloo, or what else a device has) and adds up tensors over them. It needs two
packages more, Lightning Fabric ten; and a `fit` cannot be started as a script by its launcher, so that the processes
are started here.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import joblib
import torch
from torch import Tensor, nn

from .._optional import require
from ..errors import FeaturekitError, TrainingError
from ..runtime.torch_runtime import pick_device

_WORKER = "featurekit.finetune.worker"


class Team:
    """The processes that train together: one alone, or those of an accelerator.

    Parameters
    ----------
    accelerator : accelerate.Accelerator, optional

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and of all.
    """

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank: int = 0 if accelerator is None else accelerator.process_index
        self.size: int = 1 if accelerator is None else accelerator.num_processes

    def part(self, items: Any) -> Any:
        """What this process has to do of what all have."""
        return items[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in each the same."""
        if self._accelerator is None:
            return tensor
        total: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return total

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over all processes."""
        self._add([parameter.grad for parameter in parameters if parameter.grad is not None], 1)

    def mean_of(self, tensors: Sequence[Tensor]) -> None:
        """Make each the mean over all processes."""
        self._add(tensors, self.size)

    def shared(self, value: Any) -> Any:
        """What process 0 has, in all of them."""
        if self._accelerator is None:
            return value
        box = [value]
        require("accelerate.utils", extra="devices", purpose="training on several devices").broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Until all are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def _add(self, tensors: Sequence[Tensor], divisor: int) -> None:
        """In place, in one message."""
        if self.size == 1 or not tensors:
            return
        total = self.sum(torch.cat([tensor.flatten() for tensor in tensors])) / divisor
        start = 0
        for tensor in tensors:
            tensor.copy_(total[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()


def launched_team(device: torch.device, local_size: int) -> tuple[Team, torch.device]:
    """The group of the processes that a launcher started, and the device that is this one's own.

    Raises
    ------
    MissingExtraError
        If Accelerate is missing.
    """
    accelerate = require("accelerate", extra="devices", purpose="training on several machines")
    threads = max(1, joblib.cpu_count() // local_size)
    if device.type == "cpu":
        torch.set_num_threads(threads)  # launchers would have one
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else Accelerate warns that it does the same
    # Some machines have more to prepare than others.
    patient = accelerate.InitProcessGroupKwargs(timeout=timedelta(hours=2))
    accelerator = accelerate.Accelerator(cpu=device.type == "cpu", kwargs_handlers=[patient])
    return Team(accelerator), accelerator.device


def check_devices(devices: Any, device: str) -> torch.device:
    """The device to train on, the first of several.

    Raises
    ------
    TrainingError
        If there are fewer of them.
    BackboneError
        If there is none of that name.
    MissingExtraError
        If Accelerate is missing.
    """
    if type(devices) is not int or devices < 1:
        raise TrainingError(f"devices must be a whole number from 1, got {devices!r}")
    first = pick_device(device)
    if devices == 1:
        return first
    there = {"cuda": torch.cuda.device_count(), "cpu": joblib.cpu_count()}.get(first.type, 1)
    numbered = ":" in device
    if numbered or devices > there:
        kind = "processors" if first.type == "cpu" else f"devices of the kind {first.type!r}"
        named = f", and {device!r} is one of them" if numbered else ""
        raise TrainingError(f"cannot train on {devices} devices: there are {there} {kind}{named}. Use fewer.")
    require("accelerate", extra="devices", purpose="training on several devices")
    return first


def train_together(
    job: Any,
    devices: int,
    device: torch.device,
    folder: Path,
    say: Callable[[str], object],
    advance: Callable[[int], object],
) -> Any:
    """Start a process for each device, and wait for what the first of them returns.

    None of them outlives this one, however it ends.

    Parameters
    ----------
    job : object
        What each is given, pickled.
    devices : int
    device : torch.device
        Their kind.
    folder : Path
        For files between the processes, whose names match ``.*.tmp``.
    say, advance : callable
        Called with what the first process says, and by how many images it advances.

    Raises
    ------
    FeaturekitError
        That of the process that failed; a :class:`TrainingError` if it was killed.
    """
    (folder / ".job.tmp").write_bytes(pickle.dumps(job))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, joblib.cpu_count() // devices)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "OMP_NUM_THREADS": str(threads),
    }
    if sys.platform != "win32":
        # Gloo would otherwise ask what this machine's name means, which a container or a laptop may not know.
        loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
        if loopback:
            environment.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    workers: list[subprocess.Popen[str]] = []
    try:
        for rank in range(devices):
            with open(folder / f".{rank}.log.tmp", "wb") as log:
                workers.append(
                    subprocess.Popen(  # noqa: S603 (our own module)
                        [sys.executable, "-m", _WORKER, str(folder), device.type, str(threads)],
                        env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                        stderr=log,
                        text=True,
                    )
                )
        assert workers[0].stdout is not None
        listener = threading.Thread(target=_listen, args=(workers[0].stdout, say, advance), daemon=True)
        listener.start()
        while any(worker.poll() is None for worker in workers):
            if any(worker.poll() for worker in workers):
                time.sleep(0.5)  # the others may be about to tell why
                break
            time.sleep(0.05)
        listener.join(timeout=5)
        _raise_error(folder, [worker.poll() for worker in workers])
        return pickle.loads((folder / ".result.tmp").read_bytes())  # noqa: S301 (written by our own process)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()
        for left in folder.glob(".*.tmp"):
            left.unlink()


def _listen(messages: IO[str], say: Callable[[str], object], advance: Callable[[int], object]) -> None:
    for line in messages:
        message = json.loads(line)
        if isinstance(message, int):
            advance(message)
        else:
            say(message)


def _raise_error(folder: Path, codes: list[int | None]) -> None:
    """The error of the process that failed first, if any did."""
    if all(code == 0 for code in codes):
        return
    for path in sorted(folder.glob(".*.error.tmp"), key=lambda path: path.stat().st_mtime_ns):
        error = pickle.loads(path.read_bytes())  # noqa: S301 (written by our own process)
        if isinstance(error, FeaturekitError):
            raise error
    failed = next(rank for rank, code in enumerate(codes) if code)
    lines = (folder / f".{failed}.log.tmp").read_text(errors="replace").strip().splitlines()
    raise TrainingError(
        f"process {failed} of {len(codes)} ended with {codes[failed]}: {lines[-1] if lines else 'it was killed'}. "
        "Not enough memory? Use fewer devices or a smaller batch_size."
    )
