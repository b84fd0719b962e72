"""What each strategy really scores, on many data sets made of those at hand: the truth that an advisor is judged by.

    python tests/benchmarks/advisor_cells.py [--cells clothing,signs-blur,...] [--backbones A,B]

A cell is a data set and a backbone. Data sets are drawn from clothing, sign-digits and scikit-learn's digits: few
images of a class, without colour, strongly blurred, a fifth of the training labels wrong, classes merged. All
strategies learn from the same images and are scored on the same others, whose labels are right. Which of these each
strategy gets right is kept in ``advisor_truth.csv``, as it takes more than an hour to find out. Where a recipe changes,
take its lines out, and they are measured anew.

Strategies: the frozen network with logistic regression; the last two stages fine-tuned (12 epochs). Where a cell is no
other one with other labels or colours, all stages, too (6 epochs: the machine has two processors; of EfficientNet-Lite1
where images are far from photographs), and of the three whole ones from scratch (Lite0, 96 pixels, 20 epochs).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import numpy as np
from PIL import Image, ImageFilter, ImageOps

HOME = bench.CACHE / "advisor"
RECORD = Path(__file__).with_name("advisor_truth.csv")
TEST, WHOLE = 1200, 400
FINE_TUNED: dict[str, dict[str, Any]] = {
    "last 2": {"unfreeze": 2},
    "all": {"unfreeze": "all", "epochs": 6},
}
SCRATCH: dict[str, Any] = {"pretrained": False, "image_size": 96, "epochs": 20}
_CLOTHES = {"dress": "whole", "outwear": "top", "longsleeve": "top", "shirt": "top", "t-shirt": "top"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A data set: where from, how many training images, what is done to them."""

    name: str
    origin: str
    images: int
    change: Callable[[Image.Image], Image.Image] | None = None
    wrong: float = 0.0
    merge: Callable[[str], str] | None = None


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 25))


def _grey(image: Image.Image) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


CELLS = {
    cell.name: cell
    for cell in (
        Cell("clothing", "clothing", WHOLE),
        Cell("signs", "sign-digits", WHOLE),
        Cell("digits", "digits", WHOLE),
        Cell("clothing-few", "clothing", 100),
        Cell("signs-few", "sign-digits", 100),
        Cell("digits-few", "digits", 100),
        Cell("clothing-blur", "clothing", WHOLE, _blurred),
        Cell("signs-blur", "sign-digits", WHOLE, _blurred),
        Cell("clothing-wrong", "clothing", WHOLE, wrong=0.2),
        Cell("signs-wrong", "sign-digits", WHOLE, wrong=0.2),
        Cell("clothing-merged", "clothing", WHOLE, merge=lambda label: _CLOTHES.get(label, "other")),
        Cell("signs-merged", "sign-digits", WHOLE, merge=lambda label: "up to 4" if label < "5" else "from 5"),
        Cell("clothing-grey", "clothing", WHOLE, _grey),
    )
}


@dataclass(frozen=True, slots=True)
class Data:
    """Training and test images of a cell."""

    train: list[str]
    y: np.ndarray
    test: list[str]
    truth: np.ndarray


def data(cell: Cell) -> Data:
    """The images of a cell, as files."""
    from featurekit.splits import holdout

    paths, labels = _origin(cell.origin)
    if cell.merge is not None:
        labels = np.array([cell.merge(label) for label in labels])
    rest, train = holdout(labels, cell.images / len(labels), 0)
    if len(rest) > TEST:
        rest = rest[holdout(labels[rest], TEST / len(rest), 1)[1]]
    if cell.change is not None:
        folder = HOME / "images" / cell.name
        paths = np.array([_changed(path, folder / f"{i:05d}.jpg", cell.change) for i, path in enumerate(paths)])
    y = labels[train].copy()
    rng = np.random.default_rng(0)
    for place in rng.permutation(len(y))[: round(cell.wrong * len(y))]:
        y[place] = rng.choice(np.setdiff1d(np.unique(labels), y[place]))
    return Data(paths[train].tolist(), y, paths[rest].tolist(), labels[rest])


def _origin(name: str) -> tuple[np.ndarray, np.ndarray]:
    from featurekit.images import read_source

    if name == "digits":
        from featurekit.demo import write_digits

        folders = [write_digits(HOME / "images" / "digits")]
    elif name == "clothing":
        folders = [bench.SHARED / "clothing" / part for part in ("train", "validation", "test")]
    else:
        folders = [bench.SHARED / name]
    items = [item for folder in folders for item in read_source(folder).items]
    return np.array([str(item.origin) for item in items]), np.array([item.label for item in items])


def _changed(path: str, target: Path, change: Callable[[Image.Image], Image.Image]) -> str:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            change(ImageOps.exif_transpose(image).convert("RGB")).save(target, quality=95)
    return str(target)


class Truth:
    """What each strategy gets right of the test images of a cell."""

    def __init__(self, cell: Cell, backbone: str) -> None:
        self.cell, self.backbone = cell, backbone
        self._data: Data | None = None

    @property
    def strategies(self) -> tuple[str, ...]:
        """That are tried."""
        cell, first = self.cell, self.backbone == "efficientnet_lite0"
        more = not cell.wrong and cell.merge is None and cell.change != _grey
        more &= first or (cell.images == WHOLE and (cell.change == _blurred or cell.origin == "digits"))
        whole = first and more and cell.change is None and cell.images == WHOLE
        return ("frozen", "last 2", *(["all"] if more else []), *(["scratch"] if whole else []))

    @property
    def data(self) -> Data:
        """The images."""
        if self._data is None:
            self._data = data(self.cell)
        return self._data

    def right(self, strategy: str) -> tuple[np.ndarray, float]:
        """Which test images a strategy gets right, and the seconds that it took to learn."""
        from featurekit import FineTuneClassifier, TransferClassifier

        if strategy == "frozen":
            return self.kept(strategy, TransferClassifier, head="logreg", layer="penultimate", cache=HOME / "rows")
        options = SCRATCH if strategy == "scratch" else FINE_TUNED[strategy] | {"cache": HOME / "rows"}
        return self.kept(strategy, FineTuneClassifier, **options)

    def kept(self, name: str, model: Callable[..., Any], **options: Any) -> tuple[np.ndarray, float]:
        """The same of any classifier, from the record or measured now."""
        key = [self.cell.name, self.backbone, name]
        for line in RECORD.read_text().splitlines()[1:]:
            *of, seconds, images, bits = line.split(",")
            if of == key:
                packed = np.frombuffer(base64.b64decode(bits), np.uint8)
                return np.unpackbits(packed, count=int(images)).astype(bool), float(seconds)
        started = time.perf_counter()
        fitted = model(backbone=self.backbone, **options).fit(self.data.train, self.data.y)
        seconds = time.perf_counter() - started
        right = fitted.predict(self.data.test) == self.data.truth
        bits = base64.b64encode(np.packbits(right)).decode()
        with RECORD.open("a") as record:
            record.write(",".join([*key, f"{seconds:.0f}", str(len(right)), bits]) + "\n")
        return right, seconds


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=0, repeats=1)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--backbones", default="efficientnet_lite0,efficientnet_lite1")
    arguments = parser.parse_args()
    from featurekit.metrics import paired_difference

    rows = []
    for name in arguments.cells.split(","):
        for backbone in arguments.backbones.split(","):
            truth = Truth(CELLS[name], backbone)
            frozen, _ = truth.right("frozen")
            line: dict[str, Any] = {"cell": name, "backbone": backbone}
            for strategy in ("frozen", *FINE_TUNED, "scratch"):
                if strategy not in truth.strategies:
                    line |= {strategy: "", f"{strategy} min": ""}
                    continue
                right, seconds = truth.right(strategy)
                d, low, high = (100 * v for v in paired_difference(np.ones_like(right), right, frozen))
                apart = "" if strategy == "frozen" else f" ({d:+.1f}, {low:+.1f} to {high:+.1f})"
                line |= {strategy: f"{right.mean():.4f}{apart}", f"{strategy} min": seconds / 60}
            print(json.dumps(line), flush=True)
            rows.append(line)
    report = bench.Report("advisor_cells")
    report.table(f"accuracy on up to {TEST} test images; points to frozen with paired 95% intervals", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
