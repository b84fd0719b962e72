"""Fine-tune with a last layer that reads the penultimate layer, or every stage: scores before, scores after, minutes.

    python tests/benchmarks/finetune_whole.py signs=FOLDER trash=FOLDER clothing=FOLDER [--seeds 0,1,2] [--epochs 8]
        [--unfreeze 2] [--images N] [--image-size PIXELS] [--ways NAMES] [--features FOLDER] [--csv FILE]

A set is NAME=FOLDER with class folders; one with folders ``train`` and ``test`` keeps these. Of the others 30% (of the
set called trash 20%) are the test set, the same for all seeds. A seed is that of the training, and of the fifth of the
training images by which the epoch is chosen. ``--images`` takes so many of the training images. Frozen rows are kept in
--features, so that minutes are those of the training with its cache of frozen stages, without extraction.

``penultimate`` is `FineTuneClassifier` with its defaults. ``stages`` is the same recipe with a last layer that reads
the pooled output of the stem and of every stage, standardized by columns; it starts as the whole-network logistic
regression, and the cache of frozen stages keeps their pooled vectors beside the maps. It gained nothing over
``penultimate``, so it exists here and not in the library. ``stages undamped`` starts at the fitted layer as it is, and
``stages gentle`` does so with a fifth of the learning rate.

Start is the frozen network with logistic regression: on the validation images fitted without them, on the test images
fitted on all. End is what fine-tuning gives; the frozen network is kept where that is nothing beyond chance.
``end_score`` is the best validation score of an epoch after the first step, whether or not it was kept. ``wrong`` names
the test images that the model gets wrong in the end, so that lines can be compared image by image. A line is added to
the CSV after each training; what is there is not computed again.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featurekit import FeatureExtractor, FineTuneClassifier, TransferClassifier
from featurekit.backbones import Backbone, find
from featurekit.backbones.network import load_network, pooled
from featurekit.finetune.feed import CachedFeed, fixed_views
from featurekit.finetune.inputs import beyond_chance, compared, together
from featurekit.finetune.pictures import Pictures, View
from featurekit.finetune.recipe import Recipe
from featurekit.finetune.stages import Stages
from featurekit.finetune.training import Training
from featurekit.finetune.trunk import Plan, fill_cache, open_cache, shape_of, trunk_runner
from featurekit.heads import LogisticRegressionPath
from featurekit.heads.layer import layer_of
from featurekit.heads.linear import scale_of
from featurekit.images import items_from, read_source
from featurekit.metrics import paired_difference
from featurekit.runtime import load_decoder
from featurekit.splits import holdout

NAME = "efficientnet_lite0"
WAYS: dict[str, dict[str, Any]] = {
    "penultimate": {},
    "stages": {},
    "stages undamped": {"damp": 1.0},
    "stages gentle": {"damp": 1.0, "learning_rate": 2e-4},
}
FIELDS = (
    "set way seed epochs unfreeze image_size train test best_epoch start_validation end_score end_validation "
    "start_test end_test gain low high minutes epoch_seconds wrong"
).split()


class WholeStages(Stages):
    """Stages with a linear layer that reads the pooled output of the stem and of every stage.

    What enters a stage is one row of numbers: its maps, and behind them the standardized vectors of the layers below.
    """

    def __init__(self, backbone: Backbone, classes: int, center: NDArray[Any], scale: NDArray[Any]) -> None:
        network = load_network(backbone)
        super().__init__(network, backbone.spec, classes)
        self.head = nn.Linear(backbone.rows.dim, classes)
        self._shapes, self._noted = self._entering(backbone.spec.preprocessing.crop), {}
        ends = np.cumsum([0, *backbone.space.widths]).tolist()
        for part, columns in zip(backbone.rows.parts, map(slice, *zip(*pairwise(ends), strict=True)), strict=True):
            numbers = (torch.tensor(each[columns], dtype=torch.float32) for each in (center, scale))
            network.get_submodule(part.layer).register_forward_hook(self._hook(part, *numbers))

    def _entering(self, side: int) -> list[tuple[int, ...]]:
        maps, shapes = torch.zeros((1, 3, side, side)), []
        with torch.no_grad():
            for stage in [nn.Identity(), *self.stages]:
                maps = stage(maps)
                shapes.append(tuple(maps.permute(0, 2, 3, 1).shape[1:] if maps.ndim == 4 else maps.shape[1:]))
        return shapes

    def _hook(self, part: Any, center: Tensor, scale: Tensor) -> Any:
        def note(module: nn.Module, inputs: Any, out: Tensor) -> None:
            self._noted[part.layer] = (pooled(out, part) - center) / scale

        return note

    def _take(self) -> list[Tensor]:
        noted = list(self._noted.values())
        self._noted.clear()
        return noted

    def below(self, images: Tensor, stop: int) -> Tensor:
        """Maps, and behind them the vectors of the layers below."""
        maps = super().below(images, stop)
        flat = (maps.permute(0, 2, 3, 1) if maps.ndim == 4 else maps).flatten(1)
        return torch.cat([flat, *self._take()], 1)

    def above(self, maps: Tensor, start: int) -> Tensor:
        """Decision values."""
        shape = self._shapes[start]
        size = math.prod(shape)
        known, maps = maps[:, size:], maps[:, :size].reshape(-1, *shape)
        maps = maps.permute(0, 3, 1, 2) if maps.ndim == 4 else maps
        for stage in self.stages[start:]:
            maps = stage(maps)
        values: Tensor = self.head(torch.cat([known, *self._take()], 1))
        return values


def whole(way: str, seed: int, arguments: argparse.Namespace, cache: Path, parts: Any) -> dict[str, Any]:
    """Fine-tune with a last layer that reads every stage. Nothing is said of the test images if nothing is gained."""
    train, labels, test, _ = parts
    recipe = Recipe(seed=seed, epochs=arguments.epochs, **WAYS[way]).complete(scratch=False)
    backbone = find(NAME, layer="stages", image_size=arguments.image_size)
    wish, blocks = backbone.spec.preprocessing, backbone.space.widths
    extractor = FeatureExtractor(NAME, layer="stages", image_size=arguments.image_size, cache=cache)
    features = extractor.fit(list(train))._features(list(train))
    ids = together(len(train), features.contents, features.perceptual, labels, None).ids
    classes, codes = np.unique(labels, return_inverse=True)
    first, kept = holdout(labels, 0.2, seed, ids)
    rows = features.rows[first].astype(np.float64)
    head = LogisticRegressionPath(blocks=blocks).fit(features.rows[first], labels[first], groups=ids[first])
    weight, bias = layer_of(head)
    center, scale = rows.mean(axis=0), scale_of(rows.var(axis=0), blocks)
    stages = WholeStages(backbone, len(classes), center, scale).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        stages.head.weight.copy_(torch.from_numpy(weight * scale))
        stages.head.bias.copy_(torch.from_numpy(bias + weight @ center))
    start, views = stages.first_trained(arguments.unfreeze), fixed_views(recipe, wish)
    run, shape = trunk_runner(stages, start, wish.crop, "auto"), shape_of(stages, start, wish.crop)
    caches = []
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen, shown in (("train", first, views), ("validation", kept, views[:1])):
            path, plan = Path(folder, name), Plan(len(chosen), len(shown), shape)
            with Pictures(items_from(train[chosen].tolist()), load_decoder("auto", "cpu")) as pictures:
                fill_cache(path, plan, pictures, shown, run, lambda images: None)
            caches.append(open_cache(path, plan))
        training = Training(stages, start, recipe, codes[first], codes[kept], say=say)
        trained = training.run(CachedFeed(start, *caches))
        caches.clear()
    frozen = features.rows[kept] @ weight.T + bias
    assert trained.decisions is not None
    comparison, said = compared(codes[kept], trained.decisions, frozen, ids[kept]), None
    if beyond_chance(comparison):
        with torch.no_grad(), Pictures(items_from(test.tolist()), load_decoder("auto", "cpu")) as pictures:
            chunks = [(chunk, [View(wish)] * len(chunk)) for chunk in np.array_split(np.arange(len(test)), 16)]
            decisions = [stages(torch.from_numpy(pixels)).numpy() for pixels in pictures.batches(chunks)]
        said = classes[np.concatenate(decisions).argmax(axis=1)]
    return {"history": trained.history, "best": trained.best, "comparison": comparison, "said": said}


def usual(seed: int, arguments: argparse.Namespace, cache: Path, parts: Any) -> dict[str, Any]:
    """Fine-tune as the library does; what :func:`whole` returns."""
    train, labels, test, _ = parts
    options = {"epochs": arguments.epochs, "unfreeze": arguments.unfreeze, "image_size": arguments.image_size}
    model = FineTuneClassifier(NAME, seed=seed, cache=cache, say=say, **options).fit(train, labels)
    comparison = model.comparison_
    # Rows of the trained network are of no use later.
    said = model.set_params(cache=None).predict(test) if model.best_epoch_ else None
    return {"history": model.history_, "best": model.best_epoch_, "comparison": comparison, "said": said}


def say(line: str) -> None:
    """What a training says."""
    print(f"   {line}", flush=True)


def of(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Paths and labels of class folders."""
    items = [item for item in read_source(folder).items if item.label]
    return np.array([str(item.origin) for item in items]), np.array([item.label for item in items])


def data(name: str, folder: Path, images: int | None) -> tuple[NDArray[Any], ...]:
    """Paths and labels of the training and of the test images."""
    if (folder / "test").is_dir():
        (train, y), (test, truth) = of(folder / "train"), of(folder / "test")
    else:
        paths, labels = of(folder)
        first, second = holdout(labels, 0.2 if name == "trash" else 0.3, 0)
        train, y, test, truth = paths[first], labels[first], paths[second], labels[second]
    if images is not None and images < len(train):
        kept = holdout(y, images / len(train), 0)[1]
        train, y = train[kept], y[kept]
    return train, y, test, truth


def measure(way: str, seed: int, arguments: argparse.Namespace, cache: Path, parts: Any) -> dict[str, Any]:
    """One training."""
    train, y, test, truth = parts
    layer = "penultimate" if way == "penultimate" else "stages"
    common = {"image_size": arguments.image_size, "cache": cache}
    frozen = TransferClassifier(NAME, "logreg", layer=layer, **common).fit(train, y).predict(test)
    begun = time.perf_counter()
    found = usual(seed, arguments, cache, parts) if way == "penultimate" else whole(way, seed, arguments, cache, parts)
    minutes = (time.perf_counter() - begun) / 60
    said = frozen if found["said"] is None else found["said"]
    difference, low, high = paired_difference(truth, said, frozen)
    before, *after = found["history"]
    return {
        "seed": seed,
        "epochs": arguments.epochs,
        "unfreeze": arguments.unfreeze,
        "image_size": arguments.image_size,
        "train": len(train),
        "test": len(test),
        "best_epoch": 0 if found["said"] is None else found["best"],
        "start_validation": round(before["accuracy"], 4),
        "end_score": round(max(record["accuracy"] for record in after), 4),
        "end_validation": round((before if found["said"] is None else found["comparison"])["accuracy"], 4),
        "start_test": round(float(np.mean(frozen == truth)), 4),
        "end_test": round(float(np.mean(said == truth)), 4),
        "gain": round(difference, 4),
        "low": "" if low is None else round(low, 4),
        "high": "" if high is None else round(high, 4),
        "minutes": round(minutes, 2),
        "epoch_seconds": round(float(np.median([record["seconds"] for record in after])), 1),
        "wrong": " ".join(map(str, np.flatnonzero(said != truth))),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Means over the seeds for each set and way, and the difference to the first way on the same seeds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        what = "{set}, {train} images of {image_size} pixels, unfreeze {unfreeze}, {epochs} epochs".format(**line)
        found[what, line["way"]].append(line)
    rows = ["set | way | seeds | validation start, end | test start, end | minus penultimate | minutes"]
    for (what, way), group in found.items():
        means = [
            float(np.mean([float(line[field]) for line in group]))
            for field in ("start_validation", "end_validation", "start_test", "end_test", "minutes")
        ]
        rows.append(
            f"{what} | {way} | {len(group)} | {means[0]:.4f}, {means[1]:.4f} | {means[2]:.4f}, {means[3]:.4f} | "
            f"{_against(group, found.get((what, 'penultimate'), []))} | {means[4]:.1f}"
        )
    return "\n".join(rows)


def _against(group: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """The difference of the tests' accuracies with its paired interval, over all seeds that both have."""
    others = {str(line["seed"]): line for line in base}
    pairs = [(line, others[str(line["seed"])]) for line in group if str(line["seed"]) in others]
    if not pairs or group is base:
        return ""
    n, right = int(pairs[0][0]["test"]), []
    for pair in pairs:
        tables = np.ones((2, n))
        for side, line in enumerate(pair):
            tables[side, [int(number) for number in str(line["wrong"]).split()]] = 0
        right.append(tables)
    first, second = (np.concatenate([tables[side] for tables in right]) for side in (0, 1))
    images = np.tile(np.arange(n), len(pairs))
    difference, low, high = paired_difference(np.ones(len(first)), first, second, images if len(pairs) > 1 else None)
    interval = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * difference:+.1f}{interval}"


def main() -> None:
    """Measure, add to the CSV line by line, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--unfreeze", type=int, default=2)
    parser.add_argument("--images", type=int)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--ways", default="penultimate,stages", help="default: %(default)s")
    parser.add_argument("--features", type=Path, help="folder of frozen rows; default: a temporary one")
    parser.add_argument("--csv", type=Path, default=Path("finetune_whole.csv"))
    arguments = parser.parse_args()
    lines: list[dict[str, Any]] = []
    if arguments.csv.exists():
        with arguments.csv.open() as file:
            lines = list(csv.DictReader(file))
    done = {(line["set"], line["way"], *(str(line[each]) for each in FIELDS[2:7])) for line in lines}
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.features or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        for seed in map(int, arguments.seeds.split(",")):
            for name, _, folder in (each.partition("=") for each in arguments.sets):
                parts = data(name, Path(folder), arguments.images)
                for way in arguments.ways.split(","):
                    key = (seed, arguments.epochs, arguments.unfreeze, arguments.image_size, len(parts[0]))
                    if (name, way, *map(str, key)) in done:
                        continue
                    print(f"{name}, {way}, seed {seed}", flush=True)
                    lines.append({"set": name, "way": way, **measure(way, seed, arguments, cache, parts)})
                    print(lines[-1], flush=True)
                    add(arguments.csv, lines[-1])
    print(table(lines))


def add(path: Path, line: dict[str, Any]) -> None:
    """A line at the end of the CSV."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(line)


if __name__ == "__main__":
    main()
