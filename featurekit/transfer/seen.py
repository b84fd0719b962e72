"""Which images a model has learned from, in a few kilobytes: enough to notice that it is scored on them again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = 256
_CONTENT = re.compile("[0-9a-f]{16}")


def sketch_of(contents: NDArray[np.uint8] | Sequence[bytes], known: Sequence[str] = ()) -> list[str]:
    """The smallest hashes of a set of images: a random sample of it that any two sets draw alike.

    Parameters
    ----------
    contents : ndarray of uint8, shape (n, 32), or sequence of bytes
        Their content hashes.
    known : sequence of str
        The sketch of another set, which is joined.

    References
    ----------
    E. Cohen and H. Kaplan, "Summarizing data using bottom-k sketches", 2007.

    Examples
    --------
    >>> sketch_of([bytes(32), bytes(32), bytes([255] * 32)])
    ['0000000000000000', 'ffffffffffffffff']
    """
    smallest = np.unique(_beginnings(contents))[:_KEPT]
    return sorted({f"{number:016x}" for number in smallest.tolist()} | set(known))[:_KEPT]


def share_seen(sketch: Sequence[str], contents: NDArray[np.uint8] | Sequence[bytes]) -> float:
    """About which share of some images is in the set of a sketch; exact for a set of up to 256.

    It is told by those images whose hashes are small enough to be in the sketch: of a few images out of many thousands
    there may be none, and then the answer is 0.

    Examples
    --------
    >>> share_seen(sketch_of([bytes(32)]), [bytes(32), bytes([255] * 32)])
    0.5
    """
    known = np.array([int(name, 16) for name in sketch], dtype=np.uint64)
    told = _beginnings(contents)
    if len(known) == _KEPT:
        told = told[told <= known[-1]]
    return float(np.isin(told, known).mean()) if len(told) else 0.0


def _beginnings(contents: NDArray[np.uint8] | Sequence[bytes]) -> NDArray[np.uint64]:
    """The first 8 bytes of each hash as a number: a store may have very many."""
    if not len(contents):
        return np.empty(0, dtype=np.uint64)
    table = contents if isinstance(contents, np.ndarray) else np.frombuffer(b"".join(contents), dtype=np.uint8)
    first = np.ascontiguousarray(table.reshape(len(contents), -1)[:, :8])
    return first.view(">u8")[:, 0].astype(np.uint64)


def checked_sketch(given: Any) -> list[str]:
    """What a file says that a sketch is; raises ValueError if it is none."""
    if not isinstance(given, list) or len(given) > _KEPT or given != sorted(set(map(str, given))):
        raise ValueError("what tells its training images is no sorted list of hashes")
    if not all(_CONTENT.fullmatch(name) for name in given):
        raise ValueError("what tells its training images holds other things than hashes")
    return given
