"""Manifests: CSV and Parquet tables of paths, labels and groups, here or behind a URL."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .._optional import require
from ..errors import ImageError, SourceError
from ..folders import is_url, open_regular
from .items import Item, Source, as_label, as_text
from .remote import fetch, is_far_url, joined, public, timeout

_Column = Sequence[object]


def is_manifest(place: str) -> bool:
    """Whether a source is a table of images, by its ending."""
    return _ending(place) in {".csv", ".tsv", ".parquet", ".pq"}


def read_manifest(place: str, root: str | os.PathLike[str] | None) -> Source:
    """The images that a table lists.

    Parameters
    ----------
    place : str
        A file or a URL.
    root : path or URL, optional
        What its paths are relative to, and may not leave. Default: where it lies.

    Raises
    ------
    SourceError
        If it cannot be read, or lists nothing.
    """
    try:
        if is_url(place):
            data = fetch(place)
        else:
            with open_regular(place) as file:
                data = file.read()
    except (ImageError, OSError) as error:
        raise SourceError(f"cannot read the manifest {public(place)}: {error}") from error
    ending = _ending(place)
    columns = (
        _of_csv(place, data, "\t" if ending == ".tsv" else ",")
        if ending in {".csv", ".tsv"}
        else _of_parquet(place, data)
    )
    return _listed(place, columns, root)


def _ending(place: str) -> str:
    return PurePosixPath(place.partition("?")[0] if is_url(place) else place).suffix.lower()


def _of_csv(path: str, data: bytes, delimiter: str) -> dict[str, _Column]:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SourceError(f"the manifest {path} is UTF-16; save it as UTF-8")
    try:
        with io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "surrogateescape", newline="") as file:
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
    except csv.Error as error:
        raise SourceError(f"cannot read the manifest {path}: {error}") from error
    return dict(columns)


def _of_parquet(path: str, data: bytes) -> dict[str, _Column]:
    parquet = require("pyarrow.parquet", extra="parquet", purpose=f"Reading {PurePosixPath(path).name}")
    try:
        names = parquet.read_schema(io.BytesIO(data)).names
        wanted = [name for name in ("path", "label", "group") if name in names]
        if "path" not in wanted:
            return dict.fromkeys(names, ())
        table = parquet.read_table(io.BytesIO(data), columns=wanted)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError.
        raise SourceError(f"cannot read the manifest {path}: {error}") from error
    return {name: table.column(name).to_pylist() for name in wanted}


def _listed(place: str, columns: dict[str, _Column], root: str | os.PathLike[str] | None) -> Source:
    shown = public(place) if is_url(place) else place
    if "path" not in columns:
        raise SourceError(
            f"the manifest {shown} has no column 'path'. Expected the columns path,label[,group]; "
            f"found {', '.join(map(repr, columns)) or 'an empty file'}."
        )
    paths = columns["path"]
    if not paths:
        raise SourceError(f"the manifest {shown} lists no image")
    base = os.fspath(root) if root is not None else os.path.dirname(shown) or "."
    if not is_url(base) and not os.path.isdir(base):
        raise SourceError(f"the root of the manifest is not a folder: {base}")
    resolved = base.rstrip("/") if is_url(base) else str(Path(base).resolve())
    nothing = [""] * len(paths)
    labels, groups = columns.get("label", nothing), columns.get("group", nothing)
    items = []
    folders: dict[str, bool] = {}
    for name, label, group in zip(map(as_text, paths), map(as_label, labels), map(as_label, groups), strict=True):
        if is_url(name) or is_url(base):
            origin, problem = _behind_url(base, name)
            items.append(Item(public(name) if is_url(name) else name, origin, label, group, problem))
        else:
            origin = os.path.join(base, name)
            items.append(Item(name, origin, label, group, _outside(origin, Path(resolved), name, folders)))
    file = PurePosixPath(shown).name
    notes = [] if "label" in columns else [f"{file} has no column 'label': the images have no labels."]
    return Source(items, "manifest", resolved, shown if is_url(place) else str(Path(place).resolve()), notes)


def _behind_url(base: str, name: str) -> tuple[str, str]:
    """The URL of a line, and why it may not be opened, or nothing."""
    timeout()  # nonsense in its variable is said once, not for each image
    if not name:
        return "", "the manifest has no path in this line"
    if is_url(base):
        found = joined(base, name)
        return found or name, "" if found else f"outside {base}; if the manifest can be trusted, name a root above it"
    # A table here may name images of anywhere else, but no files of this machine by a URL.
    return name, "" if is_far_url(name) else "a URL that a manifest may not name (of a file here, write its path)"


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
