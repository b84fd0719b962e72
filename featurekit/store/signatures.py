"""Size and modification time of files that were hashed before: what spares reading them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .schema import Columns


class Signatures:
    """A map from path to size, modification time and content hash.

    A source is nearly always listed in the order of its store, so the row after the one that was found last
    is tried first; all others are found by bisection. That needs 8 bytes a row, where a dictionary needs
    some hundred.

    Parameters
    ----------
    parts : sequence of Columns
        Of one root. Where a path comes twice, any of the two may be found: what is found is compared with
        the file.
    """

    def __init__(self, parts: Sequence[Columns]) -> None:
        parts = [part for part in parts if len(part)]
        self._columns = Columns.concatenate(parts) if parts else None
        self._next = 0
        self._order: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None

    def get(self, path: str) -> tuple[int, int, bytes] | None:
        """Size in bytes, modification time in ns and content hash, or None."""
        if self._columns is None:
            return None
        row = self._find(path.encode("utf-8", "surrogateescape"))
        if row < 0:
            return None
        c = self._columns
        return c.size.item(row), c.mtime_ns.item(row), c.sha256[row].tobytes()

    def _find(self, path: bytes) -> int:
        assert self._columns is not None
        paths = self._columns.path
        if self._next < len(paths) and paths[self._next] == path:
            row = self._next
        else:
            if self._order is None:
                self._order = np.argsort(paths, kind="stable")
            if paths.dtype.kind == "S" and len(path) > paths.dtype.itemsize:
                return -1  # NumPy would bring all paths to its width
            at = int(np.searchsorted(paths, np.array(path), side="right", sorter=self._order)) - 1
            row = int(self._order[at]) if at >= 0 else -1
            if row < 0 or paths[row] != path:
                return -1
        self._next = row + 1
        return row
