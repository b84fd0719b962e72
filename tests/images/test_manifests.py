"""Manifests: where their paths may lead, which columns are read, and what is said about the rest."""

from __future__ import annotations

import os
import unicodedata

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from odd_files import encoded, picture

from featurekit import extract
from featurekit.errors import ImageError, SourceError
from featurekit.images import ManifestColumns, read_origin, read_source
from featurekit.images.tables import MAX_MANIFEST

PNG = encoded(picture(0), "PNG")


@pytest.fixture
def lists(tmp_path):
    """A folder for manifests, beside one with an image."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.png").write_bytes(PNG)
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists"


def write(place, text, encoding="utf-8"):
    place.write_bytes(text.encode(encoding))
    return place


@pytest.mark.parametrize("absolute", [True, False])
def test_ones_own_manifest_may_name_files_anywhere(lists, absolute):
    name = lists.parent / "photos" / "x.png" if absolute else "../photos/x.png"
    (item,) = read_source(write(lists / "m.csv", f"path\n{name}\n")).items
    assert (item.path, item.problem) == (str(name), "")
    assert read_origin(item.origin)[0] == PNG


def test_a_root_that_is_named_confines_a_manifest_and_the_reason_names_the_option(lists):
    (item,) = read_source(write(lists / "m.csv", "path\n../photos/x.png\n"), root=lists).items
    assert item.problem == (
        f"outside {lists}, the root that was named: leave root= or --root out, or name a folder above"
    )


def test_columns_of_other_names_are_read(lists):
    text = "file,class,patient,label\na.png,cat,p1,7\n"
    columns = ManifestColumns(path="file", label="class", group="patient")
    (item,) = read_source(write(lists / "m.csv", text), columns=columns).items
    assert (item.path, item.label, item.group) == ("a.png", "cat", "p1")


def test_columns_of_other_names_are_read_from_parquet(lists):
    frame = pandas.DataFrame({"file": ["a.png", "b.png"], "class": [1, 2], "patient": ["p", None]})
    frame.to_parquet(lists / "m.parquet")
    columns = ManifestColumns(path="file", label="class", group="patient")
    items = read_source(lists / "m.parquet", columns=columns).items
    assert [(i.path, i.label, i.group) for i in items] == [("a.png", "1", "p"), ("b.png", "2", "")]


def test_columns_that_are_not_used_are_named(lists):
    source = read_source(write(lists / "m.csv", "path,label,patient,width\na.png,cat,p1,7\n"))
    (note,) = source.notes
    assert note.startswith("m.csv: not used: the columns patient, width.")
    assert "group_column=" in note


def test_a_column_that_is_named_must_be_there(lists):
    with pytest.raises(SourceError, match=r"no column 'patient'; found 'path', 'label'\. .* \(group_column=\.\.\.\)"):
        read_source(write(lists / "m.csv", "path,label\na.png,cat\n"), columns=ManifestColumns(group="patient"))


def test_a_missing_path_column_says_how_to_name_one(lists):
    with pytest.raises(SourceError, match=r"name it \(path_column=\.\.\.\)"):
        read_source(write(lists / "m.csv", "file_name,label\na.png,cat\n"))


def test_names_of_columns_without_a_manifest_are_refused(lists):
    with pytest.raises(SourceError, match=r"label_column \(--label-column\) goes with a manifest"):
        read_source(lists.parent / "photos", columns=ManifestColumns(label="class"))


def test_extract_takes_names_of_columns(digits_folder, tmp_path):
    paths = sorted(digits_folder.glob("*/*.png"))[:2]
    write(tmp_path / "m.csv", "file,class,who\n" + "".join(f"{path},c{i},w\n" for i, path in enumerate(paths)))
    names = {"path_column": "file", "label_column": "class", "group_column": "who"}
    with extract(tmp_path / "m.csv", output=tmp_path / "m.h5", **names) as store:
        assert (store.y.tolist(), list(store.groups)) == (["c0", "c1"], ["w", "w"])


def test_the_split_of_each_item_is_read(lists):
    source = read_source(write(lists / "m.csv", "path,label,split\na.png,cat,train\nb.png,cat,\n"))
    assert source.splits == ["train", ""]
    (note,) = source.notes
    assert "the column 'split' is kept as the split of the images" in note


def test_a_table_with_semicolons_is_read_and_a_note_says_so(lists):
    source = read_source(write(lists / "m.csv", "path;label\na,1.png;cat\n"))
    assert [(i.path, i.label) for i in source.items] == [("a,1.png", "cat")]
    assert any("separated by ';'" in note for note in source.notes)


@pytest.mark.parametrize("text", ["path,label\na.png,grün\n", "path,Gruß\na.png,x\n"])
def test_a_table_in_latin_1_is_refused(lists, text):
    with pytest.raises(SourceError, match=r"not UTF-8.*Save the table as UTF-8"):
        read_source(write(lists / "m.csv", text, "latin-1"))


def test_paths_that_are_not_utf_8_are_kept(lists):
    name = os.fsencode(lists) + b"/gr\xfcn.png"
    with open(name, "wb") as file:
        file.write(PNG)
    (item,) = read_source(write(lists / "m.csv", "path,label\ngrün.png,x\n", "latin-1")).items
    assert read_origin(item.origin)[0] == PNG


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("dress/a.png", "dress\\a.png"),
        ("a.png", "a.PNG"),
        (unicodedata.normalize("NFD", "grün.png"), unicodedata.normalize("NFC", "grün.png")),
        (unicodedata.normalize("NFC", "é/grün.png"), unicodedata.normalize("NFD", "é/grün.png")),
    ],
)
def test_a_file_that_is_spelled_otherwise_is_named(lists, there, named):
    (lists / there).parent.mkdir(exist_ok=True)
    (lists / there).write_bytes(PNG)
    (item,) = read_source(write(lists / "m.csv", f"path\n{named}\n")).items
    with pytest.raises(ImageError, match="no such file; one of that name is spelled otherwise: "):
        read_origin(item.origin)


def test_a_data_frame_is_a_manifest():
    frame = pandas.DataFrame({"path": ["a.png", "b.png"], "label": ["x", None], "split": ["train", "test"]})
    source = read_source(frame)
    assert [(i.path, i.label) for i in source.items] == [("a.png", "x"), ("b.png", "")]
    assert (source.kind, source.splits) == ("manifest", ["train", "test"])


def test_a_data_frame_with_other_columns(lists):
    frame = pandas.DataFrame({0: ["photos/x.png"], "class": [3]})
    columns = ManifestColumns(path="0", label="class")
    (item,) = read_source(frame, root=lists.parent, columns=columns).items
    assert (item.label, read_origin(item.origin)[0]) == ("3", PNG)


def test_a_manifest_without_end_is_refused_before_it_is_read(lists):
    with open(lists / "m.csv", "wb") as file:
        file.truncate(MAX_MANIFEST + 1)
    with pytest.raises(SourceError, match=r"more than 1,073,741,824 bytes"):
        read_source(lists / "m.csv")


def test_a_small_parquet_file_of_very_many_paths_is_refused(lists):
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 10**6, pyarrow.int32()), ["a.png"])
    table = pyarrow.table({"path": pyarrow.chunked_array([column] * 3)})
    pyarrow.parquet.write_table(table, lists / "m.parquet")
    assert (lists / "m.parquet").stat().st_size < 100_000
    with pytest.raises(SourceError, match=r"lists more than 1,[\d,]+ images"):
        read_source(lists / "m.parquet")


def test_a_parquet_file_of_long_texts_is_refused(lists):
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 10**5, pyarrow.int32()), ["x" * 10**5])
    pyarrow.parquet.write_table(pyarrow.table({"path": column}), lists / "m.parquet")
    with pytest.raises(SourceError, match="a value of the column 'path' has more than 8192 characters"):
        read_source(lists / "m.parquet")


def test_parquet_with_broken_text_is_a_message(lists):
    broken = pyarrow.array([b"a.png", b"\xff\xfe.png"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"path": broken}), lists / "m.parquet")
    with pytest.raises(SourceError, match=r"column 'path' in the rows 1 to 2 is not UTF-8"):
        read_source(lists / "m.parquet")


def test_damaged_parquet_is_a_message(lists):
    names = [f"{i}.png" for i in range(300)]
    pandas.DataFrame({"path": names, "label": ["a", "b", "c"] * 100}).to_parquet(lists / "m.parquet")
    good = (lists / "m.parquet").read_bytes()
    refused = 0
    for place in range(4, len(good), 23):
        (lists / "m.parquet").write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            read_source(lists / "m.parquet")
        except SourceError:
            refused += 1
    assert refused


def test_folders_within_class_folders_are_mentioned(tmp_path):
    for name in ("a/dress/1.png", "s/pants/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(PNG)
    (note,) = read_source(tmp_path).notes
    assert f"name the first as the source, such as {tmp_path}/a." in note


def test_folders_within_one_class_folder_among_others_are_not_mentioned(tmp_path):
    for name in ("a/2021/1.png", "a/2022/1.png", "s/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(PNG)
    assert read_source(tmp_path).notes == []


def test_a_pattern_is_refused_with_a_hint(tmp_path):
    with pytest.raises(SourceError, match="Patterns are not expanded here: name the folder"):
        read_source(str(tmp_path / "*.png"))
