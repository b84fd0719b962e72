"""What a run will make of a store: its rows, its ledger, and which rows stay or leave."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ANOTHER_OUTPUT, Remedy, SourceError, StoreError
from ..folders import is_url
from ..images import Drawn, FileInfo, Item, Member, Source, Unlisted, file_state
from ..pipeline import Outcome, columns_of
from ..store import (
    DUPLICATE,
    FAILED,
    KEPT,
    MAX_TEXT,
    REMOVED,
    STORED,
    Columns,
    FeatureStore,
    Ledger,
    Place,
    ShardCache,
    decode,
    encode,
)

_LET_GO = Remedy("let them go", "replace", True)
_UNLISTED = "cannot be listed now"


@dataclass(slots=True)
class Old:
    """What the output held before this run, as far as it can be read."""

    store: FeatureStore | None
    columns: Columns | None = None
    ledger: Ledger | None = None
    damaged: bool = False


def check_texts(items: Sequence[Item], splits: Sequence[str] = ()) -> None:
    """Raise SourceError, before any work, if a path, label, group or split is longer than a store can keep."""
    for number, item in enumerate(items, 1):
        split = splits[number - 1] if splits else ""
        for name, text in (("path", item.path), ("label", item.label), ("group", item.group), ("split", split)):
            size = len(text) if len(text) <= MAX_TEXT // 4 else len(text.encode("utf-8", "surrogateescape"))
            if size > MAX_TEXT:
                shown = item.path if len(item.path) <= 80 else f"{item.path[:80]}..."
                raise SourceError(
                    f"the {name} of image {number}, {shown}, has {size} bytes; at most {MAX_TEXT} are kept. Nothing "
                    "was changed. Shorten it."
                )


def keep_known(
    items: Sequence[Item], outcomes: Sequence[Outcome], old: Old, listing: Source, cache: ShardCache, now: str
) -> tuple[list[Outcome], dict[int, str]]:
    """Give each image that cannot be read just now, but is not gone, the row that is known of it.

    Its bytes cannot be had, or are no image: a copy that is not complete, the page of a server that says so with a good
    status, a file of zeros. If it has no row by its name, but the size and time of just one row whose name is gone, it
    was renamed.

    Parameters
    ----------
    items, outcomes : sequence
    old : Old
        What the store holds. Its paths mean the same images only where it has the root of `listing`.
    listing : Source
    cache : ShardCache
        Must hold the row: one that is damaged is not kept.
    now : str
        The time, in ISO format, for images that were read the last time.

    Returns
    -------
    outcomes : list of Outcome
    kept : dict of int to str
        By number of the item: since when its image could not be read, and why.
    """
    outcomes = list(outcomes)
    # Of a file that is gone no content is known; that of one which has content but a reason cannot be decoded.
    failed = [i for i, outcome in enumerate(outcomes) if outcome.reason and (outcome.unavailable or outcome.content)]
    if not failed or old.columns is None or old.store is None:
        return outcomes, {}
    if old.store.provenance.get("root", "") != listing.root:
        return outcomes, {}
    columns = old.columns
    row_of = {path: row for row, path in reversed(list(enumerate(decode(columns.path))))}
    renamed = _renamed(items, failed, columns, row_of)
    since = {entry.path: entry.reason.partition(" ")[0] for entry in (old.ledger.where(KEPT) if old.ledger else ())}
    here = {outcome.content for outcome in outcomes if not outcome.reason}
    kept = {}
    for i in failed:
        path, origin = items[i].path, items[i].origin
        row = row_of.get(path, renamed.get(i, -1))
        if row < 0 or not isinstance(origin, str | Member | Drawn):
            continue
        content = columns.sha256[row].tobytes()
        # The name of a drawn image is its number: where its old content is now elsewhere, the numbers have moved.
        if content not in cache or (content in here and (isinstance(origin, Drawn) or i in renamed)):
            continue
        before = decode(columns.path[row])
        reason = outcomes[i].reason if before == path else f"{outcomes[i].reason} (it was {before})"
        kept[i] = f"{since.get(before, now)} {reason}"
        outcomes[i] = Outcome(content, columns.size.item(row), columns.mtime_ns.item(row))
    return outcomes, kept


def _renamed(
    items: Sequence[Item], failed: Sequence[int], columns: Columns, row_of: Mapping[str, int]
) -> dict[int, int]:
    """The rows, by number of the item, of images that cannot be read and have another name than before."""
    unknown = [i for i in failed if items[i].path not in row_of]
    if not unknown:
        return {}
    here = {item.path for item in items}
    gone: dict[FileInfo, list[int]] = {}
    for path, row in row_of.items():
        if path not in here and (size := columns.size.item(row)):
            gone.setdefault(FileInfo(size, columns.mtime_ns.item(row)), []).append(row)
    found: dict[int, list[int]] = {}
    for i in unknown:
        if (info := file_state(items[i])) and len(rows := gone.get(info, [])) == 1:
            found.setdefault(rows[0], []).append(i)
    return {numbers[0]: row for row, numbers in found.items() if len(numbers) == 1}


def rows_and_ledger(
    items: Sequence[Item],
    outcomes: Sequence[Outcome],
    gone: Sequence[str],
    kept: Mapping[int, str],
    splits: Sequence[str] = (),
) -> tuple[Columns, Ledger]:
    """The columns of all rows, and what became of each image.

    Parameters
    ----------
    items, outcomes : sequence
    gone : sequence of str
        Paths that had a row and are not in the source.
    kept : mapping of int to str
        By the number of the item, the reasons of the rows that :func:`keep_known` kept.
    splits : sequence of str
        The part of a split of each item, if the source names any.
    """
    first: dict[bytes, str] = {}
    reasons: dict[int, str] = {}
    status: list[str] = []
    row: list[int] = []
    good: list[int] = []
    for i, outcome in enumerate(outcomes):
        if outcome.reason:
            status.append(FAILED)
            row.append(-1)
            reasons[i] = outcome.reason
            continue
        if i in kept:
            status.append(KEPT)
            reasons[i] = kept[i]
            first.setdefault(outcome.content, items[i].path)
        elif outcome.content in first:
            status.append(DUPLICATE)
            reasons[i] = first[outcome.content]
        else:
            status.append(STORED)
            first[outcome.content] = items[i].path
        row.append(len(good))
        good.append(i)
    paths = encode([*(item.path for item in items), *gone])
    reasons |= dict.fromkeys(range(len(items), len(paths)), "no longer in the source")
    ledger = Ledger(
        paths,
        np.array(status + [REMOVED] * len(gone), dtype=np.bytes_),
        reasons,
        np.array(row + [-1] * len(gone), dtype=np.int64),
    )
    labels, groups = encode(items[i].label for i in good), encode(items[i].group for i in good)
    columns = columns_of(paths[good], labels, groups, [outcomes[i] for i in good])
    return (replace(columns, split=encode(splits[i] for i in good)) if splits else columns), ledger


def recall_hashes(columns: Columns, outcomes: Sequence[Outcome], cache: ShardCache) -> None:
    """Give rows whose images were not decoded now the perceptual hashes that are known of their contents."""
    unknown = np.flatnonzero(~columns.perceptual.any(axis=1))
    if not len(unknown):
        return
    columns.perceptual[unknown] = cache.perceptual(columns.sha256[unknown])
    fresh = {outcome.content: outcome.perceptual for outcome in outcomes if outcome.perceptual}
    for row in unknown.tolist() if fresh else ():
        if found := fresh.get(columns.sha256[row].tobytes()):
            columns.perceptual[row] = np.frombuffer(found, dtype=np.uint8)


def removed_paths(old: Old, listing: Source, replace: bool) -> tuple[list[str], int]:
    """Paths that had a row, now or before, and are not in the source; and how many of them had one until now.

    Raise if that looks like a mistake.
    """
    if old.columns is None:
        return [], 0
    here = {item.path for item in listing.items}
    leaving = [path for path in decode(old.columns.path) if path and path not in here]
    if not replace:
        _check_leaving(old, listing, leaving)
        _check_folders(listing, leaving)
    before = [entry.path for entry in old.ledger.where(REMOVED)] if old.ledger is not None else []
    return sorted({*leaving, *(path for path in before if path not in here)}), len(leaving)


def _check_folders(listing: Source, leaving: Sequence[str]) -> None:
    """Raise StoreError if rows would leave because a folder cannot be looked into, not because images are gone."""
    unlisted = {item.path: _UNLISTED for item in listing.items if isinstance(item.problem, Unlisted)}
    if listing.place == listing.root and not is_url(listing.root):  # a folder, whose names were listed
        unlisted |= _unmounted(listing.root, leaving)
    for folder, why in unlisted.items():
        if any(path.startswith(f"{folder}/") or not folder for path in leaving):
            raise StoreError(
                f"the folder {folder or listing.root} {why}, and the rows of its images would leave the store. Nothing "
                "was changed.",
                remedies=[Remedy("run again when it can be read"), _LET_GO],
            )


def _unmounted(root: str, paths: Sequence[str]) -> dict[str, str]:
    """The folders of these paths that a disk seems to be missing from, and how that shows."""
    found = {}
    for folder in {above for path in {os.path.dirname(path) for path in paths} for above in _upwards(path)}:
        place = os.path.join(root, folder)
        if os.path.islink(place) and not os.path.exists(place):
            found[folder] = "is a link to what is missing"
            continue
        try:
            empty = not os.listdir(place)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is gone, and so are its images
        except OSError:
            found[folder] = _UNLISTED
            continue
        if empty:
            found[folder] = "is empty (if its images were deleted, delete it, too)"
    return found


def _upwards(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = os.path.dirname(folder)


def check_sizes_leaving(old: Old, listing: Source, replace: bool) -> None:
    """Raise StoreError, before any image is read, if rows would leave because no image of the source is of their size.

    A row of another place stays if the source has its content under whatever name, and then a file of its size. Where
    the root is the same, the row of a listed path may stay whatever the size is: see :func:`keep_known`.
    """
    if old.columns is None or replace or _is_continued(old, listing):
        return
    here = set()
    for item in listing.items:
        if item.problem:
            continue
        if item.info is None and (not isinstance(item.origin, str) or is_url(item.origin)):
            return  # nothing is known before it is read
        if info := file_state(item):
            here.add(info.size)
    gone = np.flatnonzero(~np.isin(old.columns.size, np.array(sorted(here), dtype=np.int64)))
    listed = {item.path for item in listing.items} if _root(old) == listing.root else set()
    leaving = [path for path in decode(old.columns.path[gone]) if path not in listed]
    _check_leaving(old, listing, leaving, "at least ")


def check_contents_leaving(
    old: Old, listing: Source, columns: Columns, replace: bool, parts: Place | None = None
) -> None:
    """Raise StoreError if contents of rows would leave that should not; `parts` holds rows computed meanwhile."""
    # Another folder may well hold other images under the same names (train/001.jpg, test/001.jpg).
    if old.columns is None or replace or _is_continued(old, listing):
        return
    kept = set(map(bytes, columns.sha256))
    rows = zip(decode(old.columns.path), map(bytes, old.columns.sha256), strict=True)
    _check_leaving(old, listing, [path for path, content in rows if content not in kept], parts=parts)


def _check_leaving(
    old: Old, listing: Source, leaving: Sequence[str], bound: str = "", parts: Place | None = None
) -> None:
    assert old.store is not None
    if not leaving or _is_continued(old, listing):
        return
    path, rows = (
        old.store.path,
        f"the images of {bound}{len(leaving)} of its {len(old.store)} rows (such as {leaving[0]})",
    )
    changed = "Nothing was changed."
    if parts is not None:
        changed += f" The rows that were computed meanwhile are in {parts}: delete it, unless you let the others go."
    if _same_place(old, listing):
        raise StoreError(
            f"the paths in {listing.place} were relative to {_root(old)} when {path} was written, and {rows} are not "
            f"there relative to {listing.root}: they would leave the store. {changed}",
            remedies=[Remedy("name the folder that they are relative to", "root"), ANOTHER_OUTPUT, _LET_GO],
        )
    join = f"once each has a store of its own, join them: featurekit store merge {path} OTHER -o BOTH"
    raise StoreError(
        f"{path} was written from {_place(old) or 'a list of images'}, and {rows} are not in "
        f"{listing.place or 'this list of images'}: they would leave the store. {changed}",
        remedies=[ANOTHER_OUTPUT, Remedy(join), _LET_GO],
    )


def _is_continued(old: Old, listing: Source) -> bool:
    """Tell whether the source is the one of the last run: an image that is not there any more was deleted."""
    return _same_place(old, listing) and _root(old) == listing.root


def _same_place(old: Old, listing: Source) -> bool:
    # Two lists of images from Python are never known to be one.
    return bool(listing.place) and _place(old) == listing.place


def _root(old: Old) -> str:
    assert old.store is not None
    return str(old.store.provenance.get("root", ""))


def _place(old: Old) -> str:
    assert old.store is not None
    return str(old.store.provenance.get("place", _root(old)))


def up_to_date(old: Old, listing: Source, columns: Columns, ledger: Ledger) -> bool:
    """Whether the store holds exactly this already."""
    return (
        old.store is not None
        and old.columns is not None
        and _root(old) == listing.root
        and _place(old) == listing.place
        and old.columns.same_as(columns)
        and old.ledger == ledger
    )


def nothing_readable(ledger: Ledger, listing: Source) -> SourceError:
    """What to raise where no image of a source has a row."""
    failures = [
        (listing.items[number].shown(number), entry.reason)
        for number, entry in enumerate(ledger)
        if entry.status == FAILED
    ]
    shown = "\n".join(f"  {path}: {reason}" for path, reason in failures[:10])
    more = f"\n  ... and {len(failures) - 10} more" if len(failures) > 10 else ""
    none = "the image could not" if len(failures) == 1 else f"none of the {len(failures)} images could"
    root = Remedy("name the folder that the paths of a manifest are relative to", "root")
    error = SourceError(
        f"{none} be read:\n{shown}{more}\nNothing was written.",
        remedies=[root] if listing.kind == "manifest" else [],
    )
    error.failures = failures
    return error
