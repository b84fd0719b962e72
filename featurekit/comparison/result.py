"""What a comparison found."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from typing import Any

from ..bootstrap import WithInterval
from ..duplicates import Groups
from ..evaluation import CrossValidation, CurvePoint
from ..importance import LayerImportance
from ..labels import NO_FINDINGS, LabelFindings
from ..metrics import Evaluation
from ..outputs import write_output
from ..store import FeatureStore

TABLE_MARK = b"features,backbone,layer,head,"
"""How a table of :meth:`Comparison.to_csv` begins."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of a comparison.

    Attributes
    ----------
    features : str
        The backbone, and the layer if it is not the penultimate.
    backbone, layer, head : str
    dim : int
        Numbers in a row.
    folded : CrossValidation
        The predictions.
    evaluation : Evaluation
        Their scores.
    difference : (float, float, float), or (float, None, None)
        Accuracy minus that of the best line, on the same images, and its 95% interval; no interval with fewer than 6
        groups of images.
    fingerprint : str
        Of the feature space.
    reused : bool
        Whether the predictions are those of an earlier run.
    """

    features: str
    backbone: str
    layer: str
    head: str
    dim: int
    folded: CrossValidation
    evaluation: Evaluation
    difference: WithInterval
    fingerprint: str
    reused: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        scores = self.evaluation.to_dict()
        for detail in ("per_class", "classes", "confusion_matrix", "n"):
            del scores[detail]
        return {
            "features": self.features,
            "backbone": self.backbone,
            "layer": self.layer,
            "head": self.head,
            "score": self.evaluation.accuracy,
            **scores,
            "difference_to_best": self.difference[0],
            "difference_low": self.difference[1],
            "difference_high": self.difference[2],
            "fit_seconds": self.folded.fit_seconds,
            "predict_seconds": self.folded.predict_seconds,
            "dim": self.dim,
            "reused": self.reused,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    results : list of Compared
        The best first.
    stores : list of FeatureStore
        Where the rows are.
    groups : Groups
        Which images were kept on one side of every split.
    n, folds, repeats : int
        Images, folds, and how often these were drawn anew.
    seconds : dict of str to float
        ``extract``, ``duplicates``, ``heads``, ``scores``, ``curve``, ``total``.
    curve : list of CurvePoint
        The learning curve of the best line, if it was asked for.
    failures : list of (features, head, reason)
        What could not be fitted.
    labels : LabelFindings
        What looks wrong with the labels: one picture under several of them, names that differ in form only.
    importance : list of LayerImportance
        Importance of each layer to the best line, if the curve was asked for and its rows hold several layers.
    """

    results: list[Compared]
    stores: list[FeatureStore]
    groups: Groups
    n: int
    folds: int
    repeats: int
    seconds: dict[str, float]
    curve: list[CurvePoint]
    failures: list[tuple[str, str, str]]
    labels: LabelFindings = NO_FINDINGS
    importance: list[LayerImportance] = field(default_factory=list)

    @property
    def best(self) -> Compared:
        """The line with the highest accuracy."""
        return self.results[0]

    @property
    def equals(self) -> list[Compared]:
        """The lines that cannot be told apart from the best: the interval of the difference holds zero, or is None."""
        return [line for line in self.results[1:] if line.difference[2] is None or line.difference[2] >= 0]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return {
            "results": [line.to_dict() for line in self.results],
            "n": self.n,
            "folds": self.folds,
            "repeats": self.repeats,
            "classes": self.best.evaluation.classes,
            "duplicates": {
                "exact": self.groups.exact,
                "near": self.groups.near,
                "threshold": self.groups.distance,
                "groups": self.groups.given,
                "kept_together": self.groups.kept,
            },
            "failed": [{"features": features, "head": head, "reason": why} for features, head, why in self.failures],
            **self.labels.to_dict(),
            "curve": [point._asdict() for point in self.curve],
            "importance": [each._asdict() for each in self.importance],
            "stores": [str(store.path) for store in self.stores],
            "phases": self.seconds,
            "seconds": self.seconds["total"],
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table, a line for each result.

        Parameters
        ----------
        path : path

        Raises
        ------
        FeaturekitError
            If the file cannot be written.
        """
        lines = []
        for result in self.results:
            line = result.to_dict()
            for name, (low, high) in line.pop("intervals").items():
                line |= {f"{name}_low": low, f"{name}_high": high}
            lines.append(line)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
        write_output(path, text.getvalue().encode("utf-8", "surrogateescape"), TABLE_MARK)
