"""Measure whether duplicates are found, and what they do to scores: planted in a copy of a folder of class folders.

    python tests/benchmarks/duplicates.py sign-digits --share 0.1
    python tests/benchmarks/duplicates.py clothing/train --per-class 100 --share 0.3
    python tests/benchmarks/duplicates.py brain-mri --whole

Into a temporary copy of SOURCE goes, for a share of its images drawn at random, each once more: byte for byte under
another name, or changed in one of the ways of `KINDS`. Prints how many copies share a group with their original, and
how many pairs of different images are taken for one: by perceptual hashes, and beside it by cosines of rows, as
featurekit did before version 3 of its stores. With ``--heads``, prints the cross-validated accuracy of each head
without the planted images, with them in groups as `compare` makes them, and with them but without groups; then the
accuracy on the planted images and their originals alone. The gap that grouping leaves is the worth of more images.

With ``--whole``, nothing is planted: prints the duplicates of a set as it is, and, where its top folders are parts
(Training/CLASS, Testing/CLASS), how many groups lie in more than one part.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from featurekit import extract
from featurekit.duplicates import find_duplicates, group_rows
from featurekit.evaluation import cross_validate_head
from featurekit.labels import connected_ids, content_ids
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
    "turned": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
}


def cosine_pairs(X: np.ndarray, contents: np.ndarray, closeness: float = 0.1) -> np.ndarray:
    """Pairs of rows with a cosine near 1, shape (p, 2): the method before perceptual hashes.

    Two rows are a pair if ``1 - cosine`` is at most `closeness` times its median over random pairs.
    """
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    a, b = np.random.default_rng(0).integers(0, len(unit), (2, 20_000))
    threshold = 1 - closeness * np.median(1 - np.einsum("ij,ij->i", unit[a[a != b]], unit[b[a != b]]))
    pairs = []
    for start in range(0, len(unit), 1024):
        one, other = np.nonzero(unit[start : start + 1024] @ unit.T >= threshold - 1e-6)
        pairs.append(np.stack([one + start, other], axis=1)[other > one + start])
    found = np.concatenate(pairs)
    same = np.unique(contents[:, :16], axis=0, return_inverse=True)[1].ravel()
    return found[same[found[:, 0]] != same[found[:, 1]]]


def connected(n: int, pairs: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """Groups of equal files and of pairs."""
    ids = content_ids(contents)
    first = np.unique(ids, return_index=True)[1][ids]
    return connected_ids(n, [(pairs[:, 0], pairs[:, 1]), (np.arange(n), first)])


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


def describe(name: str, ids: np.ndarray, parts: np.ndarray, seconds: float) -> None:
    """Print one line about groups."""
    sizes = np.bincount(ids)
    several = np.flatnonzero(sizes > 1)
    across = sum(len(np.unique(parts[ids == each])) > 1 for each in several)
    print(
        f"{name:16} {len(sizes):6} groups, {sizes[several].sum():5} images in {len(several):5} groups of several, the "
        f"largest of {sizes.max():4}; {across} in more than one part; {seconds:.1f} s",
        flush=True,
    )


def whole(source: Path) -> None:
    """Print the duplicates of a set as it is."""
    with tempfile.TemporaryDirectory() as folder:
        with extract(source, output=Path(folder) / "store.h5", progress=True) as store:
            X, contents, hashes = store.X[...], store.columns.sha256, store.columns.perceptual
            parts = np.array([path.split("/")[0] for path in decode(store.columns.path)])
    n = len(contents)
    nothing = np.empty((0, 2), dtype=np.intp)
    exact = connected(n, nothing, contents)
    print(f"{n} images of {source}, {n - len(np.unique(exact))} of them equal to an earlier one\n")
    describe("equal files", exact, parts, 0.0)
    began = time.perf_counter()
    found = find_duplicates(hashes, contents=contents)
    describe("perceptual hash", found.ids, parts, time.perf_counter() - began)
    began = time.perf_counter()
    pairs = cosine_pairs(X, contents)
    describe("cosine of rows", connected(n, pairs, contents), parts, time.perf_counter() - began)


def main() -> None:
    """Plant, extract, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--heads", default="", help="such as knn,logreg,lda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()
    if arguments.whole:
        whole(arguments.source)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "images"
        home.mkdir()
        planted = plant(arguments.source, home, arguments.share, arguments.per_class, arguments.seed)
        store = extract(home, output=Path(folder) / "store.h5")
        X, y, paths, contents = store.X[...], store.y, decode(store.columns.path), store.columns.sha256
        row_of = {path: row for row, path in enumerate(paths)}
        origin = np.array([row_of[planted[path][0]] if path in planted else row for row, path in enumerate(paths)])
        clean = np.flatnonzero(origin == np.arange(len(y)))
        together, before = group_rows(store), group_rows(store, clean)
        store.close()
    cosines = cosine_pairs(X, contents)
    by_cosine = connected(len(y), cosines, contents)
    print(f"{len(clean)} images of {arguments.source}, and {len(planted)} planted. {together.sentence()}\n")
    print(f"{'found':12} {'perceptual hash':>16} {'cosine of rows':>16}")
    for kind in KINDS:
        copies = np.array([row_of[path] for path, (_, what) in planted.items() if what == kind])
        shares = [int(np.sum(ids[copies] == ids[origin[copies]])) for ids in (together.ids, by_cosine)]
        print(f"{kind:12} " + " ".join(f"{f'{share} of {len(copies)}':>16}" for share in shares))
    for name, pairs in (("hash", np.array(together.pairs).reshape(-1, 2)), ("cosine", cosines)):
        different = origin[pairs[:, 0]] != origin[pairs[:, 1]]
        wrong = np.unique(np.sort(origin[pairs[different]], axis=1), axis=0)
        print(f"pairs of different originals, by {name}: {len(wrong)} of {len(clean) * (len(clean) - 1) // 2}")
    if not arguments.heads:
        return

    copied = np.isin(origin, origin[origin != np.arange(len(y))])
    cases = {
        "without": (clean, before.ids),
        "grouped": (np.arange(len(y)), together.ids),
        "not grouped": (np.arange(len(y)), None),
    }
    print(f"\n{'head':8} {'duplicates':12} {'accuracy':>8} {'95% interval':>16} {'of those':>9}")
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
