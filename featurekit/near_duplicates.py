"""Search for pictures that look the same, by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .images import HASH_SIDE, PERCEPTUAL_BYTES, has_hash, mirror_mask

NEAR_DISTANCE = 44
"""Bits, of 255, in which the hashes of two near duplicates differ at most."""

_HALF = PERCEPTUAL_BYTES // 2
_WORDS = _HALF // 8
_LOW_SIDE = 8  # the lowest coefficients, one 64-bit word, change least when a picture is edited
_LOW_BITS = _LOW_SIDE**2
_LOW_DISTANCE = 16  # a candidate whose words differ in more bits is not compared in full
_TABLES = 48  # more find more: with 48, a copy with 10 of 63 low bits changed is found in a million with 0.92
_BUCKET_BITS = 3  # a bucket of a table holds about 2**3 pictures
_BLOCK = 2**18  # pairs that are compared at a time
_WINDOW = 64  # neighbors of a picture in its bucket that are compared, so that a crowded bucket costs no n^2


def hash_distance(one: bytes, other: bytes) -> int:
    """Count the bits in which two pictures differ: as they are, mirrored, or one with its edges cut off.

    Parameters
    ----------
    one, other : bytes
        Perceptual hashes, not empty; see :func:`featurekit.images.perceptual_hash`.

    Returns
    -------
    int
        0 to 255. Copies of one picture differ in few bits, different photographs in about 120.
    """
    pair = np.stack([np.frombuffer(value, dtype=np.uint8) for value in (one, other)])
    return int(_distances(pair, np.array([0]), np.array([1]))[0])


def near_pairs(
    hashes: ArrayLike, distance: int = NEAR_DISTANCE
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Connect the pictures whose hashes are close, without comparing each with each.

    The lowest bits of all hashes are sorted in 48 random orders; pictures that share the first bits of an order, and
    are not connected yet, are compared. The time grows with the number of pictures, not with that of their pairs.

    Parameters
    ----------
    hashes : array-like of uint8, shape (n, PERCEPTUAL_BYTES)
        Rows without a hash (see :func:`featurekit.images.has_hash`) have no partner.
    distance : int
        Bits in which two of them may differ; see :func:`hash_distance`.

    Returns
    -------
    first, second : ndarray of int, shape (p,)
        Row numbers, ``first < second``, the closest pairs first. Not all pairs: enough of them to connect each picture
        with all that it can be reached from by close pairs. Rows with equal hashes are paired with the first of them.
    bits : ndarray of int, shape (p,)
        Their distances.

    References
    ----------
    P. Indyk and R. Motwani, "Approximate nearest neighbors: towards removing the curse of dimensionality", 1998
    (bit sampling).

    Examples
    --------
    >>> hashes = np.random.default_rng(0).integers(0, 128, (100, 64), dtype=np.uint8)
    >>> hashes[70] = hashes[20] ^ np.eye(64, dtype=np.uint8)[5]
    >>> [each.tolist() for each in near_pairs(hashes)]
    [[20], [70], [1]]
    """
    table = np.ascontiguousarray(hashes, dtype=np.uint8).reshape(-1, PERCEPTUAL_BYTES)
    known = np.flatnonzero(has_hash(table))
    keys = table[known].view(f"V{PERCEPTUAL_BYTES}").ravel()
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    different, first_of = known[index], known[index][inverse]
    again = known[first_of != known]
    same = first_of[first_of != known]

    compared = table[different]
    links = _Links(len(compared))
    for one, other in _candidates(compared, links):
        bits = _distances(compared, one, other)
        links.add(one[bits <= distance], other[bits <= distance], bits[bits <= distance])
    one, other, bits = links.all()
    bits = np.concatenate([np.zeros(len(again), dtype=np.intp), bits])
    ends = np.sort([np.concatenate([same, different[one]]), np.concatenate([again, different[other]])], axis=0)
    order = np.lexsort((ends[1], ends[0], bits))
    return ends[0][order], ends[1][order], bits[order]


class _Links:
    """Pairs that were found, and which pictures they connect.

    Parameters
    ----------
    n : int
        Pictures.

    Attributes
    ----------
    component : ndarray of int, shape (n,)
        Pictures with the same number are connected.
    """

    def __init__(self, n: int) -> None:
        self.component = np.arange(n)
        self._found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]] = []

    def add(self, one: NDArray[np.intp], other: NDArray[np.intp], bits: NDArray[np.intp]) -> None:
        """Take pairs in."""
        if not len(one):
            return
        self._found.append((one, other, bits))
        names, numbers = np.unique(self.component[np.stack([one, other])], return_inverse=True)
        numbers = numbers.reshape(2, -1)
        graph = coo_matrix((np.ones(len(one), dtype=np.int8), (numbers[0], numbers[1])), shape=(len(names), len(names)))
        _, joined = connected_components(graph, directed=False)
        renamed = np.arange(len(self.component))
        renamed[names] = names[np.unique(joined, return_index=True)[1]][joined]
        self.component = renamed[self.component]

    def all(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Both ends of all pairs, and their distances."""
        nothing = np.empty(0, dtype=np.intp)
        one, other, bits = zip((nothing, nothing, nothing), *self._found, strict=True)
        return np.concatenate(one), np.concatenate(other), np.concatenate(bits)


def _candidates(hashes: NDArray[np.uint8], links: _Links) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield pairs worth comparing that `links` does not connect yet, the smaller number first."""
    n = len(hashes)
    if n < 2:
        return
    low = np.concatenate([_low_bits(hashes[:, :_HALF]), _low_bits(hashes[:, _HALF:])])  # whole pictures, then cut ones
    mirrored = _low_bits(mirror_mask()[None, :_HALF])[0]
    rng = np.random.default_rng(0)
    prefix = max(0, min(_LOW_BITS - 1, n.bit_length() - _BUCKET_BITS))
    for _ in range(_TABLES):
        order = rng.permutation(_LOW_BITS)
        words, flip = _word(low[:, order]), _word(mirrored[None, order])[0]
        keys = np.minimum(words, words ^ flip)
        rows = np.argsort(keys)
        keys, words = keys[rows], words[rows]
        buckets = keys >> np.uint64(_LOW_BITS - prefix) if prefix else np.zeros_like(keys)
        waiting: list[NDArray[np.int64]] = []
        at = np.arange(len(keys))
        for shift in range(1, _WINDOW + 1):
            at = at[at + shift < len(keys)]
            at = at[buckets[at] == buckets[at + shift]]
            if len(at):
                differing = words[at] ^ words[at + shift]
                bits = np.minimum(np.bitwise_count(differing), np.bitwise_count(differing ^ flip))
                close = at[bits <= _LOW_DISTANCE]
                a, b = rows[close], rows[close + shift]
                useful = (a < n) | (b < n)  # two cut pictures are not compared
                a, b = a[useful] % n, b[useful] % n
                apart = links.component[a] != links.component[b]
                a, b = a[apart], b[apart]
                waiting.append(np.minimum(a, b) * n + np.maximum(a, b))
            # Comparing after 1, 2, 4, ... neighbors connects a crowd of like pictures before its pairs become many.
            if not len(at) or shift & (shift - 1) == 0 or shift == _WINDOW:
                codes = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *waiting]))
                if len(codes):
                    yield np.divmod(codes, n)
                waiting = []
            if not len(at):
                break


def _low_bits(halves: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bits of the lowest coefficients, shape (n, 64), one bit a byte."""
    bits = np.unpackbits(halves, axis=1).reshape(-1, HASH_SIDE, HASH_SIDE)
    return np.ascontiguousarray(bits[:, :_LOW_SIDE, :_LOW_SIDE]).reshape(-1, _LOW_BITS)


def _word(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits as one number, the first bit the highest."""
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8")[:, 0].astype(np.uint64)


def _distances(hashes: NDArray[np.uint8], one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """The distance of each pair."""
    halves = np.ascontiguousarray(hashes).view(np.uint64).reshape(len(hashes), 2, _WORDS)
    flip = mirror_mask().view(np.uint64).reshape(2, _WORDS)[0]
    best = np.full(len(one), HASH_SIDE**2, dtype=np.intp)
    for start in range(0, len(one), _BLOCK):
        here = slice(start, start + _BLOCK)
        for left, right in ((0, 0), (0, 1), (1, 0)):
            differing = halves[one[here], left] ^ halves[other[here], right]
            for mirrored in (differing, differing ^ flip):
                np.minimum(best[here], np.bitwise_count(mirrored).sum(axis=1, dtype=np.intp), out=best[here])
    return best
