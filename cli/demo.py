"""``featurekit demo``: the whole tour, with nothing to download."""

from __future__ import annotations

import argparse
from typing import Any

from . import _common


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "demo",
        help="the whole tour on images that come with scikit-learn, or on your own",
        description="Extract features, fit two heads, compare them with the raw pixels on the same folds, and leave "
        "the store, the model and a picture in a folder. Needs no download and no files; with --source, the same "
        "on your own class folders.",
    )
    parser.add_argument("--source", metavar="SOURCE", help="your class folders or manifest")
    parser.add_argument("-o", "--output", default="featurekit-demo", metavar="DIR", help="default: %(default)s")
    _common.add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take the tour."""
    from featurekit import run_demo

    say = (lambda text: None) if arguments.json or arguments.quiet else print
    result = run_demo(arguments.output, source=arguments.source, say=say, progress=_common.show_progress(arguments))
    if arguments.json:
        _common.print_json(result.to_dict())
    elif not arguments.quiet:
        print(f"The tour took {result.seconds:.0f} s.")
    return 0
