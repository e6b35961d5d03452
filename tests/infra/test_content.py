import datetime
import decimal
import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.content import canonical_json, file_digest, parquet_digest, plain, table_digest

COLUMNS = {
    "integer": pa.array([1, None, 3] * 50),
    "text": pa.array(["x", None, "héé"] * 50),
    "empty_or_null": pa.array(["", None, ""] * 50),
    "list": pa.array([[1, 2], None, [None], []] * 40, pa.list_(pa.int8())),
    "boolean": pa.array([True, None, False] * 50),
    "decimal": pa.array([decimal.Decimal("1.2"), None, decimal.Decimal("2.3")] * 50),
    "struct": pa.array([{"u": 1, "v": "q"}, None, {"u": None, "v": None}] * 50),
    "time": pa.array([datetime.datetime(2020, 1, 1), None] * 60),
    "day": pa.array([datetime.date(2020, 1, 1), None] * 60),
    "dictionary": pa.array(["p", None, "q"] * 50).dictionary_encode(),
    "null": pa.nulls(120),
    "map": pa.array([[("a", 1)], None, []] * 50, pa.map_(pa.string(), pa.int32())),
    "fixed_binary": pa.array([b"ab", None] * 60, pa.binary(2)),
    "fixed_list": pa.array([[1.0, 2.0], None] * 60, pa.list_(pa.float32(), 2)),
}


def digest_of_file(table: pa.Table, **options) -> str:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    file.seek(0)
    return parquet_digest(file)[1]


@pytest.mark.parametrize("name", COLUMNS)
def test_writer_does_not_enter(name):
    table = pa.table({name: COLUMNS[name]})
    digests = {
        table_digest(table.schema, table.to_batches()),
        table_digest(table.schema, table.to_batches(max_chunksize=7)),
        digest_of_file(table),
        digest_of_file(table, row_group_size=11, compression="gzip"),
        digest_of_file(table, data_page_size=64, use_dictionary=False, version="1.0"),
        digest_of_file(table.replace_schema_metadata({"made": "today"})),
    }
    assert len(digests) == 1


def test_memory_under_nulls_does_not_enter():
    valid = pa.array([True, False, True])
    one, two = (
        pa.Array.from_buffers(
            pa.int64(),
            3,
            [pa.array([1, None, 1]).buffers()[0], pa.array([5, hidden, 6]).buffers()[1]],
        )
        for hidden in (7, 8)
    )
    assert one.is_valid() == valid
    tables = [pa.table({"a": array}) for array in (one, two)]
    assert len({table_digest(t.schema, t.to_batches()) for t in tables}) == 1


LISTS = pa.list_(pa.int64())
STRUCTS = pa.struct([("u", pa.int64())])


@pytest.mark.parametrize(
    ("type_", "one", "two"),
    [
        (pa.int64(), [1], [2]),
        (pa.int64(), [1, None], [None, 1]),
        (pa.int64(), [0], [None]),
        (pa.float64(), [0.0], [-0.0]),
        (pa.string(), ["", None], [None, ""]),
        (pa.string(), ["ab", "c"], ["a", "bc"]),
        (LISTS, [[1], [2, 3]], [[1, 2], [3]]),
        (LISTS, [[], None], [None, []]),
        (LISTS, [[None]], [[0]]),
        (STRUCTS, [{"u": None}], [None]),
        (pa.null(), [None], [None, None]),
    ],
)
def test_values_enter(type_, one, two):
    tables = [pa.table({"a": pa.array(values, type_)}) for values in (one, two)]
    assert digest_of_file(tables[0]) != digest_of_file(tables[1])


def test_names_types_and_order_enter():
    tables = [
        pa.table({"a": [1], "b": [2]}),
        pa.table({"b": [2], "a": [1]}),
        pa.table({"a": [1], "c": [2]}),
        pa.table({"a": [1], "b": [2.0]}),
        pa.table({"a": [1], "b": pa.array([2], pa.int32())}),
        pa.table({"a": [1]}),
    ]
    assert len(set(map(digest_of_file, tables))) == len(tables)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(width=32),
            st.none() | st.text(max_size=5),
        ),
        max_size=40,
    ),
    st.integers(1, 9),
)
def test_digest_depends_on_values_only(rows, row_group_size):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        [
            pa.array(column, type_)
            for column, type_ in zip(columns, (pa.int64(), pa.float32(), pa.string()), strict=True)
        ],
        names=["i", "f", "s"],
    )
    assert digest_of_file(table) == digest_of_file(table, row_group_size=row_group_size)


def test_file_digest_is_sha256():
    data = bytes(range(256)) * 9000
    assert file_digest(io.BytesIO(data)) == (len(data), hashlib.sha256(data).hexdigest())


def test_canonical_json():
    assert canonical_json({"b": 1, "a": "å"}) == canonical_json({"a": "å", "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
    with pytest.raises(TypeError, match="not JSON serializable"):
        canonical_json(object())


def test_plain():
    value = {"n": np.int64(3), "x": np.float32("nan"), "t": (1, np.True_), 5: float("inf")}
    assert plain(value) == {"n": 3, "x": None, "t": [1, True], "5": None}
