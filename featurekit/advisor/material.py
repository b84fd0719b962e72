"""The images that are looked at, and how fast this machine turns them into rows."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone, find, short_name
from ..errors import HeadError, StoreError
from ..extraction import extract
from ..images import Item, ManifestColumns, read_source
from ..splits import holdout
from ..store import FeatureStore

COLUMNS = ("path_column", "label_column", "group_column", "split_column")
"""Arguments of :func:`featurekit.extract` that name the columns of a manifest."""

_OF_MANIFESTS = {"root", *COLUMNS}
_PROBED = 96  # images by which the speed of the machine is measured
_FIRST = 16  # and those before, which pay for what is prepared once
_SHARE = 0.2  # of the budget, for rows; heads take about as long
LOGREG_SECONDS = 5.0  # of a cross-validation of logistic regression on 1,000 rows of 1,280 and 10 classes
_SHARE_OF_HEAD = 0.4  # of the budget, for that: nearest neighbours alone say too little
_EACH = 10  # images of a class: rather fewer classes than fewer images of each
_USUAL = 50.0  # images a second where nothing was measured


@dataclass
class Material:
    """What is looked at.

    Attributes
    ----------
    source : path or list
        As for :func:`featurekit.extract`.
    labels, groups : sequence or None
        Of a list.
    items : list of Item
    unlabelled : int
    sampled_from : int
        How many labelled images there are, if these are a part of them; else 0.
    home : Path
        Folder of the rows.
    backbones : list of str
    options : dict
        Further arguments of :func:`featurekit.extract`.
    rate : float
        Images a second, through all backbones.
    """

    source: Any
    labels: Sequence[object] | None
    groups: Sequence[object] | None
    items: list[Item]
    unlabelled: int
    sampled_from: int
    home: Path
    backbones: list[str]
    options: dict[str, Any]
    rate: float = _USUAL

    def extract(self, name: str, backbones: Sequence[str], **options: Any) -> list[FeatureStore]:
        """Rows, in a store of that name; of several backbones with ``{backbone}`` in it."""
        begun = time.perf_counter()
        stores: list[FeatureStore] = extract(
            self.source,
            output=self.home / name,
            backbone=list(backbones),
            labels=self.labels,
            groups=self.groups,
            **(self.options | options),
        )
        computed = max(store.summary.computed for store in stores if store.summary is not None)
        if computed >= _PROBED and list(backbones) == self.backbones and not options:
            self.rate = computed / (time.perf_counter() - begun)
        return stores

    def weights(self, backbone: str) -> Any:
        """The weights that were given for it, if any."""
        given = self.options.get("weights")
        return given.get(backbone) if isinstance(given, Mapping) else given

    def find(self, backbone: str) -> Backbone:
        """The backbone with its weights."""
        return find(backbone, self.weights(backbone))

    def with_origins(self, paths: Sequence[str]) -> list[Item]:
        """The images of some rows."""
        origins = {item.path: item.origin for item in self.items}
        return [Item(path, origins[path]) for path in paths]


def gather(
    source: Any,
    backbones: list[str],
    home: Path,
    seconds: float,
    seed: int,
    *,
    labels: Sequence[object] | None,
    groups: Sequence[object] | None,
    options: dict[str, Any],
) -> Material:
    """The images of a source; a part of them if the time does not allow for all.

    Parameters
    ----------
    source, labels, groups, options
        As for :func:`featurekit.extract`.
    backbones : list of str
    home : Path
    seconds : float
        What everything may take, a fifth of it for rows.
    seed : int
        Of the draw.

    Raises
    ------
    HeadError
        If no image has a label.
    """
    named = ManifestColumns(**{name.removesuffix("_column"): options.get(name) for name in COLUMNS})
    items = read_source(source, labels=labels, groups=groups, root=options.get("root"), columns=named).items
    known = [item for item in items if item.label and not item.problem]
    if not known:
        raise HeadError(
            "no image has a label: advice needs labelled images, in a folder for each class or in a manifest with a "
            "column label"
        )
    unlabelled = sum(not item.label for item in items)
    whole = Material(source, labels, groups, items, unlabelled, 0, home, backbones, options)
    if len(known) <= 3 * _PROBED:
        return whole
    begun = time.perf_counter()
    rate = _speed(known, whole, seed)
    left = seconds - (time.perf_counter() - begun)
    missing = len(known) - min(_held(home / f"{short_name(backbone)}.h5", known) for backbone in backbones)
    classes = len({item.label for item in known})
    heads = 1000 * _SHARE_OF_HEAD * left / (LOGREG_SECONDS * len(backbones) * max(classes, 2) / 10)
    # As many as there is time for, to compute what rows of an earlier call lack, and for logistic regression.
    most = max(3 * _PROBED, min(rate * _SHARE * left * len(known) / max(missing, 1), heads))
    if len(known) <= most:
        whole.rate = rate
        return whole
    chosen = [known[i] for i in _drawn(np.array([item.label for item in known]), most, seed)]
    origins, own = [item.origin for item in chosen], [item.label for item in chosen]
    together = [item.group for item in chosen]
    found = read_source(origins, labels=own, groups=together).items
    more = {key: value for key, value in options.items() if key not in _OF_MANIFESTS} | {"replace": True}
    return Material(origins, own, together, found, unlabelled, len(known), home / "sample", backbones, more, rate)


def _held(path: Path, items: list[Item]) -> int:
    """How many of these images have a row in a store of an earlier call."""
    if not path.is_file():
        return 0
    try:
        with FeatureStore(path) as store:
            there = set(store.paths)
    except StoreError:
        return 0
    return sum(item.path in there for item in items)


def _drawn(y: NDArray[Any], most: float, seed: int) -> NDArray[np.intp]:
    """So many images, of every class alike; of so many classes that each has a few, of some of these all."""
    names, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if most / len(names) >= _EACH or len(y) / len(names) < 2:
        return holdout(y, most / len(y), seed)[1]
    order = np.random.default_rng(seed).permutation(len(names))
    kept = order[: max(2, int(np.searchsorted(np.cumsum(np.minimum(counts[order], _EACH)), most)))]
    ranks = np.zeros(len(y), dtype=np.intp)  # of an image in its class
    for number in kept:
        ranks[codes == number] = np.arange(counts[number])
    return np.flatnonzero(np.isin(codes, kept) & (ranks < _EACH))


def _speed(items: list[Item], whole: Material, seed: int) -> float:
    """Images a second, measured on some of them."""
    rng = np.random.default_rng(seed)
    drawn = [items[i].origin for i in rng.choice(len(items), _FIRST + _PROBED, replace=False)]
    options = {key: value for key, value in whole.options.items() if key not in _OF_MANIFESTS | {"progress"}}
    options["replace"] = True
    with TemporaryDirectory(prefix="featurekit-") as folder:
        place = os.path.join(folder, "{backbone}.h5")
        extract(drawn[:_FIRST], output=place, backbone=whole.backbones, **options)  # loads, and converts what must be
        begun = time.perf_counter()
        extract(drawn, output=place, backbone=whole.backbones, **options)
        return _PROBED / (time.perf_counter() - begun)
