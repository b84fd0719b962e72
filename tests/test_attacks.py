"""What an attacker found, one test each: bad input that once crashed, lied, or cost somebody a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from featurekit_cli.main import main

from featurekit import FeatureExtractor, FeatureStore, TransferClassifier, extract
from featurekit.errors import BundleError, HeadError, SourceError, StoreFormatError
from featurekit.images import items_from, read_source
from featurekit.metrics import evaluate_predictions
from featurekit.report import draw_confusion_matrix


@pytest.fixture
def model(digits_store, tmp_path):
    return TransferClassifier(head="lda").fit(digits_store).save(tmp_path / "model")


@pytest.mark.slow
def test_a_refit_keeps_the_users_files(model, digits_store):
    (model / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="thesis.txt. Nothing was changed"):
        TransferClassifier(head="lda").fit(digits_store).save(model)
    assert (model / "thesis.txt").read_text() == "mine"


def test_predictions_do_not_overwrite_their_source(model, digits_folder, tmp_path, capsys):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,label\n{digits_folder}/0/000.png,0\n")
    arguments = ["predict", str(manifest), "--root", "/", "-m", str(model), "-o", str(manifest)]
    assert main(arguments) == 1
    assert "was not overwritten" in capsys.readouterr().err
    assert manifest.read_text().startswith("path,label")


def test_a_damaged_store_is_named_and_is_no_traceback(digits_store_path, tmp_path, capsys):
    damaged = tmp_path / "s.h5"
    data = bytearray(digits_store_path.read_bytes())
    row = FeatureStore(digits_store_path).X[30].tobytes()
    data[data.index(row)] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(StoreFormatError, match=r"s\.h5 is damaged: values of 'X'"):
        FeatureStore(damaged).X[...]
    assert main(["fit", str(damaged), "-o", str(tmp_path / "m")]) == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["path,label\nIMG,b\0\n", "path,group\nIMG,g\0h\n"])
def test_null_characters_are_refused(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(SourceError, match=r"null character|line contains NUL"):
        read_source(tmp_path / "m.csv")


def test_labels_that_no_font_can_draw(tmp_path):
    labels = [os.fsdecode(b"\xe9"), "b"]
    assert draw_confusion_matrix(evaluate_predictions(labels, labels), tmp_path / "cm.png").is_file()


def test_names_that_are_too_long(digits_folder, capsys):
    for arguments in (["extract", str(digits_folder), "-o", "a" * 300 + ".h5"], ["extract", "a" * 300]):
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("featurekit: error: ")


def test_missing_labels_of_pandas(digits_folder):
    paths = sorted(digits_folder.glob("*/*.png"))[:3]
    labels = pandas.Series(["a", None, "b"], dtype="string")
    assert [item.label for item in items_from(paths, labels=labels)] == ["a", "", "b"]
    for bad in (labels, ["a", "", "b"], [1.0, float("nan"), 2.0]):
        with pytest.raises(HeadError, match="1 of 3 labels are missing or empty, the first at position 1"):
            TransferClassifier().fit(paths, bad)


@pytest.mark.parametrize("label", [["a", "b"], b"a", ("a",)])
def test_lists_and_bytes_are_refused_as_labels(label):
    with pytest.raises(SourceError, match="expected one label"):
        items_from(["x.jpg"], labels=[label])


def test_blanks_after_commas_are_no_part_of_a_label(tmp_path):
    (tmp_path / "m.csv").write_text("path, label\nx.jpg, dress\n")
    assert [(i.path, i.label) for i in read_source(tmp_path / "m.csv").items] == [("x.jpg", "dress")]
    (tmp_path / "u.csv").write_text("path,label\nx.jpg,a\n", encoding="utf-16")
    with pytest.raises(SourceError, match="UTF-16"):
        read_source(tmp_path / "u.csv")


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(SourceError, match="is empty"):
        read_source("")


@pytest.mark.slow
def test_a_folder_may_be_called_as_a_store_is(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path / "pics.h5")
    arguments = ["fit", str(tmp_path / "pics.h5"), "-o", str(tmp_path / "m"), "--cv", "0", "--head", "lda"]
    assert main([*arguments, "--store", str(tmp_path / "s.h5")]) == 0


def test_settings_are_checked_in_estimators_too(digits_folder):
    paths = sorted(digits_folder.glob("*/*.png"))[:1]
    for settings in ({"batch_size": 0}, {"workers": 0}, {"batch_size": "a"}):
        with pytest.raises(ValueError, match="whole number from 1"):
            FeatureExtractor(**settings).fit_transform(paths)


# Runs the command with less and less of the disk taken, all in one process, which a crash would end.
_FILL_UP = """
import contextlib, io, json, shutil, sys
from pathlib import Path
from featurekit_cli.main import main

photos, disk = sys.argv[1], Path(sys.argv[2])
runs = []
for free in (20, 200, 400, 500, 600, 680, 700, 720):  # the shard takes about 330 kB, the store as much
    for old in disk.glob("s.h5*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    (disk / "fill").write_bytes(bytes((2048 - free) * 1024))
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(["extract", photos, "-o", str(disk / "s.h5"), "--image-size", "64", "--layer", "penultimate"])
    runs.append([free, code, said.getvalue(), (disk / "s.h5").exists()])
print(json.dumps(runs))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.slow
def test_a_full_disk(digits_folder, tmp_path):
    """A real full file system, at several stages of the work: one message, no crash, and the next run goes on."""
    extract(
        digits_folder, output=tmp_path / "before.h5", image_size=64, layer="penultimate"
    ).close()  # a conversion would be said below
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        out = subprocess.run(
            [sys.executable, "-c", _FILL_UP, digits_folder, disk], capture_output=True, text=True, check=False
        )
        assert out.returncode == 0, out.stderr
        runs = json.loads(out.stdout)
        failed = [run for run in runs if run[1]]
        assert len(runs) == 8
        assert len(failed) >= 4
        for free, code, said, published in failed:
            assert code == 1, (free, said)
            assert said.startswith("featurekit: error: cannot write"), (free, said)
            assert said.count("\n") == 1, (free, said)
            assert not published
        (disk / "fill").unlink()
        assert len(extract(digits_folder, output=disk / "s.h5", image_size=64, layer="penultimate")) == 60
        assert [path.name for path in Path(disk).iterdir()] == ["s.h5"]
    finally:
        subprocess.run(["umount", disk], check=False)
