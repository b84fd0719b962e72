"""Where images come from: folders, manifests and Python objects, all turned into a list of items."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import Note, SourceError
from ..folders import is_store_name, is_url, open_regular
from ..wording import count
from .archives import is_archive, is_compressed_tar, read_archive, read_shards
from .contents import HEAD_BYTES, is_image_content
from .items import IMAGE_SUFFIXES, LISTED_SUFFIXES, Ignored, Item, Source, Unlisted, is_image
from .manifests import USUAL_COLUMNS, ManifestColumns, is_frame, is_manifest, read_frame, read_manifest
from .objects import items_from
from .remote import file_info, listed
from .urls import Confined, public

_SPLIT_NAMES = frozenset("train training val valid validation test testing".split())


def read_source(
    source: Any,
    *,
    labels: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    root: str | os.PathLike[str] | None = None,
    columns: ManifestColumns = USUAL_COLUMNS,
) -> Source:
    """List the images of a source without opening them.

    Parameters
    ----------
    source : path or sequence
        A folder of class folders (the label is the first folder below `source`), a flat folder, a
        ``.csv``, ``.tsv`` or ``.parquet`` manifest with a column ``path`` and optional columns
        ``label`` and ``group``, a ``.zip`` or ``.tar`` archive or a folder of webdataset's shards; each of them
        here or behind a URL; or a sequence of paths, URLs, bytes, binary file objects, PIL images and uint8 arrays, a
        data set object, or a data frame with the columns of a manifest. A `Source` is returned as it is.
    labels, groups : sequence, optional
        One for each image, for a sequence only.
    root : path, optional
        Folder that the paths of a manifest are relative to, and that they may not leave. Default: the
        folder of the manifest, which one on this machine may leave; of a data frame the current folder.
    columns : ManifestColumns
        Names of a manifest's columns.

    Returns
    -------
    Source

    Raises
    ------
    SourceError
        If there is nothing there, or no image in it, or the manifest cannot be read.
    """
    if isinstance(source, Source) and labels is None and groups is None:
        _check_no_manifest(root, columns, "a list that was read already")
        return source
    if not isinstance(source, str | os.PathLike):
        if is_frame(source) and labels is None and groups is None:
            return read_frame(source, root, columns)
        _check_no_manifest(root, columns, "a sequence of images")
        return Source(items_from(source, labels=labels, groups=groups), kind="images")
    if labels is not None or groups is not None:
        raise SourceError("labels and groups go with a sequence of images; a folder or manifest brings its own")
    found = _read_place(os.fspath(source), root, columns)
    found.called = os.fspath(source)
    return found


def _read_place(place: str, root: str | os.PathLike[str] | None, columns: ManifestColumns) -> Source:
    if not place:
        raise SourceError("the name of the source is empty; for the current folder write '.'")
    far = is_url(place)
    if far:
        scheme, rest = place.split("://", 1)
        place = rest if scheme.lower() == "file" else f"{scheme.lower()}://{rest}"
        public(place)
        far = is_url(place)
    path = Path(place)
    is_file = is_store_name(public(place)) and (far or path.is_file())
    if is_file or (not far and (path / "index.h5").is_file()):
        raise SourceError(
            f"{public(place)} is a store: its features are there already. Fit, evaluate, predict and 'store merge' "
            "take it as it is; to extract, name the images."
        )
    if is_manifest(place) and (far or path.is_file()):
        return read_manifest(place, root, columns)
    _check_no_manifest(root, columns, public(place))
    if not far and path.is_dir():
        return _read_folder(path)
    if is_archive(place):
        return read_archive(place)
    if is_compressed_tar(place):
        raise SourceError(f"{place} can only be read from its beginning: unpack it, or pack it without compression")
    if far:
        return _read_url(place)
    if not path.exists():
        raise SourceError(
            f"no such source: {path}. Expected a folder of images, a CSV or Parquet manifest, a .zip or .tar "
            "archive, or a URL."
            + (" Patterns are not expanded here: name the folder." if set(place) & set("*?[") else "")
        )
    if is_image(path.name) or begins_as_image(path):
        return Source([Item(path.name, str(path))], "one image", str(path.parent.resolve()), str(path.resolve()))
    raise SourceError(
        f"cannot tell what {path} is. Expected a folder, a manifest (.csv, .tsv, .parquet), an archive (.zip, .tar), "
        "or one image file."
    )


def _check_no_manifest(root: str | os.PathLike[str] | None, columns: ManifestColumns, called: str) -> None:
    """Raise SourceError for settings of a manifest that come with something else."""
    given = {"root": root, **{f"{name}_column": value for name, value in asdict(columns).items()}}
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise SourceError(f"{name} (--{option}) goes with a manifest, and {called} is none")


def _nested(items: list[Item]) -> str:
    """A folder within a class folder, if all images lie in such folders, and these have more than one name."""
    names = [item.path.split("/") for item in items if not item.problem]
    if not names or any(len(parts) < 3 for parts in names) or len({parts[1] for parts in names}) < 2:
        return ""
    return "/".join(names[0][:2])


def _read_url(url: str) -> Source:
    """One image, or all below a folder."""
    shown = public(url).rstrip("/")
    if is_image(PurePosixPath(shown).name):
        item = Item(PurePosixPath(shown).name, url, info=file_info(url))
        return Source([item], "one image", shown.rpartition("/")[0], shown)
    if "?" in url:
        raise SourceError(f"{shown} is no image, manifest or archive, and a folder's URL may have no '?' in it")
    found = listed(url)
    ignored, items = Ignored(), []
    for name, full, info in found:
        if is_image(name):
            items.append(Item(name, Confined(full), name.partition("/")[0] if "/" in name else "", info=info))
        else:
            ignored.add(name)
    shards = [(name, full) for name, full, _ in found if name.lower().endswith(".tar")]
    return _folder(shown, items, ignored, shards)


def _read_folder(folder: Path) -> Source:
    start = os.path.join(folder, "")
    walk = _Walk(start)
    items = []
    for path, problem in walk.found:
        label, slash, _ = path.partition("/")
        items.append(Item(path, start + path, label if slash else "", "", problem))
    shards = [(name, str((folder / name).resolve())) for name in walk.tars] if not items else []
    return _folder(str(folder.resolve()), items, walk.ignored, shards, str(folder))


def _folder(root: str, items: list[Item], ignored: Ignored, shards: list[tuple[str, str]], called: str = "") -> Source:
    """The images below a folder; of one that holds tar files instead, theirs."""
    called = called or root
    if not items and shards:
        return replace(read_shards(shards), root=root, place=root)
    if not items:
        raise SourceError(
            f"no image in {called}: expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
            + (f"; found only {ignored}" if ignored else "; the folder is empty")
        )
    labels = {item.label for item in items}
    notes = ignored.notes()
    if "" in labels and len(labels) > 1:
        loose = sum(not item.label for item in items)
        beside = "beside the class folders and"
        lie = count(loose, f"image lies {beside} has", f"images lie {beside} have")
        notes.append(Note(f"{lie} no label.", about_labels=True))
    if {label.lower() for label in labels - {""}} <= _SPLIT_NAMES and labels != {""}:
        found = ", ".join(sorted(labels - {""}))
        said = f"The class folders are called {found}. Are these splits? Then name one of them as the source."
        notes.append(Note(said, about_labels=True))
    elif inner := _nested(items):
        said = (
            f"No image lies in a class folder itself, all lie in folders below, such as {inner}. The label is the "
            f"first folder; if it should be the second, name the first as the source, such as "
            f"{called.rstrip('/')}/{inner.partition('/')[0]}."
        )
        notes.append(Note(said, about_labels=True))
    return Source(items, "flat folder" if labels == {""} else "class folders", root, root, notes)


@dataclass
class _Level:
    """A folder that is being looked through."""

    below: str
    entries: Iterator[os.DirEntry[str]]
    identity: tuple[int, int]
    as_image: bool  # whether it is called as an image is
    before: int  # how many images were found before it


class _Walk:
    """What lies below a folder, sorted by name; no recursion, since folders may be nested thousands deep.

    Attributes
    ----------
    found : list of (str, str)
        Path of every image below `start`, and what is already known to be wrong with it.
    tars : list of str
        Paths of tar files.
    ignored : Ignored
        The other files; of a hidden folder, what lies in it is not looked at.
    """

    def __init__(self, start: str) -> None:
        self.found: list[tuple[str, str]] = []
        self.tars: list[str] = []
        self.ignored = Ignored()
        self._start = start
        self._levels: list[_Level] = []
        self._open("", as_image=False)
        above = {level.identity for level in self._levels}
        while self._levels:
            level = self._levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                self._levels.pop()
                above.discard(level.identity)
                if level.as_image and len(self.found) == level.before:
                    self.found.append((level.below, "a directory, not an image file"))
            elif self._look(entry, f"{level.below}/{entry.name}" if level.below else entry.name):
                opened = self._levels[-1].identity
                if opened in above:  # a symbolic link to a folder above
                    self._levels.pop()
                above.add(opened)

    def _look(self, entry: os.DirEntry[str], path: str) -> bool:
        """Take note of an entry; whether a folder was opened."""
        if entry.name.startswith("."):
            self.ignored.add(entry.name)
            return False
        _, dot, ending = entry.name.rpartition(".")
        suffix = (dot + ending).lower() if dot else ""
        try:
            is_folder = entry.is_dir()
        except OSError:
            is_folder = False
        if is_folder:
            return self._open(path, as_image=suffix in LISTED_SUFFIXES)
        # Scanners and cameras write names without an ending, or end them in a number (as DICOM's identifiers).
        unsaid = not dot or ending.isdecimal()
        if suffix in LISTED_SUFFIXES or (unsaid and begins_as_image(self._start + path)):
            self.found.append((path, ""))
        else:
            self.ignored.add(entry.name)
            if suffix == ".tar":
                self.tars.append(path)
        return False

    def _open(self, below: str, *, as_image: bool) -> bool:
        try:
            state = os.stat(self._start + below)
            with os.scandir(self._start + below) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.found.append((below, Unlisted(error.strerror or error)))
            return False
        identity = (state.st_dev, state.st_ino)
        self._levels.append(_Level(below, iter(listing), identity, as_image, len(self.found)))
        return True


def begins_as_image(path: str | os.PathLike[str]) -> bool:
    """Tell whether the first bytes of a file are those of an image."""
    try:
        with open_regular(path) as file:
            return is_image_content(file.read(HEAD_BYTES))
    except OSError:
        return False
