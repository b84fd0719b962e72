"""Near duplicates of a class that is a single picture are separated, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from featurekit.duplicates import find_duplicates


@pytest.mark.parametrize("n", [200, 260])
def test_pictures_that_only_a_separated_class_connects_stay_together(n):
    """With more than 256 pictures, the search gives only enough pairs to connect them."""
    hashes = np.random.default_rng(0).integers(0, 256, (n, 64), dtype=np.uint8)
    hashes[:4] = hashes[0]
    for row in (2, 3):
        hashes[row, [8 * row + 1, 32 + 8 * row + 1]] ^= 0b11111
    found = find_duplicates(hashes, labels=["x", "x", *"yyz", *["y"] * (n - 5)])
    assert found.ids[:5].tolist() == [0, 1, 2, 2, 3]
    assert (found.near, found.kept) == (4, False)
