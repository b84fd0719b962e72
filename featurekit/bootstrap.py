"""The bootstrap: how much sums over images vary with the images that happened to be there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .wording import count

Interval = tuple[float | None, float | None]
"""Low and high end of an interval; two times None where there are too few groups for one."""

WithInterval = tuple[float, float | None, float | None]
"""A value, and the ends of its interval."""

FEWEST_GROUPS = 6
"""Groups that a 95% interval needs.

The percentiles of a bootstrap lie between the lowest and the highest score of a group, and the lowest and highest of k
independent draws hold the middle of their distribution between them with a probability of 1 - 2 ** (1 - k): that is
0.94 for 5 groups and 0.97 for 6. Fewer than 6 cannot give 95%.
"""

ROUGH_GROUPS = 10
"""Below so many groups, the intervals of a bootstrap over groups are mostly too narrow.

A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered errors", 2008,
find that with 5 and 10 groups.
"""

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


def interval_note(groups: int, images: int, kept: str = "") -> str:
    """Say why there are no intervals, or why they are rough; nothing if there are enough groups.

    Parameters
    ----------
    groups : int
        Independent groups of images.
    images : int
        As many as there are groups: then each is one by itself.
    kept : str
        Scores that have an interval of any number of single images.

    Examples
    --------
    >>> interval_note(3, 40)
    '3 groups of images are too few for 95% intervals; at least 6 are needed'
    >>> interval_note(4, 4, "the accuracy")
    '4 images are too few for 95% intervals other than that of the accuracy; at least 6 are needed'
    >>> interval_note(10, 40)
    ''
    """
    if groups >= ROUGH_GROUPS:
        return ""
    single = groups == images
    drawn = count(groups, "image") if single else f"{count(groups, 'group')} of images"
    if groups >= FEWEST_GROUPS:
        return f"95% intervals of {drawn} are rough, and mostly too narrow: {ROUGH_GROUPS} or more give better ones"
    others = f" other than that of {kept}" if single and kept else ""
    verb = "is" if groups == 1 else "are"
    return f"{drawn} {verb} too few for 95% intervals{others}; at least {FEWEST_GROUPS} are needed"


def range_text(low: float | None, high: float | None, form: str = ".4f") -> str:
    """Spell an interval: ``0.8421 to 0.9012``, or ``no interval``.

    Examples
    --------
    >>> range_text(0.25, 0.75, ".1%"), range_text(None, None)
    ('25.0% to 75.0%', 'no interval')
    """
    return "no interval" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def points_text(low: float | None, high: float | None) -> str:
    """Spell the interval of a difference in points: ``-0.5 to +2.9``, or ``no interval``.

    Examples
    --------
    >>> points_text(-0.005, 0.029)
    '-0.5 to +2.9'
    """
    return "no interval" if low is None or high is None else range_text(100 * low, 100 * high, "+.1f")


def interval_text(low: float | None, high: float | None, form: str = ".4f") -> str:
    """Spell a 95% interval for a sentence: ``95% interval 0.8421 to 0.9012``, or ``no 95% interval``."""
    return "no 95% interval" if low is None else f"95% interval {range_text(low, high, form)}"


def percentiles(drawn: dict[str, NDArray[Any]]) -> dict[str, tuple[float, float]]:
    """The 95% interval of each score, from its values over the draws of a bootstrap."""
    found = {name: np.quantile(values, TAILS) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}
