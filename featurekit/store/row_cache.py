"""What a cache of rows is, and the one that lives in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .schema import Columns, Rows, unknown_hashes


class RowCache(Protocol):
    """Rows of one feature space, found by content hash."""

    def __contains__(self, content: bytes) -> bool: ...

    def begin(self) -> None:
        """Called before the first row is computed: wait for the right to write, look again what is there."""
        ...

    def add(self, columns: Columns, rows: Rows, runtime: str) -> None:
        """Keep rows, of which ``columns.sha256`` holds the content hashes and `runtime` says what computed them."""
        ...

    def gather(self, contents: Sequence[bytes]) -> Rows:
        """The rows of these hashes, in this order; each must be in the cache. May raise `DamagedRowsError`."""
        ...

    def perceptual(self, contents: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Look up perceptual hashes by content hash; rows of zeros where none is known."""
        ...

    def lacks_hash(self, content: bytes) -> bool:
        """Tell whether the row of this content is known and has no perceptual hash yet."""
        ...

    def drop_damaged(self) -> int:
        """Forget damaged rows, so that they are computed again; how many there were."""
        ...


class MemoryCache:
    """Keeps rows in memory, for one call.

    Parameters
    ----------
    dim : int
        Length of a row.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._rows: dict[bytes, NDArray[Any]] = {}
        self._perceptual: dict[bytes, NDArray[np.uint8]] = {}

    def __contains__(self, content: bytes) -> bool:
        return content in self._rows

    def begin(self) -> None:
        """Nothing to wait for."""

    def drop_damaged(self) -> int:
        """Nothing in memory is."""
        return 0

    def add(self, columns: Columns, rows: Rows, runtime: str) -> None:
        """Keep rows."""
        contents = list(map(bytes, columns.sha256))
        self._rows.update(zip(contents, rows, strict=True))
        self._perceptual.update(zip(contents, columns.perceptual, strict=True))

    def gather(self, contents: Sequence[bytes]) -> Rows:
        """The rows of these hashes, in this order."""
        out = np.empty((len(contents), self._dim), dtype=np.float32)
        for i, content in enumerate(contents):
            out[i] = self._rows[content]
        return out

    def perceptual(self, contents: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Look up perceptual hashes by content hash; rows of zeros where none is known."""
        out = unknown_hashes(len(contents))
        for i, content in enumerate(map(bytes, contents)):
            out[i] = self._perceptual.get(content, 0)
        return out

    def lacks_hash(self, content: bytes) -> bool:
        """Return False: rows in memory come with the hashes of their images."""
        return False
