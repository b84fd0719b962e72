"""Seconds of an epoch with the top two stages of Lite0 unfrozen, in four ways, one after the other in each round.

    python tests/benchmarks/trunk.py [--images 512] [--repeats 3]
    python tests/benchmarks/trunk.py --device cuda --precisions fp32,bf16,fp16 --images 3000    # on a GPU

ordinary      a DataLoader with a process for each processor (torchvision's transforms), the whole network with
              gradients in the unfrozen stages, as most scripts do: weights as they were loaded, no setting of the
              allocator
no_grad       the same, the frozen stages under no_grad
featurekit    trunk_cache="off": decoding threads, channels last, memory kept, frozen stages under no_grad
cached        featurekit with the trunk cache
stages        forward, backward and step of the unfrozen stages alone, on maps in memory: what no cache can beat

Each way in a process of its own, because some of them set what holds for a whole process. Losses are those of the last
epoch; those of "featurekit" and "cached" should be equal, as both see the same views. On a GPU, the most of its memory
that tensors took is told as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import bench
import joblib
import numpy as np

START = 5  # the lowest of the top two stages
WAYS = ("ordinary", "no_grad", "featurekit", "cached", "stages")


def arithmetic(device: Any, precision: str) -> Any:
    """A context for the forward pass."""
    import torch

    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, dtypes[precision]) if precision in dtypes else nullcontext()


def ordinary(paths: list[str], codes: np.ndarray, device: Any, precision: str, *, no_grad: bool) -> tuple[float, float]:
    """Seconds of the second epoch, and its loss."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    from featurekit.backbones import describe, find
    from featurekit.backbones.network import load_network

    spec = describe("efficientnet_lite0")
    change = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(spec.preprocessing.mean), list(spec.preprocessing.std)),
        ]
    )

    class Images(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            with Image.open(paths[i]) as image:
                return change(image.convert("RGB")), int(codes[i])

    network = load_network(find(spec.name)).to(device)
    head = torch.nn.Linear(1280, int(codes.max()) + 1).to(device)
    trained = [network.blocks[5], network.blocks[6], network.conv_head, network.bn2, head]
    parameters = [p.requires_grad_(True) for part in trained for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    on_gpu = device.type != "cpu"
    loader = DataLoader(
        Images(), 32, shuffle=True, num_workers=joblib.cpu_count(), persistent_workers=True, pin_memory=on_gpu
    )

    def forward(images: torch.Tensor) -> torch.Tensor:
        if not no_grad:
            return head(network(images))
        with torch.no_grad():
            maps = network.blocks[:5](network.bn1(network.conv_stem(images)))
        maps = network.bn2(network.conv_head(network.blocks[5:](maps)))
        return head(network.global_pool(maps))

    seconds, total = 0.0, 0.0
    for _ in range(2):
        started, total = time.perf_counter(), 0.0
        for images, targets in loader:
            images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            with arithmetic(device, precision):
                loss = torch.nn.functional.cross_entropy(forward(images), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item() * len(targets)
        seconds = time.perf_counter() - started
    return seconds, total / len(paths)


def ours(paths: list[str], codes: np.ndarray, device: Any, precision: str, cache: str) -> tuple[float, float]:
    """The same of featurekit: the median of the epochs after the first, without validation's share."""
    from featurekit import FineTuneClassifier

    recipe = {"epochs": 3, "label_smoothing": 0.0, "learning_rate": 1e-4, "precision": precision}
    model = FineTuneClassifier(unfreeze=2, trunk_cache=cache, device=str(device), **recipe)
    few = np.concatenate([np.flatnonzero(codes == code)[:1] for code in np.unique(codes)])
    model.fit(paths, codes, validation=([paths[i] for i in few], codes[few]))
    last = model.history_[-1]
    return statistics.median(record["seconds"] for record in model.history_[2:]), last["loss"]


def stages_alone(paths: list[str], codes: np.ndarray, device: Any, precision: str) -> tuple[float, float]:
    """Forward, backward and step on random maps in memory."""
    import torch

    from featurekit.backbones import describe, find
    from featurekit.backbones.network import load_network
    from featurekit.finetune.optimizer import thaw
    from featurekit.finetune.stages import Stages
    from featurekit.runtime import keep_freed_memory

    keep_freed_memory()
    spec = describe("efficientnet_lite0")
    stages = Stages(load_network(find(spec.name)), spec, int(codes.max()) + 1)
    stages = stages.to(device, memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    thaw(stages, START, batch_norm="frozen", training=True)
    optimizer = torch.optim.AdamW([p for p in stages.parameters() if p.requires_grad], lr=1e-4)
    maps = torch.rand(32, 112, 14, 14).to(device, memory_format=torch.channels_last)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for i in range(0, len(paths), 32):
            targets = torch.from_numpy(codes[i : i + 32]).to(device)
            with arithmetic(device, precision):
                loss = torch.nn.functional.cross_entropy(stages.above(maps[: len(targets)], START), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss.item()
        seconds = time.perf_counter() - started
    return seconds, float("nan")


def run(way: str, paths: list[str], codes: np.ndarray, device_name: str, precision: str) -> list[float]:
    """Seconds, loss, and MB on the GPU, of one way."""
    import torch

    from featurekit.runtime.torch_runtime import pick_device

    device = pick_device(device_name)
    if way in {"ordinary", "no_grad"}:
        found = ordinary(paths, codes, device, precision, no_grad=way == "no_grad")
    elif way == "stages":
        found = stages_alone(paths, codes, device, precision)
    else:
        found = ours(paths, codes, device, precision, "on" if way == "cached" else "off")
    return [*found, torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else float("nan")]


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=512, repeats=3)
    parser.add_argument("--precisions", default="fp32", help="of fp32, bf16, fp16, with commas (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help="one way in this process; prints what it measured")
    arguments = parser.parse_args()
    paths = [str(path) for path in bench.photos(arguments.images)]
    codes = np.unique([Path(path).parent.name for path in paths], return_inverse=True)[1]
    if arguments.way:
        print(json.dumps(run(arguments.way, paths, codes, arguments.device, arguments.precisions)))
        return
    ways = [(way, precision) for precision in arguments.precisions.split(",") for way in WAYS]
    found: dict[tuple[str, str], list[list[float]]] = {way: [] for way in ways}
    for _ in range(arguments.repeats):
        for way, precision in ways:
            options = {"images": arguments.images, "way": way, "device": arguments.device, "precisions": precision}
            command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in options.items())]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[way, precision].append(json.loads(out.splitlines()[-1]))
    seconds = {way: statistics.median(each[0] for each in measured) for way, measured in found.items()}
    first = seconds[ways[0]]
    rows = [
        {
            "way": way,
            "precision": precision,
            "seconds": seconds[way, precision],
            "images/s": len(paths) / seconds[way, precision],
            f"times as fast as {ways[0][0]} {ways[0][1]}": f"{first / seconds[way, precision]:.2f}",
            "times the stages alone": f"{seconds[way, precision] / seconds['stages', precision]:.2f}",
            "loss": "" if np.isnan(found[way, precision][-1][1]) else f"{found[way, precision][-1][1]:.4f}",
            "MB on the GPU": "" if np.isnan(found[way, precision][-1][2]) else f"{found[way, precision][-1][2]:.0f}",
        }
        for way, precision in ways
    ]
    report = bench.Report("trunk")
    report.table(f"an epoch of {len(paths)} photos, the top two stages of Lite0 unfrozen", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
