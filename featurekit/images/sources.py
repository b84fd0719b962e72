"""Where images come from: folders, manifests and Python objects, all turned into a list of items."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import SourceError
from ..folders import is_store_name, is_url
from .archives import is_archive, is_compressed_tar, read_archive, read_shards
from .items import IMAGE_SUFFIXES, LISTED_SUFFIXES, UNLISTED, Item, Source, is_image
from .manifests import is_manifest, read_manifest
from .objects import items_from
from .remote import file_info, listed, public

_SPLIT_NAMES = frozenset("train training val valid validation test testing".split())


def read_source(
    source: Any,
    *,
    labels: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Source:
    """List the images of a source without opening them.

    Parameters
    ----------
    source : path or sequence
        A folder of class folders (the label is the first folder below `source`), a flat folder, a
        ``.csv``, ``.tsv`` or ``.parquet`` manifest with a column ``path`` and optional columns
        ``label`` and ``group``, a ``.zip`` or ``.tar`` archive or a folder of webdataset's shards; each of them
        here or behind a URL; or a sequence of paths, URLs, bytes, binary file objects, PIL images and uint8 arrays, or
        a data set object.
    labels, groups : sequence, optional
        One for each image, for a sequence only.
    root : path, optional
        Folder that the paths of a manifest are relative to, and that they may not leave. Default: the
        folder of the manifest.

    Returns
    -------
    Source

    Raises
    ------
    SourceError
        If there is nothing there, or no image in it, or the manifest cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        return Source(items_from(source, labels=labels, groups=groups), kind="images")
    if labels is not None or groups is not None:
        raise SourceError("labels and groups go with a sequence of images; a folder or manifest brings its own")
    place = os.fspath(source)
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
        return read_manifest(place, root)
    if root is not None:
        raise SourceError(f"root goes with a manifest, and {place} is none")
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
        )
    if is_image(path.name):
        return Source([Item(path.name, str(path))], "one image", str(path.parent.resolve()), str(path.resolve()))
    raise SourceError(
        f"cannot tell what {path} is. Expected a folder, a manifest (.csv, .tsv, .parquet), an archive (.zip, .tar), "
        "or one image file."
    )


def _read_url(url: str) -> Source:
    """One image, or all below a folder."""
    shown = public(url).rstrip("/")
    if is_image(PurePosixPath(shown).name):
        item = Item(PurePosixPath(shown).name, url, info=file_info(url))
        return Source([item], "one image", shown.rpartition("/")[0], shown)
    if "?" in url:
        raise SourceError(f"{shown} is no image, manifest or archive, and a folder's URL may have no '?' in it")
    found = listed(url)
    ignored: dict[str, int] = {}
    items = []
    for name, full, info in found:
        if is_image(name):
            items.append(Item(name, full, name.partition("/")[0] if "/" in name else "", info=info))
        else:
            suffix = PurePosixPath(name).suffix.lower()
            ignored[suffix] = ignored.get(suffix, 0) + 1
    shards = [(name, full) for name, full, _ in found if name.lower().endswith(".tar")]
    return _folder(shown, items, ignored, shards)


def _read_folder(folder: Path) -> Source:
    items: list[Item] = []
    ignored: dict[str, int] = {}
    start = os.path.join(folder, "")
    for path, problem in _walk(start, "", frozenset(), ignored):
        label, slash, _ = path.partition("/")
        items.append(Item(path, start + path, label if slash else "", "", problem))
    tars = sorted(path for path in folder.rglob("*.tar") if path.is_file()) if not items else []
    named = [(path.relative_to(folder).as_posix(), str(path.resolve())) for path in tars]
    shards = [(name, path) for name, path in named if not any(part.startswith(".") for part in name.split("/"))]
    return _folder(str(folder.resolve()), items, ignored, shards, str(folder))


def _folder(
    root: str, items: list[Item], ignored: dict[str, int], shards: list[tuple[str, str]], called: str = ""
) -> Source:
    """The images below a folder; of one that holds tar files instead, theirs."""
    called = called or root
    if not items and shards:
        return replace(read_shards(shards), root=root, place=root)
    if not items:
        raise SourceError(
            f"no image in {called}: expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
            + (f"; found only {_counts(ignored)}" if ignored else "; the folder is empty")
        )
    labels = {item.label for item in items}
    notes = []
    if ignored:
        notes.append(f"Ignored {_counts(ignored)}: not image file names.")
    if "" in labels and len(labels) > 1:
        loose = sum(not item.label for item in items)
        notes.append(f"{loose} images lie beside the class folders and have no label.")
    if {label.lower() for label in labels - {""}} <= _SPLIT_NAMES and labels != {""}:
        found = ", ".join(sorted(labels))
        notes.append(f"The class folders are called {found}. Are these splits? Then name one of them as the source.")
    return Source(items, "flat folder" if labels == {""} else "class folders", root, root, notes)


def _walk(
    start: str, below: str, above: frozenset[tuple[int, int]], ignored: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yield every image's path below `start`, sorted by name, and what is already known to be wrong with it."""
    try:
        stat = os.stat(start + below)
        with os.scandir(start + below) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield below, f"{UNLISTED}: {error.strerror or error}"
        return
    if (stat.st_dev, stat.st_ino) in above:  # a symbolic link to a folder above
        return
    above = above | {(stat.st_dev, stat.st_ino)}
    prefix = f"{below}/" if below else ""
    for entry in listing:
        name = entry.name
        if name.startswith("."):
            continue
        _, dot, ending = name.rpartition(".")
        suffix = (dot + ending).lower() if dot else ""
        try:
            is_folder = entry.is_dir()
        except OSError:
            is_folder = False
        if is_folder:
            empty = True
            for found in _walk(start, prefix + name, above, ignored):
                empty = False
                yield found
            if empty and suffix in LISTED_SUFFIXES:
                yield prefix + name, ""  # Reading it says that it is a directory.
        elif suffix in LISTED_SUFFIXES:
            yield prefix + name, ""
        else:
            ignored[suffix] = ignored.get(suffix, 0) + 1


def _counts(ignored: dict[str, int]) -> str:
    names = [f"{count} x {suffix or '(no ending)'}" for suffix, count in sorted(ignored.items())]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
