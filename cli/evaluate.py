"""``featurekit evaluate``: how good is a model, or a head, on labelled images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import _common, _sources, _splits

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
        "and score it on the rest (--head). A manifest with a column 'split' (--split-column) says itself which images "
        "are for training and which for the test. Prints accuracy with its interval, balanced accuracy, macro F1, a "
        "line for each class, and the confusion matrix; of other targets, their scores.",
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
    parser.add_argument("--seed", type=_common.seed, default=0, metavar="N", help="with --head: of the split")
    parser.add_argument("--png", metavar="FILE", help="draw the confusion matrix as a picture")
    _common.add_store_option(parser, "where extracted features are kept")
    _common.add_extraction_options(parser, split=True)
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
    from featurekit import evaluate, load_model
    from featurekit.evaluation import evaluate_head
    from featurekit.labels import NO_FINDINGS
    from featurekit.metrics import Evaluation
    from featurekit.outputs import check_output
    from featurekit.report import draw_confusion_matrix, evaluation_text
    from featurekit.report.figures import PICTURE_MARK
    from featurekit.transfer import share_seen

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
    with _common.rows_of(arguments, keep=classifier is None, labelled=True) as store:
        _common.note_other_targets(arguments, store)
        parts = _parts(arguments, store)
        if classifier is not None:
            scored = store if parts is None else store.select(parts[1])
            result = evaluate(classifier, scored, abstain_below=arguments.abstain_below)
            _note_seen(arguments, share_seen(classifier.seen_, scored.columns.sha256))
            findings = _common.label_findings_of(store, target) if arguments.json else NO_FINDINGS
            title = f"{arguments.model} on {store.path.name}"
        else:
            chosen = store.y != "" if parts is None else parts[0] | parts[1]
            together = _common.groups_of(arguments, store, chosen)
            groups = together.ids
            findings = _common.label_findings_of(store, target, together.pairs if parts is None else None)
            findings.warn()
            split = None if parts is None else (parts[0][chosen].nonzero()[0], parts[1][chosen].nonzero()[0])
            if split is not None:
                _note_shared(arguments, groups, split)
            result = evaluate_head(
                store.X[chosen],
                _common.targets_of(arguments, store.y[chosen]),
                arguments.head,
                regression=arguments.target == "number",
                test_size=arguments.test_size or _TEST_SIZE,
                seed=arguments.seed,
                groups=groups,
                split=split,
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


def _parts(arguments: argparse.Namespace, store: FeatureStore) -> Any:
    """Which rows are for training and which are scored, as two masks; None where no column says so."""
    import numpy as np

    if _sources.is_store(arguments.source):
        return None
    split = _splits.split_of(arguments)
    if split is None:
        return None
    if arguments.test_size is not None:
        _common.note(arguments, f"--test-size is given: the column {split.column!r} is not followed.")
        return None
    found, labelled = np.array(split.of(store.paths)), store.y != ""
    known = found[labelled].tolist()
    needed = [f"{_splits.TEST}/{_splits.VALIDATION}"]
    if arguments.head:
        needed.append(_splits.TRAIN)
    if not _splits.followed(arguments, split, known, needed):
        return None
    scored = _splits.TEST if _splits.TEST in known else _splits.VALIDATION
    roles = {_splits.TRAIN: "fitted on"} if arguments.head else {}
    _common.note(arguments, _splits.counted(split, known, **roles, **{scored: "scored on"}))
    return labelled & (found == _splits.TRAIN), labelled & (found == scored)


def _note_shared(arguments: argparse.Namespace, groups: Any, split: tuple[Any, Any]) -> None:
    """Say how many scored images belong together with images that the head is fitted on."""
    import numpy as np

    if groups is None:
        return
    shared = int(np.isin(groups[split[1]], groups[split[0]]).sum())
    if shared:
        _common.note(
            arguments,
            f"{shared} of {len(split[1])} scored images are duplicates of images that the head is fitted on, or of a "
            "group with them: scores on new images will be lower",
        )


def _note_seen(arguments: argparse.Namespace, share: float) -> None:
    if share >= _NOTED:
        _common.note(
            arguments,
            f"{share:.0%} of these images are among those that the model learned from: scores on new images will be "
            "lower",
        )
