"""A short fine-tuning on the folds that the frozen heads were scored by. No torch until it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..bootstrap import points_text
from ..finetune import FineTuneClassifier
from ..heads import fit_head, make_head
from ..metrics import paired_difference
from ..proportions import Z95
from ..splits import holdout

EPOCHS = 8
MOST = 800
_SURE_OF_NOTHING = 0.01


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a pilot measured.

    Attributes
    ----------
    unfreeze : int or str
    learned, scored : int
        Images of one training, and images that were scored in all.
    folds, kept : int
        And those in which the frozen network was kept, as nothing was gained beyond chance.
    frozen, tuned : float
        Accuracy of the frozen features' best head, and of the fine-tuned network, on the same images; both learned from
        the same.
    difference : float
        Paired.
    low, high : float or None
        Its 95% interval; None with fewer than 6 groups of images.
    seconds : float
    """

    unfreeze: int | str
    learned: int
    scored: int
    folds: int
    kept: int
    frozen: float
    tuned: float
    difference: float
    low: float | None
    high: float | None
    seconds: float

    @property
    def standard_error(self) -> float:
        """Standard error of the difference; infinite if nothing is known of it.

        Where the frozen network was kept, it will mostly be kept again: then it is close to 0.
        """
        if self.low is None or self.high is None:
            return math.inf
        return max((self.high - self.low) / (2 * Z95), _SURE_OF_NOTHING)

    def sentence(self) -> str:
        """What it says."""
        interval = points_text(self.low, self.high)
        what = "the whole network" if self.unfreeze == "all" else f"the last {self.unfreeze} stages"
        return (
            f"pilot, {what} fine-tuned for {EPOCHS} epochs on {self.learned} images, scored on {self.scored}: "
            f"{self.tuned:.1%} against {self.frozen:.1%} frozen, {100 * self.difference:+.1f} points "
            f"({interval}, paired)"
            + (f"; in {self.kept} of {self.folds} folds the frozen network was kept" if self.kept else "")
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return asdict(self)


def run_pilot(
    origins: Sequence[Any],
    y: NDArray[Any],
    rows: NDArray[np.float32],
    head: Any,
    splits: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    *,
    groups: ArrayLike,
    blocks: Sequence[int] | None = None,
    unfreeze: int | str = 2,
    say: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> Iterator[Pilot]:
    """Fine-tune on one fold after the other; after each, what is known so far.

    Parameters
    ----------
    origins : sequence
        The images.
    y : ndarray, shape (n,)
        Labels.
    rows : ndarray, shape (n, d)
        Their frozen features.
    head : str or scikit-learn classifier
        The best on these.
    splits : sequence of (train, test)
        Folds.
    groups : array-like, shape (n,)
        What is kept on one side.
    blocks : sequence of int, optional
        Numbers of the columns of each layer, for heads that know blocks.
    unfreeze : int or str
    say : callable
    **options
        Of :class:`FineTuneClassifier`: ``backbone``, ``weights``, ``cache`` ...

    Yields
    ------
    Pilot
    """
    ids = np.asarray(groups)
    truth: list[NDArray[Any]] = []
    before: list[NDArray[Any]] = []
    after: list[NDArray[Any]] = []
    tested: list[NDArray[np.intp]] = []
    started, kept = time.perf_counter(), 0
    for number, (train, test) in enumerate(splits):
        part = train
        if len(part) > MOST:
            part = part[holdout(y[part], MOST / len(part), number, ids[part])[1]]
        frozen = fit_head(make_head(head, y[part], blocks=blocks), rows[part], y[part], groups=ids[part])
        model = FineTuneClassifier(unfreeze=unfreeze, epochs=EPOCHS, say=say, seed=number, **options)
        model.fit([origins[i] for i in part], y[part], groups=ids[part])
        kept += model.best_epoch_ == 0
        truth.append(y[test])
        before.append(np.asarray(frozen.predict(rows[test])))
        after.append(model.predict([origins[i] for i in test]))
        tested.append(ids[test])
        t, b, a = np.concatenate(truth), np.concatenate(before), np.concatenate(after)
        difference, low, high = paired_difference(t, a, b, groups=np.concatenate(tested))
        yield Pilot(
            unfreeze=unfreeze,
            learned=len(part),
            scored=len(t),
            folds=number + 1,
            kept=kept,
            frozen=float((b == t).mean()),
            tuned=float((a == t).mean()),
            difference=difference,
            low=low,
            high=high,
            seconds=time.perf_counter() - started,
        )
