"""``featurekit advise``: frozen features, fine-tuning, from scratch, or more labels."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from . import _common, _sources, _splits
from ._terminal import say

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "advise",
        help="say whether frozen features suffice, or fine-tuning or more labels are worth it",
        description="Measure, the cheap things first, until the answer is clear or the time is spent: heads on frozen "
        "features, the learning curve, how near the images are to those that the network learned from, other layers "
        "and sizes, and a short fine-tuning on the same folds. Then say what to do, why, what that costs here, what "
        "was not tested, and the next command.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder of class folders, or a manifest (.csv, .tsv, .parquet) with labels"
    )
    parser.add_argument(
        "--budget", type=_duration, default=600.0, metavar="TIME", help="such as 30s, 10m, 1h (default: 10m)"
    )
    parser.add_argument(
        "--margin",
        type=_points,
        default=0.005,
        metavar="POINTS",
        help="of accuracy: a gain below this is not worth the time of training (default: 0.5)",
    )
    parser.add_argument("--seed", type=_common.seed, default=0, metavar="N", help="of the folds (default: 0)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder where features and results are kept (default: NAME.advice, in the current folder)",
    )
    parser.add_argument("--report", metavar="DIR", help="write DIR/report.html, with the comparison of the heads")
    _sources.add_images_option(parser)
    _common.add_extraction_options(parser, several=True)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Advise and print."""
    if _sources.is_store(arguments.source):
        arguments.wrong_usage(f"{arguments.source} is a store: advice needs the images themselves")
    if (arguments.layer, arguments.pooling) != (None, "avg") or arguments.flip or arguments.l2:
        arguments.wrong_usage("--layer, --pooling, --flip and --l2: advice tries other features by itself")
    from featurekit import advise
    from featurekit.folders import on_disk
    from featurekit.outputs import check_output
    from featurekit.report import advice_text, write_page
    from featurekit.report.page import PAGE_MARK

    if arguments.report is not None:
        on_disk(arguments.report).mkdir(parents=True, exist_ok=True)  # what cannot be written is said before the work
        check_output(Path(arguments.report) / "report.html", PAGE_MARK)
    _splits.note_every(arguments, arguments.source, "looked at")
    backbones = _common.names_of(arguments, "backbone")
    arguments.weights = _common.weights_of(arguments, backbones)
    options = _common.extraction_options(arguments)
    for usual in ("pooling", "flip", "l2"):
        del options[usual]
    advice = advise(
        arguments.source,
        backbones=backbones,
        output=arguments.output or _sources.default_name(arguments.source) + ".advice",
        budget=arguments.budget,
        margin=arguments.margin,
        seed=arguments.seed,
        say=(lambda line: None) if arguments.quiet else say,
        **options,
    )
    comparison = advice.evidence.comparison
    if not arguments.json:
        print(advice_text(advice))
    page = None
    if arguments.report is not None and comparison is not None:
        images = _sources.images_of(arguments, arguments.source)
        page = write_page(comparison, Path(arguments.report) / "report.html", advice=advice, images=images)
    if arguments.json:
        _common.print_json(advice.to_dict() | {"report": None if page is None else str(page)})
    elif page is not None:
        print(f"report: {page}")
    return 0 if comparison is None else _common.tell_failed(arguments, comparison.stores[0])


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 10m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{text} are no points of accuracy, from 0 to 100")
    return value / 100
