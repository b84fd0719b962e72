"""Runtimes, precisions and decoders: how fast, how faithful, and what it means for a classifier.

    python tests/benchmarks/fidelity.py

The reference is eager PyTorch in float32 on Pillow's pixels. Of the rows of clothing's test photographs: least and mean
cosine, and the largest relative error. Of ``logreg``, fitted on clothing's training photographs and tested on its
test photographs, both computed in the way that the line says: accuracy, and how many of the predictions differ from the
reference's. Networks whose weights are not on this machine have random ones: their cosines are those of arithmetic
alone, and their accuracy means nothing. A precision that the processor has no arithmetic for is emulated.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import bench
import numpy as np

from featurekit import FeatureStore, TransferClassifier, extract
from featurekit.backbones import describe, find_local
from featurekit.errors import FeaturekitError
from featurekit.fidelity import Fidelity

WAYS = {
    "torch fp32, pillow": {"runtime": "torch", "decoder": "pillow"},
    "openvino fp32, pillow": {"runtime": "openvino", "decoder": "pillow"},
    "openvino fp32": {"runtime": "openvino"},
    "openvino bf16": {"runtime": "openvino", "precision": "bf16"},
    "openvino fp16": {"runtime": "openvino", "precision": "fp16"},
    "torch tf32": {"runtime": "torch", "precision": "tf32"},
    "torch bf16": {"runtime": "torch", "precision": "bf16"},
    "torch fp16": {"runtime": "torch", "precision": "fp16"},
    "scaled, openvino fp32": {"runtime": "openvino", "decoder": "scaled"},
    "torchcodec, torch fp32": {"runtime": "torch", "decoder": "torchcodec"},
}


def sample(part: str, n: int | None) -> tuple[list[Path], list[str]]:
    """Every so many of the photographs."""
    paths = sorted((bench.SHARED / "clothing" / part).glob("*/*.jpg"))
    step = 1 if n is None else max(1, len(paths) // n)
    return paths[::step], [path.parent.name for path in paths[::step]]


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=600, repeats=1)
    parser.add_argument("--backbones", default="efficientnet_lite0,efficientnet_lite1,efficientnet_lite2,resnet50")
    parser.add_argument("--ways", default="", help="only those whose name holds this")
    parser.add_argument("--test", type=int, help="how many of the test photographs (default: all)")
    arguments = parser.parse_args()
    report = bench.Report("fidelity")
    train, y = sample("train", arguments.images)
    test, y_test = sample("test", arguments.test)
    with tempfile.TemporaryDirectory(prefix="featurekit-fidelity-") as home:
        for name in arguments.backbones.split(","):
            rows: list[dict[str, object]] = []
            reference: np.ndarray | None = None
            for number, (way, options) in enumerate(WAYS.items()):
                if reference is not None and arguments.ways not in way:
                    continue
                settings = {"backbone": name, "weights": bench.weights_of(name), "device": arguments.device, **options}
                settings |= {"layer": "penultimate"}
                try:
                    stores: list[FeatureStore] = []
                    for part, (paths, labels) in {"train": (train, y), "test": (test, y_test)}.items():
                        started = time.perf_counter()
                        output = Path(home, f"{name}-{number}-{part}.h5")
                        stores.append(extract(paths, labels=labels, output=output, **settings))
                        speed = len(paths) / (time.perf_counter() - started)
                except FeaturekitError as error:
                    print(f"{name}, {way}: {error}")
                    continue
                fitted, tested = stores
                X = tested.X[...]
                classifier = TransferClassifier(
                    name, "logreg", weights=settings["weights"], **fitted.space.options
                ).fit(fitted)
                predicted = classifier.predict(tested)
                if reference is None:
                    reference, expected = X, predicted
                fidelity = Fidelity.of(X, reference)
                rows.append(
                    {
                        "way": way,
                        "images/s": speed,
                        "least cosine": f"{fidelity.cosine:.6f}",
                        "mean cosine": f"{fidelity.mean_cosine:.6f}",
                        "relative error": f"{fidelity.relative_error:.2g}",
                        "accuracy": f"{np.mean(predicted == y_test):.4f}",
                        "predictions changed": f"{int((predicted != expected).sum())} of {len(X)}",
                    }
                )
                print(name, rows[-1], flush=True)
            kind = "" if find_local(describe(name)) else ", random weights"
            report.table(f"{name}{kind}", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
