"""How often the 95% intervals of scores hold the true score: a simulation on real features.

    featurekit extract clothing/train -o train.h5
    python tests/benchmarks/coverage.py train.h5 validation.h5 test.h5 --rows 300 --rounds 300

The rows of all stores (of one feature space; of rows that belong together one is taken) are the population. Each
round draws `--rows` of them at random and asks:

- test: a head is fitted on these rows. The others are the population; the truth is its score on all of them. Test
  samples (`--samples`) of as many rows are drawn from them with replacement: does `evaluate_predictions` on a sample
  hold the truth?
- folds: the rows are cross-validated. Does the interval hold the score of the folds' heads on all the other rows?
- refit: the same interval, and the score on the other rows of a head that was fitted to all rows.
- clones: as test and folds, where a third of the rows are there two to five times, and the copies are groups. `naive`
  is without groups.

Truths of `folds` are scores on a finite number of rows, so that even a perfect interval would hold less than 95% of
them; how many is printed. In the tables: the percentage that is held, and in brackets the percentages of truths below
and above the interval, and the mean width. `difference` is `paired_difference` of the accuracy to the first head.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from typing import Any

import numpy as np

from featurekit import FeatureStore
from featurekit.duplicates import find_duplicates
from featurekit.heads import fit_head, make_head
from featurekit.metrics import Evaluation, _point, _Scores, evaluate_predictions, paired_difference
from featurekit.splits import folds

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error", "top_k_accuracy")
Said = tuple[np.ndarray, np.ndarray]


def population(paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of all stores, without duplicates."""
    rows, labels, contents = [], [], []
    for path in paths:
        with FeatureStore(path) as store:
            rows.append(store.X[...])
            labels.append(store.y)
            contents.append(store.columns.sha256)
    X, y = np.concatenate(rows), np.concatenate(labels)
    first = np.unique(find_duplicates(X, contents=np.concatenate(contents)).ids, return_index=True)[1]
    return X[first], y[first]


def said(head: Any, rows: np.ndarray) -> Said:
    """Labels and probabilities."""
    return head.predict(rows), head.predict_proba(rows)


class Counts:
    """Of each case, score and head: whether the truth was below, in or above the interval, and how wide that was."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[tuple[str, str], list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))

    def one(self, case: str, score: str, head: str, interval: tuple[float, float], truth: float) -> None:
        low, high = interval
        where = int(truth > high + 1e-12) - int(truth < low - 1e-12)
        self.seen[case][score, head].append((where, high - low))

    def add(self, case: str, head: str, found: Evaluation, truth: dict[str, float]) -> None:
        for score in SCORES:
            self.one(case, score, head, found.intervals[score], truth[score])

    def show(self, heads: list[str]) -> None:
        for case, seen in self.seen.items():
            print(f"\n{case:18}" + "".join(f"{head:>29}" for head in heads))
            for score in (*SCORES, "difference"):
                line = f"{score:18}"
                for head in heads:
                    if (score, head) not in seen:
                        line += " " * 29
                        continue
                    where, width = np.array(seen[score, head]).T
                    held, below, above = (100 * np.mean(where == side) for side in (0, -1, 1))
                    line += f"{held:9.1f} ({below:4.1f} {above:4.1f}) {width.mean():6.3f}"
                print(line)


def truth_of(y: np.ndarray, several: list[Said], classes: np.ndarray) -> dict[str, float]:
    """Scores of the predictions of several heads for the same rows, pooled as cross-validation pools its folds."""
    labels, tables = zip(*several, strict=True)
    true = np.tile(y, len(several)).astype(str)
    return _point(_Scores(true, np.concatenate(labels).astype(str), np.concatenate(tables), classes))


def cross_validated(
    X: np.ndarray, y: np.ndarray, rest: np.ndarray, head: str, groups: np.ndarray | None, seed: int
) -> tuple[Said, list[Said]] | None:
    """What the folds' heads say of the rows they have not seen, and what each says of the rest.

    None where a class has so few groups that no inner folds give the head its probabilities.
    """
    classes = np.unique(y)
    labels, table, of_rest = np.empty_like(y), np.zeros((len(y), len(classes))), []
    splits = folds(y, 5, seed, groups)
    for train, test in splits:
        known = None if groups is None else groups[train]
        fitted = fit_head(make_head(head, y[train]), X[train], y[train], groups=known)
        if not hasattr(fitted, "predict_proba"):
            return None
        labels[test], table[test] = said(fitted, X[test])
        of_rest.append(said(fitted, rest))
    return ((labels, table), of_rest) if splits else None


def clones(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbers of rows, a third of them two to five times: as many as there were."""
    times = np.where(rng.random(n) < 1 / 3, rng.integers(2, 6, n), 1)
    return np.repeat(np.arange(n), times)[:n]


def one_round(X: np.ndarray, y: np.ndarray, heads: list[str], n: int, samples: int, seed: int, counts: Counts) -> None:
    """Draw, fit, and count."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    while min(np.sum(y[order[:n]] == label) for label in np.unique(y)) < 4:  # else a fold has classes that none learns
        order = rng.permutation(len(y))
    mine, others = order[:n], order[n:]
    drawn = [(rng.integers(0, len(others), n), clones(rng, n)) for _ in range(samples)]
    rest, answer, classes = X[others], y[others], np.unique(y)
    groups = clones(rng, n)
    picked = mine[groups]
    compared: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for head in heads:
        fitted = fit_head(make_head(head, y[mine]), X[mine], y[mine])
        labels, table = whole = said(fitted, rest)
        truth = truth_of(answer, [whole], classes)
        folded = cross_validated(X[mine], y[mine], rest, head, None, seed)
        if folded is None:
            continue
        (guessed, sure), of_rest = folded
        right = float(np.mean([labels == answer for labels, _ in of_rest]))
        compared[head] = labels, guessed, right
        base = compared[heads[0]]
        gap = float(np.mean(labels == answer) - np.mean(base[0] == answer))
        for sample, copies in drawn:
            for case, rows, ids in (
                ("test", sample, None),
                ("test, clones", sample[copies], copies),
                ("test, naive", sample[copies], None),
            ):
                found = evaluate_predictions(answer[rows], labels[rows], table[rows], classes, ids)
                counts.add(case, head, found, truth)
                if head != heads[0]:
                    _, low, high = paired_difference(answer[rows], labels[rows], base[0][rows], ids)
                    counts.one(case, "difference", head, (low, high), gap)
        found = evaluate_predictions(y[mine], guessed, sure, classes)
        counts.add("folds", head, found, truth_of(answer, of_rest, classes))
        counts.add("refit", head, found, truth)
        if head != heads[0]:
            _, low, high = paired_difference(y[mine], guessed, base[1])
            counts.one("folds", "difference", head, (low, high), right - base[2])
            counts.one("refit", "difference", head, (low, high), gap)
        folded = cross_validated(X[picked], y[picked], rest, head, groups, seed)
        if folded is not None and len(np.unique(y[picked])) == len(classes):
            (guessed, sure), of_rest = folded
            found = evaluate_predictions(y[picked], guessed, sure, classes, groups)
            counts.add("folds, clones", head, found, truth_of(answer, of_rest, classes))


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="+")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--heads", default="centroid,ridge,lda,knn")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    X, y = population(arguments.store)
    heads, counts, begun = arguments.heads.split(","), Counts(), time.perf_counter()
    for number in range(arguments.rounds):
        one_round(X, y, heads, arguments.rows, arguments.samples, arguments.seed * 1_000_000 + number, counts)
    share = arguments.rows / (len(y) - arguments.rows)
    best = math.erf(1.959963984540054 / math.sqrt(2 * (1 + share)))
    print(
        f"{len(y)} rows, {arguments.rows} of them drawn, {arguments.rounds} rounds, "
        f"{time.perf_counter() - begun:.0f} s.\nStandard error: {100 * math.sqrt(0.0475 / arguments.rounds):.1f}. "
        f"A perfect interval would hold {100 * best:.1f}% of the truths of folds and refit."
    )
    counts.show(heads)


if __name__ == "__main__":
    main()
