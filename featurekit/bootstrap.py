"""The bootstrap: how much sums over images vary with the images that happened to be there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 500
TAILS = (0.025, 0.975)
_MOST_WEIGHTS = 1_000_000  # draws times groups in memory at once: 8 MB
_MOST_KEPT = 4 * _MOST_WEIGHTS


def resampled(table: Any, ids: NDArray[np.intp] | None = None) -> NDArray[Any]:
    """Sums of the columns over the images of each draw of a bootstrap, which draws groups with replacement.

    Every score that follows from sums over the images is so computed for all draws at once.

    Parameters
    ----------
    table : ndarray or scipy.sparse array, of float, shape (n, columns)
    ids : ndarray of int, shape (n,), optional
        Numbers of the groups, from 0. Default: each image is its own.

    Returns
    -------
    ndarray of float, shape (500, columns)
    """
    number = table.shape[0]
    if ids is not None and ids.max() + 1 < number:
        table = grouped(table, ids)
        number = table.shape[0]
    times = _times_drawn(number) if number * DRAWS <= _MOST_KEPT else _blocks(number)
    return np.concatenate([block @ table for block in times])


@lru_cache(maxsize=2)
def _times_drawn(number: int) -> list[NDArray[np.float64]]:
    """How often each group is in each draw: the same for all lines of a comparison, so they are kept."""
    return list(_blocks(number))


def _blocks(number: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    block = max(1, min(DRAWS, _MOST_WEIGHTS // number))
    for start in range(0, DRAWS, block):
        draws = min(block, DRAWS - start)
        drawn = rng.integers(0, number, (draws, number)) + number * np.arange(draws)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number)
        yield times.astype(np.float64)


def grouped(table: Any, ids: NDArray[np.intp]) -> Any:
    """Sums of the columns over each group, shape (groups, columns), of the kind that the table is."""
    from scipy.sparse import csr_array

    n = len(ids)
    return csr_array((np.ones(n), (ids, np.arange(n))), shape=(int(ids.max()) + 1, n)) @ table


def percentiles(drawn: dict[str, NDArray[Any]]) -> dict[str, tuple[float, float]]:
    """The 95% interval of each score, from its values over the draws of a bootstrap."""
    found = {name: np.quantile(values, TAILS) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}
