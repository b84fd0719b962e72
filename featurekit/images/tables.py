"""Tables of images: CSV, TSV and Parquet files and data frames as columns."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .._optional import require
from ..errors import ImageError, SourceError
from ..folders import is_url, open_regular
from .items import MAX_CHARACTERS
from .remote import fetch
from .urls import public

MAX_MANIFEST = 2**30
"""Bytes of the file of a table."""

MAX_LINES = 25_000_000
"""Images that one table may list: about 24 GB of memory for the run."""

_FEW_LINES = 1_000_000
_LINES_A_BYTE = 10  # a Parquet file with more of them holds little but repetitions
_BATCH = 2**16
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}

SAVE_AS_UTF8 = "Save the table as UTF-8 (in Excel: 'CSV UTF-8')."

Choose = Callable[[list[str]], list[str]]
"""From the names of a table's columns to those that are read."""


@dataclass
class Table:
    """The columns of a table that are read.

    Attributes
    ----------
    names : list of str
        Of all columns.
    columns : dict
        Values by name, for those that were chosen.
    notes : list of str
        Sentences for the user.
    """

    names: list[str]
    columns: dict[str, Sequence[object]]
    notes: list[str] = field(default_factory=list)


def is_manifest(place: str) -> bool:
    """Whether a source is a table of images, by its ending."""
    return _ending(place) in {".csv", ".tsv", ".parquet", ".pq"}


def read_table(place: str, choose: Choose) -> Table:
    """Read columns of a table.

    Parameters
    ----------
    place : str
        A file or a URL.
    choose : callable
        From the names of all columns to those of the ones that are read.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    shown = public(place) if is_url(place) else place
    try:
        data = fetch(place, most=MAX_MANIFEST) if is_url(place) else _read_file(place)
    except (ImageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(f"cannot read the manifest {shown}: {reason}") from error
    ending = _ending(place)
    return _of_csv(shown, data, _DELIMITERS[ending], choose) if ending in _DELIMITERS else _parquet(shown, data, choose)


def table_of_frame(frame: Any, choose: Choose) -> Table:
    """Columns of a data frame of pandas or polars."""
    originals = {str(name): name for name in frame.columns}
    names = _header("the data frame", [str(name) for name in frame.columns])
    return Table(names, {name: list(frame[originals[name]]) for name in choose(names)})


def _ending(place: str) -> str:
    return PurePosixPath(place.partition("?")[0] if is_url(place) else place).suffix.lower()


def _read_file(place: str) -> bytes:
    with open_regular(place) as file:
        if os.path.getsize(place) <= MAX_MANIFEST:
            data = file.read(MAX_MANIFEST + 1)
            if len(data) <= MAX_MANIFEST:
                return data
    raise SourceError(
        f"the manifest {place} has more than {MAX_MANIFEST:,} bytes, or no end. Split it, and extract each part to a "
        "store of its own"
    )


def _too_many_lines(shown: str, most: int) -> SourceError:
    return SourceError(
        f"the manifest {shown} lists more than {most:,} images, the most for a file of its size. Split it, and extract "
        "each part to a store of its own"
    )


def _of_csv(shown: str, data: bytes, delimiters: str, choose: Choose) -> Table:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SourceError(f"the manifest {shown} is UTF-16; save it as UTF-8")
    try:
        delimiter = _delimiter(data, delimiters)
        reader = _reader(data, delimiter)
        names = _header(shown, next(reader, []))
        chosen = {name: names.index(name) for name in choose(names)}
        columns: dict[str, list[object]] = {name: [] for name in chosen}
        lines = 0
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise SourceError(
                    f"{shown}, line {reader.line_num}: expected {len(names)} values "
                    f"({', '.join(names)}), got {len(row)}. Values that hold a '{delimiter}' need quotes."
                )
            lines += 1
            if lines > MAX_LINES:
                raise _too_many_lines(shown, MAX_LINES)
            for name, number in chosen.items():
                columns[name].append(row[number])
    except csv.Error as error:
        raise SourceError(f"cannot read the manifest {shown}: {error}") from error
    notes = [] if delimiter == delimiters[0] else [f"The columns of {shown} are separated by {delimiter!r}."]
    return Table(names, dict(columns), notes)


def _reader(data: bytes, delimiter: str) -> Any:
    # Names of files need not be UTF-8: bytes that are not are kept as they are.
    file = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "surrogateescape", newline="")
    return csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)


def _delimiter(data: bytes, candidates: str) -> str:
    """The character that separates the columns: the first that makes more than one of the header, else the usual."""
    several = (character for character in candidates if len(next(_reader(data, character), [])) > 1)
    return next(several, candidates[0])


def _header(shown: str, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if any(is_broken(name) for name in names):
        called = ", ".join(map(ascii, names))
        raise SourceError(f"{shown} is not UTF-8: its columns are called {called}. {SAVE_AS_UTF8}")
    if len(set(names)) != len(names):
        raise SourceError(f"{shown}: two columns have the same name: {', '.join(names)}")
    return names


def is_broken(text: str) -> bool:
    """Whether a text holds bytes that are not UTF-8."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _parquet(shown: str, data: bytes, choose: Choose) -> Table:
    parquet = require("pyarrow.parquet", extra="parquet", purpose=f"Reading {PurePosixPath(shown).name}")
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        names = [str(name) for name in file.schema_arrow.names]
        wanted = choose(names)
        _check_kinds(shown, file.schema_arrow, wanted)
        _check_parquet(shown, file.metadata, wanted, len(data))
        # Texts that repeat are read once and shared.
        file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=wanted)
        columns: dict[str, list[object]] = {name: [] for name in wanted}
        for batch in file.iter_batches(_BATCH, columns=wanted):
            for name in wanted:
                columns[name].extend(_values(shown, name, batch.column(name), len(columns[name])))
    except SourceError:
        raise
    except Exception as error:  # pyarrow raises many kinds for what is damaged
        raise SourceError(f"cannot read the manifest {shown}: {' '.join(str(error).split())[:300]}") from error
    return Table(names, dict(columns))


def _check_kinds(shown: str, schema: Any, wanted: list[str]) -> None:
    """Refuse columns that hold several values a line."""
    import pyarrow

    for name in wanted:
        kind = schema.field(name).type
        if pyarrow.types.is_nested(kind):
            raise SourceError(
                f"{shown}: the column {name!r} holds several values in each line ({str(kind)[:80]}); expected one text "
                "or number. Save it as a column of plain values, or name another column."
            )


def _check_parquet(shown: str, metadata: Any, wanted: list[str], size: int) -> None:
    """Refuse a file that is small and holds much."""
    most = min(MAX_LINES, _FEW_LINES + _LINES_A_BYTE * size)
    if metadata.num_rows > most:
        raise _too_many_lines(shown, most)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    if sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted) > MAX_MANIFEST:
        raise SourceError(f"the manifest {shown} holds more than {MAX_MANIFEST:,} bytes when it is unpacked. Split it")


def _values(shown: str, name: str, column: Any, before: int) -> Iterator[object]:
    """The values of a part of a column, of which so many came before."""
    import pyarrow

    texts = column.dictionary if isinstance(column, pyarrow.DictionaryArray) else column
    if pyarrow.types.is_string(texts.type) or pyarrow.types.is_large_string(texts.type):
        if any(length is not None and length > 4 * MAX_CHARACTERS for length in _lengths(texts)):
            raise SourceError(f"{shown}: a value of the column {name!r} has more than {MAX_CHARACTERS} characters")
        try:
            found = texts.to_pylist()
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{shown}: a value of the column {name!r} in the rows {before + 1} to {before + len(column)} is not "
                f"UTF-8: {error.object[:80]!r}"
            ) from None
    else:
        found = texts.to_pylist()
    if texts is column:
        return iter(found)
    return (None if number is None else found[number] for number in column.indices.to_pylist())


def _lengths(texts: Any) -> list[int | None]:
    import pyarrow.compute

    lengths: list[int | None] = pyarrow.compute.binary_length(texts).to_pylist()
    return lengths
