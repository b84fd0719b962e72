"""Predictions that an earlier comparison left: what is there is not computed again."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from numpy.typing import NDArray

from .._version import __version__
from ..duplicates import Groups
from ..errors import FeaturekitError, StoreError
from ..evaluation import CrossValidation, CurvePoint
from ..importance import LayerImportance
from ..store import FeatureStore
from ..store.atomic import replace_file

_FORMAT = 1


class Kept:
    """Where the predictions of one pair of features and head are kept, if anywhere."""

    def __init__(
        self,
        home: Path | None,
        store: FeatureStore,
        chosen: NDArray[np.intp],
        together: Groups,
        head: Any,
        cv: int,
        repeats: int,
        seed: int,
    ) -> None:
        self._y, self._ids = store.y[chosen], together.ids
        known: dict[str, Any] = {
            "format": _FORMAT,
            "versions": [__version__, sklearn.__version__],
            "space": store.fingerprint,
            "dtype": str(store.dtype),
            "images": _digest(store.columns.sha256[chosen]),
            "labels": _digest(np.char.encode(self._y, "utf-8", "surrogateescape")),
            "groups": _digest(together.ids),
            "head": head,
            "folds": [int(cv), int(repeats), int(seed)],
        }
        if not isinstance(head, str):
            try:
                known["head"] = [joblib.hash(head), _code(head)]  # its whole state before fitting, and what it does
            except Exception:  # what cannot be pickled is not kept: nothing tells it from another
                home, known["head"] = None, ""
        key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self._path = None
        if home is not None:
            self._path = home / "results" / f"{key[:32]}.npz"
            with _said(self._path.parent):  # before anything slow
                self._path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> CrossValidation | None:
        """What was kept, or None; a file that cannot be read is computed again."""
        kept = _read(self._path)
        with suppress(Exception):  # whatever is missing or of another kind
            classes = np.unique(self._y)
            codes, table, seconds = kept["predictions"], kept.get("probabilities"), kept["seconds"]
            shares, scores = np.zeros((*codes.shape, len(classes))) if table is None else table, kept["scores"]
            if codes.shape[1:] != self._y.shape or shares.shape != (*codes.shape, len(classes)):
                return None
            numbers = np.concatenate([shares.ravel(), scores, seconds])
            if codes.dtype.kind != "i" or codes.min() < 0 or not len(scores) or not np.isfinite(numbers).all():
                return None
            return CrossValidation(
                y=self._y,
                classes=classes,
                predictions=classes[codes],
                probabilities=table,
                scores=scores,
                groups=self._ids,
                fit_seconds=float(seconds[0]),
                predict_seconds=float(seconds[1]),
            )
        return None

    def write(self, found: CrossValidation) -> None:
        """Keep it, in one step."""
        arrays = {
            "predictions": np.searchsorted(found.classes, found.predictions),
            "scores": found.scores,
            "seconds": np.array([found.fit_seconds, found.predict_seconds]),
        }
        if found.probabilities is not None:
            arrays["probabilities"] = found.probabilities
        _write(self._path, arrays)

    def read_curve(self) -> list[CurvePoint] | None:
        """The learning curve that was kept, or None."""
        with suppress(Exception):
            points = _read(self._of_curve)["points"].tolist()
            return [CurvePoint(*point[:2], *(None if np.isnan(end) else end for end in point[2:])) for point in points]
        return None

    def write_curve(self, points: list[CurvePoint]) -> None:
        """Keep a learning curve."""
        _write(self._of_curve, {"points": np.array(points, dtype=np.float64)})

    def read_importance(self, layers: Sequence[tuple[str, int]]) -> list[LayerImportance] | None:
        """Return the importance of these layers that was kept, or None."""
        with suppress(Exception):
            drops = _read(self._of_importance)["drops"].tolist()
            return [
                LayerImportance(*layer, drop, *(None if np.isnan(end) else end for end in ends))
                for layer, (drop, *ends) in zip(layers, drops, strict=True)
            ]
        return None

    def write_importance(self, found: list[LayerImportance]) -> None:
        """Keep the importance of the layers."""
        drops = np.array([[each.drop, each.low, each.high] for each in found], dtype=np.float64)
        _write(self._of_importance, {"drops": drops})

    @property
    def _of_importance(self) -> Path | None:
        return None if self._path is None else self._path.with_suffix(".layers.npz")

    @property
    def _of_curve(self) -> Path | None:
        return None if self._path is None else self._path.with_suffix(".curve.npz")


def _code(head: Any) -> str:
    """The source text of estimators that are no library's: somebody may be changing them."""
    parts = [head, *head.get_params(deep=True).values()]
    classes = {type(part) for part in parts if hasattr(part, "fit")}
    own = [kind for kind in classes if kind.__module__.partition(".")[0] not in {"sklearn", "featurekit"}]
    return "\n".join(inspect.getsource(kind) for kind in sorted(own, key=lambda kind: kind.__qualname__))


def _read(path: Path | None) -> dict[str, NDArray[Any]]:
    """The arrays of a file; none if it is not there or damaged."""
    if path is not None and path.is_file():
        with suppress(Exception):  # a damaged file raises whatever zip and NumPy raise
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
                return dict(kept)
    return {}


def _write(path: Path | None, arrays: dict[str, NDArray[Any]]) -> None:
    if path is None:
        return
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays)
    with _said(path.parent):
        replace_file(path, data.getvalue())


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except (StoreError, OSError) as error:
        cause = error.__cause__ or error
        raise FeaturekitError(
            f"cannot keep the results in {folder}: {getattr(cause, 'strerror', None) or cause}"
        ) from error


def _digest(values: NDArray[Any]) -> str:
    data = values.tobytes()
    if values.dtype.kind == "S":  # as wide as the longest: what equal texts are padded with is no part of them
        data = "\0".join(value.hex() for value in values.tolist()).encode()
    return hashlib.sha256(data).hexdigest()
