"""How near extraction comes to what the machine could do: decode alone, forward alone, and the whole.

    python tests/benchmarks/pipeline.py [--device cuda] [--decoder torchvision] [--workers]

For photographs of 400 x 533 pixels, 32 x 32 PNG files and JPEG files of 24 megapixels; for Lite0 and ResNet-50; for
each precision that the device has arithmetic for. In turn, in one process, after all imports:

decode    reads, hashes and decodes all files, with as many threads as processors
forward   runs the network over as many images that are prepared already
pipeline  ``extract`` into a new store: listing, reading, hashing, decoding, network, writing, publication

The limit is ``1 / (1/decode + 1/forward)`` where both need the same processors, and the lesser of the two where the
network runs on a GPU. ``--workers`` times the pipeline for several numbers of decoding threads instead.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bench
import numpy as np

from featurekit import extract
from featurekit.backbones import Backbone, find
from featurekit.errors import BackboneError
from featurekit.fingerprint import content_hash
from featurekit.images import read_bytes
from featurekit.runtime import Runtime, keep_freed_memory, load_decoder, load_runtime

PRECISIONS = ("fp32", "bf16")


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


def precisions(name: str, device: str) -> list[str]:
    """Those that are not emulated."""
    from featurekit.runtime.openvino_runtime import computes_in

    if device.startswith("cuda"):
        return ["fp32", "tf32", "bf16", "fp16"]
    return [short for short in PRECISIONS if computes_in(find("efficientnet_lite0", precision=short).precision)]


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
    report, rows, splits = bench.Report("workers" if arguments.workers else "pipeline"), [], []
    home = Path(tempfile.mkdtemp(prefix="featurekit-pipeline-"))
    for name in arguments.backbones.split(","):
        weights = bench.weights_of(name)
        for precision in precisions(name, device):
            backbone = find(name, weights, precision=precision, decoder=decoder)
            try:
                network = load_runtime(backbone, device)
            except BackboneError as error:
                print(f"{name} {precision}: {error}")
                continue
            for kind, paths in sources.items():
                pixels = decode(paths, backbone, device)
                forward(network, pixels)  # warm
                number = iter(range(10**6))

                def whole(workers: int | None = None) -> None:
                    extract(
                        paths,
                        output=home / f"{next(number)}.h5",
                        backbone=name,
                        weights=weights,
                        precision=precision,
                        decoder=decoder,
                        device=device,
                        workers=workers,
                    ).close()

                n = len(paths)
                if arguments.workers:
                    ways = {str(w): (lambda w=w: whole(w)) for w in (1, 2, 3, 4, 8)}
                    taken = bench.seconds(ways, arguments.repeats)
                    speeds = {f"{w} threads": n / s for w, s in taken.items()}
                    splits.append({"images": kind, "backbone": name, "precision": precision, **speeds})
                    continue
                ways = {
                    "decode": lambda: decode(paths, backbone, device),
                    "forward": lambda: forward(network, pixels),
                    "pipeline": whole,
                }
                taken = bench.seconds(ways, arguments.repeats)
                on_gpu = "cpu" not in network.description
                least = max(taken["decode"], taken["forward"]) if on_gpu else taken["decode"] + taken["forward"]
                rows.append(
                    {"images": kind, "backbone": name, "precision": precision}
                    | {way: n / s for way, s in taken.items()}
                    | {"limit": n / least, "of the limit": least / taken["pipeline"]}
                )
                print(rows[-1], flush=True)
                shutil.rmtree(home)
                home.mkdir()
    title = f"images/s, {network.description}; decoder: {load_decoder(decoder, device).description}"
    report.table(title, splits or rows)
    report.write(arguments.out)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
