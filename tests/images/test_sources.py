from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from odd_files import encoded, picture
from PIL import Image

from featurekit.errors import SourceError
from featurekit.images import items_from, read_source

PNG = encoded(picture(0), "PNG")


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def test_class_folders(tmp_path):
    make(tmp_path, "dog/2.jpg", "cat/b/1.png", "cat/a.JPG", ".hidden/x.jpg", "cat/.thumb.jpg", "cat/notes.txt")
    source = read_source(tmp_path)
    assert [(item.path, item.label) for item in source.items] == [
        ("cat/a.JPG", "cat"),
        ("cat/b/1.png", "cat"),
        ("dog/2.jpg", "dog"),
    ]
    assert source.kind == "class folders"
    assert source.notes == ["Ignored 1 x .txt: not image file names.", "Ignored 2 hidden files and folders."]


def test_flat_folder(tmp_path):
    make(tmp_path, "b.jpg", "a.jpg")
    source = read_source(tmp_path)
    assert ([item.path for item in source.items], source.kind) == (["a.jpg", "b.jpg"], "flat folder")
    assert {item.label for item in source.items} == {""}


def test_loose_images_and_split_folders_are_mentioned(tmp_path):
    make(tmp_path, "train/a/1.jpg", "test/a/1.jpg", "loose.jpg")
    notes = " ".join(read_source(tmp_path).notes)
    assert "1 image lies beside the class folders" in notes
    assert "The class folders are called test, train. Are these splits?" in notes


def test_a_loop_of_symbolic_links_ends(tmp_path):
    make(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    assert [item.path for item in read_source(tmp_path).items] == ["cat/1.jpg"]


def test_a_linked_class_folder_is_followed(tmp_path):
    make(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "elsewhere")
    assert [item.path for item in read_source(tmp_path / "photos").items] == ["cat/1.jpg"]


def test_sources_without_images_are_refused(tmp_path):
    with pytest.raises(SourceError, match="no such source"):
        read_source(tmp_path / "none")
    with pytest.raises(SourceError, match="the folder is empty"):
        read_source(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError, match=r"found only 1 x \.txt"):
        read_source(tmp_path)
    with pytest.raises(SourceError, match="cannot tell"):
        read_source(tmp_path / "a.txt")


def test_csv_manifest(tmp_path):
    make(tmp_path, "x/1.jpg", "2.jpg")
    text = '\ufeffpath,label,group,extra\nx/1.jpg,"a, b",g1,7\n\n2.jpg,,g2,8\n'
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    items = read_source(tmp_path / "m.csv").items
    assert [(i.path, i.label, i.group, i.problem) for i in items] == [
        ("x/1.jpg", "a, b", "g1", ""),
        ("2.jpg", "", "g2", ""),
    ]
    assert all(Path(i.origin).is_file() for i in items)


def test_parquet_manifest(tmp_path):
    frame = pandas.DataFrame({"path": ["1.jpg", "2.jpg"], "label": ["a", None], "other": [1.5, 2.5]})
    frame.to_parquet(tmp_path / "m.parquet")
    assert [(i.path, i.label) for i in read_source(tmp_path / "m.parquet").items] == [("1.jpg", "a"), ("2.jpg", "")]


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.jpg", "x/../../outside.jpg"])
def test_a_manifest_cannot_leave_its_root(tmp_path, name):
    (tmp_path / "in").mkdir()
    make(tmp_path, "outside.jpg")
    (tmp_path / "in" / "m.csv").write_text(f"path,label\n{name},a\n")
    (item,) = read_source(tmp_path / "in" / "m.csv", root=tmp_path / "in").items
    assert item.problem.startswith("outside ")
    (item,) = read_source(tmp_path / "in" / "m.csv", root="/").items
    assert not item.problem or not name.startswith("/")


def test_a_link_out_of_the_root_is_not_followed_for_a_manifest(tmp_path):
    make(tmp_path, "secret/1.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "door").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "m.csv").write_text("path\ndoor/1.jpg\n")
    (item,) = read_source(tmp_path / "in" / "m.csv", root=tmp_path / "in").items
    assert item.problem.startswith("outside ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'"),
        ("file,label\na,b\n", "found 'file', 'label'"),
        ("path,label\n", "lists no image"),
        ("path,label\na.jpg,b,c\n", "line 2: expected 2 values"),
        ("path,path\na,b\n", "same name"),
        ('path\n"a', "cannot read the manifest"),
    ],
)
def test_malformed_manifests(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_source(tmp_path / "m.csv")


def test_malformed_parquet(tmp_path):
    (tmp_path / "m.parquet").write_text("not parquet")
    with pytest.raises(SourceError, match="cannot read the manifest"):
        read_source(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    "make_images",
    [
        list,
        tuple,
        np.array,
        pandas.Series,
        lambda paths: pandas.DataFrame({"path": paths}),
        lambda paths: np.array(paths, dtype=object)[:, np.newaxis],
    ],
)
def test_sequences_of_paths(make_images):
    assert [item.path for item in items_from(make_images(["a.jpg", "b.jpg"]))] == ["a.jpg", "b.jpg"]


def test_arrays_and_pil_images():
    stack = np.zeros((3, 8, 9, 3), dtype=np.uint8)
    assert [item.path for item in items_from(stack)] == ["image-0000000", "image-0000001", "image-0000002"]
    mixed = [Image.new("L", (4, 4)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), "a.jpg"]
    assert len(items_from(mixed)) == 4


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.jpg", "got one"),
        (7, "got int"),
        ([7], "image 0: expected a path"),
        ([None], "image 0"),
        ([np.zeros((4, 4, 3))], "float64"),
        ([np.zeros((4, 4, 7), np.uint8)], r"\(4, 4, 7\)"),
        (np.zeros((5, 1280), np.float32), "already computed"),
        (np.zeros((2, 2), dtype=object), "one column"),
    ],
)
def test_objects_that_are_not_images_are_refused(images, message):
    with pytest.raises(SourceError, match=message):
        items_from(images)


def test_labels_and_groups_must_fit():
    items = items_from(["a", "b"], labels=[1, "x"], groups=[None, float("nan")])
    assert [(i.label, i.group) for i in items] == [("1", ""), ("x", "")]
    with pytest.raises(SourceError, match="2 images but 1 labels"):
        items_from(["a", "b"], labels=["x"])
