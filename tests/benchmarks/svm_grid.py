"""Compare the candidates of the kernel SVM's path, on rows of length 1 and on scaled columns.

    python tests/benchmarks/svm_grid.py FOLDER [--rows 1800]

FOLDER holds the stores that ``tests/benchmarks/whole_network.py --features FOLDER`` makes. For each store, a quarter of
the images is left out as a test set is; on at most --rows of the others each C and each width of the kernel is
cross-validated in five folds, with near duplicates in one fold. Printed are the accuracies for each store, and for
some choices of candidates how many points the best of them is below the best of all: on the sets by which the default
was chosen (CHOSEN_BY), and on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from featurekit import FeatureStore
from featurekit.duplicates import group_rows
from featurekit.heads import SVMPath, fit_head

CS = (1.0, 3.0, 10.0, 30.0)
GAMMAS = (0.125, 0.25, 0.5, 1.0, 2.0)
CHOSEN_BY = ("signs", "elpv", "covid", "trash", "tile")
CHOICES = {
    "all": (CS, GAMMAS),
    "before": (CS, (0.5, 1.0, 2.0)),
    "default, rows of length 1": ((3.0, 30.0), (0.5, 1.0, 2.0)),
    "default, scaled columns": ((3.0, 30.0), (0.125, 0.25, 0.5)),
    "two by three in the middle": ((3.0, 10.0), (0.25, 0.5, 1.0)),
    "three by three, narrow": ((3.0, 10.0, 30.0), (0.125, 0.25, 0.5)),
}


def accuracies(path: Path, most: int) -> dict[str, Any]:
    """Cross-validated accuracy of each candidate, shape (Cs, gammas), for both kinds of rows."""
    with FeatureStore(path) as store:
        y, ids, rows, columns = store.y, group_rows(store).ids, store.X[...], store.space.columns
        widths = [width for layer, width in store.space.blocks if layer != "penultimate"]
    train, _ = next(StratifiedGroupKFold(4, shuffle=True, random_state=0).split(y, y, ids))
    chosen = np.sort(np.random.default_rng(0).permutation(train)[:most])
    kinds: dict[str, tuple[slice, list[int] | None]] = {
        "rows of length 1": (columns["penultimate"], None),
        "scaled columns": (slice(0, sum(widths)), widths),
    }
    found = {}
    for kind, (part, blocks) in kinds.items():
        head = fit_head(SVMPath(CS, gammas=GAMMAS, blocks=blocks), rows[chosen, part], y[chosen], groups=ids[chosen])
        found[kind] = head.scores_.mean(axis=0).reshape(len(CS), len(GAMMAS))
    return found


def below(scores: Any, choice: tuple[tuple[float, ...], tuple[float, ...]]) -> float:
    """Points between the best of some candidates and the best of all."""
    Cs, gammas = choice
    part = scores[np.ix_([CS.index(C) for C in Cs], [GAMMAS.index(gamma) for gamma in gammas])]
    return float(100 * (scores.max() - part.max()))


def main() -> None:
    """Cross-validate, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1800)
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {"rows of length 1": {}, "scaled columns": {}}
    for path in sorted(arguments.folder.glob("*.efficientnet_lite0.h5")):
        name = path.name.partition(".")[0]
        for kind, scores in accuracies(path, arguments.rows).items():
            found[kind][name] = scores
            print(f"{name}, {kind}: C down {CS}, gamma across {GAMMAS}\n{scores.round(4)}", flush=True)
    for kind, sets in found.items():
        for called, choice in CHOICES.items():
            points = {name: below(scores, choice) for name, scores in sets.items()}
            chosen_by = [points[name] for name in points if name in CHOSEN_BY]
            others = [points[name] for name in points if name not in CHOSEN_BY]
            number = len(choice[0]) * len(choice[1])
            print(
                f"{kind}, {called}, {number} candidates: points below the best on {len(chosen_by)} sets to choose by "
                f"{np.mean(chosen_by):.2f}, on {len(others)} others {np.mean(others):.2f}, at most "
                f"{max(points.values()):.2f}"
            )


if __name__ == "__main__":
    main()
