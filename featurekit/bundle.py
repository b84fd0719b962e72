"""Bundles: a saved model as a folder of a JSON file, a skops file and a model card. No pickle, no code.

::

    model/
        model.json    format, version, feature space, how features are made, classes, scores
        head.skops    the fitted scikit-learn head
        README.md     the model card
        network.safetensors    the network's weights, where they are the model's own
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import BundleError, FeaturekitWarning, Remedy
from .folders import check_regular, on_disk, open_regular

NETWORK = "network.safetensors"
"""The file of a network that was trained for the model."""

_FILES = frozenset({"model.json", "head.skops", "README.md", NETWORK})
FORMAT = "featurekit-model"
VERSION = 1
_MOST_PACKED = 20

# What a head may be made of without being asked about, beyond what skops trusts by itself. skops builds
# objects of these types and of no others, so a file cannot make it run code of its own choice.
_TRUSTED = frozenset(
    {
        "featurekit.heads.auto.AutoHead",
        "featurekit.heads.closed.LDAPath",
        "featurekit.heads.closed.NearestCentroid",
        "featurekit.heads.closed.RidgePath",
        "featurekit.heads.closed.RidgeRegressionPath",
        "featurekit.heads.kernel.SVMPath",
        "featurekit.heads.kernel.SVMRegressionPath",
        "featurekit.heads.linear.LinearSVMPath",
        "featurekit.heads.linear.LogisticRegressionPath",
        "featurekit.heads.neighbours.NearestNeighbours",
        "featurekit.heads.on_device.OnDevice",
        "featurekit.heads.neighbours.NearestNeighboursRegression",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._TemperatureScaling",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.Interval",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
    }
)


def check_bundle_target(path: str | os.PathLike[str]) -> Path:
    """The folder, if a bundle may be written there.

    Raises
    ------
    BundleError
        If something else is there, or other files beside a saved model.
    """
    target = on_disk(path)
    if target.is_symlink() or (target.exists() and not is_bundle(target) and not _is_empty_folder(target)):
        raise BundleError(f"{target} exists and is not a saved model. Nothing was changed; choose another name.")
    if target.is_dir() and (others := sorted(entry.name for entry in target.iterdir() if entry.name not in _FILES)):
        raise BundleError(
            f"the model in {target} would be replaced, and beside it there are other files: {', '.join(others[:5])}. "
            "Nothing was changed; move them away or choose another name."
        )
    return target


def write_bundle(
    path: str | os.PathLike[str], manifest: dict[str, Any], head: Any, card: str, network: bytes = b""
) -> Path:
    """Write a bundle; an older one at the same place is replaced when the new one is complete.

    Parameters
    ----------
    path : path
        The folder.
    manifest : dict
        Plain JSON values.
    head : scikit-learn estimator
        Fitted.
    card : str
        Markdown.
    network : bytes, optional
        The network's state dict as a safetensors file.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    BundleError
        If something else is at `path`, or it cannot be written, or the head cannot be saved without pickle.
    """
    skops_io = _import_skops()
    target = check_bundle_target(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        temporary.chmod(0o777 & ~_umask())
        text = json.dumps({"format": FORMAT, "version": VERSION} | manifest, indent=2, sort_keys=True)
        (temporary / "model.json").write_text(text + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8", errors="replace")
        if network:
            (temporary / NETWORK).write_bytes(network)
        try:
            skops_io.dump(head, temporary / "head.skops")
        except OSError:
            raise
        except Exception as error:  # skops raises what the unsupported object's own methods raise.
            raise BundleError(
                f"the head {type(head).__name__} cannot be saved without pickle: {error}. "
                "Save it with joblib.dump(classifier, path) if only you will load it."
            ) from error
        unknown = sorted(set(skops_io.get_untrusted_types(file=temporary / "head.skops")) - _TRUSTED)
        if unknown:
            said = f"the head holds types that are not loaded without being named: {', '.join(unknown)}."
            remedies = [Remedy("name them when the model is loaded", "trusted")]
            warnings.warn(FeaturekitWarning(said, remedies=remedies), stacklevel=3)
        if target.exists():
            old = temporary.with_name(temporary.name + ".old")
            target.rename(old)
            try:
                temporary.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
    except OSError as error:
        raise BundleError(f"cannot write the model to {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def read_bundle(path: str | os.PathLike[str], trusted: Sequence[str] = ()) -> tuple[dict[str, Any], Any]:
    """Read a bundle.

    Parameters
    ----------
    path : path
        The folder.
    trusted : sequence of str
        Names of further types that the head may hold, such as ``"my_package.MyClassifier"``.

    Returns
    -------
    manifest : dict
    head : scikit-learn estimator

    Raises
    ------
    BundleError
        If there is no bundle, it is damaged or too new, or its head holds types that are not trusted.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    return manifest, _read_head(folder / "head.skops", trusted)


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the description of a bundle, and not its head.

    Raises
    ------
    BundleError
        As :func:`read_bundle`.
    """
    folder = on_disk(path)
    if folder.is_file():
        pickled = folder.suffix.lower() in {".pkl", ".pickle", ".joblib"}
        raise BundleError(
            f"{folder} is a file; a saved model is a folder with model.json and head.skops in it."
            + (" A pickle can run any code when it is loaded, so it is refused." if pickled else "")
        )
    if not is_bundle(folder):
        raise BundleError(f"no saved model in {folder}: expected a folder with model.json and head.skops in it")
    try:
        with open_regular(folder / "model.json") as file:
            manifest = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"cannot read {folder / 'model.json'}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{folder / 'model.json'} is not the description of a featurekit model")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"the model in {folder} has version {manifest.get('version')!r} and this featurekit reads version "
            f"{VERSION}. If it is newer, update with: pip install --upgrade featurekit"
        )
    return manifest


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the folder of a bundle."""
    return Path(path, "model.json").is_file() and Path(path, "head.skops").is_file()


def _read_head(path: Path, trusted: Sequence[str]) -> Any:
    skops_io = _import_skops()
    try:
        check_regular(path)
        _check_packing(path)
        unknown = set(skops_io.get_untrusted_types(file=path))
    except BundleError:
        raise
    except Exception as error:  # a damaged zip or JSON raises whatever its parser raises
        raise BundleError(f"cannot read {path}: {type(error).__name__}: {error}") from error
    refused = sorted(unknown - _TRUSTED - set(trusted))
    if refused:
        raise BundleError(
            f"{path} holds objects of types that featurekit does not know: {', '.join(refused)}. Nothing was loaded.",
            remedies=[Remedy("if you trust whoever made the file, name them", "trusted")],
        )
    try:
        return skops_io.load(path, trusted=sorted(unknown))
    except Exception as error:
        raise BundleError(f"cannot read {path}: {type(error).__name__}: {error}") from error


def _check_packing(path: Path) -> None:
    """Skops does not compress: what unpacks to a multiple of its size is there to fill the memory."""
    with zipfile.ZipFile(path) as file:
        unpacked = sum(entry.file_size for entry in file.infolist())
    if unpacked > _MOST_PACKED * path.stat().st_size + 1_000_000:
        raise BundleError(f"{path} would unpack to {unpacked / 1e6:.0f} MB, far more than its size. It was not opened.")


def _import_skops() -> ModuleType:
    """Import skops.io without torch.

    skops lists all estimators of scikit-learn, which imports every module of it, one of which imports
    torch if it can: two seconds for a head that has no use for it. Hidden, torch is taken as not installed.
    """
    importlib.import_module("scipy.stats")  # asks for torch in a way that a hidden one breaks
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("skops.io")
    finally:
        if hide:
            del sys.modules["torch"]


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
