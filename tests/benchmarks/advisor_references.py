"""Distances of known data sets from the source, which a new distance is compared with.

    python tests/benchmarks/advisor_references.py > featurekit/advisor/references.py

Of the training images of those cells of ``advisor_cells.py`` that have images of their own, and of noise, for the
networks whose weights can be installed.
"""

from __future__ import annotations

import sys

import bench
import numpy as np
from advisor_cells import CELLS, data

BACKBONES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
KINDS = ("clothing", "clothing-grey", "signs", "clothing-blur", "digits", "signs-blur")  # other cells have these images

HEAD = '''"""Distances of known data sets from ImageNet, by network: what a distance is compared with.

Made by ``python tests/benchmarks/advisor_references.py``.
"""

from __future__ import annotations

REFERENCES: dict[str, tuple[float, ...]] = {'''


def main() -> None:
    """Measure and print."""
    bench.parser(__doc__, images=0).parse_args()
    from featurekit.advisor.similarity import similarity
    from featurekit.backbones import find
    from featurekit.images import items_from

    noise = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
    sets = {name: items_from(data(CELLS[name]).train) for name in KINDS}
    sets["noise"] = items_from(list(noise))
    print(HEAD)
    for name in BACKBONES:
        print(f'    "{name}": (')
        for kind, items in sets.items():
            found = similarity(find(name), items)
            print(f"        {found.distance:.3f},  # {kind}", flush=True)
            print(name, kind, found.sentence(), {k: round(v, 2) for k, v in found.shift.items()}, file=sys.stderr)
        print("    ),")
    print("}")


if __name__ == "__main__":
    main()
