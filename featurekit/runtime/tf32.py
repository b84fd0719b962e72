"""Whether CUDA may compute float32 in TF32: a setting of the process, and several threads compute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_Setting = tuple[str | bool, ...]

_changed = threading.Condition()
_users = 0
_allowed_now = False
_before: _Setting = ()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 while this lasts; afterwards everything is as the caller had it.

    Threads that want the same share the setting, and the last to leave restores it; one that wants the other
    waits.

    Parameters
    ----------
    allowed : bool
    """
    global _users, _allowed_now, _before
    with _changed:
        _changed.wait_for(lambda: not _users or _allowed_now == allowed)
        if not _users:
            _before, _allowed_now = _get(), allowed
            _set(("tf32" if allowed else "ieee",) * 3 if _is_new() else (allowed, allowed))
        _users += 1
    try:
        yield
    finally:
        with _changed:
            _users -= 1
            if not _users:
                _set(_before)
                _changed.notify_all()


# torch 2.9 brought new names for it, and raises where old and new ones are mixed. torch's types do not know them all.
_matmul: Any = torch.backends.cuda.matmul
_cudnn: Any = torch.backends.cudnn


def _is_new() -> bool:
    return hasattr(_matmul, "fp32_precision")


def _get() -> _Setting:
    if _is_new():
        return _matmul.fp32_precision, _cudnn.conv.fp32_precision, _cudnn.rnn.fp32_precision
    return _matmul.allow_tf32, _cudnn.allow_tf32


def _set(values: _Setting) -> None:
    if _is_new():
        # Recurrent layers as well: the old names can be read only where they are like convolutions.
        _matmul.fp32_precision, _cudnn.conv.fp32_precision, _cudnn.rnn.fp32_precision = values
    else:
        _matmul.allow_tf32, _cudnn.allow_tf32 = values
