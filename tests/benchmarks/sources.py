"""The same photographs from a folder, archives, shards, servers on loopback and data set objects.

    python tests/benchmarks/sources.py [--images 500] [--repeats 3]

Each round extracts from every source anew; the rows must be those of the folder. The servers are Python's, on the same
processors, and serve one request after the other more slowly than a real one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bench
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))


class _Patch:
    """What a server's fixture asks for."""

    def setenv(self, name: str, value: str) -> None:
        """Set a variable for the rest of the process."""
        os.environ[name] = value


def _made(photos: list[Path], home: Path) -> None:
    """The sources that are files."""
    for path in photos:
        target = home / "folder" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    files = sorted((home / "folder").glob("*/*"))
    with zipfile.ZipFile(home / "photos.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            archive.write(path, f"{path.parent.name}/{path.name}")
    with tarfile.open(home / "photos.tar", "w") as tar:
        for path in files:
            tar.add(path, f"{path.parent.name}/{path.name}")
    (home / "shards").mkdir()
    for number in range(4):
        with tarfile.open(home / "shards" / f"train-{number}.tar", "w") as tar:
            for i, path in enumerate(files[number::4]):
                tar.add(path, f"{i:06d}.jpg")
                (home / "label").write_text(path.parent.name)
                tar.add(home / "label", f"{i:06d}.cls")


def main() -> None:
    """Measure and print."""
    arguments = bench.parser(__doc__, images=500, repeats=3).parse_args()
    import datasets
    from servers import http_server, s3_server

    from featurekit import extract

    photos = bench.photos(arguments.images)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _made(photos, home)
        url, _ = stack.enter_context(http_server(home))
        client = stack.enter_context(s3_server(_Patch()))
        client.create_bucket(Bucket="photos")
        for path in sorted((home / "folder").glob("*/*")):
            client.upload_file(str(path), "photos", f"in/{path.parent.name}/{path.name}")
        hugging_face = datasets.load_dataset("imagefolder", data_dir=str(home / "folder"), split="train")
        sources: dict[str, Any] = {
            "folder": home / "folder",
            "zip": home / "photos.zip",
            "tar": home / "photos.tar",
            "webdataset, 4 shards": home / "shards",
            "http": f"{url}/folder/",
            "zip behind http": f"{url}/photos.zip",
            "shards behind http": f"{url}/shards/train-{{0..3}}.tar",
            "S3 (moto)": "s3://photos/in",
            "Hugging Face": hugging_face,
        }
        seconds: dict[str, list[float]] = {name: [] for name in sources}
        extract(photos[:64], output=home / "first.h5")  # converts the network
        for number in range(arguments.repeats):
            expected: dict[bytes, np.ndarray] = {}
            for name, source in sources.items():
                begun = time.perf_counter()
                store = extract(source, output=home / f"{number}.{name.replace(' ', '')}.h5")
                seconds[name].append(time.perf_counter() - begun)
                rows = {bytes(sha): row for sha, row in zip(store.columns.sha256, store.X[:], strict=True)}
                expected = expected or rows
                assert rows.keys() == expected.keys(), name
                assert all(np.array_equal(rows[key], expected[key]) for key in rows), name
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    lines = [
        {"source": name, "seconds": value, "images/s": len(photos) / value, "times folder": value / median["folder"]}
        for name, value in median.items()
    ]
    report = bench.Report("sources")
    report.table(f"{len(photos)} photographs, Lite0, rows equal", lines)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
