"""``featurekit export``: a saved model as one ONNX file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import _common


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "export",
        help="write a saved model as one ONNX file",
        description="Write backbone and head of a saved model as one ONNX file, which takes uint8 pixels and "
        "gives probabilities, without featurekit or PyTorch. It is compared with featurekit itself before it gets its "
        "name. Needs: pip install onnx onnxscript onnxruntime.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of the model; with any named head but knn")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.onnx", help="a new file")
    parser.add_argument("--weights", metavar="FILE", help="the backbone's weight file, where that lies elsewhere now")
    _common.add_trust_option(parser)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error, keywords={"trusted": "trust"})


def run(arguments: argparse.Namespace) -> int:
    """Export and say how well the file agrees."""
    if Path(arguments.output).suffix.lower() != ".onnx":
        arguments.wrong_usage("--output must end in .onnx")
    from featurekit import load_model
    from featurekit.onnx_export import export_onnx

    classifier = load_model(arguments.model, weights=arguments.weights, trusted=arguments.trust)
    exported = export_onnx(classifier, arguments.output)
    agreement = exported.agreement
    if arguments.json:
        _common.print_json(
            {
                "output": str(exported.path),
                "bytes": exported.nbytes,
                "classes": exported.classes,
                "crop": exported.crop,
                "fingerprint": classifier.space_.fingerprint,
                "agreement": asdict(agreement),
            }
        )
        return 0
    learned = "labels, each for itself (there from a probability of 0.5 on)"
    print(
        f"{exported.path}: {classifier.backbone} and {_head(classifier)}, {len(exported.classes)} "
        f"{learned if classifier.target_ == 'labels' else 'classes'}, {exported.nbytes / 1e6:.1f} MB"
    )
    print(f"takes pixels: uint8 (n, {exported.crop}, {exported.crop}, 3)")
    if agreement.probabilities is None:
        print("gives features and decisions; this head has no probabilities that an ONNX file can give")
        difference = f"decisions differ by at most {agreement.decisions:.1e} of the largest"
    else:
        print("gives features, decisions and probabilities")
        difference = f"probabilities differ by at most {agreement.probabilities:.1e}"
    print(f"compared with featurekit on {agreement.images} images: same labels, {difference}")
    return 0


def _head(classifier: Any) -> str:
    """The head in words: of `auto`, also what it chose."""
    from featurekit.heads import AutoHead

    chosen = f" ({classifier.head_.name_})" if isinstance(classifier.head_, AutoHead) else ""
    return f"{classifier.head}{chosen}"
