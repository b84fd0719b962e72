"""The floors: a file imports only from a lower floor, or from its own folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "errors": 0,
    "escapes": 0,
    "wording": 0,
    "_optional": 0,
    "_version": 0,
    "images": 1,
    "labels": 0,
    "bootstrap": 0,
    "fidelity": 1,
    "folders": 0,
    "fingerprint": 1,
    "metrics": 2,
    "transferability": 1,
    "proportions": 1,
    "splits": 1,
    "target_metrics": 2,
    "targets": 1,
    "backbones": 2,
    "store": 2,
    "bundle": 1,
    "heads": 2,
    "near_duplicates": 2,
    "duplicates": 3,
    "outputs": 3,
    "runtime": 3,
    "evaluation": 4,
    "importance": 3,
    "report": 9,
    "pipeline": 4,
    "engines": 5,
    "extraction": 6,
    "extractor": 5,
    "transfer": 6,
    "comparison": 7,
    "onnx_export": 7,
    "finetune": 7,
    "advisor": 8,
    "demo": 10,
    "__init__": 11,
}
# What may import torch (or a package that does) when it is imported itself.
TORCH_MODULES = {
    "advisor/similarity.py",
    *(f"backbones/{name}.py" for name in ("brought", "checkpoints", "libraries", "network", "probe")),
    *(f"finetune/{name}.py" for name in ("checkpoint", "devices", "feed", "job", "optimizer", "stages", "training")),
    *(f"finetune/{name}.py" for name in ("trunk", "worker")),
    "runtime/tf32.py",
    "runtime/torch_runtime.py",
    "runtime/torchcodec_decoder.py",
}
# _optional needs the error it raises.
WITHIN_A_FLOOR = {("_optional", "errors"), ("folders", "errors"), ("labels", "errors"), ("bootstrap", "wording")}
FILES = sorted((ROOT / "featurekit").rglob("*.py"))


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT / "featurekit").parts[0].removesuffix(".py")


def imported_units(path: Path) -> set[str]:
    """The files and folders of featurekit that `path` imports, its own folder left out."""
    depth = len(path.relative_to(ROOT / "featurekit").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= depth, f"{path}: leaves the package"
            if node.level == depth:
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] in {"featurekit", "featurekit_cli", "cli"} for name in names), (
                f"{path}: import relatively"
            )
    return found


def test_every_file_has_a_floor():
    assert {unit_of(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    mine = unit_of(path)
    for other in imported_units(path) - {mine}:
        allowed = FLOORS[other] < FLOORS[mine] or (mine, other) in WITHIN_A_FLOOR
        assert allowed, f"{mine} (floor {FLOORS[mine]}) imports {other} (floor {FLOORS[other]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_is_imported_in_its_own_files_only(path):
    if str(path.relative_to(ROOT / "featurekit")) in TORCH_MODULES:
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:  # at import time, not inside functions
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        assert not {name.split(".")[0] for name in names} & {"torch", "torchvision", "timm"}


def test_the_command_line_only_calls_the_library():
    """Verbs import featurekit absolutely and each other's helpers relatively, and nothing heavy when loaded."""
    for path in (ROOT / "cli").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                name = node.names[0].name if isinstance(node, ast.Import) else node.module or ""
                heavy = {"torch", "sklearn", "numpy", "h5py", "PIL", "matplotlib"}
                assert name.split(".")[0] not in heavy, f"{path}: {name}"
