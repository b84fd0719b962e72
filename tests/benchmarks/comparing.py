"""`featurekit compare` of three backbones by six heads: the table, and where the time goes, cold and warm.

    python tests/benchmarks/comparing.py [SOURCE] [--heads logreg,svm,...] [--repeats 3]

cold         nothing is there
new heads    the features are there, the heads' predictions are not
warm         all is there

Each in a process of its own, from before its start to after its end. "command" is Python, its imports, reading
the files and writing the table: what no phase counts.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench

BACKBONES = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2"
HEADS = "logreg,svm,lda,ridge,knn,centroid"
PHASES = ("extract", "duplicates", "heads", "scores")


def compare(source: str, heads: str, output: Path, device: str) -> tuple[dict[str, Any], dict[str, float]]:
    """What one command found, and its seconds by phase."""
    command = [
        sys.executable,
        "-m",
        "cli",
        "compare",
        source,
        "--backbone",
        BACKBONES,
        "--head",
        heads,
        "--layer",
        "penultimate",
    ]
    started = time.perf_counter()
    out = subprocess.run(
        [*command, "-o", str(output), "--device", device, "--json", "-q"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    whole = time.perf_counter() - started
    found: dict[str, Any] = json.loads(out)
    spent = {phase: found["phases"][phase] for phase in PHASES}
    return found, spent | {"command": whole - sum(spent.values()), "all": whole}


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=0, repeats=3)
    parser.add_argument("source", nargs="?", default=str(bench.SHARED / "clothing" / "train"), help="class folders")
    parser.add_argument("--heads", default=HEADS, help="default: %(default)s")
    arguments = parser.parse_args()
    report = bench.Report("comparing")
    with tempfile.TemporaryDirectory(prefix="featurekit-comparing-") as home:
        output = Path(home, "kept")
        found, cold = compare(arguments.source, arguments.heads, output, arguments.device)
        again: dict[str, list[dict[str, float]]] = {"new heads": [], "warm": []}
        for _ in range(arguments.repeats):
            for kept in output.iterdir():  # everything but the stores
                if kept.is_dir():
                    shutil.rmtree(kept)
            for way, runs in again.items():
                latest, spent = compare(arguments.source, arguments.heads, output, arguments.device)
                assert all(line["reused"] == (way == "warm") for line in latest["results"]), "not what was to be timed"
                assert [line["accuracy"] for line in latest["results"]] == [r["accuracy"] for r in found["results"]]
                runs.append(spent)
    report.table(
        f"{arguments.source}: {found['n']} images, {len(found['classes'])} classes, {found['folds']} folds",
        [
            {
                "backbone": line["backbone"],
                "head": line["head"],
                "accuracy": f"{line['accuracy']:.4f}",
                "95%": f"{line['low']:.3f}-{line['high']:.3f}",
                "to the best": f"{line['difference_to_best']:+.4f}",
                "95% of it": f"{line['difference_low']:+.3f} {line['difference_high']:+.3f}",
                "log loss": f"{line['log_loss']:.3f}",
                "fit s": line["fit_seconds"],
                "predict s": line["predict_seconds"],
            }
            for line in found["results"]
        ],
    )
    ways = {"cold": cold} | {
        way: {phase: statistics.median(run[phase] for run in runs) for phase in cold} for way, runs in again.items()
    }
    report.table("seconds by phase", [{"": way} | spent for way, spent in ways.items()])
    report.write(arguments.out)


if __name__ == "__main__":
    main()
