"""Measure time and memory of the search for near duplicates, by the number of images.

    python tests/benchmarks/duplicate_search.py PHOTOS --rows 10000 100000 1000000

Hashes of that many pictures are made from those of PHOTOS: the sum of two photographs drawn at random, each shifted and
mirrored at random, so that coefficients are distributed as those of photographs are. One in a hundred is planted once
more with the changes that saving, cropping or turning makes to a hash. Prints the seconds, the peak memory of the
process, the share of planted copies that was found, and how many other pairs.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from featurekit.images import perceptual_hash
from featurekit.near_duplicates import near_pairs


def grays(folder: Path, most: int) -> np.ndarray:
    """Photographs as gray squares of 64 pixels."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    chosen = np.random.default_rng(0).permutation(len(paths))[:most]
    squares = [Image.open(paths[i]).convert("L").resize((64, 64), Image.Resampling.BOX) for i in chosen]
    return np.stack([np.asarray(square, dtype=np.float32) for square in squares])


def mixed(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture made of two photographs."""
    parts = []
    for part in photos[rng.integers(0, len(photos), 2)]:
        moved = np.roll(part, tuple(rng.integers(0, 64, 2)), axis=(0, 1))
        parts.append(moved[:, ::-1] if rng.random() < 0.5 else moved)
    return (parts[0] + parts[1]) / 2


def as_hash(square: np.ndarray) -> np.ndarray:
    pixels = np.clip(square, 0, 255).astype(np.uint8)
    return np.frombuffer(perceptual_hash(np.repeat(pixels[:, :, None], 3, axis=2)) or bytes(64), dtype=np.uint8)


def changed(square: np.ndarray, rng: np.random.Generator, number: int) -> np.ndarray:
    """The picture once more: saved with noise, without its edges, or turned by 2 degrees."""
    kind = number % 3
    image = Image.fromarray(square)
    if kind == 1:
        image = image.crop((2, 2, 62, 62)).resize((64, 64), Image.Resampling.BICUBIC)
    elif kind == 2:
        image = image.rotate(2, Image.Resampling.BICUBIC)
    return np.asarray(image) + rng.normal(0, 1, (64, 64))


def main() -> None:
    """Make hashes, search, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    photos = grays(arguments.photos, 2000)
    rng = np.random.default_rng(1)
    n = max(arguments.rows)
    pool = np.zeros((n, 64), dtype=np.uint8)
    copies: dict[int, np.ndarray] = {}
    for i in range(n):
        square = mixed(photos, rng)
        pool[i] = as_hash(square)
        if i % 100 == 0:
            copies[i] = as_hash(changed(square, rng, i // 100))
    print(f"{'rows':>9} {'seconds':>8} {'peak GB':>8} {'saved':>6} {'cut':>6} {'turned':>6} {'other pairs':>12}")
    for rows in sorted(arguments.rows):
        originals = np.array([i for i in copies if i < rows])
        hashes = np.concatenate([pool[:rows], [copies[i] for i in originals.tolist()]])
        began = time.perf_counter()
        first, second, _ = near_pairs(hashes)
        seconds = time.perf_counter() - began
        code = set((first * len(hashes) + second).tolist())
        found = np.array([i * len(hashes) + rows + k in code for k, i in enumerate(originals.tolist())])
        kind = originals // 100 % 3
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        shares = " ".join(f"{found[kind == k].mean():6.3f}" for k in range(3))
        print(f"{rows:9} {seconds:8.1f} {peak:8.2f} {shares} {len(first) - int(found.sum()):12}", flush=True)


if __name__ == "__main__":
    main()
