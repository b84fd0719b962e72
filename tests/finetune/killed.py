"""Kill trainings at random moments, let them go on, and compare the end with that of one that nothing interrupted.

    python tests/finetune/killed.py [--kills 30] [--seed 0]

Real processes, real photos or digits, a real network, SIGKILL. After each kill the checkpoint, if there is one, must be
whole. Prints how many kills there were, and at how many of them an epoch had been saved.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = """
import hashlib, sys
from pathlib import Path
from featurekit import FineTuneClassifier
folder, work, epochs = sys.argv[1:]
paths = [str(path) for path in sorted(Path(folder).glob("*/*"))]
y = [Path(path).parent.name for path in paths]
rows = str(Path(work).parent / "rows")
options = dict(unfreeze=1, epochs=int(epochs), patience=99, augment="none", runtime="torch")
options |= dict(batch_size=16, image_size=64, say=lambda line: print(line, flush=True))
model = FineTuneClassifier(checkpoint=work, cache=rows, **options)
model.fit(paths, y)
print("end", hashlib.sha256(model.network_ + model.head_.coef_.tobytes()).hexdigest(), model.best_epoch_, flush=True)
"""


def command(folder: Path, work: Path, epochs: int) -> list[str]:
    """One training."""
    return [sys.executable, "-c", TRAIN, str(folder), str(work), str(epochs)]


def run(folder: Path, home: Path, kills: int, seed: int, epochs: int = 30) -> dict[str, int]:
    """Kill so many times; raises AssertionError if anything is lost."""
    from featurekit.finetune.checkpoint import read_checkpoint

    rng = random.Random(seed)
    started = time.monotonic()
    out = subprocess.run(
        command(folder, home / "whole" / "work", epochs), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    took = time.monotonic() - started
    expected = out.splitlines()[-1]
    counts = {"kills": 0, "after an epoch": 0, "trainings": 0}
    while counts["kills"] < kills:
        work = home / str(counts["trainings"]) / "work"
        counts["trainings"] += 1
        while True:
            process = subprocess.Popen(command(folder, work, epochs), stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            # Some way after one of the next epochs, as far as it gets: a machine is now fast, now slow.
            wait, out = rng.randint(1, max(1, epochs // 3)), ""
            for line in process.stdout:
                out += line
                wait -= line.startswith(("before the first step", "going on", "epoch"))
                if wait == 0:
                    time.sleep(rng.uniform(0, took / epochs))
                    break
            else:
                process.communicate()
                assert process.returncode == 0, out
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts["kills"] += 1
            counts["after an epoch"] += any(map(read_checkpoint, work.glob("*/checkpoint.safetensors")))
            if counts["kills"] >= kills:
                out = subprocess.run(
                    command(folder, work, epochs), stdout=subprocess.PIPE, text=True, check=True
                ).stdout
                break
        assert out.splitlines()[-1] == expected, (out, expected)
        left = [path.name for path in work.rglob("*") if path.is_file()]
        assert left == ["checkpoint.safetensors"], left
    return counts


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folder", type=Path, help="class folders")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="featurekit-killed-") as home:
        print(json.dumps(run(arguments.folder, Path(home), arguments.kills, arguments.seed)))


if __name__ == "__main__":
    main()
