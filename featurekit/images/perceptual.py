"""Perceptual hashes: 512 bits that say how a picture looks, whichever file, size or backbone it comes with.

The picture is reduced to 64 x 64 gray pixels, and the signs of its 256 lowest cosine coefficients are kept: of the
whole picture, and of the same picture without 3% on each side, because cutting an edge off changes the first much and
the second little. Mirroring changes the sign of every second column of coefficients and nothing else, so a hash can be
compared with the mirror image of another one.

References
----------
C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (hashes of DCT coefficients).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 16
"""Cosine coefficients in a row and in a column of each of the two hashes."""

PERCEPTUAL_BYTES = 2 * HASH_SIDE**2 // 8
"""Length of a perceptual hash: 32 bytes of the whole picture and 32 bytes of the picture without its edges."""

NO_HASH = b"\xff" * PERCEPTUAL_BYTES
"""Stands for the hash of a picture that has none: the first bit of a hash is always 0."""

_GRAY_SIDE = 64
_CUT = 0.03  # on each side; with both hashes, crops of up to a tenth stay close (tests/benchmarks/duplicates.py)
_ENOUGH_PIXELS = 256  # of the shorter side; of larger pictures, pixels are left out before the reduction
_SMALLEST_SIDE = 16  # pictures with fewer pixels than coefficients have no hash
_FLAT = 1.0  # gray levels; the signs of a blank picture's coefficients are noise


def perceptual_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Compute the perceptual hash of a picture.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        RGB, upright.

    Returns
    -------
    bytes
        `PERCEPTUAL_BYTES` long. `NO_HASH` for a picture that is blank, or has fewer than 16 pixels on a side: such
        pictures cannot be told apart by how they look.

    Examples
    --------
    >>> from featurekit.duplicates import hash_distance
    >>> picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    >>> hash_distance(perceptual_hash(picture), perceptual_hash(picture[:, ::-1]))
    0
    >>> perceptual_hash(np.zeros((60, 80, 3), np.uint8)) == NO_HASH
    True
    """
    height, width, _ = pixels.shape
    if min(height, width) < _SMALLEST_SIDE:
        return NO_HASH
    step = max(1, min(height, width) // _ENOUGH_PIXELS)
    thinned = np.ascontiguousarray(pixels[step // 2 :: step, step // 2 :: step])
    gray = Image.fromarray(thinned).convert("L").resize((_GRAY_SIDE, _GRAY_SIDE), Image.Resampling.BOX)
    values = np.asarray(gray, dtype=np.float32)
    if values.std() < _FLAT:
        return NO_HASH
    bits = [(basis @ values @ basis.T > 0).ravel() for basis in _BASES]
    for each in bits:
        each[0] = False  # The mean brightness, always positive, is no information.
    return np.packbits(np.concatenate(bits)).tobytes()


def _cosine_basis(cut: float) -> NDArray[np.float32]:
    """Cosines over a window that leaves out the share `cut` at both ends, shape (coefficients, pixels)."""
    edges = np.arange(_GRAY_SIDE + 1) / _GRAY_SIDE
    low, high = np.maximum(edges[:-1], cut), np.minimum(edges[1:], 1 - cut)
    weights = np.clip(high - low, 0, None)
    centers = (np.clip((low + high) / 2, cut, 1 - cut) - cut) / (1 - 2 * cut)
    basis = np.cos(np.pi * np.outer(np.arange(HASH_SIDE), centers)) * weights
    basis[1:] -= basis[1:].sum(axis=1, keepdims=True) * weights / weights.sum()
    result: NDArray[np.float32] = basis.astype(np.float32)
    return result


_BASES = (_cosine_basis(0.0), _cosine_basis(_CUT))


def mirror_mask() -> NDArray[np.uint8]:
    """Bits of a perceptual hash that mirroring flips, shape (PERCEPTUAL_BYTES,).

    Examples
    --------
    >>> int(np.bitwise_count(mirror_mask()).sum())
    256
    """
    flips = np.zeros((2, HASH_SIDE, HASH_SIDE), dtype=np.bool_)
    flips[:, :, 1::2] = True
    return np.packbits(flips)


def has_hash(hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which rows hold a hash: neither zeros, which stand for one that is not known, nor `NO_HASH`.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, PERCEPTUAL_BYTES)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known: NDArray[np.bool_] = hashes.any(axis=1) & (hashes != 255).any(axis=1)
    return known
