"""The package: its list of packages equals the tree, and a built wheel installs and runs elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_list_of_packages_equals_the_tree():
    folders = {path.parent for path in (ROOT / "featurekit").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names | {"featurekit_cli"}


def test_every_import_is_a_declared_dependency():
    imported: dict[bool, set[str]] = {True: set(), False: set()}  # by whether it is imported inside a function
    for path in [*(ROOT / "featurekit").rglob("*.py"), *(ROOT / "cli").glob("*.py")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"(\s*)(?:from|import) ([a-zA-Z_]\w*)(?:\.\w+)*(?: import .*| as .*)?$", line):
                imported[bool(match[1])].add(match[2])
    distribution = {"PIL": "pillow", "sklearn": "scikit-learn", "cykooz_resizer": "cykooz-resizer"}
    extras = PROJECT["project"]["optional-dependencies"]
    optional = [text for extra in extras.keys() - {"test"} for text in extras[extra]]
    for inside, names in imported.items():
        third_party = names - sys.stdlib_module_names - {"featurekit"}
        texts = PROJECT["project"]["dependencies"] + (optional if inside else [])
        declared = {re.split(r"[<>=\[]", text)[0] for text in texts}
        assert {distribution.get(name, name) for name in third_party} <= declared


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The python of a scratch environment with the built wheel, and this one's other packages."""
    dist, home = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("env")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # an older build leaves modules there that are gone now
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    venv.create(home, with_pip=False)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # torch and the others need not be installed twice. A path file does not run the path files in there, so
    # an editable featurekit of this environment stays out of sight.
    Path(purelib, "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python, wheel


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


@pytest.mark.slow
def test_a_built_wheel_holds_everything_and_no_more(installed):
    _, wheel = installed
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"featurekit", "featurekit_cli"}
    for folder, package in (("featurekit", "featurekit"), ("cli", "featurekit_cli")):
        files = {str(path.relative_to(ROOT / folder)) for path in (ROOT / folder).rglob("*.py")}
        assert {
            name.split("/", 1)[1] for name in names if name.startswith(f"{package}/") and name.endswith(".py")
        } == files
        assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_a_built_wheel_runs(installed, tmp_path, digits_folder):
    python, _ = installed
    where = run([python, "-c", "import featurekit, featurekit_cli; print(featurekit.__file__)"], cwd=tmp_path)
    assert str(python.parent.parent) in where
    command = python.with_name("featurekit")
    assert "extract" in run([command, "--help"], cwd=tmp_path)
    out = run([command, "extract", digits_folder, "-o", "digits.h5", "-q"], cwd=tmp_path)
    assert "60 computed" in out
    assert "3 classes" in run(
        [python, "-m", "featurekit_cli", "fit", "digits.h5", "-o", "model", "--head", "lda"], cwd=tmp_path
    )
