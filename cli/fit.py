"""``featurekit fit``: labelled rows to a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import _common

if TYPE_CHECKING:
    from featurekit.evaluation import CrossValidation


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "fit",
        help="fit a head on labelled features and save the model",
        description="Fit a scikit-learn head on the labelled rows of a store and save the model. Where SOURCE is "
        "not a store, its features are extracted first and kept.",
    )
    parser.add_argument("source", metavar="SOURCE", help=f"a store (.h5), or {_common.SOURCE_HELP}")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="folder of the model")
    parser.add_argument("--head", choices=_common.HEADS, default="logreg", help="default: %(default)s")
    parser.add_argument(
        "--cv",
        type=_common.not_negative,
        default=5,
        metavar="K",
        help="folds of the score, 0 for none (default: 5)",
    )
    parser.add_argument("--store", metavar="FILE.h5", help="where extracted features are kept")
    _common.add_extraction_options(parser)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Fit, score, save, and say so."""
    if arguments.cv == 1:
        arguments.wrong_usage("--cv 1: one fold leaves nothing to fit on; 0 for no score, else 2 or more")
    from featurekit import TransferClassifier
    from featurekit.evaluation import cross_validate_head

    with _common.rows_of(arguments, keep=True) as store:
        space = store.space
        classifier = TransferClassifier(space.backbone, arguments.head, weights=arguments.weights, **space.options).fit(
            store
        )
        labelled = store.y != ""
        score = None
        if arguments.cv > 1:
            score = cross_validate_head(
                store.X[labelled],
                store.y[labelled],
                arguments.head,
                cv=arguments.cv,
                groups=_common.groups_of(arguments, store, labelled),
            )
        n = int(labelled.sum())
        notes: dict[str, Any] = {"images": n}
        if score is not None:
            notes["cross-validated accuracy"] = _score_text(score)
        model = classifier.save(arguments.output, notes=notes)
        classes = [str(label) for label in classifier.classes_]
        if arguments.json:
            _common.print_json(
                {
                    "model": str(model),
                    "head": arguments.head,
                    "classes": classes,
                    "n": n,
                    "cv_score": None if score is None else score.mean,
                    "cv_std": None if score is None else score.std,
                    "cv_folds": None if score is None else score.folds,
                    "store": str(store.path),
                }
            )
        else:
            print(f"{model}: {arguments.head} on {n} images of {len(classes)} classes ({store.path})")
            if n < len(store):
                print(f"{len(store) - n} rows have no label and were left out")
            if score is not None:
                print(f"cross-validated accuracy {_score_text(score)}")
            elif arguments.cv > 1:
                print("no cross-validated score: a class has a single image, or a single group")
        return _common.tell_failed(arguments, store)


def _score_text(score: CrossValidation) -> str:
    return f"{score.mean:.4f} (standard deviation {score.std:.4f}, {score.folds} folds)"
