"""The same extraction by this process and by Ray Data on a cluster of two raylets on this machine.

    python tests/benchmarks/engines.py [--images 1000] [--repeats 3]

Each round extracts the photographs anew by both, one after the other. Both have the same processors, so that Ray can
only lose: what it costs is the start of its actors (a Python process with OpenVINO each, the network compiled again)
and the two processors shared by three processes. The rows must be equal. "One actor at work" is what the actors
themselves needed for their chunks, without their start.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from pathlib import Path

import bench
import numpy as np


class _Listener(logging.Handler):
    """What the engine says of its nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a rate."""
        if found := re.search(r"([\d.]+) images/s of one actor", record.getMessage()):
            self.rates.append(float(found[1]))


def main() -> None:
    """Measure and print."""
    arguments = bench.parser(__doc__, images=1000, repeats=3).parse_args()
    import ray
    from ray.cluster_utils import Cluster

    from featurekit import extract

    photos = [str(path) for path in bench.photos(arguments.images)]
    extract(photos[:64], output=Path(tempfile.mkdtemp()) / "first.h5")  # converts the network
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    listener = _Listener()
    logging.getLogger("featurekit.engines").addHandler(listener)
    logging.getLogger("featurekit.engines").setLevel(logging.INFO)
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(arguments.repeats):
        rows = {}
        for engine, times in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                store = extract(photos, output=Path(folder) / "rows", engine=engine)
                times.append(time.perf_counter() - begun)
                rows[engine] = (store.columns.sha256, store.X[:])
        for one, other in zip(rows["local"], rows["ray"], strict=True):
            assert np.array_equal(one, other), "the engines differ"
    ray.shutdown()
    cluster.shutdown()
    median = {engine: float(np.median(times)) for engine, times in seconds.items()}
    lines = [
        {"engine": engine, "seconds": value, "images/s": len(photos) / value, "of local": median["local"] / value}
        for engine, value in median.items()
    ]
    lines.append(
        {"engine": "one actor at work", "seconds": "", "images/s": float(np.median(listener.rates)), "of local": ""}
    )
    report = bench.Report("engines")
    report.table(f"{len(photos)} photographs, Lite0, rows equal", lines)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
