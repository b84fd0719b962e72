"""What duplicates do to scores, and whether they are found: planted in a copy of a folder of class folders.

    python tests/benchmarks/duplicates.py sign-digits --share 0.1
    python tests/benchmarks/duplicates.py clothing/train --per-class 100 --share 0.3

Into a temporary copy of SOURCE goes, for a share of its images drawn at random, each once more: byte for byte under
another name, saved again as a JPEG of quality 80, cropped by a twentieth, mirrored, halved, or brightened by a quarter.
Prints how many of them are found, how many different images are taken for one, and the cross-validated accuracy of each
head without the planted images, with them in groups as `compare` makes them, and with them but without groups; then the
accuracy on the planted images and their originals alone. What grouping leaves of a gap is the worth of more images.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from featurekit import extract
from featurekit.duplicates import group_rows
from featurekit.evaluation import cross_validate_head
from featurekit.store import decode

MARK = "planted-"


def cropped(image: Image.Image) -> Image.Image:
    """Without a twentieth of the width and the height, half of that on each side."""
    width, height = round(image.width / 40), round(image.height / 40)
    return image.crop((width, height, image.width - width, image.height - height))


KINDS = {
    "exact": None,
    "saved again": lambda image: image,
    "cropped": cropped,
    "mirrored": ImageOps.mirror,
    "halved": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
}


def plant(source: Path, home: Path, share: float, per_class: int | None, seed: int) -> dict[str, tuple[str, str]]:
    """Copy the source and plant duplicates; of each, by its path, that of the original and the kind."""
    rng = np.random.default_rng(seed)
    images: list[Path] = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        members = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        images += [members[i] for i in sorted(rng.permutation(len(members))[:per_class])]
        (home / folder.name).mkdir()
    for path in images:
        copy = home / path.parent.name / path.name
        try:
            os.link(path, copy)
        except OSError:
            shutil.copy(path, copy)
    planted = {}
    for number, chosen in enumerate(rng.permutation(len(images))[: round(share * len(images))]):
        original, kind = images[chosen], list(KINDS)[number % len(KINDS)]
        change = KINDS[kind]
        copy = home / original.parent.name / f"{MARK}{number}{original.suffix if change is None else '.jpg'}"
        if change is None:
            shutil.copy(original, copy)
        else:
            with Image.open(original) as image:
                change(ImageOps.exif_transpose(image).convert("RGB")).save(copy, "JPEG", quality=80)
        planted[f"{copy.parent.name}/{copy.name}"] = f"{original.parent.name}/{original.name}", kind
    return planted


def main() -> None:
    """Plant, extract, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--heads", default="knn,logreg,lda")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "images"
        home.mkdir()
        planted = plant(arguments.source, home, arguments.share, arguments.per_class, arguments.seed)
        store = extract(home, output=Path(folder) / "store.h5")
        X, y, paths = store.X[...], store.y, decode(store.columns.path)
        row_of = {path: row for row, path in enumerate(paths)}
        origin = np.array([row_of[planted[path][0]] if path in planted else row for row, path in enumerate(paths)])
        clean = np.flatnonzero(origin == np.arange(len(y)))
        together, before = group_rows(store), group_rows(store, clean)
        store.close()
    print(f"{len(clean)} images of {arguments.source}, and {len(planted)} planted. {together.sentence()}\n")
    for kind in KINDS:
        copies = [row_of[path] for path, (_, what) in planted.items() if what == kind]
        found = int(np.sum(together.ids[copies] == together.ids[origin[copies]]))
        print(f"{kind:12} {found:4} of {len(copies)} found")
    wrong = {tuple(sorted((int(origin[a]), int(origin[b])))) for a, b in together.pairs if origin[a] != origin[b]}
    print(f"Pairs of different images taken for one: {len(wrong)}; without the planted images {len(before.pairs)}.\n")

    copied = np.isin(origin, origin[origin != np.arange(len(y))])
    cases = {
        "without": (clean, before.ids),
        "grouped": (np.arange(len(y)), together.ids),
        "not grouped": (np.arange(len(y)), None),
    }
    print(f"{'head':8} {'duplicates':12} {'accuracy':>8} {'95% interval':>16} {'of those':>9}")
    for head in arguments.heads.split(","):
        for case, (rows, ids) in cases.items():
            found = cross_validate_head(X[rows], y[rows], head, groups=ids)
            assert found is not None
            scored = found.evaluate()
            right = found.predictions[0] == found.y
            print(
                f"{head:8} {case:12} {scored.accuracy:8.4f} {scored.low:7.4f} to {scored.high:.4f}"
                f" {right[copied[rows]].mean():9.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
