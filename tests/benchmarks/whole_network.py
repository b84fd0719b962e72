"""Compare the penultimate layer with the whole network, head by head, on as many data sets as are given.

    python tests/benchmarks/whole_network.py digits clothing=FOLDER trash=FOLDER ... [--backbones NAMES]
        [--seeds 0,1,2] [--sizes 5,20,all] [--features FOLDER] [--csv FILE]
    python tests/benchmarks/whole_network.py --speed FOLDER

A set is NAME=FOLDER with class folders, or one of these layouts: ``digits`` (of scikit-learn, no folder), ``clothing``
(train, validation, test), ``elpv`` (src/elpv_dataset/data), ``caltech`` (101_ObjectCategories, at most 47 images a
class), ``mri`` (Training, Testing; at most 750 a class), ``tile`` (CLASS/Imgs), ``smile`` (at most 1,500 a class).

Each image runs once through each backbone (``layer="stages+penultimate"``; the stores are kept in --features). Columns
of that row are compared: the penultimate layer, the stages, both. A quarter of the images is the test set, drawn by
seed, with near duplicates on one side (clothing: its own test set for seed 0). Heads: logreg, svm, lda, what ``auto``
takes of them (the best by cross-validation on the training images), and the mean of their three probabilities.
``--speed`` extracts the images of FOLDER three times as penultimate rows and as stages, in turn, and fits ``auto``.
A row of the CSV is one fit; `against` is its difference to logistic regression on the penultimate layer on the same
images, with the 95% interval of the paired bootstrap.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedGroupKFold

from featurekit import FeatureStore, extract
from featurekit.duplicates import group_rows
from featurekit.heads import fit_head, make_head
from featurekit.metrics import paired_difference

HEADS = ("logreg", "svm", "lda")
ENDINGS = {".jpg", ".jpeg", ".png"}
MOST = {"caltech": 47, "mri": 750, "smile": 1500}
FIELDS = (
    "set", "backbone", "seed", "size", "train", "test", "layers", "dim", "head", "chosen",
    "accuracy", "cross_validated", "seconds", "against", "low", "high",
)  # fmt: skip


def images_of(name: str, folder: Path) -> tuple[list[Any], list[str]]:
    """Images of a set, and their classes."""
    if name == "digits":
        digits = load_digits()
        return [(16 * np.minimum(image, 15.9)).astype(np.uint8) for image in digits.images], digits.target.astype(
            str
        ).tolist()
    if name == "elpv":
        data = folder / "src" / "elpv_dataset" / "data"
        rows = [line.split() for line in (data / "labels.csv").read_text().splitlines()]
        return [str(data / row[0]) for row in rows], ["defect" if float(row[1]) >= 0.5 else "good" for row in rows]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if name == "tile":
        paths = [path for path in paths if path.suffix == ".jpg"]  # the others are masks
    if name == "caltech":
        paths = [path for path in paths if "BACKGROUND_Google" not in path.parts and "101_Obj" in str(path)]
    up = 1 if name in {"tile", "smile"} else 0
    labels = np.array([path.parents[up].name for path in paths])
    rng = np.random.default_rng(0)
    chosen = np.sort(
        np.concatenate(
            [rng.permutation(np.flatnonzero(labels == each))[: MOST.get(name)] for each in np.unique(labels)]
        )
    )
    return [str(paths[i]) for i in chosen], labels[chosen].tolist()


def features_of(name: str, folder: Path, backbone: str, home: Path) -> FeatureStore:
    """The store of a set, made where it is not there."""
    target = home / f"{name}.{backbone}.h5"
    if target.exists():
        return FeatureStore(target)
    images, labels = images_of(name, folder)
    if name == "digits":
        from PIL import Image

        paths = []
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = home / "digits" / label / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            paths.append(str(path))
        images = paths
    return extract(images, labels=labels, output=target, backbone=backbone, layer="stages+penultimate", progress=True)


def split_of(name: str, store: FeatureStore, seed: int, groups: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of the training and of the test set."""
    if name == "clothing" and seed == 0:
        test = np.array(["/test/" in f"/{path}" for path in store.paths])
        return np.flatnonzero(~test), np.flatnonzero(test)
    y = store.y
    return next(StratifiedGroupKFold(4, shuffle=True, random_state=seed).split(y, y, groups))


def some(train: NDArray[Any], y: NDArray[Any], size: str, seed: int) -> NDArray[Any]:
    """All rows, or so many of each class."""
    if size == "all":
        return train
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(train[y[train] == label])[: int(size)] for label in np.unique(y[train])]
    return np.sort(np.concatenate(parts))


def measure(name: str, store: FeatureStore, backbone: str, seed: int, size: str) -> list[dict[str, Any]]:
    """Fit and score every head on every choice of columns."""
    y, groups, rows = store.y, group_rows(store).ids, store.X[...]
    whole_train, test = split_of(name, store, seed, groups)
    train = some(whole_train, y, size, seed)
    columns = store.space.columns
    stages = sum(width for layer, width in store.space.blocks if layer != "penultimate")
    widths = {layer: part.stop - part.start for layer, part in columns.items()}
    top = widths.pop("penultimate")
    choices: dict[str, tuple[slice, tuple[int, ...] | None]] = {
        "penultimate": (columns["penultimate"], None),
        "stages": (slice(0, stages), tuple(widths.values())),
        "stages+penultimate": (slice(0, stages + top), (*widths.values(), top)),
    }
    found, base = [], None
    for layers, (part, blocks) in choices.items():
        X = rows[:, part]
        fitted, likely, spent = {}, {}, {}
        for head in HEADS:
            begun = time.perf_counter()
            fitted[head] = fit_head(make_head(head, y[train], blocks=blocks), X[train], y[train], groups=groups[train])
            spent[head] = time.perf_counter() - begun
            likely[head] = (
                fitted[head].predict_proba(X[test])
                if hasattr(fitted[head], "predict_proba")
                else (fitted[head].predict(X[test])[:, None] == fitted[head].classes_).astype(float)
            )
        scores = {h: float(fitted[h].scores_.mean(axis=0).max()) if len(fitted[h].scores_) else 0.0 for h in HEADS}
        best = max(HEADS, key=lambda head: scores[head])
        likely |= {"auto": likely[best], "mean": np.mean([likely[head] for head in HEADS], axis=0)}
        for head, table in likely.items():
            said = fitted["logreg"].classes_[table.argmax(axis=1)]
            base = said if base is None else base
            against = paired_difference(y[test], said, base, groups=groups[test])
            found.append(
                {
                    "set": name,
                    "backbone": backbone,
                    "seed": seed,
                    "size": size,
                    "train": len(train),
                    "test": len(test),
                    "layers": layers,
                    "dim": X.shape[1],
                    "head": head,
                    "chosen": best if head == "auto" else "",
                    "accuracy": round(float(np.mean(said == y[test])), 4),
                    "cross_validated": round(scores[best if head in {"auto", "mean"} else head], 4),
                    "seconds": round(spent.get(head, sum(spent.values())), 1),
                    "against": round(against[0], 4),
                    "low": "" if against[1] is None else round(against[1], 4),
                    "high": "" if against[2] is None else round(against[2], 4),
                }
            )
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """Mean accuracy over the seeds for each set, with all training images."""
    scores: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line["size"] == "all":
            key = (line["set"], line["backbone"].removeprefix("efficientnet_"))
            scores[key][line["layers"], line["head"]].append(float(line["accuracy"]))
    heads = (*HEADS, "auto", "mean")
    layers = ("penultimate", "stages", "stages+penultimate")
    head = "".join(f" | {layer}: {' '.join(heads)}" for layer in layers)
    rows = [f"set{head}"]
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (name, backbone), cells in scores.items():
        for cell, values in cells.items():
            sums[cell].append(float(np.mean(values)))
        rows.append(
            f"{name} {backbone}" + _cells({cell: float(np.mean(v)) for cell, v in cells.items()}, layers, heads)
        )
    rows.append("mean" + _cells({cell: float(np.mean(values)) for cell, values in sums.items()}, layers, heads))
    return "\n".join(rows)


def _cells(cells: dict[tuple[str, str], float], layers: tuple[str, ...], heads: tuple[str, ...]) -> str:
    return "".join(" | " + " ".join(f"{cells.get((layer, head), np.nan):.3f}" for head in heads) for layer in layers)


def main() -> None:
    """Measure, write the CSV line by line, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help="NAME=FOLDER, or digits")
    parser.add_argument("--speed", type=Path, help="class folders")
    parser.add_argument("--backbones", default="efficientnet_lite0")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sizes", default="all")
    parser.add_argument("--features", type=Path, help="folder of the stores; default: a temporary one")
    parser.add_argument("--csv", type=Path, help="what is in it already is not computed again")
    arguments = parser.parse_args()
    if arguments.speed:
        speed(arguments.speed)
    lines: list[dict[str, Any]] = []
    if arguments.csv and arguments.csv.exists():
        with arguments.csv.open() as file:
            lines = list(csv.DictReader(file))
    done = {(line["set"], line["backbone"], str(line["seed"]), line["size"]) for line in lines}
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.features or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds.split(","):
            for each in arguments.sets:
                name, _, folder = each.partition("=")
                for backbone in arguments.backbones.split(","):
                    for size in arguments.sizes.split(","):
                        if (name, backbone, seed, size) in done:
                            continue
                        with features_of(name, Path(folder), backbone, home) as store:
                            lines += measure(name, store, backbone, int(seed), size)
                        print(name, backbone, seed, size, "done", flush=True)
                        if arguments.csv:
                            write(arguments.csv, lines)
    if lines:
        print(table(lines))


def speed(folder: Path, repeats: int = 3) -> None:
    """Images a second of both kinds of rows, in turn, and the time of a fit of `auto` on the stages."""
    some_images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)[:8]
    rates: dict[str, list[float]] = {"penultimate": [], "stages": []}
    with tempfile.TemporaryDirectory() as home:
        for layer in rates:  # converts the network
            extract(some_images, output=Path(home, f"warm.{layer}.h5"), layer=layer).close()
        for number in range(repeats):
            for layer, rate in rates.items():
                with extract(folder, output=Path(home, f"{number}.{layer}.h5"), layer=layer) as store:
                    rate.append(store.summary.images_per_second)
        medians = {layer: float(np.median(rate)) for layer, rate in rates.items()}
        print(f"images/s: {rates}")
        print(f"median {medians}, stages / penultimate {medians['stages'] / medians['penultimate']:.3f}")
        with FeatureStore(Path(home, "0.stages.h5")) as store:
            X, y, ids = store.X[:], store.y, group_rows(store).ids
            begun = time.perf_counter()
            auto = fit_head(make_head("auto", y, blocks=store.space.widths), X, y, groups=ids)
        print(f"auto on {len(y)} rows of {X.shape[1]}: {time.perf_counter() - begun:.1f} s, {auto.candidates_}")


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """The CSV, moved into place when it is whole."""
    beside = path.with_suffix(".new")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(lines)
    os.replace(beside, path)


if __name__ == "__main__":
    main()
