"""Labels in any container, one picture under two labels, and names that differ in form only."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from featurekit import (
    FineTuneClassifier,
    TransferClassifier,
    TransferRegressor,
    advise,
    compare,
    evaluate,
    extract,
)
from featurekit.errors import HeadError, LabelWarning, SourceError
from featurekit.evaluation import cross_validate_head
from featurekit.heads import LogisticRegressionPath
from featurekit.labels import as_array, find_alike, find_contradictions, find_problems
from featurekit.targets import label_table, numbers

CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "array": lambda values: np.array(values, dtype=object),
    "Series": pd.Series,
    "Categorical": pd.Categorical,
    "categorical Series": lambda values: pd.Series(values, dtype="category"),
    "string Series": lambda values: pd.Series(values, dtype="string"),
}
MISSING = {"None": None, "NaN": float("nan"), "NumPy NaN": np.nan, "NA": pd.NA, "empty": "", "blanks": "  "}


@pytest.fixture(scope="module")
def paths(digits_folder):
    return [digits_folder / str(label) / f"{number:03d}.png" for number in range(4) for label in (0, 1)]


@pytest.fixture(scope="module")
def twice_folder(digits_folder, tmp_path_factory):
    """Two classes of six images, and one picture that is in both."""
    folder = tmp_path_factory.mktemp("twice")
    for label in ("0", "1"):
        (folder / label).mkdir()
        for number in range(6):
            shutil.copy(digits_folder / label / f"{number:03d}.png", folder / label)
    shutil.copy(folder / "0" / "000.png", folder / "1" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def twice_store_path(twice_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "twice.h5"
    extract(twice_folder, output=path).close()
    return path


@pytest.fixture
def twice_store(twice_store_path):
    from featurekit import FeatureStore

    with FeatureStore(twice_store_path) as store:
        yield store


BOTH_PATHS = re.escape("2 images are there under more than one label (equal files): 0/000.png (0), 1/copy.png (1)")


# --- missing values and containers ---


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_class_is_refused_in_every_container(container, missing, paths):
    y = CONTAINERS[container](["a", "b", MISSING[missing], "a"])
    with pytest.raises(HeadError, match="1 of 4 labels are missing or empty, the first at position 2"):
        TransferClassifier().fit(paths[:4], y)


@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "string Series"])
def test_a_missing_number_is_refused_in_every_container(container, paths):
    y = CONTAINERS[container]([1.5, 2.0, None, 4.0])
    with pytest.raises(HeadError, match="1 of 4 numbers are missing or empty, the first at position 2"):
        TransferRegressor().fit(paths[:4], y)


def test_a_missing_text_of_labels_is_refused(paths):
    with pytest.raises(HeadError, match="1 of 4 labels are missing"):
        TransferClassifier().fit(paths[:4], ["a;b", "b", None, "a"], target="labels")


def test_a_missing_entry_of_a_label_table_is_refused(paths):
    table = pd.DataFrame({"a": [1, 0, None, 1], "b": [0, 1, 1, 0]})
    with pytest.raises(HeadError, match="1 of 4 labels are missing"):
        TransferClassifier().fit(paths[:4], table)


def test_a_missing_class_is_refused_by_fine_tuning(paths):
    with pytest.raises(HeadError, match="1 of 4 labels are missing"):
        FineTuneClassifier().fit(paths[:4], ["a", "b", float("nan"), "a"])


def test_a_missing_class_is_refused_by_a_head():
    with pytest.raises(HeadError, match="1 of 4 labels are missing"):
        LogisticRegressionPath().fit(np.eye(4), ["a", "b", None, "a"])


def test_a_missing_class_is_refused_by_cross_validation():
    with pytest.raises(HeadError, match="1 of 4 labels are missing"):
        cross_validate_head(np.eye(4), ["a", "b", float("nan"), "a"])


def test_a_missing_class_is_refused_by_evaluate(digits_store):
    y = [*digits_store.y.tolist()[:-1], None]
    with pytest.raises(HeadError, match="1 of 60 labels are missing or empty, the first at position 59"):
        evaluate(TransferClassifier(head="centroid").fit(digits_store), digits_store, y)


@pytest.mark.parametrize("container", CONTAINERS)
def test_extract_takes_labels_in_every_container(container, paths, tmp_path):
    labels = CONTAINERS[container](["a", "b", None, "a"])
    with extract(paths[:4], output=tmp_path / "x.h5", labels=labels) as store:
        assert store.y.tolist() == ["a", "b", "", "a"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_classes_are_equal_whatever_held_them(container, digits_store):
    names = [f"class {label}" for label in digits_store.y]
    fitted = TransferClassifier(head="centroid").fit(digits_store, CONTAINERS[container](names))
    assert fitted.classes_.dtype.kind == "U"
    assert fitted.classes_.tolist() == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("container", ["list", "array", "Series", "Categorical"])
def test_whole_numbers_stay_classes_of_that_kind(container, digits_store):
    fitted = TransferClassifier(head="centroid").fit(
        digits_store, CONTAINERS[container]([int(label) for label in digits_store.y])
    )
    assert (fitted.classes_.dtype.kind, fitted.classes_.tolist()) == ("i", [0, 1, 2])


def test_text_mixed_with_numbers_is_refused(paths):
    for container in (list, pd.Series):
        with pytest.raises(HeadError, match="labels are all names or all numbers"):
            TransferClassifier().fit(paths[:3], container(["a", 1, "a"]))


def test_lists_of_different_length_as_labels_are_explained(paths):
    with pytest.raises(HeadError, match=r"rows of 1 and 2 values\. Several labels of an image are one text with ';'"):
        TransferClassifier().fit(paths[:2], [["a", "b"], ["c"]])


@pytest.mark.parametrize("y", ["cats", {"a": 1, "b": 2}, 3])
def test_labels_that_are_no_sequence_are_refused(y, paths):
    with pytest.raises(HeadError, match="must be a sequence with one value for each image"):
        TransferClassifier().fit(paths[:2], y)


def test_text_as_labels_of_extract_is_refused(paths, tmp_path):
    with pytest.raises(SourceError, match="labels must be a sequence with one value for each image, got str: 'ab'"):
        extract(paths[:2], output=tmp_path / "x.h5", labels="ab")


def test_numbers_and_label_tables_refuse_missing_texts():
    for read in (numbers, label_table):
        with pytest.raises(HeadError, match="1 of 3 (numbers|labels) are missing"):
            read(["1", None, "2"])


def test_as_array_keeps_what_is_missing():
    assert as_array(pd.Series([1, None, 3], dtype="Int64")).tolist()[::2] == [1, 3]
    assert as_array(["a", None]).dtype == object


# --- images that are none ---


def test_a_folder_as_images_is_explained_and_its_letters_are_not_counted(digits_folder):
    with pytest.raises(SourceError, match=r"got the name of a folder: .*featurekit\.extract"):
        TransferClassifier().fit(str(digits_folder), ["a", "b"])


def test_one_path_as_images_is_explained(paths):
    with pytest.raises(SourceError, match=r"got one: .*Put it into a list"):
        TransferClassifier().fit(str(paths[0]), ["a"])


@pytest.mark.parametrize("estimator", [TransferClassifier(), TransferRegressor(), FineTuneClassifier()])
def test_rows_of_a_store_as_images_are_explained(estimator, digits_store):
    with pytest.raises(SourceError, match=r"already computed go straight into .* give the store itself"):
        estimator.fit(digits_store.X, digits_store.y.astype(int))


def test_a_store_without_labels_is_explained(paths, tmp_path):
    with extract(paths[:4], output=tmp_path / "x.h5") as store:
        for estimator in (TransferClassifier(), TransferRegressor()):
            with pytest.raises(HeadError, match="none of the 4 rows of .* has a label"):
                estimator.fit(store)


def test_extraction_that_needs_labels_stops_before_it_computes(paths, tmp_path):
    with pytest.raises(SourceError, match="none of these 4 images has a label"):
        extract(paths[:4], output=tmp_path / "x.h5", labelled=True)
    assert not list(tmp_path.iterdir())


# --- contradictions ---


def test_contradictions_are_found_by_content():
    found = find_contradictions([7, 8, 7, 8, 7], ["a", "b", "a", "b", "c"], list("vwxyz"))
    assert [(each.paths, each.labels) for each in found] == [(("v", "x", "z"), ("a", "a", "c"))]
    assert str(found[0]) == "v (a), z (c), x (a)"


def test_contradictions_are_found_by_given_groups():
    assert not find_contradictions([0, 1], ["a", "b"], ["x", "y"])
    assert find_contradictions(["g", "g"], ["a", "b"], ["x", "y"])


def test_equal_sets_of_labels_do_not_contradict():
    assert not find_problems(["a;b", "b; a"], [0, 0], ["x", "y"], separator=";").contradictions
    assert find_problems(["a;b", "a"], [0, 0], ["x", "y"], separator=";").contradictions


def test_equal_numbers_do_not_contradict():
    assert not find_problems(["1", "1.0"], [0, 0], ["x", "y"], numbers=True).contradictions
    assert find_problems(["1", "1.5"], [0, 0], ["x", "y"], numbers=True).contradictions


def test_many_contradictions_are_cut_in_text_and_whole_as_json():
    ids, labels = np.repeat(np.arange(9), 2), ["a", "b"] * 9
    found = find_problems(labels, ids, [f"{i}.png" for i in range(18)])
    (sentence,) = found.sentences()
    assert "and 6 more" in sentence
    assert "17.png" not in sentence
    assert len(found.to_dict()["contradictions"]) == 9


def test_fit_names_contradicting_files_of_a_store(twice_store):
    with pytest.warns(LabelWarning, match=BOTH_PATHS):
        TransferClassifier(head="centroid").fit(twice_store)


def test_fit_names_contradicting_files_of_images(twice_folder):
    paths = sorted(twice_folder.glob("*/*.png"))
    with pytest.warns(LabelWarning, match=r"more than one label .*0/000\.png \(0\), .*1/copy\.png \(1\)"):
        TransferClassifier(head="centroid").fit(paths, [path.parent.name for path in paths])


def test_fit_of_numbers_names_contradicting_files(twice_store):
    with pytest.warns(LabelWarning, match="2 images are there under more than one label"):
        TransferRegressor().fit(twice_store)


@pytest.mark.slow
def test_fine_tuning_names_contradicting_files(twice_folder):
    paths = sorted(twice_folder.glob("*/*.png"))
    said = []
    model = FineTuneClassifier(unfreeze=1, epochs=1, image_size=32, runtime="torch", say=said.append)
    model.fit(paths, [p.parent.name for p in paths])
    assert any("0/000.png (0)" in line and "1/copy.png (1)" in line for line in said)


def test_evaluate_names_contradicting_files_of_a_store(twice_store, digits_store):
    fitted = TransferClassifier(head="centroid").fit(digits_store)
    with pytest.warns(LabelWarning, match=BOTH_PATHS):
        evaluate(fitted, twice_store)


def test_evaluate_names_contradicting_files_of_images(twice_folder, digits_store):
    fitted = TransferClassifier(head="centroid").fit(digits_store)
    paths = sorted(twice_folder.glob("*/*.png"))
    with pytest.warns(LabelWarning, match=r"0/000\.png \(0\), .*1/copy\.png \(1\)"):
        evaluate(fitted, paths, [path.parent.name for path in paths])


def test_compare_names_contradicting_files(twice_store):
    with pytest.warns(LabelWarning, match=BOTH_PATHS):
        found = compare(twice_store, heads=["centroid"], cv=2)
    assert found.to_dict()["contradictions"] == [{"paths": ["0/000.png", "1/copy.png"], "labels": ["0", "1"]}]


@pytest.mark.slow
def test_advise_names_contradicting_files(twice_folder, tmp_path):
    found = advise(twice_folder, output=tmp_path / "advice", budget=10)
    assert any(re.search(BOTH_PATHS, reason) for reason in found.reasons)
    assert found.to_dict()["size"]["contradictions"][0]["paths"] == ["0/000.png", "1/copy.png"]


def test_equal_files_of_one_label_are_no_contradiction(digits_folder, digits_store):
    path = digits_folder / "0" / "000.png"
    TransferClassifier(head="centroid").fit([path, path, digits_folder / "1" / "000.png"], ["a", "a", "b"])


# --- names ---


@pytest.mark.parametrize(("first", "second"), [("dress", "Dress"), ("dress", "dress "), ("t shirt", "t  shirt")])
def test_names_of_different_form_are_alike(first, second):
    assert find_alike([first, second, "hat"]) == (tuple(sorted([first, second])),)


def test_names_in_two_unicode_forms_are_alike_and_shown_apart():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (sentence,) = find_problems([composed, decomposed]).sentences()
    assert r"caf\xe9" in sentence
    assert r"cafe\u0301" in sentence


def test_fit_names_classes_that_differ_in_case(digits_store):
    y = np.where(digits_store.y == "0", "dress", np.where(digits_store.y == "1", "Dress", "hat"))
    with pytest.warns(LabelWarning, match="differ only in case, blanks or Unicode form.*'Dress' and 'dress'"):
        fitted = TransferClassifier(head="centroid").fit(digits_store, y)
    assert fitted.classes_.tolist() == ["Dress", "dress", "hat"]


def test_a_class_called_as_missing_values_are_is_named(digits_store):
    y = np.where(digits_store.y == "0", "nan", "hat")
    with pytest.warns(LabelWarning, match="a class is called 'nan': is that a missing label"):
        TransferClassifier(head="centroid").fit(digits_store, y)


def test_blanks_around_labels_and_groups_of_a_manifest_are_stripped(digits_folder, tmp_path):
    lines = [f"{digits_folder / '0' / f'{i:03d}.png'},dress{' ' * (i % 2)},p1{' ' * (i % 2)}" for i in range(4)]
    (tmp_path / "photos.csv").write_text("path,label,group\n" + "\n".join(lines) + "\n")
    with extract(tmp_path / "photos.csv", output=tmp_path / "x.h5", root="/") as store:
        assert (set(store.y), set(store.groups)) == ({"dress"}, {"p1"})


def test_blanks_around_labels_of_a_list_are_stripped(paths, tmp_path):
    with extract(paths[:2], output=tmp_path / "x.h5", labels=["dress", "dress "]) as store:
        assert store.class_counts == {"dress": 2}
