"""What `fit` is given and tells: images and labels, checked; the head at the start; the comparison at the end."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from ..backbones import find, named
from ..bootstrap import interval_note
from ..bundle import is_bundle
from ..duplicates import Groups, find_duplicates
from ..errors import HeadError, ImageError, Remedy, SourceError, TrainingError
from ..fingerprint import FeatureSpace
from ..heads import AutoHead, LogisticRegressionPath
from ..heads.layer import calibrated_loss, layer_of
from ..images import PERCEPTUAL_BYTES, Item, check_sequence, items_from, read_origin
from ..metrics import paired_difference
from ..pipeline.looking import hash_of
from ..runtime import load_decoder
from ..store import FeatureStore
from ..targets import as_classes
from ..transfer import TransferClassifier, load_model
from ..wording import count
from .recipe import plain_number


def check_backbone(name: object) -> None:
    """Raise TrainingError unless it names a network that can be built anew."""
    if not isinstance(name, str):
        raise TrainingError(
            f"to be fine-tuned, a backbone must have a name, and this is a {type(name).__name__}: name its "
            "architecture, and the file of its weights"
        )
    if is_bundle(name):
        raise TrainingError(
            f"{name} is a saved model of {find(name).spec.name}.",
            remedies=[Remedy("to train its network further, start at it", "start")],
        )


def checked(X: Any, y: ArrayLike | None) -> tuple[list[Item], NDArray[Any]]:
    """Items, and a class for each of them."""
    if isinstance(X, FeatureStore):
        raise SourceError("fine-tuning needs the images themselves, and a store holds rows: give the paths and labels")
    if y is None:
        raise ValueError("y is missing: fitting requires y to be passed, but the target y is None")
    check_sequence(X)
    labels = as_classes(y)
    if labels.ndim == 2:
        raise HeadError("fine-tuning learns one class for each image, and y has a column for each label")
    items = items_from(X)
    if not items:
        raise SourceError("there are no images to learn from or to choose by")
    if len(items) != len(labels):
        raise ValueError(f"{len(items)} images but {len(labels)} labels")
    return items, labels


def checked_validation(given: Any, classes: NDArray[Any]) -> tuple[list[Item], NDArray[np.intp]]:
    """Items, and the number of the class of each."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TrainingError(f"fit's validation must be a pair of images and labels, got {given!r:.100}")
    items, labels = checked(*given)
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    if unknown := sorted({repr(label) for label in labels.tolist() if label not in numbers}):
        raise HeadError(
            f"validation images have classes that no training image has: {', '.join(unknown[:9])}; those of training "
            f"are {', '.join(map(repr, list(numbers)[:9]))}"
        )
    return items, np.array([numbers[label] for label in labels.tolist()], dtype=np.intp)


def seen_twice(contents: NDArray[np.uint8], n: int) -> int:
    """How many of the images after the first `n` are equal to one of these."""
    known = {content.tobytes() for content in contents[:n]}
    return sum(content.tobytes() in known for content in contents[n:])


def hashes_of(items: Sequence[Item], decoder: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read and decode each image once, before anything slow is tried.

    Parameters
    ----------
    items : sequence of Item
    decoder : str
        As in :func:`featurekit.extract`.

    Returns
    -------
    contents : ndarray of uint8, shape (n, 32)
        Hashes of files and pixels.
    perceptual : ndarray of uint8, shape (n, 64)
        Perceptual hashes; zeros where there is none.

    Raises
    ------
    ImageError
        If some cannot be read; all of them are named.
    """
    decode = load_decoder(decoder, "cpu")
    contents, perceptual, failures = [], [], []
    for number, item in enumerate(items):
        try:
            if item.problem:
                raise ImageError(item.problem)
            image, _ = read_origin(item.origin)
            (found,) = decode([image], [set()], hashed=True)
            if isinstance(found, ImageError):
                raise found
        except ImageError as error:
            failures.append((number, item.path, str(error)))
        else:
            contents.append(hash_of(image))
            perceptual.append(found.perceptual or bytes(PERCEPTUAL_BYTES))
    _raise_failures(failures, items)
    as_table = [
        np.frombuffer(b"".join(each), dtype=np.uint8).reshape(len(items), -1) for each in (contents, perceptual)
    ]
    return as_table[0], as_table[1]


def _raise_failures(failures: list[tuple[int, str, str]], items: Sequence[Item]) -> None:
    if failures:
        named = "; ".join(f"{items[number].shown(number)}: {why}" for number, _, why in failures[:5])
        raise ImageError(f"{count(len(failures), 'image')} cannot be read: {named}. Leave them out.", failures)


def together(
    n: int, contents: NDArray[np.uint8], perceptual: NDArray[np.uint8], labels: NDArray[Any], groups: ArrayLike | None
) -> Groups:
    """Find the first `n` images that belong together: named groups, equal files, and near duplicates."""
    names = None
    if groups is not None:
        if np.ndim(groups) != 1:
            raise ValueError(f"groups must have one entry for each image, got the shape {np.shape(groups)}")
        names = ["" if group in {None, ""} else f"group {group}" for group in np.asarray(groups).tolist()]
        if len(names) != n:
            raise ValueError(f"{n} images but {len(names)} groups")
    return find_duplicates(perceptual[:n], contents=contents[:n], groups=names, labels=labels)


def checked_share(validation: Any) -> float:
    """The share of the images that choose the best epoch."""
    share = plain_number(validation)
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise TrainingError(f"validation must be a share between 0 and 1, got {validation!r}")
    return share


def starting_classifier(given: Any, backbone: str, *, pretrained: bool) -> TransferClassifier | None:
    """The classifier to start at, if there is one."""
    if given is None:
        return None
    start = given.estimator if isinstance(given, FrozenEstimator) else given
    if isinstance(start, str | os.PathLike):
        start = load_model(start)
    if not pretrained:
        raise TrainingError("start and pretrained=False exclude each other: from scratch there is nothing to start at")
    if not isinstance(start, TransferClassifier) or start.space_.backbone != backbone:
        raise TrainingError(f"expected a fitted TransferClassifier of {backbone} to start at, got {start!r}")
    return start


def settings_of(classifier: Any) -> dict[str, Any]:
    """What a fitted classifier and a training from it have in common."""
    names = ("decoder", "image_size", "crop", "device", "runtime", "workers")
    # The weights of a fine-tuned network are those that came out, not those that went in.
    backbone, weights = named(classifier.backbone, classifier.extractor_.weights)
    return {"backbone": backbone, "weights": weights} | {name: getattr(classifier, name) for name in names}


def check_start(start: TransferClassifier, space: FeatureSpace) -> None:
    """Raise if a classifier is not of the network that is to be trained."""
    if start.space_.weights != space.weights:
        raise TrainingError(
            f"the classifier to start at has other weights: {start.space_.weights}, the network {space.weights}. "
            "FineTuneClassifier.from_transfer takes its network along"
        )


def why_a_new_head(start: TransferClassifier, space: FeatureSpace, classes: NDArray[Any]) -> str:
    """Return why the head of a classifier cannot be the last layer that is trained; empty if it can."""
    if not np.array_equal(start.classes_, classes):
        return f"knows the classes {_shown(start.classes_)}, and these images have {_shown(classes)}"
    for what in ("layer", "pooling", "flip", "l2"):
        if (theirs := getattr(start.space_, what)) != (ours := getattr(space, what)):
            return f"reads features of {what} {theirs}, and the last layer those of {what} {ours}"
    if start.multilabel_:
        return "learned labels beside each other"
    try:
        layer_of(start.head_)
    except HeadError:
        return "has a head other than logistic regression"
    return ""


def start_notes(start: TransferClassifier, fault: str, *, splits: bool) -> list[str]:
    """List what a user should know of a classifier to start at.

    Parameters
    ----------
    start : TransferClassifier
    fault : str
        Of :func:`why_a_new_head`.
    splits : bool
        Whether validation images are drawn from those given.
    """
    notes = []
    if fault:
        notes.append(f"the classifier to start at {fault}: its network is taken, with a new last layer")
    if start.training_ is not None and splits:
        notes.append(
            "the network to start at was trained before. If it saw these images then, scores on those that are kept "
            "aside are too good: give others as validation images"
        )
    return notes


def _shown(classes: NDArray[Any]) -> str:
    return ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")


def first_head(
    start: TransferClassifier | None,
    rows: NDArray[np.float32],
    classes: NDArray[Any],
    codes: NDArray[np.intp],
    groups: NDArray[np.intp],
    *,
    exact: bool,
) -> LogisticRegressionPath:
    """Logistic regression on the training images; if `exact`, that of the start as it is."""
    if start is None:
        return LogisticRegressionPath().fit(rows, classes[codes], groups=groups)
    head: LogisticRegressionPath = start.head_.estimator_ if isinstance(start.head_, AutoHead) else start.head_
    return head if exact else clone(head).fit(rows, classes[codes], groups=groups)


def usual_size(rows: NDArray[np.float32]) -> float:
    """The size of a number in these rows, as a power of 2: root of the mean square."""
    size = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64))))
    return float(2.0 ** np.round(np.log2(size))) if size > 0 and np.isfinite(size) else 1.0


def compared(
    truth: NDArray[np.intp],
    decisions: NDArray[np.floating],
    frozen: NDArray[np.floating] | None,
    groups: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Score the validation images, and compare the accuracy with that of the frozen network, image by image.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
    decisions, frozen : ndarray, shape (n, classes)
        Of the trained network, and of the frozen one if there is one.
    groups : ndarray of int, shape (n,), optional
        Images with the same number count as one in the interval. Default: each image is its own.

    Returns
    -------
    dict
        As ``comparison_`` of :class:`FineTuneClassifier`.
    """
    said = decisions.argmax(axis=1)
    right = said == truth
    found: dict[str, Any] = {"n": len(truth), "accuracy": float(right.mean())}
    found["log_loss"] = calibrated_loss(decisions, truth)[0]
    if frozen is not None:
        found["frozen_log_loss"] = calibrated_loss(frozen, truth)[0]
        before = frozen.argmax(axis=1)
        was_right = before == truth
        difference, low, high = paired_difference(truth, said, before, groups)
        number = len(truth) if groups is None else len(np.unique(groups))
        found |= {
            "frozen_accuracy": float(was_right.mean()),
            "difference": difference,
            "low": low,
            "high": high,
            "interval_note": interval_note(number, len(truth)),
            "won": int((right & ~was_right).sum()),
            "lost": int((was_right & ~right).sum()),
        }
    return found


def beyond_chance(comparison: dict[str, Any]) -> bool:
    """Whether the root of McNemar's statistic is above 1, a gain of more than its standard error, and log loss is less.

    The best of several epochs nearly always gains an image or two, and of 20 validation images that is one standard
    error. Where the true classes are no more probable than before, such a gain is none.
    """
    won, lost = comparison["won"], comparison["lost"]
    return bool(won - lost > math.sqrt(won + lost) and comparison["log_loss"] < comparison["frozen_log_loss"])
