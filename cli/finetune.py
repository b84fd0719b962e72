"""``featurekit finetune``: train the upper stages of a network, where frozen features prove insufficient."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _common, _sources, _splits
from ._terminal import as_message

if TYPE_CHECKING:
    from featurekit import FeatureStore

_AUGMENTS = ("none", "flip", "light", "trivial", "rand")


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "finetune",
        help="train the upper stages of the network as well, where frozen features prove insufficient",
        description="Fit logistic regression on the frozen network, as 'fit' does, make it the network's last layer, "
        "and train the upper stages together with it. The best epoch on validation images is saved, or the frozen "
        "network where that gains nothing beyond chance. A training that was interrupted goes on where it stopped, if "
        "the same command is given again.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder of class folders, or a manifest (.csv, .tsv, .parquet) with labels"
    )
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="folder of the model")
    parser.add_argument(
        "--unfreeze",
        type=_stages,
        metavar="K",
        help="what is trained: K stages from the top, all, or the name of the lowest one (default: 2)",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="start at the network of a saved model, and at its head where that is logreg on the penultimate layer; "
        "with --validation exactly at it, else at its head fitted again without the validation images",
    )
    parser.add_argument("--scratch", action="store_true", help="no pretrained weights: random ones, and all stages")
    parser.add_argument(
        "--validation",
        metavar="SOURCE",
        help="images to choose the best epoch by (default: those that the column 'split' names, or a part of SOURCE)",
    )
    parser.add_argument(
        "--validation-share",
        type=_common.fraction,
        metavar="P",
        help="part of SOURCE for that, without --validation (default: 0.2, or what the column 'split' says)",
    )
    _common.add_store_option(parser, "where the frozen features are kept")
    parser.add_argument(
        "--validation-store", metavar="FILE.h5", help="with --validation: where the frozen features of those are kept"
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        help="folder for checkpoints and the cache of frozen stages, deleted at the end (default: MODEL.training)",
    )
    parser.add_argument(
        "--devices",
        type=_common.positive,
        default=1,
        metavar="N",
        help="GPUs (or processes on the CPU) that train together; needs Accelerate (default: %(default)s)",
    )
    parser.add_argument("--png", metavar="FILE", help="draw loss, scores and learning rates as a picture")
    _add_recipe(parser)
    _common.add_extraction_options(parser)
    _common.add_output_options(parser)
    parser.set_defaults(
        run=run,
        wrong_usage=parser.error,
        keywords={"output": "store", "batch_size": "train_batch", "checkpoint": "work"},
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """Every part of :class:`featurekit.finetune.Recipe`; what is not given is chosen there."""
    group = parser.add_argument_group("recipe (defaults: those in parentheses; of --scratch the second)")
    group.add_argument("--epochs", type=_common.positive, metavar="N", help="at most (12; 60)")
    group.add_argument("--train-batch", type=_common.number, metavar="N", help="images in a step (32)")
    group.add_argument(
        "--learning-rate", type=float, metavar="R", help="of the topmost stage, at its highest (1e-3; 2e-3)"
    )
    group.add_argument(
        "--stage-decay", type=float, metavar="F", help="what the rate is divided by from stage to stage (2.6; 1)"
    )
    group.add_argument(
        "--gradual",
        type=_common.not_negative,
        metavar="N",
        help="epochs after which the next stage joins in (0: at once)",
    )
    group.add_argument("--warm-up", type=float, metavar="P", help="share of the steps in which the rate rises (0.1)")
    group.add_argument(
        "--augment",
        choices=_AUGMENTS,
        help="flip and light are fixed views, which the cache of frozen stages can hold (flip; trivial)",
    )
    group.add_argument("--mix", choices=("mixup", "cutmix"), help="mix the images of a batch (not)")
    group.add_argument("--label-smoothing", type=float, metavar="P", help="(0.1)")
    group.add_argument("--balance", choices=("weights", "sampling"), help="rare classes count as much as others (not)")
    group.add_argument("--weight-decay", type=float, metavar="R", help="not of biases and normalisations (0.01; 0.05)")
    group.add_argument("--clip", type=float, metavar="L", help="longest gradient (1)")
    group.add_argument("--accumulate", type=_common.positive, metavar="N", help="batches that make one step (1)")
    group.add_argument("--average", choices=("ema", "mean", "none"), help="of the weights (ema)")
    group.add_argument("--batch-norm", choices=("frozen", "trained"), help="its statistics (frozen; trained)")
    group.add_argument("--train-precision", choices=("fp32", "bf16", "fp16"), help="bf16 pays on a GPU (fp32)")
    group.add_argument("--patience", type=_common.positive, metavar="N", help="epochs without a better score (5; 20)")
    group.add_argument(
        "--trunk-cache", choices=("auto", "on", "off"), help="keep what the frozen stages put out on the disk (auto)"
    )
    group.add_argument(
        "--head-start", choices=("fitted", "random"), help="the last layer at the start: logistic regression (fitted)"
    )
    group.add_argument(
        "--damp", type=float, metavar="F", help="what the fitted layer is multiplied by before the first step (0.125)"
    )
    group.add_argument("--seed", type=_common.seed, metavar="N", help="(0)")


_OPTIONS = {  # what is not given is chosen by the class
    "unfreeze": "unfreeze",
    "validation_share": "validation",
    "train_batch": "batch_size",
    "train_precision": "precision",
    **{
        name: name
        for name in (
            "epochs learning_rate stage_decay gradual warm_up augment mix label_smoothing balance weight_decay clip "
            "accumulate average batch_norm patience trunk_cache head_start damp seed"
        ).split()
    },
}


_FROZEN_ONLY = {"layer": None, "pooling": "avg", "flip": False, "l2": False, "precision": "fp32"}


def _say(line: str) -> None:
    """A line above the progress bar."""
    from tqdm import tqdm

    tqdm.write(as_message(line), file=sys.stderr)


def _stages(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def run(arguments: argparse.Namespace) -> int:
    """Train, save, and say so."""
    started = time.perf_counter()
    for source in (arguments.source, arguments.validation):
        if source is not None and _sources.is_store(source):
            arguments.wrong_usage(f"{source} is a store of rows; fine-tuning needs the images themselves")
    if any(getattr(arguments, name) != usual for name, usual in _FROZEN_ONLY.items()):
        arguments.wrong_usage(
            "--layer, --pooling, --flip, --l2 and --precision are for frozen features; see --train-precision"
        )
    if arguments.start and (arguments.image_size is not None or arguments.crop is not None):
        arguments.wrong_usage("--from keeps the size of that model's images; leave --image-size and --crop out")
    if arguments.scratch and arguments.start:
        arguments.wrong_usage("--scratch and --from exclude each other")
    if arguments.scratch and any(
        value is not None for value in (arguments.unfreeze, arguments.head_start, arguments.damp)
    ):
        arguments.wrong_usage(
            "--scratch trains all from random numbers; --unfreeze, --head-start and --damp are for the rest"
        )
    if arguments.validation is not None and arguments.validation_share is not None:
        arguments.wrong_usage("--validation and --validation-share exclude each other")
    from featurekit import FeaturekitError, FineTuneClassifier, load_model
    from featurekit.bundle import check_bundle_target, is_bundle
    from featurekit.finetune.launched import launched
    from featurekit.fingerprint import PENULTIMATE
    from featurekit.outputs import check_output
    from featurekit.report import draw_history
    from featurekit.report.figures import PICTURE_MARK

    launch = launched()
    first = launch is None or launch.rank == 0
    arguments.quiet |= not first  # one of those that train together speaks, and saves
    check_bundle_target(arguments.output)
    if arguments.png:
        check_output(arguments.png, PICTURE_MARK)
    if arguments.start:
        start = load_model(arguments.start, weights=arguments.weights)
        if arguments.backbone not in {_common.DEFAULT_BACKBONE, start.backbone}:
            arguments.wrong_usage(f"{arguments.start} is of the backbone {start.backbone}; leave --backbone out")
        _common.take_options_of(arguments, start)
        vars(arguments).update(_FROZEN_ONLY)  # The model's head may read other rows; its network is what is taken.
    arguments.layer = PENULTIMATE  # The new classifier starts on it.
    work = Path(arguments.work or f"{arguments.output.rstrip('/')}.training")
    options = {
        name: getattr(arguments, option) for option, name in _OPTIONS.items() if getattr(arguments, option) is not None
    }
    options["average"] = None if options.get("average") == "none" else options.get("average", "ema")
    model = FineTuneClassifier(
        arguments.backbone,
        pretrained=not arguments.scratch,
        start=arguments.start,
        checkpoint=work,
        weights=arguments.weights,
        decoder=arguments.decoder,
        image_size=arguments.image_size,
        crop=arguments.crop,
        workers=arguments.workers,
        device=arguments.device,
        runtime=arguments.runtime,
        devices=arguments.devices,
        progress=_common.show_progress(arguments),
        say=None if arguments.quiet else _say,
        **options,
    )
    drawn = arguments.validation is None
    split = _splits.split_of(
        arguments,
        [(_splits.TRAIN,)],
        "the epoch is chosen by a part of the images, drawn at random"
        if drawn
        else "every labeled image is trained on",
    )
    images, code = _images(arguments, arguments.source, arguments.store, split)
    images, others = (images, None) if split is None else _followed(arguments, images, split)
    if arguments.validation is not None:
        try:
            others, _ = _images(arguments, arguments.validation, arguments.validation_store)
        except FeaturekitError as error:
            error.remedies = [
                remedy._replace(keyword="validation_store") if remedy.keyword == "output" else remedy
                for remedy in error.remedies
            ]
            raise
    if not arguments.scratch:
        default = _sources.default_store(arguments.source, arguments.backbone, arguments.layer, arguments.weights)
        model.cache = arguments.store or default
    groups = [image.group for image in images]
    try:
        model.fit(
            [image.origin for image in images],
            [image.label for image in images],
            groups=groups if any(groups) else None,
            validation=None
            if others is None
            else ([image.origin for image in others], [image.label for image in others]),
        )
    except FeaturekitError:
        _remove_empty(work)
        raise
    if not first:
        return code
    c, replaced = model.comparison_, is_bundle(arguments.output)
    folder = model.save(arguments.output, notes={"images": len(images), "validation images": c["n"]})
    shutil.rmtree(model.work_ or "", ignore_errors=True)  # of this training, and nothing else
    _remove_empty(work)
    if left := list(work.glob("*")):
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        _common.note(
            arguments,
            f"{work} still holds what other trainings left that did not end ({len(left)}, {size / 1e6:.0f} MB). Delete "
            "it unless one of them is to go on.",
        )
    if arguments.png:
        draw_history(model.history_, arguments.png, title=str(folder))
    if arguments.json:
        _common.print_json(
            {
                "model": str(folder),
                "classes": [str(label) for label in model.classes_],
                "n": len(images),
                "epochs": len(model.history_) - 1,
                "best_epoch": model.best_epoch_,
                "score": c["accuracy"],
                "frozen_score": c.get("frozen_accuracy"),
                "comparison": c,
                "stopped": model.stopped_,
                "moved": model.moved_,
                "history": model.history_,
                "seconds": time.perf_counter() - started,
            }
        )
        return code
    how = "fine-tuned" if model.best_epoch_ else "frozen, with logreg"
    print(f"{folder}: {arguments.backbone}, {how} on {len(images)} images of {len(model.classes_)} classes")
    if replaced:
        print("the model that was there before is replaced")
    print(verdict(model))
    return code


def _remove_empty(work: Path) -> None:
    """Delete the folders of trainings that left nothing, and then their folder."""
    for folder in (*work.glob("*"), work):
        with suppress(OSError):  # it holds something, or is a file
            folder.rmdir()


def verdict(model: Any) -> str:
    """What training came to, in sentences."""
    from featurekit.bootstrap import points_text

    c = model.comparison_
    if "difference" not in c:
        return f"validation accuracy {c['accuracy']:.4f} (n = {c['n']}), of epoch {model.best_epoch_}"
    tried = c.get("tried", c)
    low, high, why = tried["low"], tried["high"], tried["interval_note"]
    interval = f"{'' if low is None else '95% interval '}{points_text(low, high)}"
    text = (
        f"validation accuracy {tried['accuracy']:.4f} (n = {c['n']}), frozen {c['frozen_accuracy']:.4f}: "
        f"{100 * tried['difference']:+.1f} points ({interval}, paired)"
    ) + (f"\n{why}" if why else "")
    if model.best_epoch_ == 0:
        best = "no epoch was better"
        if tried["epoch"]:
            best = f"the best epoch, {tried['epoch']}, gained {tried['won']} images and lost {tried['lost']}"
        return f"{text}\n{best}: nothing beyond chance. Saved is the frozen network with logreg on all images"
    moved = ", ".join(f"{name} {share:.1%}" for name, share in model.moved_.items())
    if low is not None and low <= 0:
        text += "\nthe interval includes 0: this gain may be chance"
    best = f"saved is the state of epoch {model.best_epoch_}, whose score is a little too good as the best of several"
    return f"{text}\n{best}\nmoved: {moved}"


@contextmanager
def _rows(arguments: argparse.Namespace, labelled: bool | Callable[[list[str]], object]) -> Iterator[FeatureStore]:
    """The rows of the source; of processes that a launcher started in one folder, one extracts, and the others wait."""
    from featurekit.errors import StoreLockedError
    from featurekit.finetune.launched import launched

    with ExitStack() as stack:
        while True:
            try:
                store = stack.enter_context(_common.rows_of(arguments, keep=True, labelled=labelled))
                break
            except StoreLockedError:
                if launched() is None:
                    raise
                time.sleep(1)
        yield store


class _Image(NamedTuple):
    """An image that can be read and has a label."""

    path: str
    origin: Any
    label: str
    group: str


def _images(
    arguments: argparse.Namespace, source: str, kept: str | None, split: _splits.Split | None = None
) -> tuple[list[_Image], int]:
    """Images that can be read and have a label, and the exit code."""
    from featurekit import FeaturekitError
    from featurekit.heads import make_head
    from featurekit.images import is_manifest

    def check(labels: list[str]) -> None:
        make_head("logreg", labels if split is None else split.labels_of([_splits.TRAIN]))

    asked = argparse.Namespace(**vars(arguments) | {"source": source, "store": kept})
    if source != arguments.source:
        asked.split_column = None
        if not is_manifest(source):
            asked.root = asked.path_column = asked.label_column = asked.group_column = None
    items = _sources.read(asked).items
    if arguments.scratch:
        found = [_Image(item.path, item.origin, item.label, item.group) for item in items if not item.problem]
        code = 0
    else:
        origins = {item.path: item.origin for item in items}
        with _rows(asked, check if source == arguments.source else True) as store:
            rows = zip(store.paths, store.y, store.groups, strict=True)
            found = [_Image(path, origins[path], label, group) for path, label, group in rows]
            code = _common.tell_failed(arguments, store)
    found = [image for image in found if image.label]
    if not found:
        raise FeaturekitError(
            f"none of the images of {source} has a label; labels come from class folders or a manifest"
        )
    return found, code


def _followed(
    arguments: argparse.Namespace, images: list[_Image], split: _splits.Split
) -> tuple[list[_Image], list[_Image] | None]:
    """Images to train on, and those to choose the best epoch by, as a split names them."""
    from featurekit.duplicates import shared_sentence

    found = split.of([image.path for image in images])
    chosen = arguments.validation is None and arguments.validation_share is None
    roles = {_splits.TRAIN: "trained on"} | ({_splits.VALIDATION: "the epoch is chosen by"} if chosen else {})
    _splits.note_followed(arguments, split, found, **roles)
    parts = {part: [image for image, own in zip(images, found, strict=True) if own == part] for part in roles}
    trained = {image.group for image in parts[_splits.TRAIN]} - {""}
    others = parts.get(_splits.VALIDATION, [])
    if shared := sum(image.group in trained for image in others):
        _common.note(arguments, shared_sentence(shared, len(others)))
    if not parts[_splits.TRAIN]:
        raise _splits.nothing_readable(split, [_splits.TRAIN])
    return parts[_splits.TRAIN], others or None
