"""Every example runs, and says what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPECTED = {
    "01_fit_and_predict.py": r"accuracy on the other half: (0\.9\d*|1\.0)\n(flower|palace)-\d\d\.jpg \{'flower': ",
    "02_grid_search.py": r"4 candidates x 3 folds: best C = \d+, accuracy 0\.\d+\n",
    "03_compare_heads.py": r"120 rows of efficientnet_lite0(.|\n)*minus best(.|\n)*stages +GaussianNB +0\.\d+(.|\n)*"
    r"120 images, 5 folds(.|\n)*reused: \[True, True, True, True\]\npage: report.html",
    "04_life_of_a_store.py": r"the first run: 24 images, 24 computed(.|\n)*again: 24 images, 0 computed(.|\n)*"
    r"moved to another class: 24 images, 0 computed(.|\n)*added: 25 images, 1 computed(.|\n)*"
    r"verify: (?P<n>\d+) of 25 rows damaged, row 7 among them: True\ndamaged rows: 25 images, (?P=n) computed(.|\n)*"
    r"verify: all as it was written\nremoved: \['palace/10.jpg', 'palace/11.jpg'\]\nexported: \{'X': \(23, 816\)",
    "05_whole_network.py": r"bn1 +columns +0 to 31\n(.|\n)*blocks\.6 +columns 496 to 815\n"
    r"penultimate +d = 1280 +accuracy 0\.\d+ .*\nstages +d = +816 +accuracy 0\.9\d+",
    "06_fine_tune.py": r"trunk cache: \d+ images x 1 view(.|\n)*before the first step(.|\n)*epoch 4/4(.|\n)*"
    r"best epoch \d(.|\n)*test accuracy: frozen 0\.\d+, fine-tuned 0\.\d+\nSVC on its rows: 0\.\d+",
    "07_advise.py": r"\((clear|likely|unsure)\); now: (transfer|fine-tune)\n120 images, 10 classes(.|\n)*frozen "
    r"features, \S+stages with \w+: \d\d\.\d% right(.|\n)*expected gain of fine-tuning: [+-]\d+\.\d points",
    "08_several_machines.py": r"120 rows by \w+(.|\n)*3 folds on (?P<where>ray|dask): best C = [\d.]+, accuracy 0\.\d+",
}


def run(path, folder, *arguments):
    command = [sys.executable, "-W", "error::FutureWarning", path, *arguments]
    out = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert out.returncode == 0, out.stderr
    found = re.search(EXPECTED[path.name], out.stdout)
    assert found, out.stdout
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
@pytest.mark.slow
def test_example(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.slow
def test_example_with_the_search_on_dask(tmp_path):
    assert run(ROOT / "examples" / "08_several_machines.py", tmp_path, "dask")["where"] == "dask"


def test_the_commands_of_the_readme_are_those_of_ci():
    """CI runs exactly the test command that the README promises."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^(python3 -m venv \.venv-test .*pytest.*)$", readme, re.MULTILINE)[1]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_command_in_the_readme_parses():
    import shlex

    from featurekit_cli.main import build_parser

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ featurekit (.*)$", readme.replace("\\\n", " "), re.MULTILINE)  # one line of each
    assert len(commands) >= 6
    for command in commands:
        build_parser().parse_args(shlex.split(command.split(" > ")[0], comments=True))


def test_the_python_of_the_readme_compiles_and_imports_what_there_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, "README.md", "exec")
        for line in re.findall(r"^from featurekit.* import .*$", block, re.MULTILINE):
            exec(line, {})
