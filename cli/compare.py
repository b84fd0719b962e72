"""``featurekit compare``: backbones and heads on the same folds."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import _common, _sources, _splits
from ._terminal import say


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "compare",
        help="compare backbones and heads on the same folds",
        description="Cross-validate heads on the features of one or more backbones, with the same folds for all, and "
        "print a table with intervals. Images are decoded once for all backbones; features and predictions are kept, "
        "so what is there is not computed again. Equal files and near duplicates are kept on one side of every split.",
    )
    parser.add_argument(
        "source", nargs="+", metavar="SOURCE", help=f"{_common.SOURCE_HELP}; or one or more stores of the same images"
    )
    parser.add_argument(
        "--head",
        default="logreg,svm,lda,knn",
        metavar="NAMES",
        help=f"with commas between them; there are: {', '.join(_common.HEADS)} (default: %(default)s)",
    )
    parser.add_argument("--cv", type=_common.number, default=5, metavar="K", help="folds (default: 5)")
    parser.add_argument(
        "--repeats", type=_common.positive, default=1, metavar="R", help="times that folds are drawn (default: 1)"
    )
    parser.add_argument("--seed", type=_common.seed, default=0, metavar="N", help="of the folds (default: 0)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder where features and predictions are kept (default: NAME.compare, in the current folder)",
    )
    parser.add_argument(
        "--report", metavar="DIR", help="write DIR/report.html: one page with charts that needs nothing else"
    )
    _sources.add_images_option(parser)
    parser.add_argument("--csv", metavar="FILE", help="write the table to this file, too")
    _common.add_extraction_options(parser, several=True)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    heads = _common.names_of(arguments, "head")
    if unknown := [name for name in heads if name not in _common.HEADS]:
        arguments.wrong_usage(f"--head: no head called {unknown[0]!r}; there are: {', '.join(_common.HEADS)}")
    stored = [_sources.is_store(source) for source in arguments.source]
    if len(stored) > 1 and not all(stored):
        arguments.wrong_usage("more than one SOURCE: then each must be a store, of the same images")
    from featurekit import FeatureStore, compare
    from featurekit.bundle import is_bundle
    from featurekit.comparison.result import TABLE_MARK
    from featurekit.folders import on_disk
    from featurekit.outputs import check_output
    from featurekit.report import comparison_text, write_page
    from featurekit.report.page import PAGE_MARK

    if arguments.csv:
        check_output(arguments.csv, TABLE_MARK)
    if arguments.report is not None:
        if is_bundle(arguments.report):
            arguments.wrong_usage(f"--report {arguments.report} is the folder of a model; name another one")
        if on_disk(arguments.report).is_dir():
            check_output(Path(arguments.report) / "report.html", PAGE_MARK)
    _splits.note_every(arguments, arguments.source[0], "compared")
    output = arguments.output or _sources.default_name(arguments.source[0]) + ".compare"
    options: dict[str, Any] = {}
    with ExitStack() as opened:
        source: Any = arguments.source[0]
        if stored[0]:
            _sources.check_no_columns(arguments, arguments.source[0])
            source = [opened.enter_context(FeatureStore(path)) for path in arguments.source]
        else:
            options = {
                "backbones": _common.names_of(arguments, "backbone"),
                "layers": _common.layers_of(arguments),
            }
            arguments.weights = _common.weights_of(arguments, options["backbones"])
            source, listed = _sources.take_read(arguments, source)
            options |= _common.extraction_options(arguments) | listed
        result = compare(
            source,
            heads=heads,
            output=output,
            cv=arguments.cv,
            repeats=arguments.repeats,
            seed=arguments.seed,
            curve=arguments.report is not None,
            say=(lambda line: None) if arguments.quiet else say,
            **options,
        )
        for store in result.stores:
            opened.enter_context(store)
        _common.note_other_targets(arguments, result.stores[0])
        if arguments.csv:
            result.to_csv(arguments.csv)
        page = None
        if arguments.report is not None:
            images = _sources.images_of(arguments, arguments.source[0])
            page = write_page(result, Path(arguments.report) / "report.html", images=images)
        if arguments.json:
            _common.print_json(result.to_dict() | {"output": output, "report": None if page is None else str(page)})
        else:
            print(comparison_text(result))
            if page is not None:
                print(f"report: {page}")
        return _common.tell_failed(arguments, result.stores[0])
