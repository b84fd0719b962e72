"""What several verbs share: options, and a SOURCE that may be a store already."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featurekit.wording import count as count

from . import _sources
from ._parser import Parser as Parser
from ._terminal import say

if TYPE_CHECKING:
    from featurekit import FeatureStore, TransferClassifier, TransferRegressor
    from featurekit.duplicates import Groups
    from featurekit.labels import LabelFindings

DEFAULT_BACKBONE = "efficientnet_lite0"
HEADS = ("auto", "logreg", "svm", "linear-svm", "ridge", "lda", "knn", "centroid")
REGRESSION_HEADS = ("ridge", "svm", "knn")
TARGETS = ("class", "labels", "number")
DTYPES = ("float32", "float16")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
DECODERS = ("auto", "pillow", "scaled", "torchcodec")
RUNTIMES = ("auto", "openvino", "torch")
TOO_MANY_FAILED = 3

SOURCE_HELP = (
    "a folder of class folders, a flat folder, a manifest (.csv, .tsv, .parquet with columns path[,label[,group]]), "
    "a .zip or .tar archive, webdataset's shards (shard-{000..123}.tar), or one image; or a URL of these (s3://, ...)"
)


def _whole(text: str, least: int) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is less than {least}")
    return value


def positive(text: str) -> int:
    """An argument that is a whole number from 1."""
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """An argument that is a whole number from 0."""
    return _whole(text, 0)


def number(text: str) -> int:
    """An argument that is a whole number from 2: so many folds."""
    return _whole(text, 2)


def seed(text: str) -> int:
    """An argument that is a whole number from 0, small enough for every generator of random numbers."""
    value = not_negative(text)
    if value >= 2**31:
        raise argparse.ArgumentTypeError(f"{value} is not less than {2**31}")
    return value


def fraction(text: str) -> float:
    """An argument between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{value} does not lie between 0 and 1")
    return value


def add_target_option(parser: argparse.ArgumentParser) -> None:
    """``--target``: what the labels say."""
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="class",
        help="what the labels of SOURCE say: the class of an image; labels that may be there beside others, with ; "
        "between them (; alone is none); or a number (default: %(default)s)",
    )


def head_of(arguments: argparse.Namespace) -> str:
    """The head that was asked for, or the usual one for the target."""
    of_numbers = arguments.target == "number"
    head: str = arguments.head or ("ridge" if of_numbers else "auto")
    if of_numbers and head not in REGRESSION_HEADS:
        arguments.wrong_usage(f"--head {head} does not predict numbers; these do: {', '.join(REGRESSION_HEADS)}")
    if arguments.target == "labels" and head in {"lda", "centroid"}:
        arguments.wrong_usage(f"--head {head} gives one class to each image; for labels beside others take another")
    return head


def targets_of(arguments: argparse.Namespace, texts: Any) -> Any:
    """What the labels of a store say, by ``--target``."""
    from featurekit.targets import label_table, numbers

    if arguments.target == "class":
        return texts
    return label_table(texts) if arguments.target == "labels" else numbers(texts)


def check_labels(arguments: argparse.Namespace, texts: Sequence[str]) -> None:
    """Raise HeadError if the head that was asked for cannot learn these labels."""
    import numpy as np

    from featurekit.heads import make_head

    make_head(head_of(arguments), targets_of(arguments, np.array(texts)), regression=arguments.target == "number")


def probability(text: str) -> float:
    """An argument between 0 and 1, both allowed."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is no probability")
    return value


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """``--trust``: types that a model's head may hold."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="a type that the model may hold beyond those that featurekit knows, if you trust whoever made it; for "
        "several, more than once",
    )


def add_store_option(parser: argparse.ArgumentParser, text: str) -> None:
    """``--store``: where extracted features are kept, which the library calls the output."""
    parser.add_argument("--store", metavar="FILE.h5", help=text)
    parser.set_defaults(keywords={"output": "store", "trusted": "trust"})


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--quiet``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no notes")


def add_extraction_options(parser: argparse.ArgumentParser, *, backbone: bool = True, several: bool = False) -> None:
    """Add options on how images become rows: of one backbone, of the one that a model brings, or of several.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    backbone, several : bool
        Whether a backbone is chosen, and whether several may be.
    """
    group = parser.add_argument_group("extraction (where SOURCE is not a store)")
    if backbone:
        group.add_argument(
            "--backbone",
            default=DEFAULT_BACKBONE,
            metavar="NAME",
            help="a model of torchvision (resnet50), of timm (timm/convnext_tiny.fb_in22k), or a saved model's folder; "
            "see 'featurekit models' (default: %(default)s)"
            + ("; several, with commas between them: each image is decoded once for all" if several else ""),
        )
        group.add_argument(
            "--layer",
            metavar="NAME",
            help="where features are taken: stages (the whole network in one row: stem and all stages), penultimate "
            "(what the removed classifier saw), output (what the classifier says), or any layer of the network "
            "(featurekit models show NAME); several make one row with plus signs between them (stages+penultimate, "
            "blocks.2+blocks.5)"
            + ("; several stores, with commas: the network runs once for all" if several else "")
            + " (default: that of a store that exists, else stages)",
        )
        group.add_argument(
            "--pooling",
            default="avg",
            metavar="HOW",
            help="how the feature map, or the tokens, of such a layer become a row: avg, max, gem, avg+max, flatten, "
            "cls, or grid2, grid3, ... (default: %(default)s)",
        )
        group.add_argument(
            "--image-size", type=positive, metavar="PIXELS", help="side of what the network sees (default: as trained)"
        )
        group.add_argument(
            "--crop", type=probability, metavar="SHARE", help="of the shorter side that is seen (default: as trained)"
        )
        group.add_argument("--flip", action="store_true", help="rows are means over the image and its mirror image")
        group.add_argument("--l2", action="store_true", help="rows have the length 1")
        group.add_argument(
            "--decoder",
            choices=DECODERS,
            default="auto",
            help="auto is the fastest whose pixels are Pillow's to rounding, pillow the reference itself, scaled "
            "decodes large JPEGs at a fraction of their size, torchcodec works on the device of the network; each "
            "makes features of its own kind (default: %(default)s)",
        )
        group.add_argument(
            "--precision",
            choices=PRECISIONS,
            default="fp32",
            help="of the network's arithmetic; any but fp32 makes features of its own kind (default: %(default)s)",
        )
    group.add_argument(
        "--weights",
        metavar="[NAME=]FILE" if several else "FILE",
        action="append" if several else "store",
        help="a local weight file instead of the default weights, or the name of others, such as IMAGENET1K_V1"
        + ("; for several backbones, once for each" if several else ""),
    )
    _sources.add_manifest_options(group)
    group.add_argument("--batch-size", type=positive, metavar="N", help="default: what suits the runtime")
    group.add_argument("--workers", type=positive, metavar="N", help="decoding threads (default: one a processor)")
    group.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, mps, or several: cuda:0,cuda:1 (default: %(default)s)"
    )
    group.add_argument(
        "--runtime", choices=RUNTIMES, default="auto", help="auto is openvino on a CPU, else torch (default: auto)"
    )
    group.add_argument("--offline", action="store_true", default=None, help="never download weights")
    group.add_argument(
        "--max-failed",
        type=not_negative,
        metavar="N",
        help=f"exit with {TOO_MANY_FAILED} if more than N images could not be read (default: any number may fail)",
    )


def extract_from(
    arguments: argparse.Namespace, output: str | Path, *, backbones: list[str], layers: list[str] | None, **more: Any
) -> list[FeatureStore]:
    """Call the library's `extract` with the options of :func:`add_extraction_options`, and `more`."""
    from featurekit import extract

    source, listed = _sources.take_read(arguments, arguments.source)
    options = extraction_options(arguments) | listed
    stores = extract(source, output=output, backbone=backbones, layer=layers, **options, **more)
    said = [text for store in stores if store.summary is not None for text in store.summary.notes]
    for text in dict.fromkeys(said):
        note(arguments, text)
    return stores


def note(arguments: argparse.Namespace, text: str) -> None:
    """Tell what the user did not ask for and should know, unless it is to be quiet."""
    from featurekit.errors import Note

    if isinstance(text, Note):
        if text.about_labels and not arguments.labels_matter:
            return
        text = text.told(lambda remedy: arguments.parser.spelled(remedy, arguments.keywords))
    if not getattr(arguments, "quiet", False):
        say(f"note: {text}")


def extraction_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`add_extraction_options` as arguments of the library's `extract`."""
    names = "weights root precision decoder batch_size workers device runtime offline".split()
    if hasattr(arguments, "pooling"):
        names += "pooling image_size crop flip l2".split()
    given = {name: getattr(arguments, name) for name in names} | _sources.columns_of(arguments)
    return given | {"progress": show_progress(arguments)}


def names_of(arguments: argparse.Namespace, what: str) -> list[str]:
    """The names that an option lists, with commas between them."""
    names = [name.strip() for name in getattr(arguments, what).split(",")]
    if len(names) > 1 and not all(names):
        arguments.wrong_usage(f"--{what}: one of the names is empty: {getattr(arguments, what)!r}")
    if len(set(names)) < len(names):
        arguments.wrong_usage(f"--{what} names one twice: {', '.join(names)}")
    return names


def layers_of(arguments: argparse.Namespace) -> list[str] | None:
    """The layers that ``--layer`` lists; None where it was not given."""
    return None if arguments.layer is None else names_of(arguments, "layer")


def weights_of(arguments: argparse.Namespace, names: list[str]) -> Any:
    """What ``--weights`` says of several backbones: one file, or files by name."""
    given = arguments.weights
    if not given:
        return None
    if len(names) == 1:
        if len(given) > 1:
            arguments.wrong_usage("--weights is given more than once, and there is one backbone")
        return given[0].removeprefix(f"{names[0]}=")
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, equals, _ in pairs if not equals or name not in names]:
        arguments.wrong_usage(
            f"for several backbones, write --weights NAME=FILE; {wrong[0]!r} is none of {', '.join(names)}"
        )
    return {name: file for name, _, file in pairs}


@contextmanager
def rows_of(
    arguments: argparse.Namespace, *, keep: bool, labelled: bool | Callable[[list[str]], object] = False
) -> Iterator[FeatureStore]:
    """The rows of SOURCE: of the store that it is, or extracted now.

    Extracted rows go to ``--store``; without it to the default store if `keep`, else to a folder that is
    deleted afterwards. If they must be `labelled`, a source without any label is refused before the extraction; so is
    one whose labels a callable refuses.
    """
    from featurekit import FeatureStore

    if isinstance(arguments.source, str) and _sources.is_store(arguments.source):
        _sources.check_no_columns(arguments, arguments.source)
        with FeatureStore(arguments.source) as store:
            yield store
    elif arguments.store is not None or keep:
        output = arguments.store or _sources.default_store(
            arguments.source, arguments.backbone, arguments.layer, arguments.weights
        )
        with _extract_one(arguments, output, labelled=labelled) as store:
            yield store
    else:
        with TemporaryDirectory(prefix="featurekit-") as folder:
            with _extract_one(arguments, Path(folder, "rows.h5"), labelled=labelled) as store:
                yield store


def _extract_one(arguments: argparse.Namespace, output: str | Path, **more: Any) -> FeatureStore:
    layers = None if arguments.layer is None else [arguments.layer]
    (store,) = extract_from(arguments, output, backbones=[arguments.backbone], layers=layers, **more)
    return store


def label_findings_of(
    store: FeatureStore, target: str, pairs: Sequence[tuple[int, int]] | None = None
) -> LabelFindings:
    """Pictures of a store that are there under several labels, and names of classes that differ in form only.

    `pairs` are the near duplicates among the labelled rows, if they are known; otherwise they are searched.
    """
    import numpy as np

    from featurekit.transfer import label_findings

    chosen = np.flatnonzero(store.columns.label != b"")
    return label_findings(store, store.y[chosen], chosen=chosen, pairs=pairs, target=target)


def groups_of(
    arguments: argparse.Namespace, store: FeatureStore, chosen: Any, sides: tuple[Any, Any] | None = None
) -> Groups:
    """Which of the chosen rows belong together; says what was found.

    Parameters
    ----------
    arguments : argparse.Namespace
    store : FeatureStore
    chosen : ndarray of bool or int
    sides : two ndarrays of int, optional
        Rows, among the chosen ones, to fit on and to score, where the user says which: then groups may be on both, and
        near duplicates are kept together whatever their class, since no class has to be split.
    """
    from featurekit.duplicates import group_rows

    found = group_rows(store, chosen, classes=arguments.target == "class" and sides is None)
    if found.notable:
        note(arguments, found.sentence(None if sides is None else found.shared(*sides)))
    return found


def note_other_targets(arguments: argparse.Namespace, store: FeatureStore) -> None:
    """Say it where labels do not look like classes."""
    if getattr(arguments, "target", "class") != "class" or arguments.quiet:
        return
    labels = list(store.class_counts)
    if any(";" in label for label in labels):
        note(
            arguments,
            "some labels hold a ';' and count as classes of their own; for labels beside others: featurekit fit "
            "--target labels",
        )
    elif len(labels) > 20 and 2 * len(labels) > sum(store.class_counts.values()) and all(map(_is_number, labels)):
        note(
            arguments,
            f"these labels are {len(labels)} different numbers and count as classes; for numbers: featurekit fit "
            "--target number",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def take_options_of(arguments: argparse.Namespace, classifier: TransferClassifier | TransferRegressor) -> None:
    """Extract as the images were extracted that a model was fitted on."""
    arguments.backbone, arguments.weights = classifier.backbone, classifier.weights
    vars(arguments).update(classifier.space_.options)


def show_progress(arguments: argparse.Namespace) -> bool:
    """A progress bar is for a person who watches."""
    return not arguments.quiet and sys.stderr.isatty()


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(data, indent=2))


def failed_images(store: FeatureStore) -> list[tuple[str, str]]:
    """Path and reason of every image of the store's source that could not be read."""
    if not store.ledger_counts.get("failed"):
        return []  # without reading the rest of the ledger
    return [(entry.path, entry.reason) for entry in store.ledger.where("failed")]


def kept_images(store: FeatureStore) -> list[dict[str, str]]:
    """Path, time and reason of every image that could not be read just now and has the row of an earlier run."""
    if not store.ledger_counts.get("kept"):
        return []
    parts = [(entry.path, *entry.reason.partition(" ")) for entry in store.ledger.where("kept")]
    return [{"path": path, "since": since, "reason": why} for path, since, _, why in parts]


def tell_failed(arguments: argparse.Namespace, store: FeatureStore) -> int:
    """Name the bad images on standard error; the exit code by ``--max-failed``."""
    from featurekit.report import failures_text

    failed, kept = failed_images(store), kept_images(store)
    if failed and not arguments.quiet:
        print(f"{count(len(failed), 'image')} could not be read:\n{failures_text(failed)}", file=sys.stderr)
    if kept and not arguments.quiet:
        named = failures_text([(each["path"], f"{each['reason']} (since {each['since']})") for each in kept])
        rows = "its row is kept" if len(kept) == 1 else "their rows are kept"
        print(f"{count(len(kept), 'image')} could not be read just now; {rows}:\n{named}", file=sys.stderr)
    unread = len(failed) + len(kept)
    if arguments.max_failed is not None and unread > arguments.max_failed:
        say(
            f"error: {count(unread, 'image')} could not be read, more than --max-failed {arguments.max_failed} allows. "
            "The others were processed."
        )
        return TOO_MANY_FAILED
    return 0
