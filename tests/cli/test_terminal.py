"""What reaches a terminal, and what reaches a file: escapes for a person, exact bytes for a program."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import warnings
import xml.etree.ElementTree

import pytest
from featurekit_cli._terminal import SafeStream
from featurekit_cli.finetune import _say as say_above_bar
from featurekit_cli.main import main
from odd_files import encoded, picture
from tqdm import tqdm

from featurekit import FeatureStore, TransferClassifier, extract
from featurekit.metrics import evaluate_predictions
from featurekit.report import draw_confusion_matrix
from featurekit.report.charts import heat_map

COMMAND = [sys.executable, "-m", "featurekit_cli"]
TITLE = "\x1b]0;title\x07"
LEFT = "\u202e"


@pytest.fixture(scope="module")
def model(digits_store_path, tmp_path_factory):
    with FeatureStore(digits_store_path) as store:
        return TransferClassifier(head="centroid").fit(store).save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory):
    """A store of images whose names hold what a terminal obeys, and bytes that are not UTF-8."""
    folder = tmp_path_factory.mktemp("odd") / "photos"
    folder.mkdir()
    for i, name in enumerate([os.fsdecode(b"caf\xe9.png"), f"a{TITLE}.png", f"b{LEFT}.png", "plain.png"]):
        (folder / name).write_bytes(encoded(picture(i), "PNG"))
    path = folder.parent / "s.h5"
    extract(folder, output=path).close()
    return path


def predicted(arguments, **settings):
    return subprocess.run([*COMMAND, *map(str, arguments)], check=True, **settings)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.slow
def test_predictions_on_standard_output_are_those_of_a_file(encoding, model, odd_store, tmp_path):
    arguments = ["predict", odd_store, "-m", model, "-q"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    with open(tmp_path / "out.csv", "wb") as file:
        predicted(arguments, stdout=file, env=environment)
    predicted([*arguments, "-o", tmp_path / "written.csv"], env=environment)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "written.csv").read_bytes()
    assert b"caf\xe9.png," in (tmp_path / "out.csv").read_bytes()


@pytest.mark.slow
def test_predictions_on_a_terminal_are_escaped(model, odd_store):
    terminal, end = pty.openpty()
    process = subprocess.Popen([*COMMAND, "predict", str(odd_store), "-m", str(model), "-q"], stdout=end)
    os.close(end)
    seen = b""
    try:
        while chunk := os.read(terminal, 10000):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.wait() == 0
    assert b"plain.png" in seen
    assert b"\\x1b]0;title\\x07" in seen
    assert b"\\u202e" in seen
    assert b"\x1b" not in seen
    assert b"\x07" not in seen
    assert LEFT.encode() not in seen


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", f"no{TITLE}{LEFT}such"],
        ["store", "info", f"no{TITLE}{LEFT}such.h5"],
        ["predict", "x", "-m", f"no{TITLE}{LEFT}such"],
        ["predict", "x", "-m", "m", "-o", f"no{TITLE}{LEFT}such"],
        ["extract", "x", "--backbone", f"no{TITLE}{LEFT}such"],
        ["extract", "x", f"--no{TITLE}{LEFT}such"],
        ["extract", "x", "--decoder", f"no{TITLE}{LEFT}such"],
        ["extract", TITLE + LEFT + "a" * 5000],
        ["fit", "x", "-o", "m", "--backbone", TITLE + LEFT + "a" * 5000],
    ],
)
def test_names_in_errors_are_escaped(arguments, run):
    code, out, said = run(*arguments)
    assert code
    assert "\x1b" not in out + said
    assert "\x07" not in out + said
    assert LEFT not in out + said


def test_names_in_notes_are_escaped(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / f"x.{TITLE}").write_text("a")
    (tmp_path / "photos" / "a.png").write_bytes(encoded(picture(0), "PNG"))
    code, out, said = run("extract", "photos")
    assert code == 0
    assert "\\x1b]0;title\\x07" in said
    assert "\x1b" not in out + said


def test_paths_that_would_be_removed_are_escaped(run, odd_store):
    code, out, _ = run("store", "remove", odd_store, "a*", "b*", "-n")
    assert code == 0
    assert "\\x1b]0;title\\x07" in out
    assert "\\u202e" in out
    assert "\x1b" not in out
    assert LEFT not in out


def test_warnings_and_logs_are_escaped(capsys, monkeypatch, tmp_path):
    import logging

    import featurekit_cli.models

    def warn(arguments):
        warnings.simplefilter("always")  # the tests make errors of warnings
        warnings.warn(f"odd {TITLE}", stacklevel=1)
        logging.getLogger("featurekit.somewhere").warning("odd %s", LEFT)
        return 0

    monkeypatch.setattr(featurekit_cli.models, "run", warn)
    assert main(["models"]) == 0
    said = capsys.readouterr().err
    assert "featurekit: warning: odd \\x1b]0;title\\x07\n" in said
    assert "featurekit: odd \\u202e\n" in said


def test_progress_bars_may_return_to_the_start_of_their_line_and_move_up():
    stream = io.StringIO()
    safe = SafeStream(stream)
    with tqdm(total=2, file=safe) as outer, tqdm(total=2, file=safe, desc=f"b\r{TITLE}") as inner:
        outer.update()
        inner.update()
    seen = stream.getvalue()
    assert "\r" in seen
    assert "\x1b[A" in seen
    assert "\\x1b]0;title" in seen
    assert TITLE not in seen


@pytest.mark.parametrize("name", ["\x1b[A", "\rfeaturekit: all is well", "\n\x1b[A\x1b[A"])
def test_names_cannot_move_the_cursor(name):
    stream = io.StringIO()
    safe = SafeStream(stream)
    print(name, file=safe)
    tqdm.write(name, file=safe)  # lines above a bar are no bar
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_names_of_foreign_scripts_stay_as_they_are():
    stream = io.StringIO()
    SafeStream(stream).write("日本語　テスト עברית émoji 🙂 a\u00a0b")
    assert stream.getvalue() == "日本語　テスト עברית émoji 🙂 a\u00a0b"


def test_the_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr
    assert main(["store", "info", "missing.h5"]) == 1
    assert (sys.stdout, sys.stderr) == before


def test_a_picture_with_control_characters_in_a_class_is_well_formed(tmp_path):
    labels = [f"a{TITLE}{LEFT}", "b & <c>"]
    path = draw_confusion_matrix(evaluate_predictions(labels, labels), tmp_path / "cm.svg", title=f"t{TITLE}")
    assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")


def test_a_picture_keeps_its_axes_beside_a_very_long_class(tmp_path):
    long, short = (
        draw_confusion_matrix(evaluate_predictions([name, "b"], [name, "b"]), tmp_path / f"{len(name)}.svg")
        for name in ("a" * 3000, "a" * 32)
    )
    assert long.stat().st_size < 2 * short.stat().st_size


def test_a_page_shows_control_characters_as_escapes():
    table = heat_map([f"a{TITLE}{LEFT}"], ["b"], [[0.5]], ".2f")
    assert "a\\x1b]0;title\\x07\\u202e" in table
    assert "\x1b" not in table


def test_quiet_command_after_another_in_one_process_is_quiet(run, digits_store_path):
    import logging

    level = logging.getLogger("featurekit").level
    assert run("store", "info", digits_store_path)[0] == 0
    assert logging.getLogger("featurekit").level == level


def test_lines_above_a_bar_are_indented_as_those_of_other_messages(capsys):
    say_above_bar("epoch 1 of a\nfeaturekit: done")
    assert capsys.readouterr().err == "featurekit: epoch 1 of a\n  featurekit: done\n"
