"""Modification times that do not fit into 64 bits of nanoseconds: after April 2262."""

from __future__ import annotations

import os
import shutil
import tarfile

import pytest
from small import extract

from featurekit import TransferClassifier
from featurekit.images import FileInfo
from featurekit.store import FeatureStore

LAST = 2**63 - 1
IN_2300 = 10_413_792_000


@pytest.fixture
def photos(digits_folder, tmp_path):
    for label in "01":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for path in sorted((digits_folder / label).iterdir())[:3]:
            shutil.copy2(path, tmp_path / "photos" / label)
    os.utime(tmp_path / "photos/0/001.png", (IN_2300, IN_2300))
    if os.stat(tmp_path / "photos/0/001.png").st_mtime < IN_2300:
        pytest.skip("this file system has no such times")
    return tmp_path / "photos"


@pytest.mark.parametrize("target", ["s.h5", "s"])
def test_a_file_of_the_year_2300_is_stored(photos, tmp_path, target):
    store = extract(photos, output=tmp_path / target)
    assert store.ledger_counts == {"stored": 6}
    assert store.columns.mtime_ns[1] == LAST


def test_a_file_of_the_year_2300_is_not_read_again(photos, tmp_path):
    extract(photos, output=tmp_path / "s.h5").close()
    before = (tmp_path / "s.h5").stat()
    assert extract(photos, output=tmp_path / "s.h5").summary.reused == 6
    assert os.path.samestat(before, (tmp_path / "s.h5").stat())


def test_a_file_gets_a_time_in_2300_after_it_was_stored(photos, tmp_path):
    os.utime(photos / "0/001.png", (1, 1))
    extract(photos, output=tmp_path / "s.h5").close()
    os.utime(photos / "0/001.png", (IN_2300, IN_2300))
    assert extract(photos, output=tmp_path / "s.h5").summary.reused == 6
    assert FeatureStore(tmp_path / "s.h5").columns.mtime_ns[1] == LAST


def test_an_archive_of_the_year_2300_is_stored(photos, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(photos, "")
    os.utime(tmp_path / "a.tar", (IN_2300, IN_2300))
    assert extract(tmp_path / "a.tar", output=tmp_path / "s.h5").ledger_counts == {"stored": 6}


@pytest.mark.parametrize("cached", [False, True])
def test_a_classifier_is_fitted_on_files_of_the_year_2300(photos, tmp_path, cached):
    paths = [str(path) for path in sorted(photos.glob("*/*.png"))]
    classifier = TransferClassifier(cache=tmp_path / "cache" if cached else None)
    assert classifier.fit(paths, list("000111")).predict(paths).tolist() == list("000111")


def test_the_command_predicts_files_of_the_year_2300(photos, tmp_path, capsys):
    from featurekit_cli.main import main

    assert main(["fit", str(photos), "--store", str(tmp_path / "s.h5"), "-o", str(tmp_path / "model")]) == 0
    assert main(["predict", str(photos), "--model", str(tmp_path / "model")]) == 0
    assert "0/001.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "time", "expected"),
    [(1, 2, (1, 2)), (1, 10**20, (1, LAST)), (10**20, -(10**20), (LAST, -LAST))],
)
def test_states_of_files_fit_into_64_bits(size, time, expected):
    assert FileInfo.bounded(size, time) == expected
