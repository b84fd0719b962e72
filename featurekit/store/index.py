"""Where the row of an image lies, by content hash: exact, and about 50 bytes a row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..fingerprint import HASH_BYTES

_KEY = np.dtype(f"S{HASH_BYTES}")  # compared byte by byte; all have one length, so padding cannot mislead


class HashIndex:
    """A map from content hash to place: the number of a file, and a row in it.

    Sorted arrays, and a small dictionary of what came lately, which is merged into them as soon as it has
    grown to a part of their size: adding n rows one after another takes O(n log n) in all. The first place
    of a hash stays. One thread may add while others look up.

    Parameters
    ----------
    few : int
        So many are held in the dictionary before they are merged.

    Examples
    --------
    >>> import numpy as np
    >>> index = HashIndex()
    >>> index.add(np.zeros((1, 32), np.uint8), 3, np.array([7]))
    >>> bytes(32) in index, index.find([bytes(32), b"x" * 32]).tolist()
    (True, [[3, 7], [-1, -1]])
    """

    def __init__(self, few: int = 65536) -> None:
        self._few = few
        self._sorted: tuple[NDArray[np.bytes_], NDArray[np.int32]] = (
            np.empty(0, dtype=_KEY),
            np.empty((0, 2), dtype=np.int32),
        )
        self._recent: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._sorted[0]) + len(self._recent)

    def add(self, hashes: NDArray[np.uint8], file: int, rows: NDArray[np.integer]) -> None:
        """Add the place (`file`, row) of each hash that has none yet.

        Parameters
        ----------
        hashes : ndarray of uint8, shape (n, 32)
        file : int
        rows : ndarray of int, shape (n,)
        """
        places = np.empty((len(rows), 2), dtype=np.int32)
        places[:, 0], places[:, 1] = file, rows
        if len(rows) > self._few:
            self._flush()
            self._merge(np.ascontiguousarray(hashes).view(_KEY)[:, 0], places)
            return
        unknown = np.flatnonzero(self._find(_keys(hashes.tobytes()))[:, 0] < 0)
        for content, row in zip(map(bytes, hashes[unknown]), places[unknown, 1].tolist(), strict=True):
            self._recent.setdefault(content, (file, row))
        if len(self._recent) > max(self._few, len(self._sorted[0]) // 8):
            self._flush()

    def _flush(self) -> None:
        if self._recent:
            self._merge(_keys(b"".join(self._recent)), np.array(list(self._recent.values()), dtype=np.int32))
            self._recent = {}

    def _merge(self, keys: NDArray[np.bytes_], places: NDArray[np.int32]) -> None:
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        new = np.ones(len(keys), dtype=np.bool_)
        new[1:] = keys[1:] != keys[:-1]
        old_keys, old_places = self._sorted
        if len(old_keys):
            new &= self._find(keys)[:, 0] < 0
        if not new.all():
            keys, places = keys[new], places[new]
        if not len(old_keys):  # most often everything comes at once
            self._sorted = keys, places
            return
        at = np.searchsorted(old_keys, keys)
        # One assignment: a thread that looks up sees both arrays of one state.
        self._sorted = np.insert(old_keys, at, keys), np.insert(old_places, at, places, axis=0)

    def __contains__(self, content: bytes) -> bool:
        if content in self._recent:
            return True
        keys, _ = self._sorted
        key = np.frombuffer(content, dtype=_KEY)
        at = int(np.searchsorted(keys, key)[0])
        return at < len(keys) and bool(keys[at] == key[0])

    def find(self, contents: Iterable[bytes]) -> NDArray[np.int32]:
        """Places of content hashes, shape (n, 2); (-1, -1) where there is none."""
        contents = list(contents)
        places = self._find(_keys(b"".join(contents)))
        if self._recent:
            for i in np.flatnonzero(places[:, 0] < 0).tolist():
                places[i] = self._recent.get(contents[i], (-1, -1))
        return places

    def _find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int32]:
        old_keys, old_places = self._sorted
        places = np.full((len(keys), 2), -1, dtype=np.int32)
        at = np.searchsorted(old_keys, keys)
        inside = np.flatnonzero(at < len(old_keys))
        found = inside[old_keys[at[inside]] == keys[inside]]
        places[found] = old_places[at[found]]
        return places


def _keys(hashes: bytes) -> NDArray[np.bytes_]:
    return np.frombuffer(hashes, dtype=_KEY)
