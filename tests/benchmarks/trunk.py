"""Seconds of an epoch with the top two stages of Lite0 unfrozen, in four ways, one after the other in each round.

    python tests/benchmarks/trunk.py [--images 512] [--repeats 3]

ordinary      a DataLoader of two processes (torchvision's transforms), the whole network with gradients in the unfrozen
              stages, as most scripts do: weights as they were loaded, no setting of the allocator
no_grad       the same, the frozen stages under no_grad
featurekit    trunk_cache="off": decoding threads, channels last, memory kept, frozen stages under no_grad
cached        featurekit with the trunk cache
stages        forward, backward and step of the unfrozen stages alone, on maps in memory: what no cache can beat

Each way in a process of its own, because some of them set what holds for a whole process. Losses are those of the last
epoch; those of "featurekit" and "cached" should be equal, as both see the same views.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench
import numpy as np

START = 5  # the lowest of the top two stages
WAYS = ("ordinary", "no_grad", "featurekit", "cached", "stages")


def ordinary(paths: list[str], codes: np.ndarray, *, no_grad: bool) -> tuple[float, float]:
    """Seconds of the second epoch, and its loss."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    from featurekit.backbones import SPECS, find
    from featurekit.backbones.network import load_network

    spec = SPECS["efficientnet_lite0"]
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

    network = load_network(find(spec.name))
    head = torch.nn.Linear(1280, int(codes.max()) + 1)
    trained = [network.blocks[5], network.blocks[6], network.conv_head, network.bn2, head]
    parameters = [p.requires_grad_(True) for part in trained for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    loader = DataLoader(Images(), batch_size=32, shuffle=True, num_workers=2, persistent_workers=True)

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
            loss = torch.nn.functional.cross_entropy(forward(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        seconds = time.perf_counter() - started
    return seconds, total / len(paths)


def ours(paths: list[str], codes: np.ndarray, cache: str) -> tuple[float, float]:
    """The same of featurekit: the median of the epochs after the first, without validation's share."""
    from featurekit import FineTuneClassifier

    model = FineTuneClassifier(unfreeze=2, epochs=3, trunk_cache=cache, label_smoothing=0.0, learning_rate=1e-4)
    few = np.concatenate([np.flatnonzero(codes == code)[:1] for code in np.unique(codes)])
    model.fit(paths, codes, validation=([paths[i] for i in few], codes[few]))
    last = model.history_[-1]
    return statistics.median(record["seconds"] for record in model.history_[2:]), last["loss"]


def stages_alone(paths: list[str], codes: np.ndarray) -> tuple[float, float]:
    """Forward, backward and step on random maps in memory."""
    import torch

    from featurekit.backbones import SPECS, find
    from featurekit.backbones.network import load_network
    from featurekit.finetune.optimizer import thaw
    from featurekit.finetune.stages import Stages
    from featurekit.runtime import keep_freed_memory

    keep_freed_memory()
    spec = SPECS["efficientnet_lite0"]
    stages = Stages(load_network(find(spec.name)), spec, int(codes.max()) + 1)
    stages = stages.to(memory_format=torch.channels_last)
    thaw(stages, START, batch_norm="frozen", training=True)
    optimizer = torch.optim.AdamW([p for p in stages.parameters() if p.requires_grad], lr=1e-4)
    maps = torch.rand(32, 112, 14, 14).to(memory_format=torch.channels_last)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for i in range(0, len(paths), 32):
            targets = torch.from_numpy(codes[i : i + 32])
            loss = torch.nn.functional.cross_entropy(stages.above(maps[: len(targets)], START), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - started
    return seconds, float("nan")


def run(way: str, paths: list[str], codes: np.ndarray) -> tuple[float, float]:
    """Seconds and loss of one way."""
    if way in {"ordinary", "no_grad"}:
        return ordinary(paths, codes, no_grad=way == "no_grad")
    if way == "stages":
        return stages_alone(paths, codes)
    return ours(paths, codes, "on" if way == "cached" else "off")


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=512, repeats=3)
    parser.add_argument("--way", choices=WAYS, help="one way in this process; prints seconds and loss")
    arguments = parser.parse_args()
    paths = [str(path) for path in bench.photos(arguments.images)]
    codes = np.unique([Path(path).parent.name for path in paths], return_inverse=True)[1]
    if arguments.way:
        print(json.dumps(run(arguments.way, paths, codes)))
        return
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            command = [sys.executable, __file__, "--images", str(arguments.images), "--way", way]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[way].append(tuple(json.loads(out.splitlines()[-1].replace("NaN", "null"))))
    seconds = {way: statistics.median(pair[0] for pair in pairs) for way, pairs in found.items()}
    rows = [
        {
            "way": way,
            "seconds": seconds[way],
            "images/s": len(paths) / seconds[way],
            "times as fast as ordinary": f"{seconds['ordinary'] / seconds[way]:.2f}",
            "times the stages alone": f"{seconds[way] / seconds['stages']:.2f}",
            "loss": "" if found[way][-1][1] is None else f"{found[way][-1][1]:.4f}",
        }
        for way in WAYS
    ]
    report = bench.Report("trunk")
    report.table(f"an epoch of {len(paths)} photos, the top two stages of Lite0 unfrozen", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
