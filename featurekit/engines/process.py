"""One of several processes that extract together: ``python -m featurekit.engines.process NUMBER OF``.

Started by :mod:`featurekit.engines.processes`. It ends when its standard input does.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO

from .worker import Worker


def main(number: int, of: int) -> None:
    """Do chunk after chunk."""
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print answers
    job, known = pickle.load(given)  # noqa: S301 (by the process that started this)
    if job.device == "cpu" and hasattr(os, "sched_setaffinity"):
        # Libraries start as many threads as there are processors that they may use.
        mine = sorted(os.sched_getaffinity(0))[number::of]
        if mine:
            os.sched_setaffinity(0, mine)
    worker: Worker | None = None
    while True:
        try:
            chunk, items = pickle.load(given)  # noqa: S301
        except EOFError:
            return
        try:
            worker = worker or Worker(job, known, f"{job.device} ({os.getpid()})")
            _answer(answers, worker.do(chunk, items))
        except Exception as error:
            _answer(answers, _sendable(error))


def _sendable(error: Exception) -> Exception:
    """The error, or, of a kind that cannot be sent, what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _answer(answers: IO[bytes], answer: object) -> None:
    answers.write(pickle.dumps(answer))
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
