"""What fine-tuning may gain: what is usual, and what a pilot showed. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..proportions import Z95

USUAL, SPREAD = 0.35, 0.3
"""Of the errors of the frozen features, the share that fine-tuning removes: usual, and how much that varies.

Of the cells of ``tests/benchmarks/advisor_cells.py``.
"""

_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Gain:
    """What fine-tuning is believed to add to the accuracy, as a share.

    Attributes
    ----------
    expected, low, high : float
        And a 95% interval.
    worth_it : float
        Probability that it is more than the margin.
    """

    expected: float
    low: float
    high: float
    worth_it: float

    def __str__(self) -> str:
        return f"{100 * self.expected:+.1f} points (95% interval {100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self)


def believed(error: float, margin: float, pilot: tuple[float, float] | None = None) -> Gain:
    """What is believed of the gain.

    A normal distribution over what is usual at this error, narrowed by what a pilot measured.

    Parameters
    ----------
    error : float
        Of the best frozen features, as a share of the images.
    margin : float
        A gain below this is not worth it.
    pilot : (difference, standard error), optional
        Of a pilot on other images than it learned from.

    Examples
    --------
    >>> print(believed(0.1, 0.005))
    +3.5 points (95% interval -2.4 to +9.4)
    >>> believed(0.1, 0.005, (0.05, 0.01)).worth_it > 0.99
    True
    """
    mean, spread = USUAL * error, max(SPREAD * error, _LEAST)
    if pilot is not None:
        difference, own = pilot
        weight = spread**2 / (spread**2 + own**2)
        mean, spread = mean + weight * (difference - mean), spread * math.sqrt(1 - weight)
    worth_it = 0.5 * math.erfc((margin - mean) / (spread * math.sqrt(2)))
    return Gain(mean, mean - Z95 * spread, mean + Z95 * spread, worth_it)
