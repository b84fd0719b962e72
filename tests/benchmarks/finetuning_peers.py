"""The same fine-tuning by featurekit, by a plain torchvision script, and by skorch: test score and time.

    pip install skorch
    python tests/benchmarks/finetuning_peers.py [sign-digits|clothing] [--images 600] [--epochs 12] [--seeds 1]

The same network with the same weights (Lite0), the same training and test images, the top two stages and a new last
layer trained, a fifth of the training images kept aside to choose the best epoch. The plain script follows PyTorch's
tutorial on transfer learning: random crops and mirror images, SGD with a rate of 0.001 and momentum 0.9, divided by 10
every 7 epochs. "AdamW" is the same script with featurekit's optimizer and rate. skorch follows the notebook on transfer
learning of its documentation: the same, with its Freezer, Checkpoint and LRScheduler. Time is that of everything, from
files to a fitted model; decoding is by two processes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import bench
import numpy as np
from finetuning import data, scored

TRAINED = ("blocks.5", "blocks.6", "conv_head", "bn2", "head")


def classifier(classes: int) -> Any:
    """Lite0 with a new last layer."""
    import torch

    from featurekit.backbones import find
    from featurekit.backbones.network import load_network

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = load_network(find("efficientnet_lite0"))
            self.head = torch.nn.Linear(1280, classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.network(images))

    module = Network()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.removeprefix("network.").startswith(TRAINED))
    return module


def images_of(paths: list[str], codes: np.ndarray, *, train: bool) -> Any:
    """A Dataset with the transforms of the tutorial."""
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    from featurekit.backbones import describe

    pre = describe("efficientnet_lite0").preprocessing
    crop = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()] if train else [v2.Resize(256), v2.CenterCrop(224)]
    end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(pre.mean), list(pre.std))]
    change = v2.Compose([v2.ToImage(), *crop, *end])

    class Images(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            with Image.open(paths[i]) as image:
                return change(image.convert("RGB")), int(codes[i])

    return Images()


def plain(train: Any, kept: Any, test: Any, classes: int, epochs: int, seed: int, *, adamw: bool) -> np.ndarray:
    """The loop of the tutorial; predictions for the test images."""
    import torch
    from torch.utils.data import DataLoader

    from featurekit.finetune import Recipe

    torch.manual_seed(seed)
    module = classifier(classes)
    chosen = [p for p in module.parameters() if p.requires_grad]
    rate = Recipe().complete(scratch=False).learning_rate
    optimizer: torch.optim.Optimizer
    optimizer = torch.optim.AdamW(chosen, lr=rate) if adamw else torch.optim.SGD(chosen, lr=1e-3, momentum=0.9)
    schedule: Any = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.1)
    if adamw:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = DataLoader(images_of(*train, train=True), batch_size=32, shuffle=True, num_workers=2)

    def said(images: tuple[list[str], np.ndarray]) -> np.ndarray:
        module.eval()
        with torch.no_grad():
            parts = [
                module(x).argmax(1)
                for x, _ in DataLoader(images_of(*images, train=False), batch_size=32, num_workers=2)
            ]
        return torch.cat(parts).numpy()

    best, state = -1.0, {}
    for _ in range(epochs):
        module.train()
        for images, targets in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images), targets).backward()
            optimizer.step()
        schedule.step()
        score = float((said(kept) == kept[1]).mean())
        if score > best:
            best, state = score, {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    return said(test)


def by_skorch(train: Any, kept: Any, test: Any, classes: int, epochs: int, seed: int) -> np.ndarray:
    """The same by skorch."""
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Checkpoint, Freezer, LRScheduler
    from skorch.helper import predefined_split

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        net = NeuralNetClassifier(
            classifier(classes),
            classes=list(range(classes)),
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            lr=1e-3,
            batch_size=32,
            max_epochs=epochs,
            iterator_train__shuffle=True,
            iterator_train__num_workers=2,
            iterator_valid__num_workers=2,
            train_split=predefined_split(images_of(*kept, train=False)),
            callbacks=[
                LRScheduler(policy="StepLR", step_size=7, gamma=0.1),
                Checkpoint(monitor="valid_acc_best", dirname=folder, load_best=True),
                Freezer(lambda name: not name.removeprefix("network.").startswith(TRAINED)),
            ],
            verbose=0,
        )
        net.fit(images_of(*train, train=True), y=None)
        said: np.ndarray = net.predict(images_of(*test, train=False))
    return said


def by_featurekit(train: Any, kept: Any, test: Any, epochs: int, seed: int) -> np.ndarray:
    """One call."""
    from featurekit import FineTuneClassifier

    said: np.ndarray = FineTuneClassifier(epochs=epochs, seed=seed).fit(*train, validation=kept).predict(test[0])
    return said


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=600, repeats=1)
    parser.add_argument("data", nargs="?", default="sign-digits", choices=("sign-digits", "clothing"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    from featurekit import TransferClassifier
    from featurekit.splits import holdout

    paths, y, tested, truth = data(arguments.data, arguments.images)
    names, codes = np.unique(y, return_inverse=True)
    goal = np.searchsorted(names, truth)
    frozen = TransferClassifier(head="logreg", layer="penultimate").fit(paths, codes).predict(tested)
    rows: list[dict[str, Any]] = []
    ours = 0.0  # minutes
    for seed in range(arguments.seeds):
        first, second = holdout(codes, 0.2, seed)
        parts = [([paths[i] for i in part], codes[part]) for part in (first, second)]
        job = (*parts, (tested, goal))
        ways = {
            "featurekit": lambda job=job, seed=seed: by_featurekit(*job, arguments.epochs, seed),
            "plain script, SGD": lambda job=job, seed=seed: plain(
                *job, len(names), arguments.epochs, seed, adamw=False
            ),
            "plain script, AdamW": lambda job=job, seed=seed: plain(
                *job, len(names), arguments.epochs, seed, adamw=True
            ),
            "skorch": lambda job=job, seed=seed: by_skorch(*job, len(names), arguments.epochs, seed),
        }
        for way, work in ways.items():
            started = time.perf_counter()
            said = work()
            minutes = (time.perf_counter() - started) / 60
            ours = minutes if way == "featurekit" else ours
            rows.append(
                {
                    "way": way,
                    "seed": seed,
                    **scored(goal, said, frozen),
                    "min": minutes,
                    "times featurekit's": f"{minutes / ours:.1f}",
                }
            )
            print(rows[-1], flush=True)
    report = bench.Report(Path(__file__).stem)
    report.table(f"{arguments.data}: {len(paths)} training and {len(tested)} test images", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
