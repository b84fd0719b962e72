"""Start and end of the process: what the installed ``featurekit`` script calls.

Little is imported at the top, so that Ctrl-C is handled before the rest loads.
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code after Ctrl-C, SIGTERM or SIGHUP."""

MESSAGE = "featurekit: interrupted. What was complete is kept: run the same command again."

# Both times run from the first signal. A process whose main thread has not learned of it by the end of the shorter one,
# since it is in C code or imports a module, is ended. A main thread that knows of it may save what was computed until
# the end of the longer one. Stores and checkpoints are replaced in one step, so that what is not saved by then is
# computed again, and nothing else is lost.
_STUCK_SECONDS = 1.0
_SAVING_SECONDS = 1.75
_POLL_SECONDS = 0.05
# A launcher may pass on the Ctrl-C that the terminal has sent already: that is not a second one.
_SAME_PRESS_SECONDS = 0.2


def run() -> NoReturn:
    """Run the command and end the process."""
    supervise(_main)


def _main() -> int:
    from .main import main

    return main()


def supervise(command: Callable[[], int]) -> NoReturn:
    """End the process with the exit code of `command`, or soon after a signal.

    Parameters
    ----------
    command : callable
        It raises KeyboardInterrupt, or returns `INTERRUPTED`, if a signal stopped it.
    """
    interrupts = Interrupts()
    code = None
    try:
        interrupts.install()
        _open_closed_streams()
        # Read when PyTorch loads. Its threads wait for each other by spinning, otherwise: beside other work on the
        # same cores, training took a third longer for it.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        code = _flushed(command)
        interrupts.over(code)
    except KeyboardInterrupt:
        if code is None:  # otherwise the command was done before
            code = INTERRUPTED
            _say(MESSAGE)
        interrupts.over(code)
    if code == INTERRUPTED:
        # Threads may still be in C code, where they cannot be joined. Rows are saved and locks are released by now.
        _flush()
        os._exit(code)
    # The collector need not look at torch's objects once more: that takes 1.5 seconds of the 1.8 that ending takes.
    gc.freeze()
    sys.exit(code)


def _flushed(command: Callable[[], int]) -> int:
    """The exit code of `command`, once everything that it printed is written."""
    code = command()
    _flush()
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into one KeyboardInterrupt, and sees to it that the process ends soon.

    A handler in Python runs only between two steps of the main thread. A second thread therefore learns of signals
    through a socket, and ends the process where the main thread does not get that far, or when Ctrl-C is pressed
    again.
    """

    def __init__(self) -> None:
        self._raised = False
        self._over: int | None = None
        self._numbers: set[int] = set()
        self._echoes = 0
        self._woken, self._wakes = socket.socketpair()

    def install(self) -> None:
        """Handle the signals, but for those that the caller ignores, as ``nohup`` does SIGHUP."""
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._numbers.add(number)
                signal.signal(number, self._handle)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        threading.Thread(target=self._watch, name="featurekit-signals", daemon=True).start()

    def _forget(self) -> None:
        """In a forked process, which shares the socket, leave signals to the operating system."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)

    def over(self, code: int) -> None:
        """Note that the command is done: from now on a signal ends the process with this exit code."""
        self._over = code

    def _handle(self, _: int, frame: FrameType | None) -> None:
        if self._over is not None:
            os._exit(self._over)
        # Modules in C turn an exception while they are imported into an ImportError, which others catch. The watching
        # thread sends the signal again.
        if self._raised or _imports(frame):
            return
        self._raised = True
        raise KeyboardInterrupt

    def _watch(self) -> None:
        first: signal.Signals | None = None
        began = 0.0
        while True:
            with suppress(TimeoutError):
                for number in self._woken.recv(100):
                    if number not in self._numbers:
                        continue  # a signal that something else handles
                    if first is None:
                        first, began = signal.Signals(number), time.monotonic()
                        self._woken.settimeout(_POLL_SECONDS)
                    elif number == first and self._echoes:
                        self._echoes -= 1
                    elif number == signal.SIGINT and time.monotonic() - began > _SAME_PRESS_SECONDS:
                        self._leave()
            if first is None:
                continue
            passed = time.monotonic() - began
            if passed > (_SAVING_SECONDS if self._raised else _STUCK_SECONDS):
                self._leave()
            if not self._raised:
                self._echoes += 1
                _thread.interrupt_main(first)

    def _leave(self) -> NoReturn:
        """End the process from whatever thread, without waiting for any."""
        if self._over is not None:
            os._exit(self._over)
        _say(MESSAGE)
        os._exit(INTERRUPTED)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _say(text: str) -> None:
    """Write to standard error, past Python's streams, whose locks another thread may hold."""
    with suppress(OSError):  # a terminal that was closed
        os.write(2, f"{text}\n".encode())


def _open_closed_streams() -> None:
    """Where the caller closed standard streams, as some daemons do, nothing else may get their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
