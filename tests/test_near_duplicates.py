"""The search for near duplicates by perceptual hashes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from featurekit.images import PERCEPTUAL_BYTES, mirror_mask
from featurekit.near_duplicates import NEAR_DISTANCE, hash_distance, near_pairs


def random_hashes(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, PERCEPTUAL_BYTES), dtype=np.uint8)


def flipped(value, bits, rng):
    """A hash of which so many bits of each half differ."""
    out = np.unpackbits(value).reshape(2, -1)
    for half in out:
        half[rng.permutation(np.arange(1, 256))[:bits]] ^= 1
    return np.packbits(out)


def components(n, first, second):
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1].tolist()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_hashes_have_no_pairs(n):
    first, second, bits = near_pairs(random_hashes(n))
    assert len(first) == len(second) == len(bits) == 0


@pytest.mark.parametrize("n", [2, 50, 1000])
def test_planted_copies_are_found_among_many(n):
    rng = np.random.default_rng(1)
    hashes = random_hashes(n)
    changed = [0, 10, 20, 30]
    originals = rng.permutation(n)[: min(n, 400)]
    copies = np.stack([flipped(hashes[i], changed[k % 4], rng) for k, i in enumerate(originals)])
    first, second, bits = near_pairs(np.concatenate([hashes, copies]))
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    planted = {(i, n + k) for k, i in enumerate(originals.tolist())}
    assert len(found & planted) > 0.98 * len(planted)
    assert found <= planted
    assert (bits <= NEAR_DISTANCE).all()


def test_mirrored_copy_is_found():
    hashes = random_hashes(500)
    hashes[400] = hashes[3] ^ mirror_mask()
    assert [each.tolist() for each in near_pairs(hashes)] == [[3], [400], [0]]


def test_picture_without_its_edges_is_found():
    """The whole of the copy is the cut half of the original."""
    hashes = random_hashes(500)
    half = PERCEPTUAL_BYTES // 2
    hashes[77, :half] = hashes[30, half:]
    assert [each.tolist() for each in near_pairs(hashes)] == [[30], [77], [0]]


def test_equal_hashes_are_paired_with_the_first_of_them():
    hashes = random_hashes(40)
    hashes[[7, 21, 33]] = hashes[7]
    first, second, bits = near_pairs(hashes)
    assert list(zip(first, second, bits, strict=True)) == [(7, 21, 0), (7, 33, 0)]


@pytest.mark.parametrize("nothing", [0, 255], ids=["not known", "none"])
def test_rows_without_a_hash_have_no_partner(nothing):
    hashes = random_hashes(10)
    hashes[[2, 5, 8]] = nothing
    assert len(near_pairs(hashes)[0]) == 0


def test_search_finds_what_comparing_each_with_each_finds():
    rng = np.random.default_rng(5)
    centers = random_hashes(60, seed=9)
    hashes = np.stack([flipped(centers[i % 60], int(rng.integers(0, 25)), rng) for i in range(600)])
    exact = [
        (i, j)
        for i in range(600)
        for j in range(i + 60, 600, 60)
        if hash_distance(hashes[i].tobytes(), hashes[j].tobytes()) <= NEAR_DISTANCE
    ]
    first, second, _ = near_pairs(hashes)
    assert components(600, first, second) == components(600, *zip(*exact, strict=True))


def test_crowded_bucket_does_not_cost_every_pair():
    """1,000 pictures of which the low bits are equal and the others are not: only neighbors are compared."""
    hashes = random_hashes(1000)
    bits = np.unpackbits(hashes, axis=1).reshape(-1, 2, 16, 16)
    bits[:, :, :8, :8] = 1
    crowded = np.packbits(bits.reshape(1000, -1), axis=1)
    first, _, _ = near_pairs(crowded)
    assert len(first) < 100


def test_crowd_of_like_pictures_is_one_group_and_gives_few_pairs():
    """A fixed camera: each picture is near most others, so there are half a million pairs."""
    rng = np.random.default_rng(3)
    bits = np.unpackbits(random_hashes(1))[None] ^ (rng.random((1000, 512)) < 0.03)
    first, second, _ = near_pairs(np.packbits(bits.astype(np.uint8), axis=1))
    assert len(set(components(1000, first, second))) == 1
    assert len(first) < 10_000


def test_distance_zero_finds_equal_hashes_only():
    hashes = random_hashes(20)
    hashes[4] = hashes[1]
    hashes[9] = flipped(hashes[2], 1, np.random.default_rng(0))
    assert near_pairs(hashes, 0)[1].tolist() == [4]
