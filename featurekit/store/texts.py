"""Text of a store in memory: arrays of UTF-8, of fixed width while that is frugal, and of Python's bytes otherwise.

One long text among many short ones would cost its width for each of them. Both kinds of array are compared, sorted,
indexed and made unique by NumPy in the same way; what is done here works with both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Text = NDArray[Any]

MAX_TEXT = 64 * 1024
"""Bytes of one path, label, group or reason in a store, at most; what is written and what is read."""

UNEVEN = "the ends of texts do not rise to the end of their bytes"

_FREE = 16 * 2**20  # bytes that fixed width may always take
_OBJECT = 48  # bytes of an object of Python and of the pointer to it, beside its text
_BLOCK = 65536


def is_frugal(n: int, width: int, total: int) -> bool:
    """Whether n texts of `total` bytes may be kept at one width."""
    return n * width <= max(_FREE, 2 * (total + _OBJECT * n))


def texts_of(values: Sequence[bytes]) -> Text:
    """An array of texts that are encoded already."""
    width = max(map(len, values), default=1) or 1
    if is_frugal(len(values), width, sum(map(len, values))):
        return np.array(values, dtype=f"S{width}")
    return _objects(values)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    for start in range(0, len(values), _BLOCK):
        out[start : start + _BLOCK] = values[start : start + _BLOCK]
    return out


def encode(values: Iterable[str]) -> Text:
    """Text as an array of UTF-8."""
    # surrogateescape: file names that are not UTF-8 come back as they were. Fixed width has no final null characters.
    return texts_of([value.encode("utf-8", "surrogateescape").rstrip(b"\0") for value in values])


@overload
def decode(value: bytes) -> str: ...
@overload
def decode(value: Text) -> list[str]: ...
def decode(value: bytes | Text) -> str | list[str]:
    """What :func:`encode` encoded: of one value, or of all of an array."""
    if isinstance(value, np.ndarray):
        return [one.decode("utf-8", "surrogateescape") for one in value.tolist()]
    return value.decode("utf-8", "surrogateescape")


def as_strings(values: Text) -> NDArray[np.str_]:
    """What :func:`encode` encoded, as an array of str; of Python's objects where fixed width would not be frugal.

    Each text that comes often is decoded once.
    """
    names, inverse = np.unique(values, return_inverse=True)
    strings = decode(names)
    total = int(lengths_of(names)[inverse].sum())
    frugal = is_frugal(len(values), 4 * max(map(len, strings), default=1), 4 * total)
    return (np.array(strings, dtype=np.str_) if frugal else _objects(strings))[inverse]


def counts_of(values: Text) -> dict[str, int]:
    """How often each text is there."""
    names, counts = np.unique(values, return_counts=True)
    return {decode(name): int(count) for name, count in zip(names, counts, strict=True)}


def concatenated(parts: Sequence[Text]) -> Text:
    """The texts of some arrays, one after another."""
    n, width = sum(map(len, parts)), max((part.dtype.itemsize for part in parts), default=1)
    total = sum(int(lengths_of(part).sum()) for part in parts)
    if all(part.dtype.kind == "S" for part in parts) and is_frugal(n, width, total):
        return np.concatenate(parts)
    return texts_of([value for part in parts for value in part.tolist()])


def lengths_of(values: Text) -> NDArray[np.int64]:
    """The bytes of each text."""
    if values.dtype.kind == "S":
        return np.strings.str_len(values).astype(np.int64)
    return np.fromiter(map(len, values.tolist()), dtype=np.int64, count=len(values))


def pieces_of(values: Text) -> Iterator[bytes]:
    """The bytes of all texts, one after another, in pieces."""
    for start in range(0, len(values), _BLOCK):
        yield b"".join(values[start : start + _BLOCK].tolist())


def lengths_between(begin: int, end: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The bytes of texts that end at these places, of which the first begins at `begin`.

    Raises
    ------
    ValueError
        If the ends do not rise, or are beyond the `size` bytes that there are, or a text is too long.
    """
    starts = np.concatenate([np.array([begin], dtype=np.int64), end[:-1]])[: len(end)]
    # They are compared before they are subtracted: a difference of two large numbers may wrap around.
    if len(end) and (begin < 0 or (end < starts).any() or int(end[-1]) > size):
        raise ValueError(UNEVEN)
    lengths: NDArray[np.int64] = end - starts
    if (longest := int(lengths.max(initial=0))) > MAX_TEXT:
        raise ValueError(f"a text of {longest} bytes; at most {MAX_TEXT} are read")
    return lengths


def unpacked(data: NDArray[np.uint8], end: NDArray[np.int64]) -> Text:
    """The texts whose bytes lie one after another in `data`, each up to its end.

    Raises
    ------
    ValueError
        As :func:`lengths_between` does, or if the last end is not that of the data.
    """
    lengths = lengths_between(0, end, len(data))
    if (int(end[-1]) if len(end) else 0) != len(data):
        raise ValueError(UNEVEN)
    n, width = len(end), int(lengths.max(initial=1))
    if not is_frugal(n, width, len(data)):
        out = np.empty(n, dtype=object)
        for here, raw, ends in _blocks(data, end):
            starts = [0, *ends[:-1].tolist()]
            out[here] = _objects([raw[a:b].tobytes() for a, b in zip(starts, ends.tolist(), strict=True)])
        return out
    fixed = np.zeros((n, width), dtype=np.uint8)
    for here, raw, _ in _blocks(data, end):
        fixed[here][np.arange(width) < lengths[here, np.newaxis]] = raw
    return fixed.view(f"S{width}")[:, 0]


def _blocks(
    data: NDArray[np.uint8], end: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.uint8], NDArray[np.int64]]]:
    """Some thousand texts at a time: which, their bytes, and their ends among these."""
    begin = 0
    for start in range(0, len(end), _BLOCK):
        here = slice(start, start + _BLOCK)
        stop = int(end[here][-1])
        yield here, data[begin:stop], end[here] - begin
        begin = stop
