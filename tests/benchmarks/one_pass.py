"""Several backbones, and several layers, in one pass over the images against as many passes.

    python tests/benchmarks/one_pass.py [--large]

``--large`` takes JPEG files of 24 megapixels, whose decoding costs more than the networks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import bench
import numpy as np

from featurekit import extract

BACKBONES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
LAYERS = ["blocks.2", "blocks.4", "penultimate"]


def together(paths: Sequence[Path], device: str, **what: Sequence[str]) -> list[np.ndarray]:
    """One pass."""
    with tempfile.TemporaryDirectory(prefix="featurekit-one-pass-") as home:
        stores = extract(paths, output=Path(home, "{backbone}.{layer}.h5"), device=device, **what)
        return [store.X[...] for store in stores]


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=256)
    parser.add_argument("--large", action="store_true", help="photographs of 24 megapixels")
    arguments = parser.parse_args()
    paths = (bench.large if arguments.large else bench.photos)(arguments.images)
    report, rows = bench.Report("one-pass-large" if arguments.large else "one-pass"), []
    for key, names in (("backbone", BACKBONES), ("layer", LAYERS)):

        def one_pass(key: str = key, names: Sequence[str] = names) -> list[np.ndarray]:
            return together(paths, arguments.device, **{key: names})

        def each_alone(key: str = key, names: Sequence[str] = names) -> list[np.ndarray]:
            return [rows for name in names for rows in together(paths, arguments.device, **{key: [name]})]

        equal = all(np.array_equal(a, b) for a, b in zip(one_pass(), each_alone(), strict=True))  # and warm
        taken = bench.seconds({"one pass": one_pass, "each alone": each_alone}, arguments.repeats)
        ratio = taken["each alone"] / taken["one pass"]
        rows.append({"what": ", ".join(names), **taken, "ratio": f"{ratio:.2f}", "rows are equal": equal})
    report.table(f"seconds for {len(paths)} images", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
