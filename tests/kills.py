"""Kills the writers of stores with SIGKILL, and checks after each kill that nothing is lost or half done.

``python tests/kills.py --kills 200 [--seed 0] [--folder]`` kills real extractions at random moments, about half of
them while they publish. Prints what was checked, as JSON; if a check fails, exits with 1 and keeps the files.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from featurekit.backbones import find
from featurekit.extraction import extract
from featurekit.fingerprint import HASH_BYTES, FeatureSpace
from featurekit.pipeline import forward
from featurekit.store import (
    INDEX,
    Columns,
    FeatureStore,
    ShardCache,
    is_store_file,
    parts_folder,
    verify,
    writer,
)

# A process that forks must have no other threads, and NumPy's BLAS starts some when it is imported. The network
# is not faster with two threads while this process watches it from one of two processors.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Of the images that the network sees: what its rows are worth does not matter here.
SIDE = 64

Contents = dict[str, tuple[str, tuple[int, ...], bytes]]
"""Type, shape and bytes of every dataset of a store."""
Tell = Callable[[Columns], object]
"""Called by a writer when rows are safe."""

SHARD, TEMPORARY = r"rows-[0-9a-f]{64}\.h5", r"\.rows-[0-9a-f]{19}\.\d+\.tmp"
AT_THE_END = {"s.h5": r"s\.h5", "s": rf"s(/index\.h5|/{SHARD})?"}
AFTER_A_KILL = {
    "s.h5": rf"s\.h5(\.lock|\.parts(/merged\.tmp|/{SHARD}|/{TEMPORARY})?)?",
    "s": rf"s(/index\.h5|/lock|/merged\.tmp|/{SHARD}|/{TEMPORARY})?",
}
"""The files that a target, in a folder of its own, may consist of."""


def is_published(target: Path) -> bool:
    return (target if is_store_file(target) else target / INDEX).exists()


def contents(target: Path) -> Contents:
    """Everything that a store holds, but not where a folder's rows lie: that depends on the interruptions."""
    with FeatureStore(target) as store:
        file = store._file()  # one handle: all is of one state, even if another is published meanwhile
        names: list[str] = []
        file.visititems(lambda name, thing: names.append(name) if isinstance(thing, h5py.Dataset) else None)
        values = {name: file[name][...] for name in names if name.partition("/")[0] not in {"shards", "shard", "row"}}
        values["X"] = store.X[...]
    return {name: (value.dtype.str, value.shape, value.tobytes()) for name, value in values.items()}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]


def start(work: Callable[[], object], log: Path) -> int:
    """Do `work` in a fork of this process; returns its id."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def survived(status: int, log: Path) -> bool:
    """Whether a process has done its work; otherwise it was killed."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, f"a run failed with {status}: {log.read_text() if log.exists() else ''}"
    return True


@dataclass
class Target:
    """A store that is being killed: what may be published there, and which rows must not get lost."""

    path: Path
    space: FeatureSpace
    old: Contents | None
    new: Contents
    safe: Path
    """A file of the hashes of rows that were acknowledged."""

    def __post_init__(self) -> None:
        hashes = pieces(self.new["sha256"][2], HASH_BYTES)
        rows = pieces(self.new["X"][2], len(self.new["X"][2]) // len(hashes))
        self.rows = dict(zip(hashes, rows, strict=True))

    def tell(self, columns: Columns) -> None:
        """Note, in the process that may be killed, that rows are safe."""
        with self.safe.open("ab", buffering=0) as file:
            file.write(columns.sha256.tobytes())

    def told(self) -> list[bytes]:
        return pieces(self.safe.read_bytes(), HASH_BYTES) if self.safe.exists() else []

    def published(self) -> Contents | None:
        if not is_published(self.path):
            assert self.old is None, f"{self.path} is gone"
            return None
        found = verify(self.path)
        assert found.ok, f"{self.path} is damaged: {found.problems}"
        now = contents(self.path)
        assert now in (self.old, self.new), f"{self.path} is neither what it was before nor what it shall become"
        return now

    def check_after_kill(self) -> set[bytes]:
        """Returns the hashes whose rows are there, acknowledged or published."""
        base = FeatureStore(self.path) if self.published() else None
        with base or nullcontext():
            cache = ShardCache(parts_folder(self.path), self.space, base)
            lost = [content.hex() for content in self.told() if content not in cache]
            assert not lost, f"{self.path}: acknowledged rows are lost: {lost}"
            same = cache.gather(self.told()).tobytes() == b"".join(self.rows[content] for content in self.told())
            assert same, f"{self.path}: acknowledged rows differ from those of an uninterrupted run"
            there = {content for content in self.rows if content in cache}
        self._check_names(AFTER_A_KILL)
        return there

    def check_at_the_end(self) -> None:
        assert self.published() == self.new, f"{self.path} differs from what an uninterrupted run writes"
        self._check_names(AT_THE_END)

    def _check_names(self, known: dict[str, str]) -> None:
        names = [path.relative_to(self.path.parent).as_posix() for path in self.path.parent.rglob("*")]
        strange = [name for name in names if not re.fullmatch(known[self.path.name], name)]
        assert not strange, f"{self.path}: files that should not be there: {strange}"


# --- real extractions, killed at random moments -------------------------------------------------------


class Photos:
    """A folder of small noisy images, two of them equal, and a file that is none."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self._rng, self._numbers = folder, rng, itertools.count()
        for label in "ab":
            (folder / label).mkdir(parents=True)
        self._add(24)
        (folder / "a" / "broken.png").write_bytes(b"not an image")
        shutil.copy(folder / "a" / "0000.png", folder / "b" / "copy.png")

    def change(self) -> None:
        """Remove, rename, edit and add some images."""
        *removed, renamed, edited = self._rng.sample(sorted(self.folder.glob("*/[0-9]*.png")), 8)
        for path in removed:
            path.unlink()
        renamed.rename(renamed.with_name(f"{renamed.stem}-renamed.png"))
        self._write(edited)
        self._add(len(removed))

    def _add(self, n: int) -> None:
        for number in itertools.islice(self._numbers, n):
            self._write(self.folder / "ab"[number % 2] / f"{number:04d}.png")

    def _write(self, path: Path) -> None:
        Image.frombytes("RGB", (16, 16), self._rng.randbytes(16 * 16 * 3)).save(path)


def run_extraction(photos: Path, target: Path, tell: Tell, summary: Path) -> None:
    """Extract, in small shards; in a process of its own, because it changes featurekit."""
    add = ShardCache.add

    def add_and_tell(self: ShardCache, columns: Columns, rows: np.ndarray, runtime: str) -> None:
        add(self, columns, rows, runtime)
        tell(columns)

    ShardCache.add, forward._SAVE_ROWS = add_and_tell, 8
    store = extract(photos, output=target, batch_size=8, device="cpu", offline=True, image_size=SIDE)
    summary.write_text(str(store.summary.computed))


def stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def is_new(path: Path, before: tuple[int, int] | None) -> bool:
    with suppress(FileNotFoundError):  # it may go at any moment
        return stamp(path) not in (None, before)
    return False


def kill(pid: int, delay: float, begun: Callable[[], bool]) -> int:
    """Kill a child `delay` seconds after `begun` came true, unless it ends before; returns its status."""
    deadline = math.inf
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if deadline == math.inf and begun():
            deadline = time.monotonic() + delay
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        time.sleep(0.0005)


def kill_extractions(folder: Path, name: str, kills: int, seed: int) -> Counter[str]:
    """Kill extractions of a folder of images that changes, each until it is done."""
    rng, counts, log, summary = random.Random(seed), Counter[str](), folder / "log", folder / "summary"
    backbone = find("efficientnet_lite0", layer=None, offline=True, image_size=SIDE)
    photos, sources = Photos(folder / "photos", rng), 0
    while counts["kills"] < kills or (counts["merging"] < kills // 4 and sources < kills):
        if sources % 3 == 0:
            old, path, whole = None, folder / f"target-{sources}" / name, folder / f"whole-{sources}" / name
            path.parent.mkdir()
            whole.parent.mkdir()
        else:
            photos.change()
        sources += 1
        began = time.monotonic()
        uninterrupted = start(partial(run_extraction, photos.folder, whole, len, summary), log)
        assert survived(os.waitpid(uninterrupted, 0)[1], log)
        duration = time.monotonic() - began
        target = Target(path, backbone.space, old, contents(whole), folder / f"safe-{sources}")
        merged = parts_folder(path) / writer.MERGED
        there = target.check_after_kill()
        duration /= len(target.rows.keys() - there)
        for aim in ["any time"] * rng.randint(1, 3) + ["publication"] * rng.randint(1, 3) + ["never"]:
            merging = partial(is_new, merged, stamp(merged))  # a run that was killed before may have left one
            missing = len(target.rows.keys() - there)
            pid = start(partial(run_extraction, photos.folder, path, target.tell, summary), log)
            if aim == "never":
                status = os.waitpid(pid, 0)[1]
            elif aim == "any time" and missing:
                status = kill(pid, rng.uniform(0, missing * duration), lambda: True)
            else:
                status = kill(pid, 10 ** rng.uniform(-4, -1), merging)  # from before its first write to after it
            if survived(status, log):
                computed = int(summary.read_text())
                assert computed == missing, f"{path}: {computed} rows were computed and {missing} were missing"
                break
            where = "merging" if merging() else "after" if target.published() == target.new else "before"
            there = target.check_after_kill()
            counts += Counter({"kills": 1, where: 1, "acknowledged rows": len(target.told())})
        target.check_at_the_end()
        counts["completed"] += 1
        old = target.new
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", action="store_true", help="of a folder store, not of a file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        counts = kill_extractions(folder, "s" if options.folder else "s.h5", options.kills, options.seed)
    except Exception as error:
        print(f"FAILED (the files are in {folder}): {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    if not ONE_THREAD.items() <= os.environ.items():  # they count only from the start of a process
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    sys.exit(main())
