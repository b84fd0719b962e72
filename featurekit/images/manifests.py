"""Manifests: tables of paths, labels, groups and splits, here, behind a URL, or in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import Note, Remedy, SourceError
from ..folders import is_url
from .items import Item, Source, as_label, as_text
from .remote import joined
from .tables import SAVE_AS_UTF8, Table, is_broken, is_manifest, read_table, table_of_frame
from .urls import is_far_url, public, timeout

__all__ = ["ManifestColumns", "is_frame", "is_manifest", "read_frame", "read_manifest"]


@dataclass(frozen=True, slots=True)
class ManifestColumns:
    """The columns of a manifest that hold what is read.

    Parameters
    ----------
    path, label, group, split : str, optional
        The name of a column, which then must be there. Default: the column that is called ``path``, ``label``,
        ``group`` or ``split``, if there is one.
    """

    path: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None

    def found_in(self, names: Sequence[str], shown: str) -> dict[str, str]:
        """The column of each kind among those of a table.

        Raises
        ------
        SourceError
            If one that was named is not there, or none holds the paths.
        """
        found = {}
        there = ", ".join(map(repr, names)) or "an empty file"
        for kind in (each.name for each in fields(self)):
            given = getattr(self, kind)
            if given is not None and given not in names:
                raise SourceError(
                    f"the manifest {shown} has no column {given!r}; found {there}.",
                    remedies=[_OTHER_COLUMN[kind]],
                )
            if given is not None or kind in names:
                found[kind] = given or kind
        if "path" not in found:
            raise SourceError(
                f"the manifest {shown} has no column 'path'. Expected the columns path,label[,group]; found {there}.",
                remedies=[Remedy("if another column holds the paths, name it", "path_column")],
            )
        return found


USUAL_COLUMNS = ManifestColumns()
_OTHER_COLUMN = {
    "path": Remedy("name one of them", "path_column"),
    "label": Remedy("name one of them", "label_column"),
    "group": Remedy("name one of them", "group_column"),
    "split": Remedy("name one of them", "split_column"),
}


def read_manifest(place: str, root: str | os.PathLike[str] | None, columns: ManifestColumns = USUAL_COLUMNS) -> Source:
    """The images that a table lists.

    Parameters
    ----------
    place : str
        A file or a URL.
    root : path or URL, optional
        What its paths are relative to, and may not leave; a local folder allows no URLs. Default: the folder of the
        table. One on this machine may then name any other file, and any URL.
    columns : ManifestColumns

    Raises
    ------
    SourceError
        If it cannot be read, or lists nothing.
    """
    shown = public(place) if is_url(place) else place
    table = read_table(place, lambda names: list(columns.found_in(names, shown).values()))
    home = shown if is_url(place) else str(Path(place).resolve())
    return _listed(table, columns, shown, home, os.path.dirname(shown) or ".", root)


def is_frame(source: object) -> bool:
    """Whether a source is a data frame of several columns."""
    return hasattr(source, "to_numpy") and len(getattr(source, "columns", ())) > 1


def read_frame(frame: Any, root: str | os.PathLike[str] | None, columns: ManifestColumns = USUAL_COLUMNS) -> Source:
    """The images that a data frame lists; its paths are relative to the root, or to the current folder."""
    table = table_of_frame(frame, lambda names: list(columns.found_in(names, "in memory").values()))
    return _listed(table, columns, "in memory", "", ".", root)


def _listed(
    table: Table, columns: ManifestColumns, shown: str, home: str, folder: str, root: str | os.PathLike[str] | None
) -> Source:
    chosen = columns.found_in(table.names, shown)
    paths = table.columns[chosen["path"]]
    if not paths:
        raise SourceError(f"the manifest {shown} lists no image")
    base = folder if root is None else os.fspath(root)
    if not is_url(base) and not os.path.isdir(base):
        raise SourceError(f"the root of the manifest is not a folder: {base}")
    resolved = base.rstrip("/") if is_url(base) else str(Path(base).resolve())
    lead = _Lead(base, resolved, far=is_url(home), free=root is None and not is_url(home))
    texts = {
        kind: list(map(as_text if kind == "path" else as_label, table.columns[chosen[kind]]))
        if kind in chosen
        else [""] * len(paths)
        for kind in ("path", "label", "group", "split")
    }
    for kind in ("label", "group", "split"):
        if wrong := next(filter(is_broken, texts[kind]), None):
            raise SourceError(f"{shown} is not UTF-8: it holds the {kind} {wrong!a}. {SAVE_AS_UTF8}")
    items = []
    for name, label, group in zip(texts["path"], texts["label"], texts["group"], strict=True):
        origin, problem = lead.to(name)
        items.append(Item(public(name) if is_url(name) else name, origin, label, group, problem))
    notes = [*table.notes, *_notes(PurePosixPath(shown).name, table.names, chosen)]
    return Source(items, "manifest", resolved, home, notes, texts["split"] if "split" in chosen else [])


def _notes(file: str, names: list[str], chosen: dict[str, str]) -> list[str]:
    notes: list[str] = []
    if "label" not in chosen:
        notes.append(
            Note(
                f"{file} has no column 'label': the images have no labels.",
                [Remedy("if another column holds them, name it", "label_column")],
                about_labels=True,
            )
        )
    if "split" in chosen:
        notes.append(
            Note(f"{file}: the column {chosen['split']!r} is kept as the split of the images.", about_labels=True)
        )
    if unused := [name for name in names if name and name not in chosen.values()]:
        said = ", ".join(unused[:8]) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
        notes.append(
            Note(
                f"{file}: not used: the column{'s' if len(unused) > 1 else ''} {said}.",
                [Remedy("name one that holds labels", "label_column"), Remedy("groups", "group_column")],
                about_labels=True,
            )
        )
    return notes


class _Lead:
    """From the path in a line to the file or URL that it names, and why that may not be opened.

    A table from a server, or one with a root, is kept within, URLs included: it may be of somebody else. One that lies
    on this machine is taken as the user's own.

    Parameters
    ----------
    base : str
        A folder or URL that paths are relative to.
    resolved : str
        The same, absolute and without links.
    far : bool
        Whether the table lies on a server.
    free : bool
        Whether its paths may lead anywhere on this machine.
    """

    def __init__(self, base: str, resolved: str, *, far: bool, free: bool) -> None:
        self._base, self._far, self._free = base, far, free
        self._root = Path(resolved)
        self._shown = resolved
        self._below: dict[str, bool] = {}  # following links takes long

    def to(self, name: str) -> tuple[str, str]:
        """The file or URL, and why it may not be opened, or nothing."""
        if not name:
            return "", "the manifest has no path in this line"
        if is_url(self._base):
            timeout()  # nonsense in its variable is said once, not for each image
            found = joined(self._base, name)
            return (found, "") if found else (name, self._outside())
        if is_url(name) and not self._free:
            return name, self._outside()
        if is_url(name):
            timeout()
            # A table here may name images of anywhere else, but no files of this machine by a URL.
            allowed = is_far_url(name)
            return name, "" if allowed else "a URL that a manifest may not name (of a file here, write its path)"
        origin = os.path.join(self._base, name)
        if self._free:
            return origin, ""
        try:
            return origin, "" if self._is_below(origin) else self._outside()
        except (OSError, ValueError, RuntimeError) as error:
            return origin, f"not a usable path: {error}"

    def _is_below(self, origin: str) -> bool:
        folder, last = os.path.split(origin)
        if last in {"", ".", ".."} or os.path.islink(origin):
            return Path(origin).resolve().is_relative_to(self._root)
        if folder not in self._below:
            self._below[folder] = Path(folder).resolve().is_relative_to(self._root)
        return self._below[folder]

    def _outside(self) -> str:
        if self._far:
            way = "name a folder above (root=, --root), or " if is_url(self._base) else ""
            return (
                f"outside {self._shown}: a manifest from a server may not lead there. If you trust it, {way}download it"
            )
        return f"outside {self._shown}, the root that was named: leave root= or --root out, or name a folder above"
