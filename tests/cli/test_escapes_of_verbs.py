"""Names of classes, images and columns that hold what a terminal obeys: escapes in what every verb prints."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from featurekit_cli.main import main
from made_stores import SPACE
from odd_files import encoded, picture

from featurekit.escapes import printable
from featurekit.store import Columns, Ledger, LedgerEntry, encode, publish

pytestmark = pytest.mark.filterwarnings("default")  # the command prints warnings

N = 60
FORGED = "FORGED: all is well"
ODD = f"\x1b]0;title\x07\x9b31m\u202e\r\n{FORGED}"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder with a store and a model, all of whose names are odd."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    classes = np.arange(N) % 3
    rows = (rng.normal(size=(3, 16))[classes] + rng.normal(size=(N, 16))).astype(np.float32)
    names = [f"{ODD}/{i}.png" for i in range(N)]
    labels, groups = [f"{c}{ODD}" for c in classes], [f"{i // 2}{ODD}" for i in range(N)]
    hashes = rng.integers(0, 256, (N, 32), dtype=np.uint8)
    hashes[3] = hashes[0]  # an equal file
    hashes[4] = hashes[0]  # and one of another class
    columns = Columns(encode(names), encode(labels), encode(groups), hashes, np.ones(N, int), np.ones(N, int))
    entries = [LedgerEntry(name, "stored", "", i) for i, name in enumerate(names)]
    entries[5] = LedgerEntry(names[5], "kept", f"2026-01-01T00:00:00+00:00 {ODD}", 5)
    entries += [LedgerEntry(f"x{ODD}", "failed", f"why{ODD}", -1), LedgerEntry(f"y{ODD}", "removed", ODD, -1)]
    told = dict.fromkeys(("root", "place", "source", "kind", "runtime", "created", "decoder"), ODD)
    publish(folder / "s.h5", SPACE, told, columns, Ledger.of(entries), [rows])
    with warnings.catch_warnings(action="ignore"):
        assert main(["fit", str(folder / "s.h5"), "--head", "centroid", "-o", str(folder / "model"), "-q"]) == 0
    (folder / "columns.csv").write_text(f'path,label,"{ODD}"\na.png,"{ODD}"\n', newline="")
    (folder / "wrong.csv").write_text(f'"{ODD}",b\na.png,a\n', newline="")
    (folder / "a.png").write_bytes(encoded(picture(0), "PNG"))
    return folder


def harmful(text):
    """Find what a terminal would obey, and lines that pretend to be the command's."""
    found = [c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}]
    return found + [line for line in text.splitlines() if line.startswith(FORGED)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "s.h5", "--head", "centroid"],
        ["evaluate", "s.h5", "--model", "model"],
        ["evaluate", "s.h5", "--head", "centroid", "--json"],
        ["fit", "s.h5", "--head", "centroid", "-o", "NEW"],
        ["compare", "s.h5", "--head", "centroid,ridge", "--cv", "2", "-o", "NEW"],
        ["predict", "s.h5", "--model", "model", "-o", "NEW.csv"],
        ["store", "info", "s.h5"],
        ["store", "info", "s.h5", "--json"],
        ["store", "verify", "s.h5"],
        ["store", "merge", "s.h5", "-o", "NEW.h5"],
        ["store", "remove", "s.h5", "*[1-9].png", "-n"],
        ["store", "export", "s.h5", "-o", "NEW.csv"],
        pytest.param(["models", "show", "model"], marks=pytest.mark.slow),  # builds the network
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_odd_names_are_printed_as_escapes(arguments, odd, run, tmp_path):
    code, out, said = run(*(odd / each if (odd / each).exists() else each for each in arguments))
    assert code == 0, said

    assert harmful(out + said) == []


@pytest.mark.slow
def test_odd_names_of_folders_are_printed_as_escapes(run):
    for label in "ab":
        (Path("photos") / f"{label}{ODD}").mkdir(parents=True)
        for i in range(8):
            image = picture(i + 8 * (label == "b")).resize((64, 64))
            image.save(Path("photos") / f"{label}{ODD}" / f"{i}{ODD}.png".replace("/", ""))
    Path("photos", f"a{ODD}", f"broken{ODD}.png").write_bytes(b"no image")
    for arguments in (
        ["extract", "photos", "-o", "s.h5"],
        ["fit", "s.h5", "-o", "model"],
        ["predict", "photos", "-m", "model", "-o", "out.csv"],
        ["evaluate", "photos", "-m", "model"],
        ["export", "model", "-o", "model.onnx"],
        ["advise", "photos", "--budget", "1s"],
    ):
        code, out, said = run(*arguments)
        assert code == 0, said
        assert harmful(out + said) == [], arguments


def test_damaged_rows_of_odd_names_are_printed_as_escapes(odd, run):
    damaged = Path("damaged.h5")
    damaged.write_bytes((odd / "s.h5").read_bytes())
    with h5py.File(damaged, "r+") as file:
        file["X"][7] += 1
    code, out, said = run("store", "verify", damaged)
    assert code == 1
    assert "row 7  " + printable(ODD) in out
    assert harmful(out + said) == []


@pytest.mark.parametrize("arguments", [["extract", "wrong.csv"], ["fit", "columns.csv", "-o", "NEW", "--cv", "2"]])
def test_odd_columns_are_printed_as_escapes(arguments, odd, run):
    code, out, said = run(*(odd / each if (odd / each).exists() else each for each in arguments))
    assert code == 1
    assert printable(ODD.partition("\r")[0]) in said
    assert harmful(out + said) == []


def test_odd_names_in_a_table_for_a_program_stay_as_they_are(odd, run):
    code, _, _ = run("predict", odd / "s.h5", "--model", odd / "model", "-o", "NEW.csv")
    assert code == 0
    assert FORGED in Path("NEW.csv").read_text(encoding="utf-8")
