"""What fine-tuning may gain: what is usual, and what a pilot showed. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..proportions import Z95

USUAL, SPREAD = 0.4, 0.3
"""Share of the errors of the frozen features that fine-tuning removes where it is kept: usual, and how that varies.

Of the cells of ``tests/benchmarks/advisor_cells.py``.
"""

_LEAST = 0.005
_VALIDATION = 0.2  # of the images, by which fine-tuning chooses between its epochs and the frozen network


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


def believed(error: float, images: int, margin: float, pilot: tuple[float, float] | None = None) -> Gain:
    """What is believed of the gain.

    A normal distribution over what is usual at this error and number of images, narrowed by what a pilot measured.

    Parameters
    ----------
    error : float
        Of the best frozen features, as a share of the images.
    images : int
        A fifth of them chooses the epoch; where these are few, the frozen network is mostly kept.
    margin : float
        A gain below this is not worth it.
    pilot : (difference, standard error), optional
        Of a pilot on other images than it learned from.

    Examples
    --------
    >>> print(believed(0.1, 1000, 0.005))
    +3.9 points (95% interval -2.1 to +9.8)
    >>> believed(0.1, 1000, 0.005, (0.05, 0.01)).worth_it > 0.99
    True
    """
    kept = kept_share(error, images)
    mean = kept * USUAL * error
    spread = max(math.sqrt(kept * (SPREAD**2 + USUAL**2) - (kept * USUAL) ** 2) * error, _LEAST)
    if pilot is not None:
        difference, own = pilot
        weight = spread**2 / (spread**2 + own**2)
        mean, spread = mean + weight * (difference - mean), spread * math.sqrt(1 - weight)
    return Gain(mean, mean - Z95 * spread, mean + Z95 * spread, 1 - _below((margin - mean) / spread))


def kept_share(error: float, images: int) -> float:
    """How often a usual gain is seen on the validation images to be more than chance, so that it is kept."""
    won = USUAL * error * _VALIDATION * images
    return _below(math.sqrt(won) - 1)  # a gain of one standard error is asked for; about as many images change


def _below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
