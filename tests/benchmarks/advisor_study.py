"""Is the advisor right? What it says of each cell, what each strategy really scores there, and what that costs.

    python tests/benchmarks/advisor_study.py [--cells clothing,...] [--backbones A,B] [--budget 600]

Cells and strategies are those of ``advisor_cells.py``, which this runs where it was not run before. The advisor sees
the training images only; its advice is followed with the full budget and scored on the same test images as the
strategies. Regret: points of accuracy by which the best of all strategies is ahead of what was chosen. With 1,200 test
images a difference of one or two points is chance, and the best of four is lucky, so it is told how many regrets are
beyond it (the paired interval excludes zero), too.

For comparison: always the frozen network, with logistic regression or the head that cross-validates best; always
fine-tune the last two stages; and the rule of thumb: transfer where images are few (below 1,000)
and nearer to the source than half of the reference sets, else fine-tune.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from typing import Any

import bench
import numpy as np
from advisor_cells import CELLS, FINE_TUNED, HOME, Truth

FOLLOWED = {"from scratch": "scratch", "": "frozen"}


def advice(truth: Truth, budget: float, fresh: bool) -> dict[str, Any]:
    """What the advisor says of a cell, kept."""
    name = f"{truth.cell.name}.{truth.backbone}.{budget:.0f}"
    place, folder = HOME / "advice" / f"{name}.json", HOME / "advice" / name
    if fresh or not place.exists():
        from featurekit import advise

        shutil.rmtree(folder, ignore_errors=True)
        found = advise(truth.data.train, labels=truth.data.y, backbones=[truth.backbone], output=folder, budget=budget)
        place.write_text(json.dumps(found.to_dict()))
        shutil.rmtree(folder, ignore_errors=True)
    return json.loads(place.read_text())


def transferred(truth: Truth, options: dict[str, Any]) -> np.ndarray:
    """Which test images a head on frozen features gets right."""
    from featurekit import TransferClassifier

    options = {"layer": "stages"} | {name: value for name, value in options.items() if name != "backbone"}
    name = " ".join(["frozen", *(f"{name}={value}" for name, value in sorted(options.items()))])
    return truth.kept(name, TransferClassifier, cache=HOME / "rows", **options)[0]


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=0, repeats=1)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--backbones", default="efficientnet_lite0,efficientnet_lite1")
    parser.add_argument("--budget", type=float, default=600.0)
    parser.add_argument("--fresh", action="store_true", help="ask the advisor again")
    arguments = parser.parse_args()
    from featurekit.metrics import paired_difference

    rows: list[dict[str, Any]] = []
    regrets: dict[str, list[float]] = {}
    beyond: dict[str, list[bool]] = {}
    held, shares, confident, widths = [], [], [], []
    for name in arguments.cells.split(","):
        for backbone in arguments.backbones.split(","):
            truth = Truth(CELLS[name], backbone)
            started = time.perf_counter()
            said = advice(truth, arguments.budget, arguments.fresh)
            tried = {strategy: truth.right(strategy) for strategy in truth.strategies}
            right = {strategy: found for strategy, (found, _) in tried.items()}
            everything = sum(seconds for _, seconds in tried.values())
            transfer = transferred(truth, {"head": said["heads"][0]["head"]})
            if said["do"] == "transfer":
                mine = transferred(truth, said["options"])
            else:
                way = "all" if said["options"].get("unfreeze") == "all" else "last 2"
                mine = right[FOLLOWED.get(said["do"], way)]
            near = (said["similarity"] or {}).get("nearer_than") or (1, 1)
            is_near = len(truth.data.y) < 1000 and near[0] >= near[1] / 2
            chosen = {
                "advisor": mine,
                "always transfer": right["frozen"],
                "always transfer, best head": transfer,
                "always fine-tune": right["last 2"],
                "rule of thumb": transfer if is_near else right["last 2"],
            }
            best = max([*right.values(), transfer, mine], key=np.mean)
            for who, each in chosen.items():
                apart, low, _ = paired_difference(np.ones_like(best), best, each)
                regrets.setdefault(who, []).append(100 * apart)
                beyond.setdefault(who, []).append(low > 0)
            line: dict[str, Any] = {"cell": name, "backbone": backbone.removeprefix("efficientnet_")}
            for strategy in ("frozen", *FINE_TUNED, "scratch"):
                line[strategy] = float(right[strategy].mean()) if strategy in right else ""
            line["best head"] = float(transfer.mean())
            line |= {
                "says": said["verdict"],
                "do": said["do"],
                "sure": said["sure"],
                "followed": float(mine.mean()),
            }
            line["regret"] = f"{regrets['advisor'][-1]:.1f}{'*' if beyond['advisor'][-1] else ''}"
            if said["gain"] is not None:
                gain = said["gain"]
                real = float(right["last 2"].mean() - transfer.mean())
                held.append(gain["low"] <= real <= gain["high"])
                widths.append(100 * (gain["high"] - gain["low"]) / 2)
                expected, low, high = (100 * gain[key] for key in ("expected", "low", "high"))
                line["gain"] = f"{expected:+.1f} ({low:+.1f} to {high:+.1f})"
                line["real"] = f"{100 * real:+.1f}{'' if held[-1] else ' !'}"
            else:
                line |= {"gain": "", "real": ""}
            if said["sure"] == "clear":
                confident.append(regrets["advisor"][-1])
            share = said["seconds"] / everything
            if "scratch" in right:
                shares.append(share)
            line |= {"s": said["seconds"], "of all that was tried": share}
            rows.append(line)
            print(json.dumps(line | {"took": time.perf_counter() - started}), flush=True)
    report = bench.Report("advisor_study")
    report.table("accuracy of each strategy; what the advisor says; * beyond chance, ! outside the interval", rows)
    report.table(
        "regret, in points",
        [
            {
                "who": who,
                "mean": float(np.mean(values)),
                "below 0.5": float(np.mean(np.array(values) < 0.5)),
                "below 2": float(np.mean(np.array(values) < 2)),
                "largest": max(values),
                "beyond chance": int(np.sum(beyond[who])),
            }
            for who, values in regrets.items()
        ],
    )
    report.table(
        "in all",
        [
            {
                "cells": len(rows),
                "intervals that hold the real gain": f"{sum(held)} of {len(held)}",
                "half their width, median": statistics.median(widths),
                "answers that were clear": len(confident),
                "largest regret of these": max(confident, default=0.0),
                "seconds, median": statistics.median(row["s"] for row in rows),
                "share of all four strategies, where tried, median": statistics.median(shares) if shares else "",
            }
        ],
    )
    report.write(arguments.out)


if __name__ == "__main__":
    main()
