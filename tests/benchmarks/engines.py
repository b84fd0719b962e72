"""The same extraction by this process, by processes of it, and by Ray Data on a cluster of two raylets on this machine.

    python tests/benchmarks/engines.py [--images 1000] [--repeats 3]

Each round extracts the photographs anew by all, one after the other. "local" has both processors and keeps its network
from round to round. "one worker" is one process on one processor, "two workers" are two with one each: what splitting a
job gains. Ray has the same two processors, so that it can only lose: what it costs is the start of its actors (a Python
process with OpenVINO each, the network compiled again) and the two processors shared by three processes. The rows must
be equal. "One actor at work" is what Ray's actors themselves needed for their chunks, without their start.
"""

from __future__ import annotations

import logging
import os
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
    ways = {
        "local": {},
        "one worker": {"engine": "processes", "device": "cpu"},
        "two workers": {"engine": "processes", "device": "cpu,cpu"},
        "ray": {"engine": "ray"},
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processors = sorted(os.sched_getaffinity(0))
    for _ in range(arguments.repeats):
        rows = {}
        for name, times in seconds.items():
            os.sched_setaffinity(0, processors[: 1 if name == "one worker" else 2])
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                store = extract(photos, output=Path(folder) / "rows", **ways[name])
                times.append(time.perf_counter() - begun)
                rows[name] = (store.columns.sha256, store.X[:])
        for found in rows.values():
            assert all(np.array_equal(*pair) for pair in zip(rows["local"], found, strict=True)), "the engines differ"
    ray.shutdown()
    cluster.shutdown()
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    lines = [
        {
            "engine": name,
            "seconds": value,
            "images/s": len(photos) / value,
            "of local": median["local"] / value,
            "of one worker": median["one worker"] / value,
        }
        for name, value in median.items()
    ]
    rate = float(np.median(listener.rates))
    lines.append({"engine": "one actor at work", "seconds": "", "images/s": rate, "of local": "", "of one worker": ""})
    report = bench.Report("engines")
    report.table(f"{len(photos)} photographs, Lite0, rows equal", lines)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
