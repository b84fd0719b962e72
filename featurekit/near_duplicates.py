"""Search for pictures that look the same, by their perceptual hashes.

Up to 256 pictures are compared each with each. More are sorted in 64 orders, each by other bits of their hashes, and in
every order each is compared with the 31 that follow it. Two hashes that differ in few bits lie side by side in the
orders that begin with bits in which they do not. Half of the orders draw from all bits, so that this holds for any two
pictures; the others begin with the lowest coefficients, which an edit changes least.

Equal hashes are always found, and nothing is reported that is farther apart than asked for. Another close pair can be
missed: the more likely, the farther apart it is and the more pictures there are. The share of planted copies that was
found, by the number of bits that were changed in each half (of 255; 36 is the most that is asked for), measured by
``tests/benchmarks/duplicate_search.py`` on 100 copies in each cell, 500 or 5,000 among more pictures:

========================================  =======  =======  =======  =======
pictures                                  10 bits  20 bits  30 bits  36 bits
========================================  =======  =======  =======  =======
20,000 random hashes                      1.000    1.000    1.000    1.000
100,000 random hashes                     1.000    1.000    1.000    1.000
20,000, lowest coefficients nearly equal  1.000    1.000    1.000    1.000
100,000, the same                         1.000    1.000    0.992    0.960
100,000 frames of one camera              1.000    1.000    0.998    0.792
========================================  =======  =======  =======  =======

Among 1,000,000 random hashes it was 1.000 at 20 bits, 0.997 at 30 and 0.938 at 40.

The cost is 64 sorts, and 64 * 31 comparisons for each of the two halves of a hash, however alike the pictures are. On
one core, 100,000 take 8 to 12 s and 0.15 GB, a million 130 s and 0.7 GB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .images import HASH_SIDE, PERCEPTUAL_BYTES, has_hash, mirror_mask
from .labels import connected_ids

NEAR_DISTANCE = 36
"""Bits, of 255, in which the hashes of two near duplicates differ at most.

With 44, slices of different brains (magnetic resonance images) were chained to one another.
"""

_FEW = 256  # Up to so many pictures, each is compared with each.
_ORDERS = 64
_STEPS = [range(2**k, 2 ** (k + 1)) for k in range(5)]  # How far on the halves lie that are compared: 1 to 31.
_KEY_BITS = 64  # An order sorts by so many bits.
_LOW_SIDE = 8  # The lowest coefficients are a square of so many rows and columns,
_LOW_BITS = 32  # and half of the orders begin with so many of them.
_WORDS = PERCEPTUAL_BYTES // 2 // 8  # 64-bit words of a half: of the whole picture, or of its middle
_BLOCK = 2**15  # pairs that are compared at a time, few enough for the processor's cache


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
    """Connect the pictures whose hashes are close.

    Equal hashes are all found, close ones with a high probability; the head of this module tells it, and the cost.

    Parameters
    ----------
    hashes : array-like of uint8, shape (n, PERCEPTUAL_BYTES)
        Rows without a hash (see :func:`featurekit.images.has_hash`) have no partner.
    distance : int
        Bits in which two of them may differ; see :func:`hash_distance`.

    Returns
    -------
    first, second : ndarray of int, shape (p,)
        Row numbers, ``first < second``, the closest pairs first. With more than 256 different hashes, these are not all
        pairs, but enough to connect each picture with all that it can be reached from by close pairs. Rows with equal
        hashes are paired with the first of them.
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

    search = _each_with_each if len(different) <= _FEW else _by_orders
    one, other, bits = search(table[different], distance)
    bits = np.concatenate([np.zeros(len(again), dtype=np.intp), bits])
    ends = np.sort([np.concatenate([same, different[one]]), np.concatenate([again, different[other]])], axis=0)
    order = np.lexsort((ends[1], ends[0], bits))
    return ends[0][order], ends[1][order], bits[order]


def _each_with_each(
    hashes: NDArray[np.uint8], distance: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Find all pairs of close hashes: both ends, the smaller first, and their distances."""
    one, other = np.triu_indices(len(hashes), 1)
    bits = _distances(hashes, one, other)
    close = bits <= distance
    return one[close], other[close], bits[close]


def _by_orders(hashes: NDArray[np.uint8], distance: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Find enough pairs of close hashes to connect what all such pairs connect."""
    n = len(hashes)
    nothing = np.empty(0, dtype=np.intp)
    found = [(nothing, nothing, nothing)]
    component = np.arange(n)  # Pictures with the same number are connected by what was found.
    halves = _words(hashes)  # The first n are the whole pictures.
    rng = np.random.default_rng(0)
    for number in range(_ORDERS):
        rows, words = _sorted(halves, _draw(rng, low_first=number % 2 == 0))
        # The nearest come first: they connect a crowd of like pictures, whose other pairs are then passed over.
        for steps in _STEPS:
            codes = [nothing]
            for place, step in _close(words, distance, steps):
                a, b = rows[place], rows[place + step]
                useful = (a < n) | (b < n)  # The middles of two pictures are not compared.
                a, b = a[useful] % n, b[useful] % n
                apart = component[a] != component[b]
                a, b = a[apart], b[apart]
                codes.append(np.minimum(a, b) * n + np.maximum(a, b))
            one, other = np.divmod(np.unique(np.concatenate(codes)), n)
            if len(one):
                found.append((one, other, _distances(hashes, one, other)))
                component = connected_ids(n, [(component[one], component[other])])[component]
    one, other, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other, bits


def _words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """All halves as columns of 64-bit words, shape (4, 2 * n): the whole pictures, then their middles."""
    words = np.ascontiguousarray(hashes).view(">u8").reshape(len(hashes), 2, _WORDS)
    return np.ascontiguousarray(words.transpose(2, 1, 0).reshape(_WORDS, -1), dtype=np.uint64)


def _draw(rng: np.random.Generator, *, low_first: bool) -> NDArray[np.intp]:
    """Draw the bits of a half that an order sorts by."""
    bits = rng.permutation(np.arange(1, HASH_SIDE**2))  # The first bit of a hash is always 0.
    low = (bits // HASH_SIDE < _LOW_SIDE) & (bits % HASH_SIDE < _LOW_SIDE)
    if low_first:
        bits = np.concatenate([bits[low][:_LOW_BITS], bits[~low]])
    return bits[:_KEY_BITS]


def _sorted(halves: NDArray[np.uint64], order: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Sort halves by some of their bits: their numbers, and the halves themselves.

    Each is taken as it is or mirrored, whichever has a 0 in the first of these bits that mirroring flips: a picture and
    its mirror image become equal.
    """
    flips = _words(mirror_mask()[None])[:, :1]
    first = next(bit for bit in order if _bit(flips, bit)[0])
    halves = halves ^ flips * _bit(halves, first)
    keys = np.zeros(halves.shape[1], dtype=np.uint64)
    for bit in order:
        keys = keys << np.uint64(1) | _bit(halves, bit)
    rows = np.argsort(keys, kind="stable")
    return rows, np.take(halves, rows, axis=1)


def _bit(words: NDArray[np.uint64], bit: np.intp) -> NDArray[np.uint64]:
    """One bit of each half."""
    bits: NDArray[np.uint64] = words[bit // 64] >> np.uint64(63 - bit % 64) & np.uint64(1)
    return bits


def _close(words: NDArray[np.uint64], distance: int, steps: range) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Compare each half with those that follow it after so many steps: places of the close ones, and the step."""
    for begin in range(0, words.shape[1], _BLOCK):
        for step in steps:
            end = min(begin + _BLOCK, words.shape[1] - step)
            if begin < end:
                differing = words[:, begin:end] ^ words[:, begin + step : end + step]
                bits = np.bitwise_count(differing).sum(axis=0, dtype=np.uint16)
                yield begin + np.flatnonzero(bits <= distance), step


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
