"""The Wilson interval refuses a count in place of a fraction; numbers of things are spelled in one way."""

from __future__ import annotations

import math

import pytest

from featurekit.finetune.trunk import Plan
from featurekit.images import read_source
from featurekit.images.items import Ignored
from featurekit.proportions import wilson_interval
from featurekit.wording import count


@pytest.mark.parametrize("p", [457, -0.1, 1.01, math.nan])
def test_wilson_interval_names_what_is_no_fraction(p):
    with pytest.raises(ValueError, match=f"expected 0 to 1, got {p}"):
        wilson_interval(p, 505)


@pytest.mark.parametrize("n", [0, -3, math.nan])
def test_wilson_interval_names_a_number_of_trials_that_cannot_be(n):
    with pytest.raises(ValueError, match=f"expected more than 0, got {n}"):
        wilson_interval(0.5, n)


def test_words_for_several_things_may_be_given():
    assert [count(n, "class", "classes") for n in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]


def test_one_image_in_a_plan_is_singular():
    assert str(Plan(1, 1, (2, 2))).startswith("1 image x 1 view x")
    assert str(Plan(3, 2, (2, 2))).startswith("3 images x 2 views x")


def test_hidden_files_are_counted():
    assert [Ignored(hidden=n).notes() for n in (1, 2)] == [
        ["Ignored 1 hidden file or folder."],
        ["Ignored 2 hidden files and folders."],
    ]


@pytest.mark.parametrize(
    ("loose", "said"),
    [(1, "1 image lies beside the class folders and has"), (2, "2 images lie beside the class folders and have")],
)
def test_images_beside_class_folders_are_counted(tmp_path, loose, said):
    (tmp_path / "cat").mkdir()
    for name in ("cat/a.jpg", *(f"{i}.jpg" for i in range(loose))):
        (tmp_path / name).touch()
    assert f"{said} no label." in read_source(tmp_path).notes
