"""Nothing is ever lost or half done, whenever a writer is killed: random kills, every crash point, two writers.

As a script, ``python tests/test_kills.py WORK s.h5`` kills writers of made-up rows at every single call that changes
the disk, in a process of its own because only one without threads may fork.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import ONE_THREAD, Target, Tell, contents, is_published, start, survived
from odd_files import picture

from featurekit.backbones import find
from featurekit.store import (
    STORED,
    Columns,
    FeatureStore,
    Ledger,
    LedgerEntry,
    ShardCache,
    WriteLock,
    atomic,
    decode,
    encode,
    is_store_file,
    lock_file,
    merge,
    parts_folder,
    publish,
    publish_index,
    writer,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

N, DIM = 60, 16
HASHES = np.random.default_rng(0).integers(0, 256, (N, 32), dtype=np.uint8)
ROWS = np.random.default_rng(1).normal(size=(N, DIM)).astype(np.float32)
NONE = np.zeros(N, dtype=np.int64)
COLUMNS = Columns(encode(f"{i}.jpg" for i in range(N)), encode("ab" * (N // 2)), encode([""] * N), HASHES, NONE, NONE)
SPACE = replace(find("efficientnet_lite0", offline=True).space, dim=DIM)

# Path.unlink, Path.mkdir and Path.rmdir call these as well.
CALLS = ("fsync", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "write")
WRITES = [(atomic._Sink, "write"), (atomic, "write_all"), (writer, "write_all")]

Work = Callable[[Path, Tell], object]


def write(numbers: range, target: Path, tell: Tell) -> None:
    """What an extraction does with some of the rows, without a network."""
    target.mkdir(exist_ok=True) if not is_store_file(target) else None
    columns = COLUMNS.take(np.array(numbers))
    ledger = Ledger.of(LedgerEntry(path, STORED, "", i) for i, path in enumerate(decode(columns.path)))
    with WriteLock(lock_file(target)):
        base = FeatureStore(target) if is_published(target) else None
        cache = ShardCache(parts_folder(target), SPACE, base)
        missing = np.array([i for i in numbers if bytes(HASHES[i]) not in cache])
        for part in (missing[::2], missing[1::2]):
            if len(part):
                cache.add(COLUMNS.take(part), ROWS[part], "none")
                tell(COLUMNS.take(part))
        if is_store_file(target):
            publish(target, SPACE, {}, columns, ledger, cache.blocks(columns.sha256))
        else:
            publish_index(target, SPACE, {}, columns, ledger, cache.places(columns.sha256))
        tidy(target, cache)
        if base:
            base.close()


def tidy(target: Path, cache: ShardCache) -> None:
    with FeatureStore(target) as store:
        cache.discard_published(store)


def join(sources: list[Path], target: Path, tell: Tell) -> None:
    """Merge stores, or, where that was done, what the next extraction does: a second merge is refused."""
    if not is_published(target):
        merge(sources, target).close()
        return
    with WriteLock(lock_file(target)), FeatureStore(target) as store:
        ShardCache(parts_folder(target), SPACE, store).discard_published(store)


def stop_everywhere(work: Callable[[], object]) -> None:
    """Do `work`, stopped before and after every call that changes the disk, and halfway through a write."""

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def between(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            stop()
            try:
                return call(*arguments)
            finally:  # a folder that is not empty, say, is not removed
                stop()

        return wrapper

    def torn(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(file: object, data: memoryview) -> int:
            call(file, data[: len(data) // 2])
            stop()
            call(file, data[len(data) // 2 :])
            return len(data)

        return wrapper

    for name in CALLS:
        setattr(os, name, between(getattr(os, name)))
    for owner, name in WRITES:
        setattr(owner, name, torn(getattr(owner, name)))
    work()


def kill_everywhere(folder: Path, name: str, before: Work | None, work: Work) -> dict[str, int]:
    """Check and mend what a kill leaves at every point of `work`, done to a target as `before` leaves it.

    The process is stopped there and its files are copied: that is what a kill leaves, which no process notices.
    """
    at_work, whole, copies, log = (folder / part for part in ("work", "whole", "copies", "log"))
    at_work.mkdir(parents=True)
    if before:
        before(at_work / name, len)
    shutil.copytree(at_work, whole)
    work(whole / name, len)
    old, new = contents(at_work / name) if before else None, contents(whole / name)
    stopped = Target(at_work / name, SPACE, old, new, folder / "safe")
    pid = start(partial(stop_everywhere, partial(work, stopped.path, stopped.tell)), log)
    seen = set()
    for point in itertools.count():
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            assert survived(status, log)
            stopped.check_at_the_end()
            return {"points": point, "states": len(seen)}
        try:
            if (left := (files(at_work), len(stopped.told()))) not in seen:
                seen.add(left)
                target = replace(stopped, path=copies / str(point) / name)
                shutil.copytree(at_work, target.path.parent)
                target.check_after_kill()
                work(target.path, len)
                target.check_at_the_end()
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        os.kill(pid, signal.SIGCONT)
    raise AssertionError


def files(folder: Path) -> frozenset[tuple[str, bytes]]:
    """What lies in a folder, but not how far a process came with its temporary file: nobody reads that."""
    passing = re.compile(r"(\.\d+)?\.tmp$|lock$")
    return frozenset(
        (passing.sub("", path.name), b"" if path.is_dir() or passing.search(path.name) else path.read_bytes())
        for path in folder.rglob("*")
    )


def main(folder: Path, name: str) -> None:
    sources = [folder / "one.h5", folder / "two"]
    write(range(30), sources[0], len)
    write(range(30, 60), sources[1], len)
    stories: dict[str, tuple[Work | None, Work]] = {
        "first": (None, partial(write, range(40))),
        "again": (partial(write, range(40)), partial(write, range(10, 60))),
        "merge": (None, partial(join, sources)),
    }
    print(json.dumps({story: kill_everywhere(folder / story, name, *stories[story]) for story in stories}))


def script(name: str, *arguments: object, work: Path) -> dict[str, Any]:
    """Run a script of this folder; what it counted."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    helpers = os.pathsep.join(path for path in sys.path if path)  # of this process, with the folders that pytest adds
    environment = os.environ | ONE_THREAD | {"TMPDIR": str(work), "PYTHONPATH": helpers}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


@pytest.mark.parametrize("options", [[], ["--folder"]], ids=["file", "folder"])
@pytest.mark.slow
def test_extractions_killed_at_random_moments(options, tmp_path):
    counts = script("kills.py", "--kills", 8, *options, work=tmp_path)
    assert counts["kills"] >= 8
    assert counts["merging"] >= 2
    assert counts["before"] >= 1
    assert counts["completed"] >= 1
    assert counts["acknowledged rows"] >= 8


@pytest.mark.parametrize("name", ["s.h5", "s"])
@pytest.mark.slow
def test_writers_killed_at_every_point(name, tmp_path):
    stories = script("test_kills.py", tmp_path, name, work=tmp_path)
    assert stories.keys() == {"first", "again", "merge"}
    assert all(story["points"] > 70 and story["states"] > 5 for story in stories.values())


def owner(lock: Path) -> int | None:
    with suppress(FileNotFoundError, ValueError):
        return int(json.loads(lock.read_text())["pid"])
    return None


@pytest.mark.slow
def test_two_extractions_at_once(tmp_path):
    photos, target = tmp_path / "photos", tmp_path / "s.h5"
    photos.mkdir()
    command = [sys.executable, "-m", "featurekit_cli", "extract", str(photos), "-o", str(target), "--image-size", "64"]
    for i in range(4):
        picture(i).save(photos / f"{i}.png")
    subprocess.run(command, check=True, capture_output=True)
    old = contents(target)
    for i in range(4, 16):
        picture(i).save(photos / f"{i}.png")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while owner(tmp_path / "s.h5.lock") != first.pid:
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # so that it cannot have finished when the second comes
        second = subprocess.run(command, capture_output=True, text=True)
        seen = [contents(target)]
        first.send_signal(signal.SIGCONT)
        while first.poll() is None:
            seen += [now] if (now := contents(target)) != seen[-1] else []
            time.sleep(0.005)
    finally:
        first.kill()
    assert second.returncode == 1
    assert f"{target} is being written by process {first.pid} on " in second.stderr
    assert first.returncode == 0
    assert seen[0] == old
    new = contents(target)
    assert len(FeatureStore(target)) == 16
    assert seen in ([old], [old, new])
    assert sorted(os.listdir(tmp_path)) == ["photos", "s.h5"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
