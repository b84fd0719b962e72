"""Reading every checksum of a store again: which rows are damaged, and what else is."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreFormatError
from .far import Place
from .guards import is_whole
from .reader import FeatureStore
from .reading import damaged_rows_of, read_dataset, salvage, salvage_text
from .schema import HASH_COLUMNS, LEDGER_TEXT, NUMBER_COLUMNS, Columns, text_columns
from .texts import decode
from .writer import parts_folder, shards_in

logger = logging.getLogger(__name__)

_NOT_WHOLE = "its bytes are not those that its name promises"


@dataclass(slots=True)
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    rows : int
        Rows of the store.
    damaged : list of int
        The rows of which a value does not match its checksum, or whose shard is missing.
    paths : list of str
        The paths of those rows, as far as they can be read.
    problems : list of str
        Sentences: which parts of which files are damaged.
    """

    rows: int
    damaged: list[int]
    paths: list[str]
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing at all is damaged."""
        return not self.problems


def verify(path: str | os.PathLike[str]) -> Verification:
    """Read everything of a store and compare it with its checksums. Nothing is changed.

    Shards of work in progress are checked as well; they have no rows of the store yet, but are named among
    the problems. :func:`featurekit.extract` computes damaged rows again.

    Parameters
    ----------
    path : path
        Of the store, a file or a folder.

    Returns
    -------
    Verification

    Raises
    ------
    FileNotFoundError
        If there is no such store.
    StoreFormatError
        If it cannot be opened at all: it is not a store, or the part that says where everything lies is
        damaged.

    Examples
    --------
    >>> from featurekit.store import verify
    >>> found = verify(getfixture("digits_store_path"))
    >>> found.rows, found.damaged, found.ok
    (60, [], True)
    """
    with FeatureStore(path) as store:
        columns, bad = salvage_columns(store)
        problems = [f"{store.path}: {name}" for name in _damaged_parts(store)]
        in_rows = damaged_rows(store, problems)
        bad |= in_rows
        damaged = np.flatnonzero(bad)
        published = set(store.places.shards) if store.is_folder and "places" in store.__dict__ else set()
        for shard in shards_in(parts_folder(store.path)):
            with suppress(FileNotFoundError):  # an extraction that ends meanwhile deletes them
                if isinstance(shard, Path) and shard.name not in published and not is_whole(shard):
                    problems.append(f"{shard}: work in progress; {_NOT_WHOLE}")
        return Verification(len(store), damaged.tolist(), decode(columns.path[damaged]), problems)


def salvage_columns(store: FeatureStore) -> tuple[Columns, NDArray[np.bool_]]:
    """The columns as far as they can be read, and which rows have a damaged value in them.

    The rows themselves are not looked at.
    """
    try:
        return store.columns, np.zeros(len(store), dtype=np.bool_)
    except StoreFormatError as error:
        logger.warning("%s", error)
        values, damaged = {}, np.zeros(len(store), dtype=np.bool_)
        file = store._file()
        texts, hashes = text_columns(file), [name for name in HASH_COLUMNS if name in file]
        for name in (*texts, *hashes, *NUMBER_COLUMNS):
            values[name], bad = (salvage_text if name in texts else salvage)(file[name])
            damaged |= bad
        if not damaged.any():  # something is wrong, and nothing says where
            damaged[:] = True
        return Columns(**values), damaged


def damaged_rows(store: FeatureStore, problems: list[str] | None = None) -> NDArray[np.bool_]:
    """Which rows of ``X`` do not match their checksums, shape (n,). Shards that are missing count as damaged.

    Parameters
    ----------
    store : FeatureStore
    problems : list of str, optional
        Sentences are appended to it.
    """
    problems = [] if problems is None else problems
    if not store.is_folder:
        damaged, _ = damaged_rows_of(store._file())
        _tell(damaged, store.path, problems)
        return damaged
    try:
        places = store.places
    except StoreFormatError as error:
        problems.append(str(error))
        return np.ones(len(store), dtype=np.bool_)
    expected, damaged = salvage(store._file()["sha256"])
    for number in np.unique(places.shard).tolist():
        mine = np.flatnonzero(places.shard == number)
        try:
            shards, name = store.shards(), places.shards[number]
            path, rows = shards.whole(name), places.row[mine]
            holder = shards.file(name)
            if is_whole(path):  # its name is the hash of all its bytes: nothing in it has to be looked at
                bad, sha256 = np.zeros(len(holder["X"]), dtype=np.bool_), read_dataset(holder["sha256"])
            else:
                problems.append(f"{path}: {_NOT_WHOLE}")
                bad, sha256 = damaged_rows_of(holder)
                _tell(bad, path, problems)
                if not bad.any():
                    damaged[mine] = True
                    continue
            inside = np.minimum(rows, len(bad) - 1)
            wrong = (rows >= len(bad)) | (sha256[inside] != expected[mine]).any(axis=1)
            if wrong.any():
                problems.append(f"{path}: {wrong.sum()} of its rows are of other images than the index says")
            damaged[mine] |= wrong | bad[inside]
        except (FileNotFoundError, StoreFormatError) as error:
            problems.append(str(error))
            damaged[mine] = True
    return damaged


def _damaged_parts(store: FeatureStore) -> list[str]:
    """Datasets other than ``X`` with a wrong checksum: ``label: 12 values are damaged``."""
    file = store._file()
    hashes = [name for name in HASH_COLUMNS if name in file]
    names = [*text_columns(file), *hashes, *NUMBER_COLUMNS, *(f"ledger/{name}" for name in (*LEDGER_TEXT, "row"))]
    names += ["shards", "shard", "row"] if store.is_folder else []
    found = []
    for name in names:
        part = file[name]
        _, damaged = (salvage_text if isinstance(part, h5py.Group) else salvage)(part, keep=False)
        if damaged.any():
            found.append(f"{name}: {damaged.sum()} of {len(damaged)} values are damaged")
    if not found:  # what the checksums of single values do not notice
        for read in (lambda: store.columns, lambda: store.ledger):
            try:
                read()
            except StoreFormatError as error:
                found.append(str(error))
    return found


def _tell(damaged: NDArray[np.bool_], path: Place, problems: list[str]) -> None:
    if damaged.any():
        problems.append(f"{path}: X: {damaged.sum()} of {len(damaged)} rows are not as they were written")
