"""What fine-tuning may gain: what is usual, and what a pilot showed. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..proportions import Z95

# Of the errors of frozen features, the share that fine-tuning removes with 400 images, what each doubling of the images
# adds, and how far a data set may be from that: seen in tests/benchmarks/finetuning.py and advisor_cells.py.
_NEAR = (0.08, 0.17)
_FAR = (0.6, 0.08)
_UNKNOWN = (0.35, 0.12)
_SPREAD, _SPREAD_UNKNOWN = 0.2, 0.3
_NEAREST_OF_THE_FAR = 0.5  # in spreads; see similarity
_LEAST = 0.005
# The share of the errors of logistic regression on the penultimate layer that auto on all stages does not make:
# the mean of ten data sets in tests/benchmarks/whole_network.csv.
_SHARE_OF_STAGES = 0.26
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
    at_stake : float
        Accuracy that deciding by what is expected loses on average, against deciding by the truth: the value of perfect
        information (H. Raiffa and R. Schlaifer, "Applied Statistical Decision Theory", 1961).
    """

    expected: float
    low: float
    high: float
    worth_it: float
    at_stake: float

    def __str__(self) -> str:
        return f"{100 * self.expected:+.1f} points (95% interval {100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self)


def usual_share(images: int, distance: float | None) -> tuple[float, float]:
    """Share of the errors that fine-tuning removes where it is kept, and how much that varies.

    Parameters
    ----------
    images : int
    distance : float, optional
        From the source, as in :class:`Similarity`.

    Examples
    --------
    >>> usual_share(400, 0.28)[0] < usual_share(3000, 0.28)[0] < usual_share(3000, 0.56)[0]
    True
    """
    at_400, each = _UNKNOWN if distance is None else _FAR if distance >= _NEAREST_OF_THE_FAR else _NEAR
    share = at_400 + each * math.log2(max(images, 1) / 400)
    return min(max(share, 0.05), 0.8), _SPREAD_UNKNOWN if distance is None else _SPREAD


def believed(
    error: float,
    images: int,
    margin: float,
    *,
    distance: float | None = None,
    ahead: float = 0.0,
    pilot: tuple[float, float] | None = None,
) -> Gain:
    """What is believed of the gain.

    A normal distribution over what is usual at this error, number of images and distance from the source, narrowed by
    what a pilot measured.

    Parameters
    ----------
    error : float
        Of the best frozen features, as a share of the images.
    images : int
        A fifth of them chooses the epoch; where these are few, the frozen network is mostly kept.
    margin : float
        A gain below this is not worth it.
    distance : float, optional
        From the source, as in :class:`Similarity`.
    ahead : float
        Accuracy by which these features are ahead of the penultimate layer. What is usual was measured against that.
    pilot : (difference, standard error), optional
        Of a pilot on other images than it learned from.

    Examples
    --------
    >>> print(believed(0.1, 1000, 0.005, distance=0.28))
    +2.8 points (95% interval -1.2 to +6.9)
    >>> believed(0.1, 1000, 0.005, pilot=(0.05, 0.01)).worth_it > 0.99
    True
    """
    share, varies = usual_share(images, distance)
    before = min(error + ahead, 1.0)  # error of the penultimate layer
    kept = kept_share(share * before, images)
    mean = kept * share * before - ahead
    spread = max(math.sqrt(kept * (varies**2 + share**2) - (kept * share) ** 2) * before, _LEAST)
    if pilot is not None:
        difference, own = pilot
        weight = spread**2 / (spread**2 + own**2)
        mean, spread = mean + weight * (difference - mean), spread * math.sqrt(1 - weight)
    away = abs(mean - margin) / spread
    at_stake = spread * (math.exp(-(away**2) / 2) / math.sqrt(2 * math.pi) - away * _below(-away))
    return Gain(mean, mean - Z95 * spread, mean + Z95 * spread, _below((mean - margin) / spread), at_stake)


def usually_ahead(error: float) -> float:
    """Accuracy by which all stages are usually ahead of the penultimate layer, given their own error.

    Examples
    --------
    >>> round(usually_ahead(0.074), 3)
    0.026
    """
    return error * _SHARE_OF_STAGES / (1 - _SHARE_OF_STAGES)


def kept_share(gain: float, images: int) -> float:
    """How often a gain is seen on the validation images to be more than chance, so that what was trained is kept."""
    won = gain * _VALIDATION * images
    return _below(math.sqrt(won) - 1)  # a gain of one standard error is asked for; about as many images change


def _below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
