"""Which images a model has learned from, in a few kilobytes: enough to notice that it is scored on them again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

_KEPT = 256
_CONTENT = re.compile("[0-9a-f]{16}")


def sketch_of(contents: Iterable[bytes], known: Sequence[str] = ()) -> list[str]:
    """The smallest hashes of a set of images: a random sample of it that any two sets draw alike.

    Parameters
    ----------
    contents : iterable of bytes
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
    return sorted({bytes(content[:8]).hex() for content in contents} | set(known))[:_KEPT]


def share_seen(sketch: Sequence[str], contents: Iterable[bytes]) -> float:
    """About which share of some images is in the set of a sketch; exact for a set of up to 256.

    It is told by those images whose hashes are small enough to be in the sketch: of a few images out of many thousands
    there may be none, and then the answer is 0.

    Examples
    --------
    >>> share_seen(sketch_of([bytes(32)]), [bytes(32), bytes([255] * 32)])
    0.5
    """
    known = set(sketch)
    names = [bytes(content[:8]).hex() for content in contents]
    told = [name for name in names if len(sketch) < _KEPT or name <= sketch[-1]]
    return sum(name in known for name in told) / len(told) if told else 0.0


def checked_sketch(given: Any) -> list[str]:
    """What a file says that a sketch is; raises ValueError if it is none."""
    if not isinstance(given, list) or len(given) > _KEPT or given != sorted(set(map(str, given))):
        raise ValueError("what tells its training images is no sorted list of hashes")
    if not all(_CONTENT.fullmatch(name) for name in given):
        raise ValueError("what tells its training images holds other things than hashes")
    return given
