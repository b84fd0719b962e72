"""Measure time, memory and recall of the search for near duplicates, by the number of images and by what they are.

    python tests/benchmarks/duplicate_search.py random scans camera --rows 10000 100000
    python tests/benchmarks/duplicate_search.py random --rows 1000000
    python tests/benchmarks/duplicate_search.py photos --photos FOLDER --rows 10000

Hashes of that many pictures are made, and 2% of them are planted once more with some bits changed:

- ``random``: every bit is drawn at random.
- ``scans``: the lowest coefficients of all pictures are nearly equal, the others are random, as those of pages of text
  or of products on white are.
- ``camera``: all pictures are near duplicates of most others, as the frames of a camera that does not move are.
- ``photos``: each is the sum of two photographs drawn at random, shifted and mirrored, so that coefficients are
  distributed as those of photographs are. The copies are saved with noise, without their edges, or turned by 2 degrees.

Prints the seconds, the peak memory of the process so far, the share of copies that were found (grouped with their
originals), by the bits that were changed or by the kind of change, of those that are near duplicates; and the pairs.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from featurekit.images import perceptual_hash
from featurekit.labels import connected_ids
from featurekit.near_duplicates import NEAR_DISTANCE, hash_distance, near_pairs

CHANGED_BITS = [10, 20, 30, NEAR_DISTANCE]
PHOTO_CHANGES = ["saved", "cut", "turned"]
SHARE = 0.02
LOW = np.outer(np.arange(16) < 8, np.arange(16) < 8).ravel()


def made(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes of n pictures, shape (n, 64)."""
    hashes = rng.integers(0, 256, (n, 64), dtype=np.uint8)
    hashes[:, [0, 32]] &= 127
    if kind == "random":
        return hashes
    one = np.unpackbits(hashes[:1], axis=1).reshape(1, 2, 256)
    for start in range(0, n, 10_000):  # single bits take eight times the memory
        bits = np.unpackbits(hashes[start : start + 10_000], axis=1).reshape(-1, 2, 256)
        alike = one ^ (rng.random(bits.shape) < 0.03)
        bits = np.where(LOW, alike, bits) if kind == "scans" else alike
        hashes[start : start + 10_000] = np.packbits(bits.reshape(len(bits), -1), axis=1)
    return hashes


def changed(hashes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The hashes with so many bits of each half changed."""
    scores = rng.random((len(hashes), 2, 256))
    scores[:, :, 0] = 1
    flips = scores.argsort(axis=2).argsort(axis=2) < count
    return hashes ^ np.packbits(flips.reshape(len(hashes), -1), axis=1)


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
    """The hash of a gray picture."""
    pixels = np.clip(square, 0, 255).astype(np.uint8)
    return np.frombuffer(perceptual_hash(np.repeat(pixels[:, :, None], 3, axis=2)), dtype=np.uint8)


def edited(square: np.ndarray, change: str, rng: np.random.Generator) -> np.ndarray:
    """The picture once more."""
    image = Image.fromarray(square)
    if change == "cut":
        image = image.crop((2, 2, 62, 62)).resize((64, 64), Image.Resampling.BICUBIC)
    elif change == "turned":
        image = image.rotate(2, Image.Resampling.BICUBIC)
    return np.asarray(image) + rng.normal(0, 1, (64, 64))


def planted(
    kind: str, n: int, photos: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Hashes of the pictures and, after these, of the copies; the originals; names of the changes, and which it was."""
    originals = np.sort(rng.permutation(n)[: int(SHARE * n)])
    which = np.arange(len(originals))
    if photos is None:
        hashes = made(kind, n, rng)
        which %= len(CHANGED_BITS)
        copies = hashes[originals]
        for number, count in enumerate(CHANGED_BITS):
            copies[which == number] = changed(copies[which == number], count, rng)
        return np.concatenate([hashes, copies]), originals, [f"{count} bits" for count in CHANGED_BITS], which
    which %= len(PHOTO_CHANGES)
    change_of = dict(zip(originals.tolist(), which.tolist(), strict=True))
    pictures, again = [], []
    for i in range(n):
        square = mixed(photos, rng)
        pictures.append(as_hash(square))
        if i in change_of:
            again.append(as_hash(edited(square, PHOTO_CHANGES[change_of[i]], rng)))
    return np.stack([*pictures, *again]), originals, PHOTO_CHANGES, which


def main() -> None:
    """Make hashes, search, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=["random", "scans", "camera", "photos"])
    parser.add_argument("--photos", type=Path, help="a folder of photographs, for the kind photos")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    arguments = parser.parse_args()
    if "photos" in arguments.kinds and arguments.photos is None:
        parser.error("photos needs --photos FOLDER")
    for kind in arguments.kinds:
        photos = grays(arguments.photos, 2000) if kind == "photos" else None
        for rows in arguments.rows:
            hashes, originals, changes, which = planted(kind, rows, photos, np.random.default_rng(1))
            began, used = time.perf_counter(), time.process_time()
            first, second, _ = near_pairs(hashes)
            seconds, used = time.perf_counter() - began, time.process_time() - used
            ids = connected_ids(len(hashes), [(first, second)])
            found = ids[originals] == ids[rows:]
            near = np.array(
                [
                    hash_distance(hashes[i].tobytes(), hashes[rows + k].tobytes()) <= NEAR_DISTANCE
                    for k, i in enumerate(originals.tolist())
                ]
            )
            shares = ", ".join(
                f"{name} {found[near & (which == number)].mean():.3f}" for number, name in enumerate(changes)
            )
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{kind} {len(hashes)}: {seconds:.1f} s ({used:.1f} s of one core), peak {peak:.2f} GB, "
                f"{len(first)} pairs; found: {shares}",
                flush=True,
            )


if __name__ == "__main__":
    main()
