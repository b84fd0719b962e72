from __future__ import annotations

import numpy as np
import pytest
from made_stores import make_rows

from featurekit.store.index import HashIndex
from featurekit.store.schema import Columns
from featurekit.store.signatures import Signatures


@pytest.mark.parametrize("few", [5, 65536])
def test_a_hash_index_does_as_a_dictionary_does(few):
    """Against a dictionary, with hashes that share long prefixes, end in zeros and come again."""
    rng = np.random.default_rng(0)
    index, expected = HashIndex(few), {}
    for file in range(60):
        hashes = np.zeros((rng.integers(0, 30), 32), np.uint8)
        hashes[:, [0, 9, 31]] = rng.integers(0, 6, (len(hashes), 3))
        rows = rng.integers(0, 1000, len(hashes))
        index.add(hashes, file, rows)
        for content, row in zip(map(bytes, hashes), rows.tolist(), strict=True):
            expected.setdefault(content, [file, row])
        assert len(index) == len(expected)
    wanted = [*expected, b"\xff" * 32, b"\x01" * 32]
    assert index.find(wanted).tolist() == [*expected.values(), [-1, -1], [-1, -1]]
    assert all(content in index for content in expected)
    assert b"\xff" * 32 not in index
    assert index.find([]).shape == (0, 2)


def test_signatures_of_any_order():
    columns, _ = make_rows(50)
    known = Signatures([columns.take(slice(0, 30)), columns.take(slice(30, 50))])
    paths = [path.decode() for path in columns.path.tolist()]
    for i in [*range(50), *reversed(range(50)), 3, 3, 40]:
        assert known.get(paths[i]) == (i, i + 1, bytes(columns.sha256[i]))
        assert known.get(paths[i] + "x") is None
        assert known.get("") is None
    assert Signatures([]).get("a") is None
    assert Signatures([Columns.concatenate([columns]).take(slice(0, 0))]).get("a") is None
