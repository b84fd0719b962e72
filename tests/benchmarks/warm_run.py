"""Extracting again when nothing has changed, against listing the same files with find.

    python tests/benchmarks/warm_run.py --images 50000

Writes that many small PNG files (of 1,000 different contents, so that the first run computes 1,000 rows and
shares them), extracts once, and then times in turn, several times each:

find       ``find FOLDER -type f | wc -l``
stat       ``find FOLDER -type f -printf '%s %T@\\n' | wc -l``: as `extract` does, it asks for size and time of each
command    ``featurekit extract FOLDER -o STORE``, the whole process
no-verify  the same with ``--no-verify``: the checksums of the rows are not read
call       ``extract(FOLDER, output=STORE)`` in a process that has imported everything

and prints the medians.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from featurekit import extract

CONTENTS = 1000


def write_images(folder: Path, count: int) -> None:
    """Small PNG files in class folders of a thousand."""
    rng = np.random.default_rng(0)
    blobs = []
    for _ in range(CONTENTS):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "png")
        blobs.append(buffer.getvalue())
    for i in range(count):
        path = folder / f"class-{i // 1000:03d}" / f"image-{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blobs[i % CONTENTS])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="featurekit-warm-"))
    photos, store = home / "photos", home / "store.h5"
    write_images(photos, arguments.images)
    first = extract(photos, output=store).summary
    assert first is not None
    print(f"{first.images} files, {first.computed} computed, {first.seconds:.1f} s, {store.stat().st_size} bytes")
    command = [sys.executable, "-m", "featurekit_cli", "extract", str(photos), "-o", str(store), "--quiet"]

    def run(*more: str) -> None:
        subprocess.run([*command, *more], check=True, stdout=subprocess.PIPE)

    def shell(text: str) -> None:
        out = subprocess.run(text, shell=True, check=True, capture_output=True, text=True).stdout
        assert int(out) == arguments.images

    def call() -> None:
        summary = extract(photos, output=store).summary
        assert summary is not None
        assert summary.computed == 0

    ways: dict[str, Callable[[], None]] = {
        "find": lambda: shell(f"find {photos} -type f | wc -l"),
        "stat": lambda: shell(f"find {photos} -type f -printf '%s %T@\\n' | wc -l"),
        "command": run,
        "no-verify": lambda: run("--no-verify"),
        "call": call,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    base = statistics.median(times["find"])
    for name, values in times.items():
        seconds = statistics.median(values)
        print(f"{name:10} {seconds:7.3f} s  {arguments.images / seconds:10.0f} files/s  {seconds / base:6.1f} x find")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
