"""From evidence to a verdict. No torch."""

from __future__ import annotations

from ..bootstrap import FEWEST_GROUPS
from .result import FINE_TUNE, LABELS, NOTHING, SCRATCH, TRANSFER, UNSURE, Evidence

CLEAR, LIKELY, DOUBTFUL = "clear", "likely", "unsure"
_CLEAR, _LIKELY = 0.95, 0.7
_PERFECT = 0.01  # error
_FEW = 10  # images of a class
_TOO_FEW = 30  # images: one more or less that is right is several points
_FAR, _ALL_STAGES = 0.6, 300  # spreads, and images
_TOO_FEW_SCORED = f"it scored images of fewer than {FEWEST_GROUPS} groups"
_SCRATCH_IMAGES, _SCRATCH_EACH = 50_000, 500


def decide(e: Evidence, margin: float) -> tuple[str, str, str, list[str]]:
    """The verdict, what to do, how sure that is, and why.

    Parameters
    ----------
    e : Evidence
    margin : float
        A gain of accuracy below this is not worth the time.

    Returns
    -------
    verdict, do, sure : str
    why : list of str
    """
    if e.size is None or e.comparison is None:
        return LABELS, "", CLEAR, [f"nothing can be compared: {e.problem}"] if e.problem else []
    best = e.comparison.best.evaluation
    error = 1 - best.accuracy
    if e.size.images < _TOO_FEW:
        each = 100 / e.size.images
        return (
            LABELS,
            TRANSFER,
            CLEAR,
            [f"of {e.size.images} images each is {each:.0f} points: nothing can be told apart"],
        )
    if not e.beats_chance:
        return _nothing(e)
    if e.size.contradicting > error * e.size.images / 4:
        mend = (
            "files that are there under two labels make a good part of the error, and nothing can learn both: mend the "
            "labels, then ask again"
        )
        return UNSURE, TRANSFER, DOUBTFUL, [mend]
    if _is_solved(e):
        return TRANSFER, TRANSFER, CLEAR, [f"{best.accuracy:.1%} are right already: next to nothing is left to gain"]
    assert e.gain is not None
    gain = e.gain
    why = [f"fine-tuning is expected to bring {gain}"]
    if is_far(e):
        why.append("images so unlike those of the source have other edges and textures: all stages should be trained")
    if not _is_measured(e):
        distance = " and distance" if e.similarity is not None else ""
        tried = "it was not tried here" if e.pilot is None else f"the pilot could not tell: {_TOO_FEW_SCORED}"
        why[0] += f", by what is usual at this error and number of images{distance}; {tried}"
    if _from_scratch(e):
        why.append(
            f"{e.size.images} images, further from the source than every reference set: training from scratch may do "
            "as well. That was not tried"
        )
        return SCRATCH, FINE_TUNE, DOUBTFUL, why
    do = FINE_TUNE if gain.expected > margin else TRANSFER
    sure = max(gain.worth_it, 1 - gain.worth_it)
    if do == FINE_TUNE and not _is_measured(e) and (guessed := _guessed(e)):
        return UNSURE, do, DOUBTFUL, [*why, guessed]
    if do == TRANSFER and (more := _more_labels(e, margin)):
        return LABELS, TRANSFER, LIKELY, [*why, more]
    if sure >= _CLEAR and (_is_measured(e) or do == TRANSFER):
        return do, do, CLEAR, why
    if sure >= _LIKELY:
        return do, do, LIKELY, why
    needed = _needed(e, margin)
    why.append(
        f"whether that is more than {100 * margin:.1f} points is open"
        + (f": some {needed} more labelled images would tell" if needed else "")
    )
    bet = f"the better bet is to {do}: on average that loses {100 * gain.at_stake:.1f} points against knowing"
    return UNSURE, do, DOUBTFUL, [*why, bet]


def _guessed(e: Evidence) -> str:
    """Why a gain that was not measured is no more than a guess; empty if it is more."""
    assert e.comparison is not None
    assert e.gain is not None
    if e.comparison.best.head == "knn" and any("logreg" in each for each in e.untested):
        return "a part of that would come from logistic regression, for which the time was too short"
    if e.gain.low <= 0:
        better = (
            "with a longer budget it is tried" if e.pilot is None else f"a pilot needs {FEWEST_GROUPS} groups or more"
        )
        return f"that may as well be nothing: {better}"
    return ""


def _is_measured(e: Evidence) -> bool:
    """Tell whether a pilot scored images of enough groups to say anything."""
    return e.pilot is not None and e.pilot.low is not None


def stages_to_train(e: Evidence) -> int | str:
    """The last two, or all: as ``unfreeze``."""
    return "all" if is_far(e) else 2


def is_far(e: Evidence) -> bool:
    """Whether images are so unlike those of the source that all stages have something to learn, and enough of them.

    Lower stages see edges and textures: of strong blur or of scans these are others. Of the six cells of
    ``tests/benchmarks/advisor_cells.py`` that are further than this, training all stages was better than the last two
    in four, by 1 to 5 points, and worse by 1 in two; in nearer ones it was worse, too.
    """
    far = None if e.similarity is None else e.similarity.distance
    return far is not None and far > _FAR and e.size is not None and e.size.images >= _ALL_STAGES


def is_open(e: Evidence) -> bool:
    """Whether the heads leave a question that further looks could answer."""
    return e.size is not None and e.size.images >= _TOO_FEW and e.beats_chance and not _is_solved(e)


def _is_solved(e: Evidence) -> bool:
    """Whether next to nothing is wrong any more."""
    assert e.comparison is not None
    best = e.comparison.best.evaluation
    return best.accuracy >= 1 - _PERFECT / 2 and (best.low or 0.0) >= 1 - 3 * _PERFECT


def _nothing(e: Evidence) -> tuple[str, str, str, list[str]]:
    assert e.size is not None
    if e.size.smallest < _FEW:
        why = (
            f"no head is better than naming the commonest class, and with {e.size.smallest} images of the smallest "
            "class that may be chance"
        )
        return LABELS, TRANSFER, DOUBTFUL, [why]
    why = (
        "no head is better than naming the commonest class: either the labels have nothing to do with what can be "
        "seen, or it is not in these features. Look at the labels before anything else"
    )
    return NOTHING, TRANSFER, LIKELY, [why]


def _more_labels(e: Evidence, margin: float) -> str:
    if e.growth is None or e.growth.doubled is None or e.gain is None:
        return ""
    gain, low, _ = e.growth.doubled
    if low <= margin or gain <= e.gain.expected:
        return ""
    return f"twice the images would bring {100 * gain:+.1f} points, more than training does"


def _needed(e: Evidence, margin: float) -> int:
    """Further images for an interval that tells the expected gain from the margin."""
    if e.gain is None or e.size is None or e.pilot is None or not _is_measured(e):
        return 0
    apart, half = abs(e.gain.expected - margin), (e.gain.high - e.gain.low) / 2
    if apart <= half / 20:
        return 0
    return int(min(max(e.pilot.scored * ((half / apart) ** 2 - 1), 0), 100_000)) // 10 * 10


def _from_scratch(e: Evidence) -> bool:
    assert e.size is not None
    near = None if e.similarity is None else e.similarity.nearer_than
    return (
        e.size.images >= _SCRATCH_IMAGES
        and e.size.images / e.size.classes >= _SCRATCH_EACH
        and near is not None
        and near[0] == 0
    )
