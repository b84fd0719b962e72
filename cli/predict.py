"""``featurekit predict``: images to labels and probabilities."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import _common, _sources
from ._terminal import write_data

if TYPE_CHECKING:
    from featurekit import FeatureStore


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "predict",
        help="label images with a saved model",
        description="Label the images of SOURCE with a saved model. Writes CSV (path, label, probability, one column "
        "for each class, error), or JSON. An image that cannot be read has its line, with the reason in 'error'. "
        "Labels that are there beside others have ; between them; of a model of numbers the label is the number.",
    )
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help=f"{_common.SOURCE_HELP}, or a store (.h5); or several image files, of whatever names",
    )
    parser.add_argument("-m", "--model", required=True, metavar="MODEL", help="folder of the model")
    _common.add_trust_option(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to this .csv or .json file (default: CSV on standard output)"
    )
    parser.add_argument(
        "--abstain-below",
        type=_common.probability,
        metavar="P",
        help="give no label to an image whose largest probability is below P",
    )
    _common.add_store_option(parser, "keep the extracted features here (default: not kept)")
    _common.add_extraction_options(parser, backbone=False)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error, labels_matter=False)


def run(arguments: argparse.Namespace) -> int:
    """Predict and write the table."""
    if len(arguments.source) == 1 and not _is_unknown_file(arguments.source[0]):
        (arguments.source,) = arguments.source
    elif several := [source for source in arguments.source if _holds_several(source)]:
        _common.note(arguments, f"{several[0]} is no image file: name a folder, table, archive or store alone")
    if arguments.output and Path(arguments.output).suffix.lower() not in {".csv", ".json"}:
        arguments.wrong_usage("--output must end in .csv or .json")
    from featurekit import FeaturekitError, load_model
    from featurekit.errors import SourceError
    from featurekit.outputs import check_output

    as_json = bool(arguments.output) and Path(arguments.output).suffix.lower() == ".json"
    first_bytes = b'{\n  "model": ' if as_json else b"path,label,probability"
    if arguments.output:
        check_output(arguments.output, first_bytes)
    model = load_model(arguments.model, weights=arguments.weights, trusted=arguments.trust)
    _common.take_options_of(arguments, model)
    if arguments.abstain_below is not None and model.target_ != "class":
        raise FeaturekitError("--abstain-below is for models that give one class to each image, and this one does not")
    if arguments.abstain_below is not None and not hasattr(model, "predict_proba"):
        raise FeaturekitError(f"the head {model.head!r} gives no probabilities: nothing tells where to abstain")
    classes = [str(label) for label in getattr(model, "classes_", [])]
    try:
        with _common.rows_of(arguments, keep=False) as store:
            lines = _lines(arguments, model, store, classes)
            _write_table(arguments, lines, classes, as_json, first_bytes)
            return _common.tell_failed(arguments, store)
    except SourceError as error:
        if not error.failures:
            raise
        # Not one image could be read: the table says so of each, as it does where others could be.
        lines = [{"path": path, "label": None, "error": reason} for path, reason in error.failures]
        _write_table(arguments, lines, classes, as_json, first_bytes)
        raise


def _is_unknown_file(source: str) -> bool:
    """Tell whether neither the name nor the first bytes of a file say what it is: its line says why it is no image."""
    from featurekit.images import LISTED_SUFFIXES, begins_as_image

    if not Path(source).is_file() or Path(source).suffix.lower() in LISTED_SUFFIXES:
        return False
    return not _holds_several(source) and not begins_as_image(source)


def _holds_several(source: str) -> bool:
    """Tell whether a source names several images: a folder, a table, an archive, or a store."""
    from featurekit.images import is_archive, is_compressed_tar, is_manifest

    is_packed = is_archive(source) or is_compressed_tar(source)
    return Path(source).is_dir() or is_manifest(source) or is_packed or _sources.is_store(source)


def _lines(arguments: argparse.Namespace, model: Any, store: FeatureStore, classes: list[str]) -> list[dict[str, Any]]:
    """Predict the line of each image, or say in it why that one could not be read."""
    has_probabilities = hasattr(model, "predict_proba")
    labels = [_text(model.target_, classes, said) for said in model.predict(store)]
    table = model.predict_proba(store).tolist() if has_probabilities else [None] * len(labels)
    lines: list[dict[str, Any]] = []
    abstained = 0
    for entry in store.ledger:
        if entry.row >= 0:
            line = _line(entry.path, labels[entry.row], table[entry.row], classes, model.target_)
            if arguments.abstain_below is not None:
                line["abstained"] = line["probability"] < arguments.abstain_below
                abstained += line["abstained"]
                line["label"] = None if line["abstained"] else line["label"]
            lines.append(line)
        elif entry.status == "failed":
            lines.append({"path": entry.path, "label": None, "error": entry.reason})
    if not has_probabilities and model.target_ != "number":
        _common.note(arguments, f"the head {model.head!r} gives no probabilities")
    if arguments.abstain_below is not None and not arguments.quiet:
        of = _common.count(len(labels), "image")
        print(f"abstained from {abstained} of {of}: probability below {arguments.abstain_below:g}", file=sys.stderr)
    return lines


def _write_table(
    arguments: argparse.Namespace, lines: list[dict[str, Any]], classes: list[str], as_json: bool, first_bytes: bytes
) -> None:
    """Write the table to where it was asked for."""
    from featurekit import FeaturekitError
    from featurekit.outputs import write_output

    try:
        text = io.StringIO(newline="")
        _write(text, lines, classes, as_json or (arguments.json and not arguments.output), arguments.model)
        if arguments.output:
            write_output(arguments.output, text.getvalue().encode("utf-8", "surrogateescape"), first_bytes)
            if not arguments.quiet:
                print(f"{arguments.output}: {_common.count(len(lines), 'image')}", file=sys.stderr)
        else:
            write_data(text.getvalue())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FeaturekitError(f"cannot write {arguments.output or 'the output'}: {error.strerror}") from error
    if arguments.output and arguments.json:
        _common.print_json(
            {
                "output": arguments.output,
                "images": len(lines),
                "failed": sum("error" in line for line in lines),
                "abstained": sum(line.get("abstained", False) for line in lines),
            }
        )


def _text(target: str, classes: list[str], said: Any) -> str:
    """A prediction as the text of a label: what ``fit --target`` would read."""
    if target == "labels":
        return ";".join(name for name, there in zip(classes, said, strict=True) if there) or ";"
    return str(said)


def _line(path: str, label: str, row: list[float] | None, classes: list[str], target: str) -> dict[str, Any]:
    probabilities = None if row is None else dict(zip(classes, row, strict=True))
    probability = probabilities[label] if probabilities is not None and target == "class" else None
    return {"path": path, "label": label, "probability": probability, "probabilities": probabilities}


def _write(file: IO[str], lines: list[dict[str, Any]], classes: list[str], as_json: bool, model: str) -> None:
    if as_json:
        json.dump({"model": model, "classes": classes, "predictions": lines}, file, indent=2)
        file.write("\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", "probability", *(f"p({name})" for name in classes), "error"])
    for line in lines:
        probabilities = line.get("probabilities") or {}
        numbers = [f"{probabilities[name]:.6f}" if name in probabilities else "" for name in classes]
        top = line.get("probability")
        writer.writerow(
            [line["path"], line["label"] or "", "" if top is None else f"{top:.6f}", *numbers, line.get("error", "")]
        )
