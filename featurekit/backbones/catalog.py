"""Which backbones there are, and what they are. No torch, as long as what is asked for was asked before.

Facts of torchvision's and timm's models are found by importing these libraries, which takes seconds, and by looking at
the network; they are kept in featurekit's cache, apart for each version of the libraries.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import BackboneError
from ..folders import cache_folder
from .anatomy import Anatomy
from .lite import LITE
from .spec import BackboneSpec

logger = logging.getLogger(__name__)

_FORMAT = 2  # of what is kept: raise it where it would be another


def names() -> list[str]:
    """All backbones by name: EfficientNet-Lite, torchvision's classification models, ``timm/`` and timm's."""

    def find() -> list[str]:
        from . import libraries

        return [*libraries.torchvision_names(), *libraries.timm_names()]

    found: list[str] = _remembered("names", {}, find)
    return [*LITE, *found]


def describe(name: object, weights: str | None = None) -> BackboneSpec:
    """What a backbone is.

    Parameters
    ----------
    name : str
        One of EfficientNet-Lite; a model of torchvision, such as ``resnet50``; or one of timm's with ``timm/`` before
        it and, if these are not its default weights, their tag behind it: ``timm/convnext_tiny.fb_in22k``.
    weights : str, optional
        Name of other weights: of torchvision's enums (``IMAGENET1K_V1``), or a tag of timm's.

    Returns
    -------
    BackboneSpec

    Raises
    ------
    BackboneError
        If there is none of that name.
    WeightsError
        If it has no weights of that name.

    Examples
    --------
    >>> describe("efficientnet_lite0").dim()
    1280
    """
    if isinstance(name, str) and name in LITE and weights is None:
        return LITE[name]
    if not isinstance(name, str) or not name:
        raise BackboneError(
            f"a backbone is called by a name, a saved model's folder, or is a torch.nn.Module; got {name!r}"
        )
    name = name.removeprefix("torchvision/")

    def find() -> dict[str, Any]:
        from . import libraries

        if name in LITE:
            raise BackboneError(f"{name} has the weights of its package only; name a file for others, not {weights!r}")
        if name in libraries.torchvision_names():
            return libraries.completed(libraries.torchvision_facts(name, weights)).to_json()
        bare = name.removeprefix(libraries.TIMM).partition(".")[0]
        if name.startswith(libraries.TIMM) and _in_timm(bare):
            return libraries.completed(libraries.timm_facts(name, weights)).to_json()
        raise BackboneError(_unknown(name))

    return BackboneSpec.from_json(_remembered("spec", {"name": name, "weights": weights}, find))


def known(chosen: Iterable[str]) -> dict[str, BackboneSpec]:
    """What is known of backbones without a look at their networks: no layers, where nobody looked before.

    Parameters
    ----------
    chosen : iterable of str
        Of :func:`names`.
    """

    def find() -> dict[str, Any]:
        from . import libraries

        found = {name: libraries.torchvision_facts(name, None) for name in libraries.torchvision_names()}
        for name in libraries.timm_names():
            try:
                found[name] = libraries.timm_facts(name, None)
            except BackboneError:
                logger.debug("%s cannot be used", name)
        return {name: spec.to_json() for name, spec in found.items()}

    chosen = list(chosen)
    facts = _remembered("facts", {}, find) if any(name not in LITE for name in chosen) else {}
    specs = {}
    for name in chosen:
        if name in LITE:
            specs[name] = LITE[name]
        elif found := _kept(*_place("spec", {"name": name, "weights": None})) or facts.get(name):
            specs[name] = BackboneSpec.from_json(found)
    return specs


def anatomy(spec: BackboneSpec) -> Anatomy:
    """All layers of a backbone, with its classifier, for images of the size of its preprocessing.

    Raises
    ------
    BackboneError
        If it does not take images of that size.

    Examples
    --------
    >>> found = anatomy(describe("efficientnet_lite0"))
    >>> found.classifier, found.layer("blocks.6").shape
    ('classifier', (320, 7, 7))
    """

    def find() -> dict[str, Any]:
        from . import libraries, network

        meta = network.bare(spec, classifier=True, weightless=True)
        return libraries.probe_network(meta, spec.preprocessing.crop, spec.classifier).to_json()

    key = {
        "library": spec.library,
        "architecture": spec.architecture,
        "name": spec.name,
        "side": spec.preprocessing.crop,
    }
    return Anatomy.from_json(_remembered("anatomy", key, find))


def _in_timm(architecture: str) -> bool:
    import timm

    return architecture in timm.list_models()


def _unknown(name: str) -> str:
    """The message for a name that is none."""
    known = names()
    # Of timm's names the tag is rarely meant, so the bare ones are compared, too.
    short = {each.removeprefix("timm/").partition(".")[0]: each for each in reversed(known)}
    bare = name.removeprefix("timm/").partition(".")[0]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if bare in short:
        near = [f"timm/{bare}" if short[bare].startswith("timm/") else bare, *near]
    near += [short[each] for each in difflib.get_close_matches(bare, short, n=2, cutoff=0.6)]
    hint = " Did you mean " + " or ".join(map(repr, dict.fromkeys(near[:3]))) + "?" if near else ""
    return (
        f"no backbone called {name!r}.{hint} There are {', '.join(LITE)}, torchvision's models by their names, timm's "
        "with timm/ before them (featurekit models --all), and folders of saved models."
    )


def _remembered(kind: str, key: dict[str, Any], find: Callable[[], Any]) -> Any:
    """What was found before on this machine with these versions, or now."""
    path, text = _place(kind, key)
    found = _kept(path, text)
    if found is None:
        found = json.loads(json.dumps(find()))
        try:
            _write(path, json.dumps({"key": text, "sha256": _digest(found), "found": found}))
        except OSError as error:
            logger.debug("%s cannot be kept: %s", path, error)
    return found


def _place(kind: str, key: dict[str, Any]) -> tuple[Path, str]:
    """The file for it, and what that says it is of."""
    text = json.dumps([_FORMAT, kind, key, _versions()], sort_keys=True)
    return cache_folder() / "backbones" / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json", text


@cache
def _versions() -> list[str]:
    return [metadata.version(name) for name in ("torch", "torchvision", "timm")]


def _kept(path: Path, text: str) -> Any:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["found"] if kept["key"] == text and kept["sha256"] == _digest(kept["found"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # not there, or damaged: it is found again


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """In one step, for several processes may do it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
