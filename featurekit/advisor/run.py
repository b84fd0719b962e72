"""The procedure: the cheap looks first, until the answer is clear or the time is spent; then the answer."""

from __future__ import annotations

import numbers
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from ..backbones import DEFAULT_BACKBONE
from ..bootstrap import range_text
from ..comparison import Comparison
from ..errors import SourceError
from ..fingerprint import STAGES
from ..folders import on_disk
from .clock import Clock
from .costs import costs
from .looks import Looks
from .material import COLUMNS, Material, gather
from .result import FINE_TUNE, NOTHING, Advice, Evidence
from .verdict import decide, is_open, stages_to_train

_USUAL = {"decoder": "auto", "device": "auto", "precision": "fp32"}


def advise(
    source: Any,
    *,
    backbones: Sequence[str] = (DEFAULT_BACKBONE,),
    output: str | os.PathLike[str] | None = None,
    budget: float = 600.0,
    margin: float = 0.005,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
    labels: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    **extraction: Any,
) -> Advice:
    """Say whether frozen features suffice, fine-tuning is worth it, or more labels are, and on what evidence.

    Heads on frozen features are cross-validated, the learning curve is drawn, the images are compared with those that
    the network learned from, other features are tried; and if the answer is still open, fine-tuning is tried on the
    same folds. What the time does not allow is left out, and said.

    Parameters
    ----------
    source : path or sequence
        Images with labels, as in :func:`featurekit.extract`.
    backbones : sequence of str
    output : path
        A folder in which rows and results are kept, so that the next call is faster.
    budget : float
        Seconds. If it does not allow to look at all images, a part of them is drawn.
    margin : float
        A gain of accuracy below this is not worth the time that training takes.
    seed : int
    say : callable
        Called with a line for the user after each look.
    labels, groups : sequence, optional
        One for each image of a sequence.
    **extraction
        Further arguments of :func:`featurekit.extract`: ``weights``, ``decoder``, ``device``, ``workers`` ...

    Returns
    -------
    Advice

    Raises
    ------
    HeadError
        If no image has a label.
    SourceError, BackboneError, WeightsError
        As in :func:`featurekit.extract`, or if nothing says where rows are kept.

    Examples
    --------
    >>> from featurekit import advise
    >>> found = advise(getfixture("digits_folder"), output=getfixture("tmp_path") / "advice", budget=5)
    >>> found.evidence.size.images, found.evidence.pilot is None, found.do in {"transfer", "fine-tune"}
    (60, True, True)
    """
    if not _is_number(budget) or not budget > 0:
        raise ValueError(f"budget must be a number of seconds above 0, got {budget!r}")
    if not _is_number(margin) or not 0 <= margin < 1:
        raise ValueError(f"margin must be a share of the images, from 0 to 1, got {margin!r}")
    if not hasattr(seed, "__index__") or seed < 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed!r}")
    if "backbone" in extraction:
        raise TypeError("advise may look at several networks: write backbones=[...], not backbone=")
    if output is None:
        raise SourceError("output is missing: say in which folder the features of these images are kept")
    clock = Clock(float(budget))
    names = [backbones] if isinstance(backbones, str) else list(backbones)
    material = gather(
        source, names, on_disk(output), clock.left, seed, labels=labels, groups=groups, options=dict(extraction)
    )
    if material.sampled_from:
        say(f"{len(material.items)} of {material.sampled_from} images are looked at, as the time allows")
    looks = Looks(material, clock, margin, seed, say)
    e = looks.evidence
    comparison = looks.heads()
    if comparison is not None:
        rows = looks.rows(comparison)
        if is_open(e):
            looks.growth(rows)
            looks.similarity(rows)
            looks.alternatives(rows)
            looks.pilot(rows)
    verdict, do, sure, why = decide(e, margin)
    options: dict[str, Any] = {}
    minutes: dict[str, float] = {}
    disk: dict[str, int] = {}
    if comparison is not None:
        options = _options(e, comparison, do)
        minutes, disk = costs(e, comparison, material, stages_to_train(e))
    return Advice(
        verdict=verdict,
        do=do,
        sure=sure,
        reasons=[*_reasons(e), *why],
        command=_command(source, verdict, do, _given(material, options, do) | options),
        options=options,
        minutes=minutes,
        disk=disk,
        evidence=e,
        seconds=clock.spent,
        budget=clock.budget,
    )


def _reasons(e: Evidence) -> list[str]:
    said = [] if e.size is None else e.size.sentences()
    if e.comparison is not None and e.neighbours is not None and e.gap is not None:
        best = e.comparison.best
        score = best.evaluation
        interval = range_text(score.low, score.high, ".1%")
        said.append(
            f"frozen features, {best.features} with {best.head}: {score.accuracy:.1%} right in "
            f"{e.comparison.folds}-fold cross-validation ({interval}); the nearest neighbour "
            f"alone {e.neighbours[0]:.1%}; on the images that it learned from {score.accuracy + e.gap:.1%}"
        )
    looks = (e.growth, e.similarity, *e.alternatives, e.pilot)
    return [*said, *(look.sentence() for look in looks if look is not None)]


def _options(e: Evidence, comparison: Comparison, do: str) -> dict[str, Any]:
    """Of the best frozen features, or of fine-tuning."""
    best = comparison.best
    if do == FINE_TUNE:
        return {"backbone": best.backbone, "unfreeze": stages_to_train(e)}
    better = [other for other in e.alternatives if other.low is not None and other.low > 0]
    layer = {} if best.layer == STAGES else {"layer": best.layer}
    better_options = max(better, key=lambda other: other.difference).options if better else {}
    chosen = {"backbone": best.backbone} | layer | better_options
    return chosen | {"head": best.head}


def _given(material: Material, options: dict[str, Any], do: str) -> dict[str, Any]:
    """What the user said of the extraction, where the next command needs it, too."""
    given = {key: material.options.get(key) for key in ("root", *COLUMNS, "image_size", "crop", "decoder", "device")}
    if do != FINE_TUNE:
        given["precision"] = material.options.get("precision")
    given["weights"] = material.weights(str(options.get("backbone", material.backbones[0])))
    return {key: value for key, value in given.items() if value not in {None, _USUAL.get(key)}}


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _command(source: Any, verdict: str, do: str, options: dict[str, Any]) -> str:
    """The next one; empty if there is none, or the images have no name."""
    if not do or not isinstance(source, str | os.PathLike):
        return ""
    name = os.fspath(source)
    named = shlex.quote(f"./{name}" if name.startswith("-") else name)
    if verdict == NOTHING:
        return f"featurekit compare {named} --report report"
    parts = ["featurekit", "finetune" if do == FINE_TUNE else "fit", named]
    for key, value in options.items():
        if (key, value) != ("backbone", DEFAULT_BACKBONE):
            parts += [f"--{key.replace('_', '-')}", shlex.quote(str(value))]
    return " ".join([*parts, "-o", "model"])
