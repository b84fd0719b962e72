"""The public surface: what `__all__` says, what the README documents, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import featurekit

ROOT = Path(__file__).parent.parent
SURFACE = {
    "FeatureExtractor",
    "FeatureStore",
    "FeaturekitError",
    "FineTuneClassifier",
    "TransferClassifier",
    "TransferRegressor",
    "__version__",
    "advise",
    "compare",
    "evaluate",
    "extract",
    "load_model",
    "run_demo",
}


def modules_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(out.stdout.split())


def test_all_is_the_documented_surface():
    assert set(featurekit.__all__) == SURFACE
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    undocumented = [name for name in SURFACE - {"__version__"} if f"`{name}`" not in readme]
    assert not undocumented


@pytest.mark.slow
def test_importing_submodules_first_shadows_no_public_name():
    """In a process of its own: in this one the names may have been taken from the package before."""
    code = (
        "import types\n"
        "import featurekit.extraction, featurekit.evaluation, featurekit.transfer, featurekit.demo\n"
        "for name in featurekit.__all__:\n"
        "    assert not isinstance(getattr(featurekit, name), types.ModuleType), name\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        featurekit.nonsense  # noqa: B018
    assert set(dir(featurekit)) >= SURFACE


def test_importing_featurekit_imports_nothing_heavy():
    assert not modules_after("import featurekit") & {"torch", "numpy", "sklearn", "h5py", "PIL", "matplotlib"}


def test_heads_and_estimators_do_not_import_torch():
    code = (
        "from featurekit import FeatureExtractor, FeatureStore, FineTuneClassifier, TransferClassifier\n"
        "from featurekit import extract, load_model\n"
        "assert all(hasattr(each(), 'predict_proba') for each in (TransferClassifier, FineTuneClassifier))"
    )
    assert not modules_after(code) & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("name", sorted(SURFACE - {"__version__", "FeaturekitError"}))
def test_public_docstrings_have_an_example_and_document_every_parameter(name):
    thing = getattr(featurekit, name)
    text = inspect.getdoc(thing)
    assert text
    if name != "run_demo":  # its example is the README's first command
        assert "Examples" in text or name == "load_model"
    for parameter in inspect.signature(thing).parameters:
        assert parameter in text, f"{name}: {parameter}"
