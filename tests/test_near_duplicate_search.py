"""The recall of the search for near duplicates among pictures that are alike."""

from __future__ import annotations

import numpy as np
import pytest

from featurekit.images import PERCEPTUAL_BYTES
from featurekit.labels import connected_ids
from featurekit.near_duplicates import NEAR_DISTANCE, hash_distance, near_pairs

ALIKE = {
    "equal low coefficients": (1.0, 0.0),
    "like low coefficients": (1.0, 0.05),
    "somewhat alike everywhere": (0.0, 0.13),
}


def alike(kind, n):
    """Hashes of which most differ in more bits than near duplicates do, but fewer than different photographs do."""
    rng = np.random.default_rng(4)
    one = np.unpackbits(rng.integers(0, 256, PERCEPTUAL_BYTES, dtype=np.uint8)).reshape(2, 16, 16)
    one[1] = one[0]
    one[:, 0, 0] = 0
    random_share, noise = ALIKE[kind]
    bits = one ^ (rng.random((n, 2, 16, 16)) < noise)
    if random_share:
        low = np.zeros((16, 16), dtype=bool)
        low[:8, :8] = True
        bits = np.where(low, bits, rng.integers(0, 2, bits.shape))
    return np.packbits(bits.astype(np.uint8).reshape(n, -1), axis=1)


def with_bits_changed(hashes, count):
    rng = np.random.default_rng(6)
    bits = np.unpackbits(hashes, axis=1).reshape(len(hashes), 2, 256)
    for picture in bits:
        for half in picture:
            half[rng.choice(np.arange(1, 256), count, replace=False)] ^= 1
    return np.packbits(bits.reshape(len(hashes), -1), axis=1)


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("count", [10, 30])
def test_copies_are_found_among_pictures_that_are_alike(kind, count):
    hashes = alike(kind, 1000)
    table = np.concatenate([hashes, with_bits_changed(hashes[:40], count)])
    ids = connected_ids(len(table), [near_pairs(table)[:2]])
    assert (ids[:40] == ids[1000:]).mean() > 0.95


def test_copies_at_the_greatest_distance_are_found_among_random_hashes():
    rng = np.random.default_rng(8)
    hashes = rng.integers(0, 256, (2000, PERCEPTUAL_BYTES), dtype=np.uint8)
    hashes[:, [0, 32]] &= 127
    table = np.concatenate([hashes, with_bits_changed(hashes[:100], NEAR_DISTANCE)])
    first, second, bits = near_pairs(table)
    assert len(set(zip(first.tolist(), second.tolist(), strict=True)) & {(i, 2000 + i) for i in range(100)}) == 100
    assert bits.max() <= NEAR_DISTANCE


def test_few_pictures_are_compared_each_with_each():
    hashes = alike("somewhat alike everywhere", 30)
    hashes = np.concatenate([hashes, with_bits_changed(hashes[:20], NEAR_DISTANCE)])
    values = [each.tobytes() for each in hashes]
    close = {
        (i, j) for j in range(len(values)) for i in range(j) if hash_distance(values[i], values[j]) <= NEAR_DISTANCE
    }
    first, second, _ = near_pairs(hashes)
    assert len(close) >= 20
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == close


def test_reported_distances_are_those_of_the_pairs():
    hashes = alike("somewhat alike everywhere", 300)
    first, second, bits = near_pairs(hashes)
    assert len(bits) > 0
    assert [hash_distance(hashes[i].tobytes(), hashes[j].tobytes()) for i, j in zip(first, second, strict=True)] == (
        bits.tolist()
    )


def test_hash_and_its_complement_are_far_apart():
    """Their bits differ in 256 places, a number that does not fit in one byte."""
    one = np.random.default_rng(0).integers(0, 256, PERCEPTUAL_BYTES, dtype=np.uint8)
    assert len(near_pairs(np.stack([one, ~one]))[0]) == 0


def test_same_hashes_give_the_same_pairs():
    hashes = alike("somewhat alike everywhere", 300)
    once, again = near_pairs(hashes), near_pairs(hashes)
    assert all(np.array_equal(*each) for each in zip(once, again, strict=True))
