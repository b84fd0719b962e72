"""The demo: the whole tour on images that every machine has, or on the user's own folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .backbones import DEFAULT_BACKBONE
from .bootstrap import WithInterval, points_text, range_text
from .duplicates import group_rows
from .errors import FeaturekitError, HeadError
from .evaluation import cross_validate_head
from .extraction import extract
from .finetune import FineTuneClassifier
from .fingerprint import PENULTIMATE, STAGES
from .folders import on_disk
from .heads import fit_head, make_head
from .images import open_image, read_bytes, read_source
from .metrics import Evaluation, evaluate_predictions, paired_difference
from .report import draw_confusion_matrix, failures_text, table
from .splits import holdout
from .store import FAILED, FeatureStore
from .transfer import TransferClassifier

_FOLDS = 5
_HEAD = "auto"
_STORE = "features.{layer}.h5"
_RAW_SIDE = 32
# Images of 8 x 8 pixels hold nothing that larger ones would show; at 224 pixels the demo takes twice as long.
_DIGITS_SIDE = 96
_MOST_TUNED = 3000
_TUNING: dict[str, Any] = {
    "unfreeze": 3,
    "learning_rate": 1e-3,
    "augment": "none",  # digits must not be mirrored
}


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One line of the comparison: what the head saw, the head, its score, and the time of all fits."""

    features: str
    head: str
    evaluation: Evaluation
    seconds: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What :func:`run_demo` found.

    Attributes
    ----------
    folder : Path
        Where everything lies that it wrote.
    rows : list of DemoRow
        The comparison, on identical folds.
    tuned : list of DemoRow
        The same comparison on one split, with the network's upper stages trained as well; empty where there are more
        than 3,000 images, which would take long.
    verdict : str
        What the numbers say, in sentences.
    seconds : float
        Duration of the whole tour.
    """

    folder: Path
    rows: list[DemoRow]
    tuned: list[DemoRow]
    verdict: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        results, tuned = (
            [
                {
                    "features": row.features,
                    "head": row.head,
                    "accuracy": row.evaluation.accuracy,
                    "low": row.evaluation.low,
                    "high": row.evaluation.high,
                    "seconds": row.seconds,
                }
                for row in rows
            ]
            for rows in (self.rows, self.tuned)
        )
        found = {"folder": str(self.folder), "results": results, "fine_tuned": tuned}
        return found | {"verdict": self.verdict, "seconds": self.seconds}


def run_demo(
    folder: str | os.PathLike[str] = "featurekit-demo",
    *,
    source: str | os.PathLike[str] | None = None,
    digits: int = 1797,
    epochs: int = 4,
    say: Callable[[str], object] = lambda text: None,
    progress: bool = False,
) -> DemoResult:
    """Extract, fit, compare, fine-tune: frozen features against the raw pixels, then a trained network.

    Parameters
    ----------
    folder : path
        Where the store, the model, the picture and the results are left.
    source : path, optional
        The user's own class folders or manifest. Default: scikit-learn's 1,797 scanned digits, written as
        PNG files first. Nothing is downloaded.
    digits : int
        How many of the scanned digits there are to be, the first ones of scikit-learn's.
    epochs : int
        Passes of the fine-tuning over its images.
    say : callable
        Called with each line for the user.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    DemoResult

    Raises
    ------
    FeaturekitError
        If the source cannot be used or the folder not be written.
    """
    started = time.perf_counter()
    home = on_disk(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
        images = write_digits(home / "digits", digits) if source is None else source
    except OSError as error:
        raise FeaturekitError(f"cannot write the demo to {home}: {error.strerror or error}") from error
    origins = {item.path: item.origin for item in read_source(images).items}
    side = _DIGITS_SIDE if source is None else None
    about = f" (scikit-learn's scanned digits, 8x8 pixels, enlarged to {side})" if source is None else ""
    say(f"1. Images: {images}{about}")
    store, last = extract(
        images, output=home / _STORE, layer=[STAGES, PENULTIMATE], image_size=side, replace=True, progress=progress
    )
    _tell_store(store, last, say)

    chosen = np.flatnonzero(store.y != "")
    y = store.y[chosen]
    if not len(chosen):
        raise HeadError(f"the images in {images} have no labels; the demo needs class folders or a labelled manifest")
    paths = store.paths
    say(f"3. {_FOLDS}-fold cross-validation on {len(y)} images, with the same folds for every line below.")
    together = group_rows(store, chosen)
    if together.notable:
        say(f"   {together.sentence()}")
    raw, raw_name = _raw_pixels([origins[paths[index]] for index in chosen])
    frozen = store.X[chosen]
    rows: list[DemoRow] = []
    predictions: list[NDArray[np.str_]] = []
    plan = [
        (raw_name, raw, "logreg", None),
        (f"{DEFAULT_BACKBONE}, last layer", last.X[chosen], "logreg", None),
        (f"{DEFAULT_BACKBONE}, all stages", frozen, _HEAD, store.space.widths),
    ]
    for name, X, head, blocks in plan:
        begun = time.perf_counter()
        scored = cross_validate_head(X, y, head, cv=_FOLDS, groups=together.ids, blocks=blocks)
        if scored is None:
            raise HeadError(f"a class of {images} has a single image; the demo needs two or more of each")
        predictions.append(scored.predictions[0])
        rows.append(DemoRow(name, head, scored.evaluate(), time.perf_counter() - begun))
    say("")
    say(_comparison(rows))

    best = rows[-1]
    paired = paired_difference(y, predictions[-1], predictions[0], groups=together.ids)
    beyond = paired_difference(y, predictions[-1], predictions[1], groups=together.ids)
    verdict = f"{_verdict(paired)}\nAll stages, minus the last layer alone: {_points(beyond)}"
    say("")
    say(verdict)
    tuned: list[DemoRow] = []
    if len(y) <= _MOST_TUNED:
        say("")
        pictures = [origins[paths[index]] for index in chosen]
        known = (raw, raw_name, frozen, store.space.widths)
        tuned, further = _fine_tuned(home, pictures, side, epochs, y, together.ids, known, say)
        verdict += f"\n{further}"
        say("")
        say(further)

    model = home / "model"
    final = TransferClassifier(head=best.head, layer=STAGES, image_size=side).fit(store)
    score = round(best.evaluation.accuracy, 4)
    final.save(model, notes={f"accuracy in {_FOLDS}-fold cross-validation": score})
    picture = draw_confusion_matrix(
        best.evaluation, home / "confusion-matrix.png", title=f"{DEFAULT_BACKBONE}, frozen + {best.head}"
    )
    result = DemoResult(home, rows, tuned, verdict, time.perf_counter() - started)
    (home / "results.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    say("")
    also = ", tuned/ (the trained network, fitted on 70% of them)" if tuned else ""
    stores = " and ".join(each.path.name for each in (store, last))
    say(f"Left in {home}/: {stores} (stores), model/ (fitted on all images){also}, {picture.name}, results.json")
    say(f"Try: featurekit predict {images} --model {model}")
    return result


def _fine_tuned(
    home: Path,
    origins: list[Any],
    side: int | None,
    epochs: int,
    y: NDArray[np.str_],
    groups: NDArray[np.intp],
    known: tuple[NDArray[np.float32], str, NDArray[np.float32], tuple[int, ...]],
    say: Callable[[str], object],
) -> tuple[list[DemoRow], str]:
    """One split: raw pixels, frozen features, and a network whose upper stages are trained; and what they say."""
    raw, raw_name, frozen, widths = known
    train, test = holdout(y, 0.3, 0, groups)
    stages = f"the last {_TUNING['unfreeze']} stages are trained"
    say(f"4. Fine-tuning: {len(train)} images to learn from, {len(test)} to score; {stages}.")
    rows, said = [], []

    def note(name: str, head: str, predicted: NDArray[Any], begun: float) -> None:
        evaluation = evaluate_predictions(y[test], predicted, groups=groups[test])
        rows.append(DemoRow(name, head, evaluation, time.perf_counter() - begun))
        said.append(predicted)

    frozen_name = f"{DEFAULT_BACKBONE}, all stages, frozen"
    for name, X, head, blocks in ((raw_name, raw, "logreg", None), (frozen_name, frozen, _HEAD, widths)):
        begun = time.perf_counter()
        fitted = fit_head(make_head(head, y[train], blocks=blocks), X[train], y[train], groups=groups[train])
        note(name, head, fitted.predict(X[test]), begun)
    begun = time.perf_counter()
    options: dict[str, Any] = {
        "cache": home / _STORE.format(layer=PENULTIMATE),
        "image_size": side,
        "epochs": epochs,
        **_TUNING,
    }
    model = FineTuneClassifier(say=lambda line: say(f"   {line}"), **options)
    model.fit([origins[i] for i in train], y[train], groups=groups[train])
    note(f"{DEFAULT_BACKBONE}, fine-tuned", "linear", model.predict([origins[i] for i in test]), begun)
    model.save(home / "tuned", notes={"accuracy on images held out": round(rows[-1].evaluation.accuracy, 4)})
    say("")
    say(_comparison(rows))
    differences = []
    for place, name in enumerate(("raw pixels", "frozen features")):
        found = paired_difference(y[test], said[2], said[place], groups=groups[test])
        differences.append(f"Fine-tuned, minus {name}: {_points(found)}")
    return rows, "\n".join(differences)


def write_digits(folder: Path, number: int = 1797) -> Path:
    """Write the first of scikit-learn's 1,797 scanned digits of 8 x 8 pixels into class folders."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images[:number], digits.target[:number], strict=True)):
        path = folder / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(path)
    return folder


def _tell_store(store: FeatureStore, last: FeatureStore, say: Callable[[str], object]) -> None:
    s = store.summary
    assert s is not None
    say(
        f"2. Features: {s.images} images, {s.computed} computed, {s.reused} reused, {s.duplicates} duplicates, "
        f"{s.failed} failed in {s.seconds:.0f} s -> {len(store)} rows of {store.space.dim} "
        f"(all stages) and of {last.space.dim} (the last layer alone), from one pass"
    )
    for note in s.notes:
        say(f"   Note: {note}")
    if s.failed:
        say(failures_text([(entry.path, entry.reason) for entry in store.ledger.where(FAILED)], limit=5))


def _raw_pixels(origins: Sequence[object]) -> tuple[NDArray[np.float32], str]:
    """The pixels themselves as features: of small images all, of larger ones a thumbnail."""
    pictures = []
    for origin in origins:
        assert isinstance(origin, str)
        picture = open_image(read_bytes(origin)[0])
        pictures.append(picture if max(picture.size) <= _RAW_SIDE else picture.resize((_RAW_SIDE, _RAW_SIDE)))
    sizes = {picture.size for picture in pictures}
    if len(sizes) == 1 and max(pictures[0].size) <= _RAW_SIDE:
        width, height = pictures[0].size
    else:
        width = height = _RAW_SIDE
        pictures = [picture.resize((width, height)) for picture in pictures]
    pixels = np.stack([np.asarray(picture, dtype=np.float32).ravel() for picture in pictures])
    return pixels, f"raw pixels {width}x{height}"


def _comparison(rows: list[DemoRow]) -> str:
    return table(
        ["features", "head", "accuracy", "95% interval", "time"],
        [
            [
                row.features,
                row.head,
                f"{row.evaluation.accuracy:.3f}",
                range_text(row.evaluation.low, row.evaluation.high, ".3f"),
                f"{row.seconds:.1f} s",
            ]
            for row in rows
        ],
        left=2,
    )


def _points(paired: WithInterval) -> str:
    """A paired difference in words."""
    difference, low, high = paired
    if low is None or high is None:
        return f"{100 * difference:+.1f} points (paired; too few groups of images for an interval)."
    return f"{100 * difference:+.1f} points (95% interval {points_text(low, high)}, paired)."


def _verdict(paired: WithInterval) -> str:
    """Say what the comparison of frozen features with the raw pixels shows."""
    _, low, high = paired
    measured = f"Frozen features of all stages, minus raw pixels: {_points(paired)}"
    if low is None or high is None:
        return f"{measured}\nThe two cannot be told apart."
    if low > 0:
        return f"{measured}\nThe frozen features win: transfer learning works on these images, before any training."
    if high >= 0:
        return f"{measured}\nThe interval holds zero: on this many images the two cannot be told apart."
    return (
        f"{measured}\nThe frozen features lose: this is the case where cached features prove insufficient.\n"
        "The images are probably far from the photographs that the network learned from.\n"
        "The remedy is to fine-tune the network itself."
    )
