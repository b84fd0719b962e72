"""Where images come from: folders, manifests and Python objects, all turned into a list of items."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._optional import require
from ..errors import SourceError

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .avif .jp2 .j2k".split()
)
"""File name endings, lower case, that make a file in a folder an image."""

UNLISTED = "the folder cannot be listed"
"""How the reason begins of an item that stands for a folder whose images are not known."""

_MAX_TEXT = 8192
_SPLIT_NAMES = frozenset("train training val valid validation test testing".split())


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, not yet opened.

    Attributes
    ----------
    path : str
        The name of its row: the path relative to the folder, as the manifest spells it, or as given.
    origin : str or PIL.Image.Image or ndarray of uint8
        The file to open, or the pixels.
    label, group : str
        Empty where there is none.
    problem : str
        Not empty if it is known, before opening it, that it cannot be used; then this is the reason.
    """

    path: str
    origin: str | Image.Image | NDArray[np.uint8]
    label: str = ""
    group: str = ""
    problem: str = ""


@dataclass(slots=True)
class Source:
    """A list of items and what was noticed while making it.

    Attributes
    ----------
    items : list of Item
        In source order: folders sorted by name, everything else in the order given.
    kind : str
        What the source was taken for.
    root : str
        Absolute path that the items' paths are relative to; empty for Python objects.
    place : str
        Absolute path of what was listed: the folder, or the manifest; empty for Python objects.
    notes : list of str
        Sentences for the user: what was left out, what looks like a mistake.
    """

    items: list[Item]
    kind: str
    root: str = ""
    place: str = ""
    notes: list[str] = field(default_factory=list)


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
        ``label`` and ``group``, or a sequence of paths, PIL images and uint8 arrays.
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
    if not os.fspath(source):
        raise SourceError("the name of the source is empty; for the current folder write '.'")
    path = Path(source)
    if (path.suffix.lower() in {".h5", ".hdf5"} and path.is_file()) or (path / "index.h5").is_file():
        raise SourceError(
            f"{path} is a store: its features are there already. Fit, evaluate, predict and 'store merge' take it as "
            "it is; to extract, name the images."
        )
    if path.is_dir():
        if root is not None:
            raise SourceError(f"root goes with a manifest, and {path} is a folder")
        return _read_folder(path)
    if not path.exists():
        raise SourceError(f"no such source: {path}. Expected a folder of images or a CSV or Parquet manifest.")
    suffix = path.suffix.lower()
    if suffix in {".csv", ".tsv"}:
        return _read_manifest(path, _read_csv(path, "\t" if suffix == ".tsv" else ","), root)
    if suffix in {".parquet", ".pq"}:
        return _read_manifest(path, _read_parquet(path), root)
    if suffix in IMAGE_SUFFIXES:
        return Source([Item(path.name, str(path))], "one image", str(path.parent.resolve()), str(path.resolve()))
    raise SourceError(
        f"cannot tell what {path} is. Expected a folder, a manifest (.csv, .tsv, .parquet), or one image file."
    )


def items_from(
    images: Any, *, labels: Sequence[object] | None = None, groups: Sequence[object] | None = None
) -> list[Item]:
    """Make items of a sequence of paths, PIL images and uint8 arrays.

    Parameters
    ----------
    images : sequence
        List, tuple, NumPy array (of paths, or of images with shape (n, height, width[, channels]) and
        dtype uint8), pandas Series, or a table with one column.
    labels, groups : sequence, optional
        One for each image.

    Returns
    -------
    list of Item

    Raises
    ------
    SourceError
        If `images` is a single image, or holds something that is not an image, or the lengths differ.

    Examples
    --------
    >>> [item.path for item in items_from(["a.jpg", "b.jpg"], labels=["cat", "dog"])]
    ['a.jpg', 'b.jpg']
    """
    if isinstance(images, str | os.PathLike | bytes | Image.Image):
        raise SourceError(f"expected a sequence of images, got one: {images!r}. Put it into a list: [image]")
    if hasattr(images, "to_numpy"):  # pandas, polars
        images = images.to_numpy()
    if isinstance(images, np.ndarray):
        images = _rows_of_array(images)
    elif not isinstance(images, Iterable):
        raise SourceError(f"expected a sequence of images, got {type(images).__name__}")
    items = [_item(index, image) for index, image in enumerate(images)]
    for name, values in (("label", labels), ("group", groups)):
        if values is None:
            continue
        values = list(values)
        if len(values) != len(items):
            raise SourceError(f"{len(items)} images but {len(values)} {name}s")
        for index, value in enumerate(values):
            item = items[index]
            text = _text(value)
            items[index] = Item(
                item.path,
                item.origin,
                text if name == "label" else item.label,
                text if name == "group" else item.group,
                item.problem,
            )
    return items


def _rows_of_array(array: NDArray[Any]) -> Iterable[Any]:
    if array.dtype.kind in "OUST":
        if array.ndim == 2 and array.shape[1] == 1:  # one column of a table, as ColumnTransformer passes it
            array = array[:, 0]
        if array.ndim != 1:
            raise SourceError(f"expected one column of images, got an array of shape {array.shape}")
    elif array.ndim not in {3, 4}:
        raise SourceError(
            f"expected an array of images with shape (n, height, width[, channels]), got shape {array.shape}. "
            "Features that are already computed go straight into a scikit-learn estimator."
        )
    return array


def _item(index: int, image: Any) -> Item:
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        if isinstance(path, str):
            return Item(_text(path), path)
    name = f"image-{index:07d}"
    if isinstance(image, Image.Image):
        return Item(name, image)
    if isinstance(image, np.ndarray):
        channels = image.shape[2:] if image.ndim == 3 else (1,) if image.ndim == 2 else (0,)
        if image.dtype != np.uint8 or channels[0] not in {1, 3, 4} or image.size == 0:
            raise SourceError(
                f"image {index}: expected a uint8 array of shape (height, width) or (height, width, 1, 3 or 4), "
                f"got {image.dtype} of shape {image.shape}"
            )
        return Item(name, image)
    raise SourceError(
        f"image {index}: expected a path, a PIL image or a uint8 array, got {type(image).__name__}: {image!r:.80}"
    )


def is_missing(value: object) -> bool:
    """Whether a value stands for "no value": None, NaN, or pandas' NA and NaT."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value


def _text(value: object) -> str:
    """A label, group or path as text; "no value" is empty."""
    if isinstance(value, bytes | list | tuple | dict | set | np.ndarray):
        raise SourceError(f"expected one label or group for each image, got a {type(value).__name__}: {value!r:.80}")
    text = "" if is_missing(value) else str(value)
    if "\0" in text:
        raise SourceError(f"a path, label or group holds a null character: {text!r:.80}")
    if len(text) > _MAX_TEXT:
        raise SourceError(f"a path, label or group has {len(text)} characters; at most {_MAX_TEXT} are kept")
    return text


def _read_folder(folder: Path) -> Source:
    root = str(folder.resolve())
    items: list[Item] = []
    ignored: dict[str, int] = {}
    start = os.path.join(folder, "")
    for path, problem in _walk(start, "", frozenset(), ignored):
        label, slash, _ = path.partition("/")
        items.append(Item(path, start + path, label if slash else "", "", problem))
    if not items:
        raise SourceError(
            f"no image in {folder}: expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
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
            if empty and suffix in IMAGE_SUFFIXES:
                yield prefix + name, "a directory, not an image file"
        elif suffix in IMAGE_SUFFIXES:
            yield prefix + name, ""
        else:
            ignored[suffix] = ignored.get(suffix, 0) + 1


def _counts(ignored: dict[str, int]) -> str:
    names = [f"{count} x {suffix or '(no ending)'}" for suffix, count in sorted(ignored.items())]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


_Column = Sequence[object]


def _read_csv(path: Path, delimiter: str) -> dict[str, _Column]:
    try:
        with path.open("rb") as start:
            if start.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
                raise SourceError(f"the manifest {path} is UTF-16; save it as UTF-8")
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            columns: dict[str, list[object]] = {name: [] for name in header}
            if len(columns) != len(header):
                raise SourceError(f"{path}: two columns have the same name: {', '.join(header)}")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise SourceError(
                        f"{path}, line {reader.line_num}: expected {len(header)} values "
                        f"({', '.join(header)}), got {len(row)}. Values that hold a '{delimiter}' need quotes."
                    )
                for name, value in zip(header, row, strict=True):
                    columns[name].append(value)
    except (csv.Error, OSError) as error:
        raise SourceError(f"cannot read the manifest {path}: {error}") from error
    return dict(columns)


def _read_parquet(path: Path) -> dict[str, _Column]:
    parquet = require("pyarrow.parquet", extra="parquet", purpose=f"Reading {path.name}")
    try:
        names = parquet.read_schema(path).names
        wanted = [name for name in ("path", "label", "group") if name in names]
        if "path" not in wanted:
            return dict.fromkeys(names, ())
        table = parquet.read_table(path, columns=wanted)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError.
        raise SourceError(f"cannot read the manifest {path}: {error}") from error
    return {name: table.column(name).to_pylist() for name in wanted}


def _read_manifest(path: Path, columns: dict[str, _Column], root: str | os.PathLike[str] | None) -> Source:
    if "path" not in columns:
        raise SourceError(
            f"the manifest {path} has no column 'path'. Expected the columns path,label[,group]; "
            f"found {', '.join(map(repr, columns)) or 'an empty file'}."
        )
    paths = columns["path"]
    if not paths:
        raise SourceError(f"the manifest {path} lists no image")
    base = Path(root) if root is not None else path.parent
    if not base.is_dir():
        raise SourceError(f"the root of the manifest is not a folder: {base}")
    nothing = [""] * len(paths)
    labels, groups = columns.get("label", nothing), columns.get("group", nothing)
    resolved = base.resolve()
    items = []
    folders: dict[str, bool] = {}
    for name, label, group in zip(map(_text, paths), map(_text, labels), map(_text, groups), strict=True):
        origin = os.path.join(base, name)
        items.append(Item(name, origin, label, group, _outside(origin, resolved, name, folders)))
    notes = [] if "label" in columns else [f"{path.name} has no column 'label': the images have no labels."]
    return Source(items, "manifest", str(resolved), str(path.resolve()), notes)


def _outside(origin: str, root: Path, name: str, folders: dict[str, bool]) -> str:
    """Why a path from a manifest may not be opened, or nothing. A manifest from elsewhere is untrusted input.

    `folders` remembers which folders lie below the root: following links takes long.
    """
    if not name:
        return "the manifest has no path in this line"
    folder, last = os.path.split(origin)
    try:
        if last in {"", ".", ".."} or os.path.islink(origin):
            inside = Path(origin).resolve().is_relative_to(root)
        else:
            if folder not in folders:
                folders[folder] = Path(folder).resolve().is_relative_to(root)
            inside = folders[folder]
        if inside:
            return ""
    except (OSError, ValueError, RuntimeError) as error:
        return f"not a usable path: {error}"
    return f"outside {root}; if the manifest can be trusted, name a root that contains it"
