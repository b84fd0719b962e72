"""``featurekit fit``: labelled rows to a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _common, _sources, _splits

if TYPE_CHECKING:
    from featurekit import FeatureStore

_SCORES = {"class": "accuracy", "labels": "exact match", "number": "R squared"}


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "fit",
        help="fit a head on labelled features and save the model",
        description="Fit a scikit-learn head on the labelled rows of a store and save the model. Where SOURCE is "
        "not a store, its features are extracted first and kept. Where SOURCE says which images are for training (a "
        "manifest by its column 'split' or --split-column), the others are not learned.",
    )
    parser.add_argument("source", metavar="SOURCE", help=f"a store (.h5), or {_common.SOURCE_HELP}")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="folder of the model")
    parser.add_argument(
        "--head",
        choices=_common.HEADS,
        help="auto: the best of logreg, svm and lda by cross-validation (default: auto, of numbers ridge)",
    )
    _common.add_target_option(parser)
    parser.add_argument(
        "--cv",
        type=_common.not_negative,
        default=5,
        metavar="K",
        help="folds of the score, 0 for none (default: 5)",
    )
    _splits.add_split_option(
        parser,
        "parts of the split that are learned, with commas between them: train, validation, test; or all, with or "
        "without a part (default: train)",
    )
    _common.add_store_option(parser, "where extracted features are kept")
    _common.add_extraction_options(parser)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Fit, score, save, and say so."""
    if arguments.cv == 1:
        arguments.wrong_usage("--cv 1: one fold leaves nothing to fit on; 0 for no score, else 2 or more")
    if arguments.target != "class" and arguments.cv not in {0, 5}:
        arguments.wrong_usage(
            f"--cv {arguments.cv}: labels and numbers are scored by the 5 folds that chose the strength"
        )
    head = _common.head_of(arguments)
    from featurekit import TransferClassifier, TransferRegressor
    from featurekit.bundle import is_bundle

    parts = arguments.split or (_splits.TRAIN,)
    split = _splits.split_of(arguments, [(part,) for part in parts], "every labeled image is learned")

    def check(labels: Sequence[str]) -> None:
        _common.check_labels(arguments, labels if split is None else split.labels_of(parts))

    with _common.rows_of(arguments, keep=True, labelled=check) as whole:
        store = whole if split is None else _part(arguments, whole, split, parts)
        _common.note_other_targets(arguments, store)
        space = store.space
        kind = TransferRegressor if arguments.target == "number" else TransferClassifier
        model: Any = kind(head=head, **_network(arguments, store), **space.options)
        model.fit(store, **({"target": "labels"} if arguments.target == "labels" else {}))
        n = sum(store.class_counts.values())
        notes: dict[str, Any] = {"images": n}
        what, score = _SCORES[arguments.target], _score(arguments, store, model.head_) if arguments.cv > 1 else None
        if score is not None:
            notes[f"cross-validated {what}"] = _score_text(score)
        replaced = is_bundle(arguments.output)
        folder = model.save(arguments.output, notes=notes)
        classes = [str(label) for label in getattr(model, "classes_", [])]
        if arguments.json:
            _common.print_json(
                {
                    "model": str(folder),
                    "head": head,
                    **_choice(model.head_),
                    "target": arguments.target,
                    "classes": classes,
                    "n": n,
                    "cv_score": None if score is None else float(score.mean()),
                    "cv_std": None if score is None else float(score.std()),
                    "cv_folds": None if score is None else len(score),
                    "store": str(store.path),
                    "split": None
                    if split is None
                    else {"parts": list(parts), "left_out": sum(whole.class_counts.values()) - n},
                    **model.label_findings_.to_dict(),
                }
            )
        else:
            of = {"class": f" of {len(classes)} classes", "labels": f" with {len(classes)} labels", "number": ""}
            print(f"{folder}: {head} on {n} images{of[arguments.target]} ({store.path})")
            if (chosen := _choice(model.head_).get("chosen_head")) is not None:
                scores = ", ".join(f"{name} {value:.4f}" for name, value in model.head_.candidates_.items())
                scored = all(value == value for value in model.head_.candidates_.values())
                why = f"by cross-validated accuracy: {scores}" if scored else "as nothing could be cross-validated"
                print(f"auto chose {chosen}, {why}")
            if replaced:
                print("the model that was there before is replaced")
            if unlabelled := len(whole) - sum(whole.class_counts.values()):
                have = _common.count(unlabelled, "row has no label and was", "rows have no label and were")
                print(f"{have} left out")
            if score is not None:
                print(f"cross-validated {what} {_score_text(score)}")
            elif arguments.cv > 1:
                print("no cross-validated score: fewer than two classes have two images or more")
        return _common.tell_failed(arguments, whole)


def _choice(head: Any) -> dict[str, Any]:
    """Tell as JSON values what the head auto chose, and the score of each candidate; empty for another head."""
    if not hasattr(head, "candidates_"):
        return {}
    scores = {name: None if value != value else value for name, value in head.candidates_.items()}
    return {"chosen_head": head.name_, "candidates": scores}


def _part(
    arguments: argparse.Namespace, store: FeatureStore, split: _splits.Split, parts: Sequence[str]
) -> FeatureStore:
    """Select the labeled rows of the parts that are learned, and say so."""
    _splits.note_followed(arguments, split, _splits.parts_of(split, store), **dict.fromkeys(parts, "learned from"))
    return store.select(_splits.chosen_rows(split, store, parts))


def _network(arguments: argparse.Namespace, store: FeatureStore) -> dict[str, Any]:
    """The backbone of the rows, and its weights where they are not the default ones."""
    from featurekit.backbones import named
    from featurekit.fingerprint import file_sha256

    if not _sources.is_store(arguments.source):
        backbone, weights = named(arguments.backbone, arguments.weights)
        return {"backbone": backbone, "weights": weights}
    file = str(store.provenance.get("weights_file", ""))
    known = arguments.weights is None and os.path.isfile(file) and file_sha256(Path(file)) == store.space.weights
    return {"backbone": store.space.backbone, "weights": file if known else arguments.weights}


def _score(arguments: argparse.Namespace, store: FeatureStore, head: Any) -> Any:
    """Score of each fold, or None.

    Of classes, of folds that had no part in choosing the head's strength. Of other targets, and of more rows than are
    held in memory, of the folds that chose it, which is a little too good: the best of some strengths.
    """
    import numpy as np

    from featurekit.evaluation import cross_validate_head
    from featurekit.splits import can_be_split
    from featurekit.transfer import is_large

    if arguments.target == "class" and not is_large(store):
        labelled = np.flatnonzero(store.columns.label != b"")
        y, groups = store.y[labelled], _common.groups_of(arguments, store, labelled).ids
        able = can_be_split(y, groups)
        if not able.all():
            lone = ", ".join(sorted(set(y[~able].tolist())))
            _common.note(arguments, f"of a single image, learned but not scored: {lone}")
        if len(np.unique(y[able])) < 2:
            return None
        rows = store.X[labelled[able]]
        found = cross_validate_head(
            rows,
            y[able],
            _common.head_of(arguments),
            cv=arguments.cv,
            groups=groups[able],
            blocks=store.space.widths,
        )
        return None if found is None else found.scores
    scores = head.best_scores_
    return scores if len(scores) else None


def _score_text(scores: Any) -> str:
    return f"{scores.mean():.4f} (standard deviation {scores.std():.4f}, {len(scores)} folds)"
