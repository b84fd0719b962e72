"""Run a comparison."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backbones import DEFAULT_BACKBONE
from ..bootstrap import WithInterval
from ..duplicates import Groups, group_rows
from ..errors import HeadError, SourceError
from ..evaluation import CrossValidation, CurvePoint, cross_validate_head, learning_curve
from ..extraction import extract
from ..fingerprint import PENULTIMATE
from ..folders import is_store_name, on_disk
from ..heads import head_name, make_head
from ..importance import LayerImportance, layer_importance
from ..metrics import Evaluation, paired_difference
from ..splits import can_be_split
from ..store import FeatureStore
from ..transfer import label_findings, nothing_to_learn
from .kept import Kept
from .result import Compared, Comparison

DEFAULT_HEADS = ("logreg", "svm", "lda", "knn")
_SHARES = (0.1, 0.2, 0.4, 0.7)


def compare(
    source: Any,
    *,
    backbones: Sequence[str] = (DEFAULT_BACKBONE,),
    layers: Sequence[str] | None = None,
    heads: Sequence[Any] = DEFAULT_HEADS,
    output: str | os.PathLike[str] | None = None,
    cv: int = 5,
    repeats: int = 1,
    seed: int = 0,
    curve: bool = False,
    say: Callable[[str], object] = lambda text: None,
    **extraction: Any,
) -> Comparison:
    """Cross-validate heads on the features of several backbones, with the same folds for all.

    Images that are there twice, as equal files or as near duplicates, are kept on one side of every split.

    Parameters
    ----------
    source : FeatureStore, list of them, or what :func:`featurekit.extract` takes
        A file that ends in ``.h5`` is a store. Of stores, each must hold the same images. Images are decoded once for
        all backbones.
    backbones, layers : sequence of str
        Names, if `source` is not a store; each pair is compared. Default of `layers`: that of
        :func:`featurekit.extract`.
    heads : sequence of str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    output : path, optional
        A folder for the stores and for the predictions of each pair of features and head: what is there is not
        computed again, so an interrupted comparison goes on where it stopped. Needed for images.
    cv, repeats, seed : int
        As in :func:`featurekit.evaluation.cross_validate_head`.
    curve : bool
        Also make the learning curve of the best line, which takes about one and a half times as long as that line, and
        the importance of each layer to it, which takes about as long as one of its folds.
    say : callable
        Called with a line for the user after each result.
    **extraction
        Further arguments of :func:`featurekit.extract`: ``labels``, ``groups``, ``weights``, ``decoder`` ...

    Returns
    -------
    Comparison

    Raises
    ------
    HeadError
        If a head is unknown, none can be fitted, or the labels allow no cross-validation.
    SourceError
        If the stores hold different images, or nothing says where those of the images go.
    FeaturekitError
        As :func:`featurekit.extract`.

    Warns
    -----
    LabelWarning
        If a picture is there under several labels, or names of classes differ in form only.

    Examples
    --------
    >>> from featurekit import compare
    >>> result = compare(getfixture("digits_store"), heads=["centroid", "knn"])
    >>> sorted(line.head for line in result.results), result.folds, result.best.difference
    (['centroid', 'knn'], 5, (0.0, 0.0, 0.0))
    """
    begun = time.perf_counter()
    heads = [heads] if isinstance(heads, str) or hasattr(heads, "fit") else list(heads)
    backbones = [backbones] if isinstance(backbones, str) else backbones
    layers = [layers] if isinstance(layers, str) else None if layers is None else list(layers)
    names = [head_name(head) for head in heads]
    if not names or len(set(names)) < len(names):
        raise HeadError(f"heads must be one or more with different names, got: {', '.join(names) or 'none'}")
    home = None if output is None else on_disk(output)

    def check(labels: ArrayLike) -> None:
        for head in heads:
            make_head(head, labels)  # whatever is wrong with a name or the labels is said before anything slow

    stores = _stores(source, backbones, layers, home, extraction, check)
    extracted = time.perf_counter()
    chosen = np.flatnonzero(stores[0].columns.label != b"")
    y = stores[0].y[chosen]
    if not len(y):
        raise nothing_to_learn(stores[0])
    check(y)
    together = group_rows(stores, chosen)
    labels = label_findings(stores[0], y, chosen=chosen, pairs=together.pairs)
    labels.warn()
    able = can_be_split(y, together.ids)
    if not able.all() and len(np.unique(y[able])) > 1:
        lone = sorted(set(y[~able].tolist()))
        say(f"left out, as nothing would be left to learn it from: {(~able).sum()} images of {', '.join(lone)}")
        chosen, y = chosen[able], y[able]
        together = group_rows(stores, chosen, pairs=together.pairs_among(able))
    grouped = time.perf_counter()
    pairs: list[_Line] = []
    failures: list[tuple[str, str, str]] = []
    cross_validated = 0.0
    for store in stores:
        rows = None
        for head, name in zip(heads, names, strict=True):
            place = Kept(home, store, chosen, together, head, cv, repeats, seed)
            found = place.read()
            reused = found is not None
            if found is None:
                rows = store.X[chosen] if rows is None else rows
                started = time.perf_counter()
                try:
                    found = cross_validate_head(
                        rows,
                        y,
                        head,
                        cv=cv,
                        repeats=repeats,
                        seed=seed,
                        groups=together.ids,
                        blocks=store.space.widths,
                    )
                except HeadError as error:  # one that cannot be fitted takes nothing from the others
                    failures.append((_features(store), name, str(error)))
                    say(f"{_features(store)} {name}: {error}")
                    continue
                if found is None:
                    raise HeadError("nothing can be cross-validated: fewer than two classes have two images or more")
                cross_validated += time.perf_counter() - started
                place.write(found)
            pairs.append(_Line(store, head, found, reused, place))
            say(f"{_features(store)} {name}: accuracy {found.mean:.4f}" + (" (of an earlier run)" if reused else ""))
    if not pairs:
        raise HeadError(f"none of the heads could be fitted. {failures[0][1]}: {failures[0][2]}")
    scored = sorted(((line.found.evaluate(), line) for line in pairs), key=lambda pair: -pair[0].accuracy)
    best = scored[0][1]
    results = [
        Compared(
            features=_features(line.store),
            backbone=line.store.space.backbone,
            layer=line.store.space.layer,
            head=head_name(line.head),
            dim=line.store.space.dim,
            folded=line.found,
            evaluation=evaluation,
            difference=_difference(line.found, best.found),
            fingerprint=line.store.fingerprint,
            reused=line.reused,
        )
        for evaluation, line in scored
    ]
    drawing = time.perf_counter()
    points: list[CurvePoint] = []
    importance: list[LayerImportance] = []
    if curve:
        try:
            points = _curve(best, y, chosen, cv, seed, together, results[0].evaluation)
        except HeadError as error:  # of a part of the rows
            say(f"no learning curve: {error}")
        try:
            importance = _importance(best, y, chosen, seed, together)
        except HeadError as error:
            say(f"no importance of the layers: {error}")
    ended = time.perf_counter()
    seconds = {
        "extract": extracted - begun,
        "duplicates": grouped - extracted,
        "heads": cross_validated,
        "scores": drawing - grouped - cross_validated,
        "curve": ended - drawing,
        "total": ended - begun,
    }
    return Comparison(
        results,
        stores,
        together,
        len(y),
        best.found.folds,
        repeats,
        seconds,
        points,
        failures,
        labels=labels,
        importance=importance,
    )


class _Line(NamedTuple):
    """Features and a head, what was found, and where it is kept."""

    store: FeatureStore
    head: Any
    found: CrossValidation
    reused: bool
    kept: Kept


def _curve(
    line: _Line,
    y: NDArray[Any],
    chosen: NDArray[np.intp],
    cv: int,
    seed: int,
    together: Groups,
    whole: Evaluation,
) -> list[CurvePoint]:
    points = line.kept.read_curve()
    if points is None:
        points = learning_curve(
            line.store.X[chosen],
            y,
            line.head,
            shares=_SHARES,
            cv=cv,
            seed=seed,
            groups=together.ids,
            blocks=line.store.space.widths,
        )
        line.kept.write_curve(points)
    # With all of the training rows: known already.
    rows = len(y) * (1 - 1 / line.found.folds)
    last = CurvePoint(rows, whole.accuracy, whole.low, whole.high)
    return [*(point for point in points if point.rows < rows), last]


def _importance(
    line: _Line, y: NDArray[Any], chosen: NDArray[np.intp], seed: int, together: Groups
) -> list[LayerImportance]:
    layers = line.store.space.blocks
    if not layers:
        return []
    found = line.kept.read_importance(layers)
    if found is None:
        found = layer_importance(line.store.X[chosen], y, layers, line.head, seed=seed, groups=together.ids)
        line.kept.write_importance(found)
    return found


def _stores(
    source: Any,
    backbones: Sequence[str],
    layers: list[str] | None,
    home: Path | None,
    extraction: dict[str, Any],
    check: Callable[[ArrayLike], None],
) -> list[FeatureStore]:
    given = [source] if isinstance(source, FeatureStore) else source
    if isinstance(given, str | os.PathLike) and is_store_name(given):
        given = [FeatureStore(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(store, FeatureStore) for store in given):
        if extraction:
            raise TypeError(f"{', '.join(extraction)}: these are for the extraction of images, and source is a store")
        for store in given[1:]:
            if not _same_images(given[0], store):
                raise SourceError(
                    f"{given[0].path} and {store.path} hold different images; extract both from one source"
                )
        if len({(_features(store), store.fingerprint) for store in given}) < len(given):
            raise SourceError("two of these stores hold the same features")
        return list(given)
    if home is None:
        raise SourceError("output is missing: say in which folder the features of these images are kept")
    options = {"labelled": check} | extraction
    return extract(source, output=home / "{backbone}.{layer}.h5", backbone=list(backbones), layer=layers, **options)


def _same_images(first: FeatureStore, second: FeatureStore) -> bool:
    mine, other = first.columns, second.columns
    return len(mine) == len(other) and all(
        np.array_equal(getattr(mine, field.name), getattr(other, field.name))
        for field in fields(mine)
        if field.name in {"path", "label", "group", "sha256"}
    )


def _features(store: FeatureStore) -> str:
    space = store.space
    return space.backbone if space.layer == PENULTIMATE else f"{space.backbone}.{space.layer}"


def _difference(found: CrossValidation, best: CrossValidation) -> WithInterval:
    repeats = len(found.predictions)
    return paired_difference(
        np.tile(found.y, repeats), found.predictions.ravel(), best.predictions.ravel(), np.tile(found.groups, repeats)
    )
