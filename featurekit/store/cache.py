"""The cache of rows on the disk, by content hash: the network never runs twice over one image."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedRowsError, FeatureSpaceError, Remedy, StoreError, StoreFormatError
from ..fingerprint import FeatureSpace
from .atomic import make_folder
from .copies import delete_damaged, found_damaged
from .far import Far, Place
from .guards import identity
from .index import HashIndex
from .lock import WriteLock
from .reader import FeatureStore
from .schema import DTYPES, Columns, Places, Rows, unknown_hashes
from .signatures import Signatures
from .verification import damaged_rows, salvage_columns
from .writer import discard_temporaries, parts_folder, shards_in, write_shard

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 4096


class ShardCache:
    """Keeps rows on the disk: a published store, if there is one, and immutable shards.

    Parameters
    ----------
    folder : Path or Far
        Where shards are read and written. Made when the first is written.
    space : FeatureSpace
        Of all rows.
    base : FeatureStore, optional
        A published store to look in as well.
    root : str
        Where the paths of the rows to be added start; their signatures are believed below it only.
    dtype : dtype
        Of the rows on the disk. What `gather` returns has it too.
    lock : WriteLock, optional
        Taken by :meth:`begin` and given back by :meth:`close`. None if the caller holds it.

    Raises
    ------
    FeatureSpaceError
        If the store or a shard holds rows of another feature space.
    """

    def __init__(
        self,
        folder: Place,
        space: FeatureSpace,
        base: FeatureStore | None = None,
        *,
        root: str = "",
        dtype: np.dtype[Any] = DTYPES["float32"],
        lock: WriteLock | None = None,
    ) -> None:
        self.folder = folder
        self.space = space
        self.dtype = dtype
        self._base = base
        self._root = root
        self._lock = lock
        self._locked = False
        # Shards that are damaged and could not be set aside, as they were then: one may be written anew.
        self._refused: dict[str, tuple[int, ...]] = {}
        self._condemned: list[str] = []  # damaged where they lie, behind a URL
        self._bad = np.zeros(0 if base is None else len(base), dtype=np.bool_)  # rows of the base that are damaged
        self._start()

    def _start(self) -> None:
        self._files: list[FeatureStore] = []
        self._seen: set[str] = set()
        self._index = HashIndex()
        self._known: list[Columns] = []
        self._perceptual: list[NDArray[np.uint8]] = []
        self.any_unhashed = False
        if self._base is not None:
            check_space(self._base, self.space)
            if self._base.is_folder:
                places = self._base.places  # one that is damaged or lost may be written anew under its name
                self._seen.update(places.shards[i] for i in np.unique(places.shard[~self._bad]).tolist())
            self._include(self._base)
        self.refresh()

    def refresh(self) -> None:
        """Take in shards that another process has written meanwhile."""
        for path in self.shards():
            if path.name in self._seen:
                continue
            try:
                if path.name in self._refused and self._refused[path.name] == identity(path):
                    continue
                self._seen.add(path.name)
                shard = FeatureStore(path)
                check_space(shard, self.space)
                if shard.dtype == self.dtype:  # others can always be computed again
                    self._include(shard)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except StoreFormatError as error:
                self._quarantine(path, str(error))

    @property
    def root(self) -> str:
        """Where the paths of rows start that are added."""
        return self._root

    @property
    def known(self) -> HashIndex:
        """The content hashes of its rows."""
        return self._index

    def prepare(self) -> Place:
        """The folder of the shards, made if need be, for others that write there."""
        make_folder(self.folder)
        return self.folder

    @property
    def runtimes(self) -> str:
        """What computed the rows, as their files say; more than one are joined by semicolons."""
        said = [part for file in self._files for part in str(file.provenance.get("runtime", "")).split("; ")]
        return "; ".join(dict.fromkeys(said))

    def shards(self) -> list[Place]:
        """The shards on the disk, sorted by name."""
        return shards_in(self.folder)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, content: bytes) -> bool:
        return content in self._index

    def begin(self) -> None:
        """Take the lock, if there is one, and take in what others wrote while it was awaited."""
        if self._lock is not None and not self._locked:
            make_folder(self.folder)
            self._lock.__enter__()
            self._locked = True
            self.refresh()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None and self._locked:
            self._lock.__exit__(None, None, None)
            self._locked = False

    def add(self, columns: Columns, rows: Rows, runtime: str) -> None:
        """Write rows as a new shard; they are safe on the disk when this returns."""
        path = write_shard(self.folder, self.space, {"root": self._root, "runtime": runtime}, columns, rows, self.dtype)
        self._seen.add(path.name)
        try:
            self._include(FeatureStore(path))
        except FileNotFoundError as error:
            raise StoreError(f"{path} was deleted as soon as it was written. Run the same command again.") from error

    def gather(self, contents: Sequence[bytes]) -> Rows:
        """The rows of these hashes, in this order."""
        out, places = np.empty((len(contents), self.space.dim), dtype=self.dtype), self._find(contents)
        for number in np.unique(places[:, 0]).tolist():
            chosen = np.flatnonzero(places[:, 0] == number)
            file = self._files[number]
            try:
                out[chosen] = file.X[places[chosen, 1]]
            except (StoreFormatError, FileNotFoundError) as error:
                raise DamagedRowsError(str(error)) from error
            if file is not self._base:
                file.close()  # there may be more shards than a process may open files
        return out

    def blocks(self, contents: NDArray[np.uint8]) -> Iterator[Rows]:
        """The rows of these hashes, shape (n, 32), in this order, a bounded number at a time."""
        for start in range(0, len(contents), _BLOCK_ROWS):
            yield self.gather([bytes(content) for content in contents[start : start + _BLOCK_ROWS]])

    def places(self, contents: NDArray[np.uint8]) -> Places:
        """Where the rows of these hashes lie: for the index of a folder store."""
        found = self._find(map(bytes, contents))
        names: dict[str, int] = {}
        shard, row = np.empty(len(found), np.int32), np.empty(len(found), np.int32)
        for number in np.unique(found[:, 0]).tolist():
            chosen = np.flatnonzero(found[:, 0] == number)
            file, rows = self._files[number], found[chosen, 1]
            if file.is_folder:
                used, inverse = np.unique(file.places.shard[rows], return_inverse=True)
                here = [names.setdefault(file.places.shards[i], len(names)) for i in used.tolist()]
                shard[chosen], row[chosen] = np.array(here, np.int32)[inverse], file.places.row[rows]
            else:
                shard[chosen], row[chosen] = names.setdefault(file.path.name, len(names)), rows
        return Places(list(names), shard, row)

    def perceptual(self, contents: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Look up perceptual hashes by content hash; rows of zeros where none is known."""
        out, places = unknown_hashes(len(contents)), self._index.find(map(bytes, contents))
        for number, known in enumerate(self._perceptual):
            chosen = np.flatnonzero(places[:, 0] == number)
            out[chosen] = known[places[chosen, 1]]
        return out

    def lacks_hash(self, content: bytes) -> bool:
        """Tell whether the row of this content has no perceptual hash: a store of layout version 1 or 2 keeps none."""
        if not self.any_unhashed:
            return False
        number, row = self._index.find([content])[0].tolist()
        return number >= 0 and not self._perceptual[number][row].any()

    def _find(self, contents: Iterable[bytes]) -> NDArray[np.int32]:
        """File and row of each; a row that is nowhere must not be taken for one that is somewhere."""
        found = self._index.find(contents)
        lost = int((found[:, 0] < 0).sum())
        if lost:
            what = f"{lost} rows that were computed are not in {self.folder}"
            raise DamagedRowsError(f"{what}: was something deleted there?")
        return found

    def check(self) -> None:
        """Read the checksum of every row.

        Raises
        ------
        DamagedRowsError
            If one is wrong; see :meth:`drop_damaged`.
        """
        for file in self._files:
            bad = _bad_rows(file)
            if file is self._base:
                bad &= ~self._bad
            if bad.any():
                raise DamagedRowsError(f"{file.path} is damaged")

    def drop_damaged(self) -> int:
        """Forget the rows that are damaged, so that they are computed again, and quarantine their shards.

        Returns
        -------
        int
            How many.
        """
        before = len(self)
        for file in list(self._files):
            bad = _bad_rows(file)
            if bad.any() and file.is_folder:
                shards = np.unique(file.places.shard[bad])
                set_aside = np.isin(file.places.shard, shards)
                self._rescue(file, np.flatnonzero(set_aside & ~bad))
                names = [file.places.shards[number] for number in shards.tolist()]
                for name in names:
                    self._quarantine(file.path / name, "not as it was written")
                self._condemned += names
                bad = set_aside
            elif bad.any() and file is not self._base:
                self._rescue(file, np.flatnonzero(~bad))
                self._quarantine(file.path, "not as it was written")
            if file is self._base:
                self._bad = bad
        self._start()
        return before - len(self)

    def _rescue(self, file: FeatureStore, good: NDArray[np.intp]) -> None:
        """Write the rows of a damaged shard that are not damaged to a new one."""
        with suppress(StoreError, FileNotFoundError):
            for start in range(0, len(good), _BLOCK_ROWS):
                rows = good[start : start + _BLOCK_ROWS]
                self.add(file.columns.take(rows), file.X[rows], str(file.provenance.get("runtime", "")))

    def _quarantine(self, path: Place, reason: str) -> None:
        """Set a damaged shard aside. Its rows are work that can be done again, so nothing stops."""
        with suppress(FileNotFoundError):
            self._refused[path.name] = identity(path)
        if isinstance(path, Far):
            logger.warning("A shard is damaged or missing, its rows are computed again: %s (%s)", path, reason)
            return
        if not path.exists():
            logger.warning("A shard is missing, its rows are computed again: %s", path)
            return
        aside = path.with_name(path.name + ".damaged")
        with suppress(OSError):
            os.replace(path, aside)
        logger.warning("Set a damaged shard aside, its damaged rows are computed again: %s (%s)", aside, reason)

    def signatures(self) -> Signatures:
        """Size, modification time and content hash of the files below the root that are known."""
        return Signatures(self._known)

    def discard_published(self, published: FeatureStore) -> None:
        """Delete the shards that `published` makes superfluous, and the folder if it is empty then."""
        if isinstance(self.folder, Far):
            # Others stay: nothing is locked there, and another machine may need them.
            delete_damaged(self.folder, sorted({*self._condemned} - {*published.places.shards}))
            return
        index = HashIndex()
        index.add(published.columns.sha256, 0, np.arange(len(published)))
        used = set(published.places.shards) if published.is_folder else set()
        for path in self.shards():
            if path.name in used:
                continue
            try:
                with FeatureStore(path) as shard:
                    if (index.find(map(bytes, shard.columns.sha256))[:, 0] < 0).any():
                        continue
            except (StoreFormatError, FileNotFoundError):
                continue
            (self.folder / path.name).unlink(missing_ok=True)
        discard_temporaries(self.folder)
        with suppress(OSError):
            self.folder.rmdir()

    def _include(self, file: FeatureStore) -> None:
        columns, damaged = salvage_columns(file)
        if damaged.any() and file is not self._base:
            file.close()
            self._quarantine(file.path, "not as it was written")
            return
        if file is self._base:
            damaged |= self._bad
        good = np.flatnonzero(~damaged)
        # Other threads look hashes up: what the index names must be there before it does.
        self._files.append(file)
        self._perceptual.append(columns.perceptual)
        self.any_unhashed |= not columns.perceptual.any(axis=1).all()
        self._index.add(columns.sha256[good], len(self._files) - 1, good)
        if self._root and file.provenance.get("root") == self._root:
            self._known.append(columns if len(good) == len(columns) else columns.take(good))
        if file is not self._base:
            file.close()


def _bad_rows(file: FeatureStore) -> NDArray[np.bool_]:
    if isinstance(file.path, Far):
        if not file.is_folder:
            return np.zeros(len(file), dtype=np.bool_)
        # Whatever is fetched is compared with its name; to fetch everything for that would take as long as to compute
        # it again.
        names = file.places.shards
        there, damaged = file.path.sizes(), set(found_damaged(file.path, names))
        lost = [number for number, name in enumerate(names) if name not in there or name in damaged]
        return np.isin(file.places.shard, lost)
    try:
        return damaged_rows(file)
    except (StoreFormatError, FileNotFoundError):  # somebody changed or deleted it meanwhile
        return np.ones(len(file), dtype=np.bool_)


def held_space(place: Place) -> FeatureSpace | None:
    """Return the feature space of the rows that are at a place: published ones, or else those of an unfinished run.

    Parameters
    ----------
    place : Path or Far
        A store file or the folder of a folder store, which need not exist.

    Returns
    -------
    FeatureSpace or None
        None if there are no rows that can be read.
    """
    with suppress(StoreError, OSError), FeatureStore(place) as store:
        return store.space
    with suppress(StoreError, OSError):
        for path in shards_in(parts_folder(place)):
            with suppress(StoreError, OSError), FeatureStore(path) as shard:
                return shard.space
    return None


def held_layer(place: Place, backbone: str) -> str | None:
    """Return the layer of the rows that are at a place; None if there are none, or they are of another backbone.

    Parameters
    ----------
    place : Path or Far
        As in :func:`held_space`.
    backbone : str
        Name of a network, as a feature space has it.
    """
    space = held_space(place)
    return space.layer if space is not None and space.backbone == backbone else None


_OTHER = Remedy("name another output", "output"), Remedy("delete the old one first")


def check_space(store: FeatureStore, space: FeatureSpace, remedies: Sequence[Remedy] = _OTHER) -> None:
    """Raise `FeatureSpaceError` unless the rows of `store` are of the feature space `space`."""
    if store.fingerprint != space.fingerprint:
        said = (
            f"{store.path} holds rows of another feature space, and rows of two are never mixed. "
            f"It holds {'; '.join(store.space.differences(space))}. Nothing was changed."
        )
        raise FeatureSpaceError(said, remedies=remedies)
