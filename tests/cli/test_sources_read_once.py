"""A verb that looks at the split of a source reads a manifest once, and of a store no more than it needs."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from calls import lengths
from featurekit_cli import _splits
from featurekit_cli._parser import Parser
from made_stores import SPACE, make_rows
from PIL import Image

from featurekit import FeatureStore
from featurekit.images import read_source, sources
from featurekit.store import STORED, Ledger, LedgerEntry, decode, encode, publish


@pytest.fixture
def table(tmp_path):
    """Eight images that are not there, in a manifest with a split."""
    lines = [(f"{i}.png", "ab"[i % 2], ("train", "test")[i // 6]) for i in range(8)]
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *lines])
    return "list.csv"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "-o", "m"],
        ["evaluate", "--head", "centroid"],
        ["evaluate", "--head", "centroid", "--test-size", "0.3"],
        ["compare", "--head", "centroid"],
        ["finetune", "-o", "m"],
    ],
    ids=" ".join,
)
def test_a_manifest_is_read_once(run, table, monkeypatch, arguments):
    read = lengths(monkeypatch, sources, "read_manifest")
    code, _, said = run(arguments[0], table, *arguments[1:])
    assert (code, read) == (1, [len(table)])
    assert "none of the 8 images could be read" in said


def test_what_was_read_is_called_as_the_user_called_it(tmp_path, monkeypatch):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path\na.png\n")
    monkeypatch.chdir(tmp_path)
    found = read_source("list.csv")
    assert found.called == "list.csv"
    assert read_source(found) is found


@pytest.fixture
def store(tmp_path):
    """Thirty made-up rows with a split."""
    columns, rows = make_rows(30)
    columns = replace(columns, split=encode([("train", "test")[i % 2] for i in range(30)]))
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(tmp_path / "rows.h5", SPACE, {"root": "/x"}, columns, ledger, [rows])
    return str(tmp_path / "rows.h5")


def test_notes_on_the_split_of_a_store_read_no_path_and_no_label(store, monkeypatch, capsys):
    def refuse(self):
        raise AssertionError("paths or labels were read")

    monkeypatch.setattr(FeatureStore, "paths", property(refuse))
    monkeypatch.setattr(FeatureStore, "y", property(refuse))
    parser = Parser()
    arguments = parser.parse_args([])
    columns = dict.fromkeys(("path_column", "label_column", "group_column", "split_column", "root"))
    vars(arguments).update(columns, source=store, quiet=False)
    _splits.note_drawn(arguments)
    _splits.note_every(arguments, store, "compared")
    said = " ".join(capsys.readouterr().err.split())
    assert "--test-size is given: the store's split is not followed." in said
    assert "the store's split is not followed: every labeled image is compared" in said
