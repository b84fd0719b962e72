"""Peak memory and throughput over time, for few and for many images.

    python tests/benchmarks/memory.py --images 50000

Writes files of different contents (a photograph's bytes with a number appended, which decoders ignore), extracts the
first 1,000 and then all of them, each in a process of its own, and prints the peak memory, and the images per second
in each tenth of the longer run. ``--large`` does the same with 24 and with 240 files of 24 megapixels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import bench

CHILD = """
import json, resource, sys, time
source, output, device = sys.argv[1:]
from featurekit.extraction import run
ticks = []
original = run.fill
def fill(items, destinations, advance, **options):
    return original(items, destinations, advance=lambda: ticks.append(time.time()), **options)
run.fill = fill
store = run.extract(source, output=output, device=device)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
tenth = max(1, len(ticks) // 10)
speeds = [tenth / (b - a) for a, b in zip(ticks[::tenth], ticks[tenth::tenth])]
print(json.dumps([len(store), peak, store.summary.images_per_second, speeds]))
"""


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=50_000)
    parser.add_argument("--large", action="store_true", help="photographs of 24 megapixels")
    arguments = parser.parse_args()
    count = 240 if arguments.large else arguments.images
    base = [path.read_bytes() for path in (bench.large(24) if arguments.large else bench.photos(500))]
    rows = []
    with tempfile.TemporaryDirectory(prefix="featurekit-memory-", dir=bench.CACHE) as home:
        for n in (24 if arguments.large else 1000, count):
            folder = Path(home, str(n))
            for i in range(n):
                path = folder / f"{i % 10}" / f"{i:07d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base[i % len(base)] + i.to_bytes(8, "big"))
            command = [sys.executable, "-c", CHILD, str(folder), str(Path(home, f"{n}.h5")), arguments.device]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            stored, peak, speed, speeds = json.loads(out)
            assert stored == n
            rows.append(
                {
                    "images": n,
                    "peak memory, MB": peak,
                    "images/s": speed,
                    "in each tenth": " ".join(f"{each:.0f}" for each in speeds),
                }
            )
            print(rows[-1], flush=True)
    report = bench.Report("memory-large" if arguments.large else "memory")
    report.table("peak memory of the whole process", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
