"""Search for pictures that look the same, by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .images import HASH_SIDE, PERCEPTUAL_BYTES, mirror_mask

NEAR_DISTANCE = 44
"""Bits, of 255, in which the hashes of two near duplicates differ at most."""

_HALF = PERCEPTUAL_BYTES // 2
_WORDS = _HALF // 8
_LOW_SIDE = 8  # the lowest coefficients, one 64-bit word, change least when a picture is edited
_LOW_BITS = _LOW_SIDE**2
_LOW_DISTANCE = 16  # a candidate whose words differ in more bits is not compared in full
_TABLES = 48  # more find more: with 48, a copy with 10 of 63 low bits changed is found in a million with 0.92
_BUCKET_BITS = 3  # a bucket of a table holds about 2**3 pictures
_WINDOW = 256  # neighbors of a picture in its bucket that are compared, so that a crowded bucket costs no n^2


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
    """Find the pairs of pictures whose hashes are close, without comparing each with each.

    The lowest bits of all hashes are sorted in 48 random orders; pictures that share the first bits of an order are
    compared. Of n pictures about ``400 * n`` pairs are compared instead of ``n * n / 2``.

    Parameters
    ----------
    hashes : array-like of uint8, shape (n, PERCEPTUAL_BYTES)
        Rows of zeros have no hash, and no partner.
    distance : int
        Bits in which two of them may differ; see :func:`hash_distance`.

    Returns
    -------
    first, second : ndarray of int, shape (p,)
        Row numbers, ``first < second``, the closest pairs first. Of rows with equal hashes, each is paired with the
        first of them only.
    bits : ndarray of int, shape (p,)
        Their distances.

    References
    ----------
    P. Indyk and R. Motwani, "Approximate nearest neighbors: towards removing the curse of dimensionality", 1998
    (bit sampling).

    Examples
    --------
    >>> hashes = np.random.default_rng(0).integers(0, 256, (100, 64), dtype=np.uint8)
    >>> hashes[70] = hashes[20] ^ np.eye(64, dtype=np.uint8)[5]
    >>> [each.tolist() for each in near_pairs(hashes)]
    [[20], [70], [1]]
    """
    table = np.ascontiguousarray(hashes, dtype=np.uint8).reshape(-1, PERCEPTUAL_BYTES)
    known = np.flatnonzero(table.any(axis=1))
    _, index, inverse = np.unique(
        table[known].view(f"V{PERCEPTUAL_BYTES}").ravel(), return_index=True, return_inverse=True
    )
    different, first_of = known[index], known[index][inverse]
    again = known[first_of != known]
    same = first_of[first_of != known]

    compared = table[different]
    codes = np.empty(0, dtype=np.int64)
    for candidates in _candidates(compared):
        codes = np.union1d(codes, candidates[_distances(compared, *np.divmod(candidates, len(compared))) <= distance])
    one, other = np.divmod(codes, max(1, len(compared)))
    bits = np.concatenate([np.zeros(len(again), dtype=np.intp), _distances(compared, one, other)])
    ends = np.sort([np.concatenate([same, different[one]]), np.concatenate([again, different[other]])], axis=0)
    order = np.lexsort((ends[1], ends[0], bits))
    return ends[0][order], ends[1][order], bits[order]


def _candidates(hashes: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Yield pairs worth comparing, as ``smaller * n + larger``; a pair may come several times."""
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
        found = []
        at = np.arange(len(keys))
        for shift in range(1, _WINDOW + 1):
            at = at[at + shift < len(keys)]
            at = at[buckets[at] == buckets[at + shift]]
            if not len(at):
                break
            differing = words[at] ^ words[at + shift]
            bits = np.minimum(np.bitwise_count(differing), np.bitwise_count(differing ^ flip))
            close = at[bits <= _LOW_DISTANCE]
            a, b = rows[close], rows[close + shift]
            useful = (np.minimum(a, b) < n) & (a % n != b % n)  # two cut pictures are not compared
            a, b = a[useful] % n, b[useful] % n
            found.append(np.minimum(a, b) * n + np.maximum(a, b))
        yield np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))


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
    for left, right in ((0, 0), (0, 1), (1, 0)):
        differing = halves[one, left] ^ halves[other, right]
        for mirrored in (differing, differing ^ flip):
            np.minimum(best, np.bitwise_count(mirrored).sum(axis=1, dtype=np.intp), out=best)
    return best
