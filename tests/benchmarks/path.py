"""The path of logistic regression, against a grid search with scikit-learn's, on the same values and folds.

    featurekit extract photos/ -o photos.h5
    python tests/benchmarks/path.py photos.h5 --rounds 3

Times in turn ``LogisticRegressionPath`` and ``GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()))``,
with one and with as many jobs as there are processors, each in a process of its own, over 20 values of C and 5 folds.
Prints medians, the ratio, and the scores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time


def once(store: str, what: str, values: int) -> dict[str, float]:
    """Seconds of one fit, the chosen C, and its cross-validated accuracy."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featurekit import FeatureStore
    from featurekit.heads import LogisticRegressionPath

    with FeatureStore(store) as opened:
        X, y = opened.X[...], opened.y
    Cs = np.logspace(-5, 1, values)
    splits = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    begun = time.perf_counter()
    if what == "path":
        head = LogisticRegressionPath(Cs, cv=splits).fit(X, y)
        scores, chosen = head.scores_.mean(axis=0), head.C_
    else:
        pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        jobs = joblib.cpu_count() if what == "grid-jobs" else None
        search = GridSearchCV(pipe, {"logisticregression__C": Cs}, cv=splits, n_jobs=jobs).fit(X, y)
        scores, chosen = search.cv_results_["mean_test_score"], search.best_params_["logisticregression__C"]
    return {"seconds": time.perf_counter() - begun, "C": float(chosen), "score": float(max(scores))}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--values", type=int, default=20)
    parser.add_argument("--once", choices=["path", "grid", "grid-jobs"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(once(arguments.store, arguments.once, arguments.values)))
        return
    results: dict[str, list[dict[str, float]]] = {"path": [], "grid": [], "grid-jobs": []}
    for _ in range(arguments.rounds):
        for what, found in results.items():
            command = [sys.executable, __file__, arguments.store, "--values", str(arguments.values), "--once", what]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    base = statistics.median(each["seconds"] for each in results["path"])
    print(f"{'':10} {'seconds':>8} {'ratio':>6} {'accuracy':>9} {'C':>9}")
    for what, found in results.items():
        seconds = statistics.median(each["seconds"] for each in found)
        print(f"{what:10} {seconds:8.1f} {seconds / base:6.1f} {found[0]['score']:9.4f} {found[0]['C']:9.2g}")


if __name__ == "__main__":
    main()
