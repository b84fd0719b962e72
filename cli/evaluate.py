"""``featurekit evaluate``: how good is a model, or a head, on labelled images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _common, _splits

if TYPE_CHECKING:
    from featurekit import FeatureStore

_NOTED = 0.01
_TEST_SIZE = 0.3


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "evaluate",
        help="score a saved model, or a head, on labelled images",
        description="Score a saved model on the labelled images of SOURCE (--model), or fit a head on a part of them "
        "and score it on the rest (--head). Where SOURCE says itself which images are for training and which for the "
        "test (a manifest by its column 'split' or --split-column), that is followed. Prints accuracy with its "
        "interval, balanced accuracy, macro F1, a line for each class, and the confusion matrix; of other targets, "
        "their scores.",
    )
    parser.add_argument("source", metavar="SOURCE", help=f"a store (.h5), or {_common.SOURCE_HELP}")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-m", "--model", metavar="MODEL", help="folder of a saved model, scored on all of SOURCE")
    what.add_argument("--head", choices=_common.HEADS, help="a head, fitted on a part of SOURCE and scored on the rest")
    _common.add_trust_option(parser)
    _common.add_target_option(parser)
    parser.add_argument(
        "--abstain-below",
        type=_common.probability,
        metavar="P",
        help="with --model: also say how good it is where its largest probability is P or more",
    )
    parser.add_argument(
        "--test-size",
        type=_common.fraction,
        metavar="P",
        help="with --head: part held out at random (default: 0.3, or what the column 'split' says)",
    )
    _splits.add_split_option(
        parser,
        "parts of the split that are scored, with commas between them: test, validation; with --model also train; or "
        "all, with or without a part (default: test, or validation where there is no test)",
    )
    parser.add_argument("--seed", type=_common.seed, default=0, metavar="N", help="with --head: of the split")
    parser.add_argument("--png", metavar="FILE", help="draw the confusion matrix as a picture")
    _common.add_store_option(parser, "where extracted features are kept")
    _common.add_extraction_options(parser)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Score and print."""
    if arguments.head:
        _common.head_of(arguments)
        if arguments.abstain_below is not None:
            arguments.wrong_usage("--abstain-below is for --model")
        if arguments.test_size is not None and arguments.split_column is not None:
            arguments.wrong_usage("--test-size and --split-column exclude each other")
        if arguments.test_size is not None and arguments.split:
            arguments.wrong_usage("--test-size and --split exclude each other")
        if _splits.TRAIN in (arguments.split or ()):
            arguments.wrong_usage("--split train: with --head, that is the part that the head is fitted on")
    from featurekit import evaluate, load_model
    from featurekit.evaluation import evaluate_head
    from featurekit.labels import NO_FINDINGS
    from featurekit.metrics import Evaluation
    from featurekit.outputs import check_output
    from featurekit.report import draw_confusion_matrix, evaluation_text
    from featurekit.report.figures import PICTURE_MARK
    from featurekit.transfer import check_known, share_seen

    if arguments.png:
        if arguments.target != "class":
            arguments.wrong_usage("--png draws a confusion matrix, and this target has none")
        check_output(arguments.png, PICTURE_MARK)
    classifier = None
    if arguments.model:
        classifier = load_model(arguments.model, weights=arguments.weights, trusted=arguments.trust)
        _common.take_options_of(arguments, classifier)
        if arguments.target not in {"class", classifier.target_}:
            arguments.wrong_usage(
                f"--target {arguments.target}: the model in {arguments.model} is one of another target"
            )
    target = arguments.target if classifier is None else classifier.target_
    split = _split(arguments)

    def check(labels: Sequence[str]) -> None:
        if classifier is None:
            _common.check_labels(arguments, labels if split is None else split.labels_of([_splits.TRAIN]))
        elif target == "class":
            check_known(classifier, labels if split is None else split.labels_of(_scored(arguments, split)))

    with _common.rows_of(arguments, keep=classifier is None, labelled=check) as store:
        _common.note_other_targets(arguments, store)
        parts = None if split is None else _parts(arguments, store, split)
        if classifier is not None:
            scored = store if parts is None else store.select(parts[1])
            result = evaluate(classifier, scored, abstain_below=arguments.abstain_below)
            _note_seen(arguments, share_seen(classifier.seen_, scored.columns.sha256))
            findings = _common.label_findings_of(scored, target) if arguments.json else NO_FINDINGS
            title = f"{arguments.model} on {store.path.name}"
        else:
            chosen = store.y != "" if parts is None else parts[0] | parts[1]
            sides = None if parts is None else (parts[0][chosen].nonzero()[0], parts[1][chosen].nonzero()[0])
            together = _common.groups_of(arguments, store, chosen, sides)
            findings = _common.label_findings_of(store, target, together.pairs if parts is None else None)
            findings.warn()
            result = evaluate_head(
                store.X[chosen],
                _common.targets_of(arguments, store.y[chosen]),
                arguments.head,
                regression=arguments.target == "number",
                test_size=arguments.test_size or _TEST_SIZE,
                seed=arguments.seed,
                groups=together.ids,
                blocks=store.space.widths,
                split=sides,
            )
            title = f"{store.space.backbone} + {arguments.head}"
        if arguments.png:
            if isinstance(result, Evaluation):
                draw_confusion_matrix(result, arguments.png, title=title)
            else:
                arguments.wrong_usage("--png draws a confusion matrix, and this target has none")
        if arguments.json:
            _common.print_json(result.to_dict() | findings.to_dict())
        else:
            print(evaluation_text(result))
            if arguments.png:
                print(f"\nconfusion matrix: {arguments.png}")
        return _common.tell_failed(arguments, store)


def _split(arguments: argparse.Namespace) -> _splits.Split | None:
    """The split that is followed."""
    if arguments.test_size is not None:
        _splits.note_drawn(arguments)
        return None
    scored = [(part,) for part in arguments.split] if arguments.split else [(_splits.TEST, _splits.VALIDATION)]
    return _splits.split_of(
        arguments,
        [*scored, *([(_splits.TRAIN,)] if arguments.head else [])],
        f"a part of {_TEST_SIZE:.0%}, drawn at random, is scored by a head that is fitted on the others"
        if arguments.head
        else "every labeled image is scored",
    )


def _scored(arguments: argparse.Namespace, split: _splits.Split) -> Sequence[str]:
    """The parts of the split that are scored."""
    there = {part for part, _ in split.labels}
    return arguments.split or ((_splits.TEST if _splits.TEST in there else _splits.VALIDATION),)


def _parts(arguments: argparse.Namespace, store: FeatureStore, split: _splits.Split) -> tuple[Any, Any]:
    """Which rows are for training and which are scored, as two masks."""
    scored = _scored(arguments, split)
    roles = {_splits.TRAIN: "fitted on"} if arguments.head else {}
    _splits.note_followed(
        arguments, split, _splits.parts_of(split, store), **roles, **dict.fromkeys(scored, "scored on")
    )
    train = _splits.chosen_rows(split, store, [_splits.TRAIN]) if arguments.head else None
    return train, _splits.chosen_rows(split, store, scored)


def _note_seen(arguments: argparse.Namespace, share: float) -> None:
    if share >= _NOTED:
        _common.note(
            arguments,
            f"{share:.0%} of these images are among those that the model learned from: scores on new images will be "
            "lower",
        )
