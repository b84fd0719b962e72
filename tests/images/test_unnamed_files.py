"""Files whose names do not say what they are: known by their first bytes; and hidden files, which are counted."""

from __future__ import annotations

import io
import shutil
import zipfile

import pytest
from PIL import Image

from featurekit.errors import Note, SourceError
from featurekit.images import read_source


def picture(kind):
    """A small image file."""
    data = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(data, format=kind)
    return data.getvalue()


CONTENTS = {
    **{kind: picture(kind) for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "JPEG2000", "AVIF")},
    "DICOM": bytes(128) + b"DICM" + bytes(50),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
}


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2.55"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_an_image_without_an_ending_is_listed(tmp_path, kind, name):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / name).write_bytes(CONTENTS[kind])
    source = read_source(tmp_path)
    assert [(item.path, item.label) for item in source.items] == [(f"cat/{name}", "cat")]


@pytest.mark.parametrize("content", [b"", b"# a text", b"BMW and Mercedes are cars", b"PK\3\4", b"P5 is a port", b"MM"])
def test_another_file_without_an_ending_is_ignored_with_a_note(tmp_path, content):
    (tmp_path / "a.png").write_bytes(CONTENTS["PNG"])
    (tmp_path / "README").write_bytes(content)
    source = read_source(tmp_path)
    assert [item.path for item in source.items] == ["a.png"]
    assert source.notes == ["Ignored 1 x (no ending): not image file names."]


def test_one_file_without_an_ending_is_a_source(tmp_path):
    (tmp_path / "IM0001").write_bytes(CONTENTS["PNG"])
    assert read_source(tmp_path / "IM0001").kind == "one image"


def test_hidden_files_and_folders_are_counted_in_one_note(tmp_path):
    (tmp_path / "a.png").write_bytes(CONTENTS["PNG"])
    (tmp_path / ".b.png").write_bytes(CONTENTS["PNG"])
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.png").write_bytes(CONTENTS["PNG"])
    source = read_source(tmp_path)
    assert [item.path for item in source.items] == ["a.png"]
    assert source.notes == ["Ignored 2 hidden files and folders."]


def test_a_folder_of_hidden_files_only_is_not_called_empty(tmp_path):
    (tmp_path / ".a.png").write_bytes(CONTENTS["PNG"])
    with pytest.raises(SourceError, match="found only 1 hidden file or folder"):
        read_source(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_left_out_of_an_archive_is_noted(tmp_path, kind):
    folder = tmp_path / "folder"
    (folder / "cat").mkdir(parents=True)
    for name in ("cat/a.png", "cat/b.txt", "cat/IM0001", ".hidden.png"):
        (folder / name).write_bytes(CONTENTS["PNG"])
    archive = shutil.make_archive(str(tmp_path / "all"), kind, folder)
    source = read_source(archive)
    assert [item.path for item in source.items] == ["cat/a.png"]
    assert source.notes == [
        "Ignored 1 x (no ending), 1 x .txt: not image file names.",
        "Ignored 1 hidden file or folder.",
    ]


def test_one_image_beside_class_folders_is_told_in_the_singular(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("a.png", "cat/b.png"):
        (tmp_path / name).write_bytes(CONTENTS["PNG"])
    (note,) = read_source(tmp_path).notes
    assert note == "1 image lies beside the class folders and has no label."
    assert note.about_labels


def test_a_note_can_be_copied_and_pickled():
    import pickle

    from featurekit.errors import Remedy

    note = Note("A note.", [Remedy("do this", "root")], about_labels=True)
    copy = pickle.loads(pickle.dumps(note))
    assert copy == note == "A note. Do this (root=...)."
    assert (copy.remedies, copy.about_labels) == (note.remedies, True)


def test_a_dot_as_a_folder_of_a_zip_hides_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("./cat/a.png", "./notes.txt", "cat/../b.txt", "./.hidden"):
            archive.writestr(name, CONTENTS["PNG"])
    source = read_source(tmp_path / "a.zip")
    assert source.notes == ["Ignored 2 x .txt: not image file names.", "Ignored 1 hidden file or folder."]
