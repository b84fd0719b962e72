"""What the advisor says, and what it rests on. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..bootstrap import WithInterval, points_text
from ..comparison import Comparison
from .belief import Gain
from .growth import Growth
from .pilot import Pilot
from .size import Size

TRANSFER = "transfer"
FINE_TUNE = "fine-tune"
SCRATCH = "from scratch"
LABELS = "more labels"
NOTHING = "nothing to learn"
UNSURE = "cannot tell"


@dataclass(frozen=True, slots=True)
class Alternative:
    """Other frozen features with the same head on the same folds.

    Attributes
    ----------
    name : str
    options : dict
        What makes them: ``backbone``, ``layer``, ``image_size``.
    accuracy : float
    difference : float
        To the first features, paired.
    low, high : float or None
        Its 95% interval; None with fewer than 6 groups of images.
    """

    name: str
    options: dict[str, Any]
    accuracy: float
    difference: float
    low: float | None
    high: float | None

    def sentence(self) -> str:
        """What it says."""
        interval = points_text(self.low, self.high)
        return f"{self.name}: {self.accuracy:.1%}, {100 * self.difference:+.1f} points ({interval}, paired)"


@dataclass(slots=True)
class Evidence:
    """What was measured; what was not is None or empty, and said in `untested`.

    Attributes
    ----------
    size : Size or None
    comparison : Comparison or None
        Heads on the frozen features, cross-validated.
    neighbours : (accuracy, low, high) or None
        Leave-one-out nearest neighbour; low and high are None with too few groups of images.
    gap : float or None
        Accuracy of the best head on the images that it learned from, less that in cross-validation.
    beats_chance : bool
        Whether the best head is better than naming the commonest class.
    scores : dict of str to float
        ``logme``, ``h_score`` and ``leep`` of the frozen features: secondary.
    growth : Growth or None
        The learning curve.
    similarity : Similarity or None
    alternatives : list of Alternative
    pilot : Pilot or None
    gain : Gain or None
        What fine-tuning is believed to add.
    untested : list of str
        What was left out, and why.
    problem : str
        Why no head could be scored; empty if some were.
    """

    size: Size | None = None
    comparison: Comparison | None = None
    neighbours: WithInterval | None = None
    gap: float | None = None
    beats_chance: bool = True
    scores: dict[str, float] = field(default_factory=dict)
    growth: Growth | None = None
    similarity: Any = None
    alternatives: list[Alternative] = field(default_factory=list)
    pilot: Pilot | None = None
    gain: Gain | None = None
    untested: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What :func:`advise` says.

    Attributes
    ----------
    verdict : str
        ``"transfer"``, ``"fine-tune"``, ``"from scratch"``, ``"more labels"``, ``"nothing to learn"`` or ``"cannot
        tell"``.
    do : str
        What to do now: the same, or, where that is no way to a classifier, the better bet of the first three; empty if
        there is none.
    sure : str
        ``"clear"``, ``"likely"`` or ``"unsure"``.
    reasons : list of str
        Sentences with their numbers.
    command : str
        The next command.
    options : dict
        Of the features that transfer would take: ``backbone``, ``head``, and ``layer`` or ``image_size`` if these are
        not the usual ones; for fine-tuning ``unfreeze``.
    minutes : dict of str to float
        What each way would take on this machine, roughly.
    disk : dict of str to int
        And bytes.
    evidence : Evidence
    seconds : float
        What the advice took.
    budget : float
        And what it was allowed, in seconds.
    """

    verdict: str
    do: str
    sure: str
    reasons: list[str]
    command: str
    options: dict[str, Any]
    minutes: dict[str, float]
    disk: dict[str, int]
    evidence: Evidence
    seconds: float
    budget: float

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        e = self.evidence
        return {
            "verdict": self.verdict,
            "do": self.do,
            "sure": self.sure,
            "reasons": self.reasons,
            "command": self.command,
            "options": self.options,
            "gain": None if e.gain is None else e.gain.to_dict(),
            "minutes": self.minutes,
            "disk": self.disk,
            "size": None if e.size is None else e.size.to_dict(),
            "heads": [] if e.comparison is None else [line.to_dict() for line in e.comparison.results],
            "nearest_neighbour": e.neighbours,
            "gap": e.gap,
            "beats_chance": e.beats_chance,
            "scores": e.scores,
            "learning_curve": None if e.growth is None else e.growth.to_dict(),
            "similarity": None if e.similarity is None else e.similarity.to_dict(),
            "alternatives": [
                {
                    "name": other.name,
                    "options": other.options,
                    "accuracy": other.accuracy,
                    "difference": other.difference,
                    "low": other.low,
                    "high": other.high,
                }
                for other in e.alternatives
            ],
            "pilot": None if e.pilot is None else e.pilot.to_dict(),
            "untested": e.untested,
            "seconds": self.seconds,
            "budget": self.budget,
        }
