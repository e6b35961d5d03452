import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.snapshots.row_groups import RowGroups

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string()), ("list", pa.list_(pa.float64()))])


def table(start, rows):
    numbers = range(start, start + rows)
    return pa.table(
        [[*numbers], [str(n) for n in numbers], [[n / 2] * (n % 3) for n in numbers]],
        schema=SCHEMA,
    )


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 25))
def test_bytes_depend_on_the_rows_alone(lengths, rows):
    files = []
    for parts in (lengths, [sum(lengths)]):
        file, start = io.BytesIO(), 0
        with RowGroups(file, SCHEMA, rows) as groups:
            for length in parts:
                groups.add(table(start, length))
                start += length
        files.append(file.getvalue())
    assert files[0] == files[1]
    with pq.ParquetFile(io.BytesIO(files[0])) as parquet:
        assert parquet.read().equals(table(0, sum(lengths)))
        sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    assert all(size == rows for size in sizes[:-1])


def test_table_of_another_schema():
    with RowGroups(io.BytesIO(), SCHEMA, 5) as groups, pytest.raises(ValueError, match="schema"):
        groups.add(pa.table({"other": [1]}))
