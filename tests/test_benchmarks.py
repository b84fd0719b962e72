"""Benchmarks take too long to run here; that they start, and that none is named that is not there, is tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "benchmarks"


@pytest.mark.slow
def test_benchmarks_import_what_there_is():
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    out = subprocess.run([sys.executable, "-c", code, *names], cwd=FOLDER, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr


def test_every_benchmark_that_is_named_is_there():
    texts = [*ROOT.glob("*.md"), *(ROOT / "featurekit").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    named = {name for path in texts for name in re.findall(r"benchmarks/(\w+\.py)", path.read_text(encoding="utf-8"))}
    assert named
    assert named <= {path.name for path in FOLDER.glob("*.py")}
