"""One look after the other, each if there is time for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..comparison import Compared, Comparison, compare
from ..duplicates import group_rows
from ..errors import FeaturekitError, HeadError, LabelWarning
from ..evaluation import cross_validate_head
from ..fingerprint import PENULTIMATE, STAGES
from ..heads import fit_head, make_head
from ..heads.kernel import MOST_ROWS
from ..images import Item
from ..metrics import paired_difference
from ..splits import folds
from ..store import FAILED, FeatureStore
from ..transfer import label_findings
from ..transferability import h_score, leep, logme
from .belief import believed, usually_ahead
from .clock import Clock
from .costs import seconds_of_a_fold
from .growth import growth
from .material import LOGREG_SECONDS, Material
from .neighbours import nearest_neighbour
from .pilot import EPOCHS, run_pilot
from .result import Alternative, Evidence
from .size import size_of

FOLDS = 5
_PILOT_FOLDS = 3
_NEGLIGIBLE = 0.001  # accuracy: where no more is at stake, no pilot is worth its time
_STRICT = 3.0  # standard deviations: the best of several heads is compared with chance
# Of the time that is left, for one head; for logistic regression more, as nearest neighbours alone say too little.
_HEADS_SHARE, _MAIN, _MAIN_SHARE = 0.15, "logreg", 0.5
# Seconds of a cross-validation of 1,000 rows of 1,280 and 10 classes, and the powers of rows and classes it grows with.
_HEADS = {"knn": (0.6, 2, 0), "logreg": (LOGREG_SECONDS, 1, 1), "lda": (6.0, 1, 0), "svm": (2.0, 2, 0.5)}


class Looks:
    """What is measured on some material, and by when.

    Parameters
    ----------
    material : Material
    clock : Clock
    margin : float
    seed : int
    say : callable
        Called with a line after each look.
    """

    def __init__(
        self, material: Material, clock: Clock, margin: float, seed: int, say: Callable[[str], object]
    ) -> None:
        self._material, self._clock, self._margin, self._seed, self._say = material, clock, margin, seed, say
        self.evidence = Evidence(untested=clock.untested)

    def heads(self) -> Comparison | None:
        """Cross-validation of the heads that the time allows, the cheapest first; None if nothing can be scored."""
        material, e = self._material, self.evidence
        stores = material.extract("{backbone}.h5", material.backbones)
        self._say(f"features of {', '.join(material.backbones)}: {len(stores[0])} rows")
        y = stores[0].y[stores[0].y != ""]
        comparison = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LabelWarning)  # the advice says it by itself
                comparison = compare(
                    stores,
                    heads=self._affordable(y, len(stores)),
                    output=material.home,
                    cv=FOLDS,
                    seed=self._seed,
                    say=self._say,
                )
        except HeadError as error:
            e.problem = str(error)
        if len(y):
            if comparison is not None:
                groups, labels = comparison.groups, comparison.labels
            else:
                chosen = np.flatnonzero(stores[0].y != "")
                groups = group_rows(stores[0], chosen)
                labels = label_findings(stores[0], y, chosen=chosen, pairs=groups.pairs)
            e.size = size_of(
                y,
                groups,
                items=material.items,
                unlabelled=material.unlabelled,
                failed=len(stores[0].ledger.where(FAILED)),
                sampled_from=material.sampled_from,
                labels=labels,
            )
        e.comparison = comparison
        return comparison

    def _affordable(self, y: NDArray[Any], stores: int) -> list[str]:
        heads: list[str] = []
        n, k = len(y), max(len(np.unique(y)), 2)
        for head, (unit, by_rows, by_classes) in _HEADS.items():
            cost = stores * unit * (n / 1000) ** by_rows * (k / 10) ** by_classes
            most = (_MAIN_SHARE if head == _MAIN else _HEADS_SHARE) * self._clock.left
            if not heads or (cost < most and (head != "svm" or n <= MOST_ROWS)):
                heads.append(head)
            else:
                self._clock.untested.append(f"the head {head}: it would take some {cost:.0f} s")
        return sorted(heads, key=lambda head: head != _MAIN)  # of heads that are equally good, the first is taken

    def rows(self, comparison: Comparison) -> _Rows:
        """What further looks look at: the rows of the best line; and how these fare without a head."""
        best, e = comparison.best, self.evidence
        found = _Rows(comparison, self._material)
        e.beats_chance = _beats_chance(best)
        e.neighbours = nearest_neighbour(found.X, found.y, found.ids)
        fitted = fit_head(make_head(best.head, found.y, blocks=found.blocks), found.X, found.y, groups=found.ids)
        e.gap = float((fitted.predict(found.X) == found.y).mean()) - best.evaluation.accuracy
        return found

    def growth(self, rows: _Rows) -> None:
        """The learning curve."""
        if self._clock.allows(25 * rows.best.folded.fit_seconds, "the learning curve"):
            self.evidence.growth = growth(rows.X, rows.y, rows.best.head, groups=rows.ids, blocks=rows.blocks)
            self._say(self.evidence.growth.sentence())

    def similarity(self, rows: _Rows) -> None:
        """How near the images are to the source, and the scores that follow from it."""
        e = self.evidence
        if self._clock.allows(20, "similarity to the source"):
            from .similarity import similarity  # torch

            e.similarity = similarity(self._material.find(rows.best.backbone), rows.items, seed=self._seed)
            self._say(e.similarity.sentence())
        if self._clock.allows(5 + len(rows.X) / 500, "LogME and H-score"):
            e.scores = {"logme": logme(rows.X, rows.y), "h_score": h_score(rows.X, rows.y)}
            if e.similarity is not None and e.similarity.probabilities is not None:
                e.scores["leep"] = leep(e.similarity.probabilities, rows.y[e.similarity.drawn])

    def alternatives(self, rows: _Rows) -> None:
        """Another layer, and larger images where they are larger, with the same head on the same folds."""
        best, e, material = rows.best, self.evidence, self._material
        spec = material.find(best.backbone).spec
        trials: list[tuple[str, dict[str, Any], float]] = []
        if best.layer == STAGES:
            trials.append((f"{best.backbone}, layer {PENULTIMATE}", {"layer": PENULTIMATE}, 1.0))
        elif spec.stages:  # The rows are of an earlier version, or of a saved model.
            trials.append((f"{best.backbone}, layer {STAGES}", {"layer": STAGES}, 1.0))
        side = spec.preprocessing.crop
        larger = round(1.3 * side / 32) * 32
        assert e.size is not None
        if "image_size" not in material.options or material.options["image_size"] is None:
            if e.size.side > 1.1 * spec.preprocessing.resize:
                trials.append((f"{best.features}, {larger} pixels", {"image_size": larger}, (larger / side) ** 2))
            else:
                e.untested.append(f"larger images: half of these have no more than {e.size.side} pixels")
        for name, options, times in trials:
            cost = 12 + times * len(rows.y) / material.rate + 8 * best.folded.fit_seconds
            if not self._clock.allows(2 * cost, name):  # a pilot is worth more
                continue
            try:
                place = f"{best.backbone.replace('/', '-')}.{'-'.join(map(str, options.values()))}.h5"
                (store,) = material.extract(place, [best.backbone], **({"layer": best.layer} | options))
                found = cross_validate_head(
                    store.X[rows.chosen],
                    rows.y,
                    best.head,
                    cv=FOLDS,
                    seed=self._seed,
                    groups=rows.ids,
                    blocks=store.space.widths,
                )
            except FeaturekitError as error:
                e.untested.append(f"{name}: {error}")
                continue
            assert found is not None  # the same folds as before
            apart = paired_difference(rows.y, found.predictions[0], best.folded.predictions[0], groups=rows.ids)
            other = Alternative(name, {"backbone": best.backbone} | options, found.evaluate().accuracy, *apart)
            e.alternatives.append(other)
            self._say(other.sentence())

    def pilot(self, rows: _Rows) -> None:
        """Fine-tuning on a fold or more, until the answer is clear."""
        best, e, material = rows.best, self.evidence, self._material
        error = 1 - best.evaluation.accuracy
        n, distance = len(rows.y), None if e.similarity is None else e.similarity.distance
        ahead = _ahead(best, e)
        e.gain = believed(error, n, self._margin, distance=distance, ahead=ahead)
        splits = list(folds(rows.y, FOLDS, self._seed, rows.ids))[:_PILOT_FOLDS]
        cost = seconds_of_a_fold(len(splits[0][0]), len(splits[0][1]), material.rate)
        if e.gain.at_stake < _NEGLIGIBLE and e.gain.expected <= self._margin:
            return  # to train is advised only after a try: it may take hours with all images
        if not self._clock.allows(cost, f"fine-tuning on one fold for {EPOCHS} epochs"):
            return

        def watch(text: str) -> None:
            if self._clock.left < 0:
                raise _OutOfTimeError

        passed = ("decoder", "image_size", "crop", "workers", "device", "runtime")
        runs = run_pilot(
            [item.origin for item in rows.items],
            rows.y,
            rows.X,
            best.head,
            splits,
            groups=rows.ids,
            blocks=rows.blocks,
            backbone=best.backbone,
            weights=material.weights(best.backbone),
            cache=material.home / "rows",
            say=watch,
            **{key: material.options[key] for key in passed if key in material.options},
        )
        try:
            for found in runs:
                e.pilot = found
                measured = (found.difference, found.standard_error)
                e.gain = believed(error, n, self._margin, distance=distance, ahead=ahead, pilot=measured)
                self._say(found.sentence())
                if found.folds == len(splits) or e.gain.at_stake < _NEGLIGIBLE:
                    return
                if not self._clock.allows(found.seconds / found.folds, "fine-tuning on another fold"):
                    return
        except _OutOfTimeError:
            e.untested.append("fine-tuning: it was begun, and the time was over")
        except FeaturekitError as error:  # such as too few images of a class
            e.untested.append(f"fine-tuning: {error}")


class _OutOfTimeError(Exception):
    """The budget ended while a network was trained."""


class _Rows:
    """The rows of the best line of a comparison, and their images."""

    def __init__(self, comparison: Comparison, material: Material) -> None:
        self.best = comparison.best
        self.y, self.ids = self.best.folded.y, comparison.groups.ids
        store = next(store for store in comparison.stores if store.fingerprint == self.best.fingerprint)
        self.chosen = _chosen(store, self.y)
        self.X: NDArray[np.float32] = store.X[self.chosen]
        self.blocks = store.space.widths
        paths = store.paths
        self.items: list[Item] = material.with_origins([paths[i] for i in self.chosen])


def _ahead(best: Compared, e: Evidence) -> float:
    """Accuracy by which the best features are ahead of the penultimate layer: measured, or else what is usual."""
    if best.layer != STAGES:
        return 0.0
    measured = [-other.difference for other in e.alternatives if other.options.get("layer") == PENULTIMATE]
    return measured[0] if measured else usually_ahead(1 - best.evaluation.accuracy)


def _chosen(store: FeatureStore, y: NDArray[Any]) -> NDArray[np.intp]:
    """The rows that were compared: those of a class that can be split."""
    labels = store.y
    return np.flatnonzero((labels != "") & np.isin(labels, np.unique(y)))


def _beats_chance(best: Compared) -> bool:
    """Whether labels and predictions agree more often than they would if one of them were shuffled.

    A permutation test by its normal approximation (W. Hoeffding, "A combinatorial central limit theorem", 1951); to
    name one class always agrees as often as chance, however common that class is.
    """
    folded = best.folded
    classes, codes = np.unique(np.concatenate([folded.y, folded.predictions[0]]), return_inverse=True)
    n, k = len(folded.y), len(classes)
    true, said = (np.bincount(part, minlength=k) / n for part in (codes[:n], codes[n:]))
    by_chance = float(true @ said)
    # Of the agreement of each image with each prediction, what neither of the two explains by itself.
    agree = np.eye(k) - said[:, np.newaxis] - true[np.newaxis, :] + by_chance
    spread = np.sqrt(float(true @ agree**2 @ said) / max(n - 1, 1))
    hits = float(np.mean(codes[:n] == codes[n:]))
    independent = len(np.unique(folded.groups)) / n
    return bool((hits - by_chance) * np.sqrt(independent) > _STRICT * max(float(spread), 1e-9))
