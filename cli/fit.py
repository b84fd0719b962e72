"""``featurekit fit``: labelled rows to a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import _common

if TYPE_CHECKING:
    from featurekit import FeatureStore

_SCORES = {"class": "accuracy", "labels": "exact match", "number": "R squared"}


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
    parser.add_argument("--head", choices=_common.HEADS, help="default: logreg, of numbers ridge")
    _common.add_target_option(parser)
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
    head = _common.head_of(arguments)
    from featurekit import TransferClassifier, TransferRegressor

    with _common.rows_of(arguments, keep=True) as store:
        space = store.space
        kind = TransferRegressor if arguments.target == "number" else TransferClassifier
        model: Any = kind(space.backbone, head, weights=arguments.weights, **space.options)
        model.fit(store, **({"target": "labels"} if arguments.target == "labels" else {}))
        n = sum(store.class_counts.values())
        notes: dict[str, Any] = {"images": n}
        what, score = _SCORES[arguments.target], _score(arguments, store, model.head_) if arguments.cv > 1 else None
        if score is not None:
            notes[f"cross-validated {what}"] = _score_text(score)
        folder = model.save(arguments.output, notes=notes)
        classes = [str(label) for label in getattr(model, "classes_", [])]
        if arguments.json:
            _common.print_json(
                {
                    "model": str(folder),
                    "head": head,
                    "target": arguments.target,
                    "classes": classes,
                    "n": n,
                    "cv_score": None if score is None else float(score.mean()),
                    "cv_std": None if score is None else float(score.std()),
                    "cv_folds": None if score is None else len(score),
                    "store": str(store.path),
                }
            )
        else:
            of = {"class": f" of {len(classes)} classes", "labels": f" with {len(classes)} labels", "number": ""}
            print(f"{folder}: {head} on {n} images{of[arguments.target]} ({store.path})")
            if n < len(store):
                print(f"{len(store) - n} rows have no label and were left out")
            if score is not None:
                print(f"cross-validated {what} {_score_text(score)}")
            elif arguments.cv > 1:
                print("no cross-validated score: a class has a single image, or a single group")
        return _common.tell_failed(arguments, store)


def _score(arguments: argparse.Namespace, store: FeatureStore, head: Any) -> Any:
    """Score of each fold, or None.

    Of classes, of folds that had no part in choosing the head's strength. Of other targets, and of more rows than are
    held in memory, of the folds that chose it, which is a little too good: the best of some strengths.
    """
    from featurekit.evaluation import cross_validate_head
    from featurekit.transfer import is_large

    if arguments.target == "class" and not is_large(store):
        labelled = store.columns.label != b""
        found = cross_validate_head(
            store.X[labelled],
            store.y[labelled],
            _common.head_of(arguments),
            cv=arguments.cv,
            groups=_common.groups_of(arguments, store, labelled),
        )
        return None if found is None else found.scores
    scores = head.scores_
    return scores[:, scores.mean(axis=0).argmax()] if len(scores) else None


def _score_text(scores: Any) -> str:
    return f"{scores.mean():.4f} (standard deviation {scores.std():.4f}, {len(scores)} folds)"
