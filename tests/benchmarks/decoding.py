"""Ways from the bytes of a file to the pixels of a network: how fast, and how near Pillow's.

    python tests/benchmarks/decoding.py

pillow       the reference: decode, ``Resize(256)`` and ``CenterCrop(224)`` of the whole image
pillow-box   decode, and resize what the square needs only, with ``resize(box=...)``
auto         what featurekit does: simplejpeg and cykooz-resizer
torchcodec   ``decode_jpeg`` and an antialiased ``interpolate``, on ``--device``
scaled       as auto, but JPEGs are decoded at 1/2 to 1/8 of their size where twice what is needed remains

Differences are of pixels from 0 to 255; cosine and relative error are of the default backbone's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import bench
import numpy as np
from PIL import Image

from featurekit.backbones import find
from featurekit.fidelity import Fidelity
from featurekit.images import open_image
from featurekit.runtime import Runtime, keep_freed_memory, load_decoder, load_runtime

BACKBONE = find("efficientnet_lite0")
PRE = BACKBONE.preprocessing


def by(decoder: str, device: str) -> Callable[[bytes], np.ndarray]:
    """One of featurekit's decoders."""
    load = load_decoder(decoder, device)
    return lambda data: load([data], [{PRE}])[0][PRE]


def pillow_box(data: bytes) -> np.ndarray:
    """Pillow, but only what the square needs."""
    image = open_image(data)
    shorter = min(image.size)
    box = []
    for length in image.size:
        resized = int(PRE.resize * length / shorter)
        offset = round((resized - PRE.crop) / 2)
        box.append((offset * length / resized, (offset + PRE.crop) * length / resized))
    (left, right), (top, bottom) = box
    return np.asarray(image.resize((PRE.crop, PRE.crop), Image.Resampling.BICUBIC, box=(left, top, right, bottom)))


def compared(files: Sequence[bytes], device: str, network: Runtime, repeats: int) -> list[dict[str, object]]:
    """A row for each way."""
    ways = {
        "pillow": by("pillow", "cpu"),
        "pillow-box": pillow_box,
        "auto": by("auto", "cpu"),
        "torchcodec": by("torchcodec", device),
        "scaled": by("scaled", "cpu"),
    }
    with ThreadPoolExecutor() as pool:
        alone = bench.seconds({name: lambda w=way: list(map(w, files)) for name, way in ways.items()}, repeats)
        threads = bench.seconds({name: lambda w=way: list(pool.map(w, files)) for name, way in ways.items()}, repeats)
    found = {name: np.stack([way(file) for file in files]) for name, way in ways.items()}
    exact = network.submit(found["pillow"]).result()
    rows = []
    for name, pixels in found.items():
        difference = np.abs(pixels.astype(np.int16) - found["pillow"])
        fidelity = Fidelity.of(network.submit(pixels).result(), exact)
        rows.append(
            {
                "way": name,
                "one thread, images/s": len(files) / alone[name],
                "all threads, images/s": len(files) / threads[name],
                "mean difference": float(difference.mean()),
                "largest": int(difference.max()),
                "least cosine": f"{fidelity.cosine:.6f}",
                "relative error": fidelity.relative_error,
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=200)
    parser.add_argument("--large", type=int, default=16, help="how many of 24 megapixels")
    arguments = parser.parse_args()
    keep_freed_memory()
    report = bench.Report("decoding")
    network = load_runtime(BACKBONE, "cpu")
    sources = {
        "400 x 533 JPEG": bench.photos(arguments.images),
        "32 x 32 PNG": bench.thumbnails(arguments.images),
        "24 megapixel JPEG": bench.large(arguments.large),
    }
    for kind, paths in sources.items():
        files = [path.read_bytes() for path in paths]
        report.table(f"{kind}, {len(files)} files", compared(files, arguments.device, network, arguments.repeats))
    report.write(arguments.out)


if __name__ == "__main__":
    main()
