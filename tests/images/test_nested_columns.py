"""Columns of Parquet manifests that hold more than one value in each line."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pytest

from featurekit.errors import SourceError
from featurekit.images import read_source

KINDS = {
    "list": ([["cat", "dog"]], r"list<.*>"),
    "struct": ([{"species": "cat"}], r"struct<species: string>"),
    "map": (pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())), r"map<.*>"),
}


@pytest.mark.parametrize("column", ["path", "label"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_parquet_column_of_several_values_a_line_is_refused_by_name(tmp_path, column, kind):
    values, shown = KINDS[kind]
    table = {"path": ["a.png"], "label": ["x"]} | {column: values}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match=rf"the column '{column}' holds several values in each line \({shown}\)"):
        read_source(tmp_path / "m.parquet")


def test_a_parquet_column_of_several_values_that_is_not_used_is_no_matter(tmp_path):
    table = {"path": ["a.png"], "label": ["x"], "boxes": [[1, 2]]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "m.parquet")
    (item,) = read_source(tmp_path / "m.parquet").items
    assert (item.path, item.label) == ("a.png", "x")
