"""What each way takes on this machine: guesses from the images a second that extraction reached. No torch."""

from __future__ import annotations

import math

from ..backbones import anatomy
from ..comparison import Comparison
from .material import Material
from .pilot import EPOCHS, MOST
from .result import FINE_TUNE, SCRATCH, TRANSFER, Evidence

_USUAL_EPOCHS, _FROM_SCRATCH = 12, 60  # of the usual recipes
_FIXED = 15.0  # seconds: imports, conversions
_LAST = 0.8  # what an epoch of the last two stages takes, forwards and backwards, of a pass of the whole network
_WHOLE = 5.5  # and an epoch of all stages: extraction has a runtime that is made for passes


def seconds_of_a_fold(train: int, test: int, rate: float) -> float:
    """Of a pilot: two views through the frozen stages, the epochs, and the images that are scored.

    Examples
    --------
    >>> seconds_of_a_fold(320, 80, rate=50.0) < seconds_of_training(400, "all", rate=50.0)
    True
    """
    learned = min(train, MOST)
    return _FIXED + (2 * learned + _LAST * EPOCHS * learned + test) / rate


def seconds_of_training(images: int, unfreeze: int | str, rate: float) -> float:
    """Of fine-tuning by the usual recipe."""
    a_pass = images / rate
    return _FIXED + a_pass * (_WHOLE * _USUAL_EPOCHS if unfreeze == "all" else 2 + _LAST * _USUAL_EPOCHS)


def costs(
    e: Evidence, comparison: Comparison, material: Material, unfreeze: int | str
) -> tuple[dict[str, float], dict[str, int]]:
    """Minutes and bytes of each way with all images, roughly."""
    assert e.size is not None
    n, rate = material.sampled_from or e.size.images, material.rate
    transfer = n / rate + 6 * comparison.best.folded.fit_seconds * n / e.size.images
    training = seconds_of_training(n, unfreeze, rate)
    if e.pilot is not None:  # how wrong the guess was
        guess = seconds_of_a_fold(e.pilot.learned, e.pilot.scored // e.pilot.folds, rate)
        training *= e.pilot.seconds / e.pilot.folds / guess
    minutes = {
        TRANSFER: transfer / 60,
        FINE_TUNE: (transfer + training) / 60,
        SCRATCH: _FROM_SCRATCH * _WHOLE * n / rate / 60,
    }
    store = n * (4 * comparison.best.dim + 66)
    disk = {TRANSFER: store}
    if e.similarity is not None:  # torch is there already
        stages = anatomy(material.find(comparison.best.backbone).spec).stages
        if unfreeze == "all":
            disk[FINE_TUNE] = store
        elif len(stages) > 2:
            disk[FINE_TUNE] = store + 2 * n * 2 * math.prod(stages[-3].shape)  # two views, float16
    return minutes, disk
