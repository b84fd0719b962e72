"""Everything about a GPU in one command.

    python tests/benchmarks/gpu.py --device cuda

1. Forward alone: eager PyTorch as featurekit runs it, ``torch.compile``, CUDA graphs, by precision and batch size.
2. Decode, forward and the whole, with images decoded by the processor and by the GPU (``pipeline.py``).
3. Utilisation of the GPU in each second of a longer extraction.
4. The DataLoader loop that people write, on the same GPU (``peers.py``).

``--device cpu`` tries all of it where there is no GPU; ``torch.compile`` needs a C++ compiler then.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bench
import pipeline
import torch

from featurekit.backbones import Backbone, find
from featurekit.runtime import keep_freed_memory
from featurekit.runtime.torch_runtime import ImagesToRows


def graphed(network: torch.nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """A recorded CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(images)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(images)
    return graph.replay


@torch.inference_mode()
def forwards(backbone: Backbone, device: str, batch: int, repeats: int) -> dict[str, float]:
    """Images/s of ways to run one network on images that lie on the device already."""
    network = ImagesToRows(backbone, ["penultimate"]).eval().to(device, memory_format=torch.channels_last)
    crop = backbone.preprocessing.crop
    images = torch.randint(0, 256, (batch, crop, crop, 3), dtype=torch.uint8, device=device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = backbone.precision == "tf32"
    ways: dict[str, Callable[[], object]] = {"eager": partial(network, images)}
    for name, make in {
        "compiled": lambda: partial(torch.compile(network), images),
        "CUDA graph": lambda: graphed(network, images),
        "compiled, reduce-overhead": lambda: partial(torch.compile(network, mode="reduce-overhead"), images),
    }.items():
        try:
            way = make()
            for _ in range(3):
                way()
            ways[name] = way
        except Exception as error:  # whatever is missing here: the others are still of interest
            print(f"{name}: {str(error).strip().splitlines()[0][:200]}")

    rounds = 10 if device.startswith("cuda") else 1

    def several(way: Callable[[], object]) -> None:
        for _ in range(rounds):
            way()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    taken = bench.seconds({name: partial(several, way) for name, way in ways.items()}, repeats)
    return {name: rounds * batch / seconds for name, seconds in taken.items()}


def utilisation(run: Callable[[], object]) -> list[str]:
    """Percent of each second, as ``nvidia-smi`` says, while something runs."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not over.wait(1):
            seen.append(subprocess.run(ask, capture_output=True, text=True).stdout.strip().replace("\n", "+"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        over.set()
        watcher.join()
    return seen


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=4096)
    parser.add_argument("--backbones", default="efficientnet_lite0,resnet50")
    parser.add_argument("--batches", default="64,256,512")
    parser.add_argument("--precisions", help="default: all that the device has")
    arguments = parser.parse_args()
    device = "cuda" if arguments.device == "auto" else arguments.device
    precisions = arguments.precisions.split(",") if arguments.precisions else bench.precisions(device)
    keep_freed_memory()
    report = bench.Report("gpu")
    rows = []
    for name in arguments.backbones.split(","):
        for precision in precisions:
            for batch in map(int, arguments.batches.split(",")):
                backbone = find(name, bench.weights_of(name), precision=precision)
                found = forwards(backbone, device, batch, arguments.repeats)
                rows.append({"backbone": name, "precision": precision, "batch": batch} | found)
                print(rows[-1], flush=True)
    for row in rows:
        for key in dict.fromkeys(key for each in rows for key in each):
            row.setdefault(key, "-")
    report.table(f"forward alone, images/s, {device}", rows)

    rows, paths = [], bench.photos(arguments.images)
    for name in arguments.backbones.split(","):
        for precision in precisions:
            for decoder in ("auto", "torchcodec"):
                backbone = find(name, bench.weights_of(name), precision=precision, decoder=decoder)
                found = pipeline.compared(paths, backbone, bench.weights_of(name), device, arguments.repeats)
                rows.append({"backbone": name, "precision": precision, "decoder": decoder, **found})
                print(rows[-1], flush=True)
    report.table("photographs of 400 x 533 pixels, images/s", rows)

    if device.startswith("cuda"):
        rows = []
        for decoder in ("auto", "torchcodec"):
            backbone = find("resnet50", bench.weights_of("resnet50"), precision="bf16", decoder=decoder)
            many = bench.photos(20_000)
            run = partial(pipeline.whole, many, backbone, bench.weights_of("resnet50"), device)
            started = time.perf_counter()
            seen = utilisation(run)
            speed = len(many) / (time.perf_counter() - started)
            rows.append({"decoder": decoder, "images/s": speed, "utilisation in each second, %": " ".join(seen)})
        report.table("ResNet-50 in bf16", rows)
    report.write(arguments.out)
    command = [sys.executable, str(Path(__file__).with_name("peers.py")), "--device", device, "--only"]
    command += ["loop,featurekit", "--images", str(arguments.images), "--out", str(arguments.out), "--repeats", "3"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
