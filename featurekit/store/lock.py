"""A lock that says who holds it and that the operating system releases when its owner dies."""

from __future__ import annotations

import json
import logging
import os
import platform
import stat
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import ANOTHER_OUTPUT, Remedy, StoreError, StoreLockedError

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
# Never through a link, and never waiting for the other end of a pipe that somebody put there.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class WriteLock:
    """Exclusive right to write beside a target; a context manager.

    Parameters
    ----------
    path : Path
        The lock file. It exists only while somebody holds or awaits the lock.
    wait : bool
        Wait for the owner instead of raising.
    of : path or Far, optional
        What it protects, for messages. Default: what the file lies in, or beside.

    Raises
    ------
    StoreLockedError
        On entering, if another process (or another store object of this one) holds it and `wait` is false.
    StoreError
        On entering, if the folder cannot be written to.
    """

    def __init__(self, path: Path, *, wait: bool = False, of: object = None) -> None:
        self._path = path
        self._of = of or (path.parent if path.name == "lock" else path.with_suffix(""))
        self._wait = wait
        self._descriptor = -1

    def __enter__(self) -> Self:
        while True:
            try:
                descriptor = os.open(self._path, _FLAGS, 0o666)
            except OSError as error:
                raise StoreError(
                    f"cannot write in {self._path.parent}, or cannot open the lock file {self._path}: "
                    f"{error.strerror}. Is the folder there, and is it writable?",
                    remedies=[ANOTHER_OUTPUT],
                ) from error
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise StoreError(
                    f"the lock file {self._path} is no file.", remedies=[Remedy("delete it"), ANOTHER_OUTPUT]
                )
            if _try_lock(descriptor):
                # The former owner may have deleted the file between our open and our lock.
                if _is_same_file(descriptor, self._path):
                    break
                os.close(descriptor)
                continue
            owner = _read_owner(descriptor)
            os.close(descriptor)
            if not self._wait:
                raise StoreLockedError(
                    f"{self._of} is being written by {owner}. Nothing was changed.",
                    remedies=[Remedy("wait until it has finished"), ANOTHER_OUTPUT],
                )
            time.sleep(_POLL_SECONDS)
        self._descriptor = descriptor
        now = datetime.now(UTC).isoformat("T", "seconds")
        owner = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": now})
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, owner.encode())
        except OSError as error:
            self._release()
            raise StoreError(
                f"cannot write the lock file {self._path}: {error.strerror}. Nothing was changed.",
                remedies=[Remedy("make room"), ANOTHER_OUTPUT],
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        with suppress(OSError):
            if _is_same_file(self._descriptor, self._path):  # somebody may have deleted ours by hand
                os.unlink(self._path)
        os.close(self._descriptor)


def _read_owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0) if hasattr(os, "pread") else b"{}")
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some network mounts: go on rather than not at all, but say so.
            logger.warning(
                "This file system has no locks (%s): take care that only one process writes to this output.",
                error.strerror,
            )
            return True
        return True
