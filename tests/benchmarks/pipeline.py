"""How near extraction comes to what the machine could do: decode alone, forward alone, and the whole.

    python tests/benchmarks/pipeline.py [--device cuda] [--decoder torchcodec] [--workers]

For photographs of 400 x 533 pixels, 32 x 32 PNG files and JPEG files of 24 megapixels; for Lite0 and ResNet-50; for
each precision that the device has arithmetic for. In turn, in one process, after all imports:

decode    reads, hashes and decodes all files, with as many threads as processors
forward   runs the network over as many images that are prepared already
pipeline  ``extract`` into a new store: listing, reading, hashing, decoding, network, writing, publication

The limit is ``1 / (1/decode + 1/forward)`` where both need the same processors, and the lesser of the two where the
network runs on a GPU. ``--workers`` times the pipeline for several numbers of decoding threads instead.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import bench
import numpy as np

from featurekit import extract
from featurekit.backbones import Backbone, find
from featurekit.fingerprint import content_hash
from featurekit.images import read_bytes
from featurekit.runtime import Runtime, keep_freed_memory, load_decoder, load_runtime


def decode(paths: Sequence[Path], backbone: Backbone, device: str) -> list[np.ndarray]:
    """As the pipeline does it, without a network."""
    decoder = load_decoder(backbone.decoder, device)

    def one(chunk: Sequence[Path]) -> list[np.ndarray]:
        files = [read_bytes(path)[0] for path in chunk]
        for data in files:
            content_hash(data)
        prepared = decoder(files, [{backbone.preprocessing}] * len(files))
        return [pixels[backbone.preprocessing] for pixels in prepared]

    chunks = [paths[i : i + decoder.chunk] for i in range(0, len(paths), decoder.chunk)]
    with ThreadPoolExecutor() as pool:
        return [pixels for found in pool.map(one, chunks) for pixels in found]


def forward(network: Runtime, pixels: Sequence[np.ndarray]) -> None:
    """Keep a network busy."""
    running = deque()
    for i in range(0, len(pixels), network.batch_size):
        running.append(network.submit(np.stack(pixels[i : i + network.batch_size])))
        while len(running) > network.depth:
            running.popleft().result()
    for pending in running:
        pending.result()


def whole(
    paths: Sequence[Path], backbone: Backbone, weights: Path | None, device: str, workers: int | None = None
) -> None:
    """``extract`` into a store that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="featurekit-pipeline-") as home:
        extract(
            paths,
            output=Path(home, "store.h5"),
            backbone=backbone.spec.name,
            weights=weights,
            device=device,
            workers=workers,
            **backbone.space.options,
        ).close()


def compared(paths: Sequence[Path], backbone: Backbone, weights: Path | None, device: str, repeats: int) -> dict:
    """Decode, forward and the whole, in images/s, and the limit."""
    network = load_runtime(backbone, device)
    pixels = decode(paths, backbone, device)
    forward(network, pixels)  # warm
    taken = bench.seconds(
        {
            "decode": lambda: decode(paths, backbone, device),
            "forward": lambda: forward(network, pixels),
            "pipeline": lambda: whole(paths, backbone, weights, device),
        },
        repeats,
    )
    shared = "on cpu" in network.description
    least = taken["decode"] + taken["forward"] if shared else max(taken["decode"], taken["forward"])
    return {
        **{way: len(paths) / s for way, s in taken.items()},
        "limit": len(paths) / least,
        "of the limit": f"{least / taken['pipeline']:.2f}",
        "run by": network.description,
    }


def by_workers(paths: Sequence[Path], backbone: Backbone, weights: Path | None, device: str, repeats: int) -> dict:
    """The whole, in images/s, for numbers of decoding threads."""
    numbers = sorted({1, 2, 3, 4, 8, os.cpu_count() or 1, 2 * (os.cpu_count() or 1)})
    ways = {f"{n} threads": partial(whole, paths, backbone, weights, device, n) for n in numbers}
    return {way: len(paths) / s for way, s in bench.seconds(ways, repeats).items()}


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=512)
    parser.add_argument("--decoder", default="auto")
    parser.add_argument("--backbones", default="efficientnet_lite0,resnet50")
    parser.add_argument("--large", type=int, default=48, help="how many of 24 megapixels")
    parser.add_argument("--workers", action="store_true")
    arguments = parser.parse_args()
    device, decoder = arguments.device, arguments.decoder
    keep_freed_memory()
    sources = {
        "400 x 533 JPEG": bench.photos(arguments.images),
        "32 x 32 PNG": bench.thumbnails(arguments.images),
        "24 megapixel JPEG": bench.large(arguments.large),
    }
    measure = by_workers if arguments.workers else compared
    rows = []
    for name in arguments.backbones.split(","):
        weights = bench.weights_of(name)
        for precision in bench.precisions(device):
            backbone = find(name, weights, precision=precision, decoder=decoder)
            for kind, paths in sources.items():
                found = measure(paths, backbone, weights, device, arguments.repeats)
                rows.append({"images": kind, "backbone": name, "precision": precision, **found})
                print(rows[-1], flush=True)
    report = bench.Report("workers" if arguments.workers else "pipeline")
    report.table(f"images/s; decoder: {load_decoder(decoder, device).description}", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
