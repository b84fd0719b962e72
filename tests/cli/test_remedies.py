"""Messages name only options of the command that prints them."""

from __future__ import annotations

import argparse
import ast
import pickle
import re
import shutil
from pathlib import Path

import pytest
from featurekit_cli.main import build_parser

from featurekit import extract
from featurekit.errors import FeaturekitWarning, ImageError, MissingExtraError, Remedy, StoreError

ROOT = Path(__file__).parent.parent.parent
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?![\w-]*:)")
_COMMAND = re.compile(r"featurekit (?P<verb>[a-z]+)(?: (?P<action>[a-z]+))?(?:[^.;(]|\.(?! ))*")


def parsers():
    """The parser of each verb and of each action of a verb, by its name."""
    found = {}

    def add(parser, name):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb, inner in action.choices.items():
                    add(inner, f"{name} {verb}".strip())
                return
        found[name] = parser

    add(build_parser(), "")
    return found


PARSERS = parsers()


def options(parser):
    return {option for action in parser._actions for option in action.option_strings}


def texts(path):
    """Every text in a file but its docstrings, with {} for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            passed |= {id(part) for part in node.values}
            yield "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.value


# Every command that reads a source has the first ones, every command that writes a page the last one; see below.
_COMMON = {"--root", "--path-column", "--label-column", "--group-column"}
_PAGE = {"--images"}


def strange(text, own=frozenset()):
    """Options in a text that are neither `own` nor in a whole command that has them."""
    left = text.replace("pip install --upgrade", "")
    for found in _COMMAND.finditer(text):
        verb, action = found["verb"], found["action"]
        parser = PARSERS.get(f"{verb} {action}") or PARSERS.get(verb)
        if parser is not None:
            here = found[0]
            for option in _OPTION.findall(here):
                if option in options(parser):
                    left = left.replace(option, "")
    return set(_OPTION.findall(left)) - own


@pytest.mark.parametrize(
    "path", sorted((ROOT / "featurekit").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_library_names_options_in_whole_commands_only(path):
    if path.name == "style.py":  # custom properties of CSS look alike
        return
    assert [text for text in texts(path) if strange(text, _COMMON | _PAGE)] == []


@pytest.mark.parametrize("verb", sorted(PARSERS))
def test_commands_have_the_options_that_notes_on_sources_and_pages_name(verb):
    own = options(PARSERS[verb])
    if "--root" in own:
        assert own >= _COMMON
    if "--report" in own:
        assert own >= _PAGE


@pytest.mark.parametrize("verb", sorted({name.partition(" ")[0] for name in PARSERS}))
def test_a_verb_names_its_own_options_only(verb):
    own = set().union(*(options(parser) for name, parser in PARSERS.items() if name.partition(" ")[0] == verb))
    assert [text for text in texts(ROOT / "cli" / f"{verb}.py") if strange(text, own)] == []


def keywords():
    """Every keyword of a remedy of the library."""
    for path in (ROOT / "featurekit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Remedy" and len(node.args) > 1:
                yield node.args[1].value


def test_remedies_are_spelled_as_options_that_the_command_has():
    found = set(keywords())
    assert {"output", "replace", "refresh", "root", "weights", "trusted", "trunk_cache"} <= found
    for name, parser in PARSERS.items():
        renamed = parser.get_default("keywords")
        for keyword in found:
            said = parser.spelled(Remedy("", keyword), renamed)
            assert not said or said.split()[0] in options(parser), (name, keyword)
    spelled = {name: parser.spelled(Remedy("", "replace", True), {}) for name, parser in PARSERS.items()}
    assert {name for name, option in spelled.items() if option} == {"extract"}
    assert spelled["extract"] == "--replace"


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict", "finetune"])
def test_the_output_of_an_extraction_is_the_store_of_this_verb(verb):
    parser = PARSERS[verb]
    assert parser.spelled(Remedy("", "output"), parser.get_default("keywords")) == "--store FILE.h5"


@pytest.mark.parametrize(
    "verb", ["fit", "evaluate", pytest.param("finetune", marks=pytest.mark.slow), "extract", "compare"]
)
def test_a_store_of_another_source_is_no_dead_end(verb, run, digits_folder, digits_store_path, tmp_path):
    """Two folders of one name: the message leads on, with an option that this verb has."""
    other = tmp_path / "digits"
    shutil.copytree(digits_folder / "2", other / "9")
    (other / "8").mkdir()
    for name in ("000.png", "001.png"):
        shutil.move(other / "9" / name, other / "8" / name)
    more = {
        "fit": ["-o", "m"],
        "evaluate": ["--head", "lda"],
        "finetune": ["-o", "m"],
        "extract": [],
        "compare": ["--head", "lda"],
    }[verb]
    taken = Path("digits.efficientnet_lite0.h5")
    if verb == "compare":
        taken = Path("digits.compare") / taken.name.removeprefix("digits.")
        taken.parent.mkdir()
        more += ["-o", "digits.compare"]
    if verb == "finetune":
        taken = Path("digits.efficientnet_lite0.penultimate.h5")
        extract(digits_folder, output=taken, layer="penultimate").close()
    else:
        shutil.copy(digits_store_path, taken)
    before = taken.read_bytes()
    code, _, said = run(verb, other, *more, "-q")
    if verb == "compare" and code == 0:
        pytest.skip("compare keeps its rows under another name")
    assert code == 1
    assert "they would leave the store" in said
    option = {"extract": "--output STORE", "compare": "--output DIR"}.get(verb, "--store FILE.h5")
    assert f"hoose another output ({option})" in said
    assert ("--replace" in said) == (verb == "extract")
    assert "replace=True" not in said
    assert taken.read_bytes() == before


def test_the_library_names_keywords():
    error = StoreError("Rows would leave.", remedies=[Remedy("go"), Remedy("let them go", "replace", True)])
    assert str(error) == "Rows would leave. Go; or let them go (replace=True)."
    assert error.told(lambda remedy: "") == "Rows would leave. Go."
    assert str(FeaturekitWarning("Odd.", remedies=[Remedy("name it", "trusted")])) == "Odd. Name it (trusted=...)."


@pytest.mark.parametrize("kind", [StoreError, ImageError, MissingExtraError, FeaturekitWarning])
def test_remedies_travel_between_processes(kind):
    error = kind("Bad.", remedies=[Remedy("go", "replace", True)])
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error) == "Bad. Go (replace=True)."
    assert back.remedies == error.remedies


def test_a_usage_error_begins_with_its_reason(run):
    code, _, said = run("extract", "photos", "--batch-size", "0")
    assert code == 2
    assert said.splitlines() == [
        "featurekit: error: argument --batch-size: 0 is less than 1",
        "See: featurekit extract --help",
    ]
