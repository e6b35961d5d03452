import pyarrow as pa
import pytest

from infra.pull.unit_rows import unit_schema
from infra.snapshots.split import Splitter
from irnet_core.errors import DataError
from irnet_core.schema import BAND_GAP, FORMULA, SOURCE_ID

SCHEMA = unit_schema([SOURCE_ID, FORMULA, BAND_GAP])


def unit(*rows):
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


@pytest.fixture
def splitter():
    return Splitter(SCHEMA, "test", database=True)


def test_rows_are_counted_through_all_tables(splitter):
    data, rejected = splitter.split(unit(("a", "NaCl", 1.0, None), ("b", "Xx", 2.0, None)))
    assert data["row"].to_pylist() == [0]
    assert rejected.to_pylist() == [
        {"row": 1, "source_id": "b", "formula": "Xx", "reason": "unknown element 'Xx'"}
    ]
    data, rejected = splitter.split(unit(("c", None, 1.0, "cut off"), ("d", "Cl2Na2", None, None)))
    assert data.to_pylist() == [
        {
            "row": 3,
            "formula": "Cl2Na2",
            "composition": "ClNa",
            "source_id": "d",
            "band_gap_ev": None,
        }
    ]
    assert rejected["row"].to_pylist() == [2]
    assert rejected["reason"].to_pylist() == ["cut off"]
    counts = splitter.counts()
    assert (counts["rows_in"], counts["rows"], counts["rejected"]) == (4, 2, 2)
    assert counts["reasons"] == {"unknown element 'Xx'": 1, "cut off": 1}


def test_a_row_that_came_before_is_left_out(splitter):
    first = ("a", "NaCl", 1.0, None)
    splitter.split(unit(first, ("b", "Si", 1.0, None)))
    data, rejected = splitter.split(
        unit(
            ("a", "NaCl", 7.0, None),  # again, with another value
            ("a", "NaCl", 1.0, "not its lowest"),  # another row of the same entry
            (None, "Si", 1.0, "no identifier"),
            ("c", "Si", 1.0, None),
        )
    )
    assert data["source_id"].to_pylist() == ["c"]
    assert rejected["reason"].to_pylist() == ["not its lowest", "no identifier"]
    assert splitter.duplicates == 1
    _, rejected = splitter.split(
        unit((None, "Si", 1.0, "no identifier"), ("a", "NaCl", 1.0, "not its lowest"))
    )
    # rows without an identifier cannot be told apart, so they stay
    assert rejected["source_id"].to_pylist() == [None]
    assert splitter.duplicates == 2
    assert splitter.counts()["rows_in"] == 6


def test_formula_of_a_megabyte(splitter):
    splitter.split(unit(("a", "NaCl", 1.0, None)))
    data, rejected = splitter.split(unit(("b", "Na" * 500_000, 1.0, None)))
    assert data.num_rows == 0
    assert rejected["reason"].to_pylist() == ["longer than 1000 characters"]
    assert len(rejected["formula"][0].as_py()) == 1000


def test_reasons_do_not_pile_up(splitter):
    for start in range(0, 60_000, 6_000):
        rows = range(start, start + 6_000)
        splitter.split(unit(*((str(n), "Si", 1.0, f"reason {n}") for n in rows)))
    assert len(splitter._reasons) <= 16_000
    with pytest.raises(DataError, match="no row has a formula .* because: reason 0; check the fil"):
        splitter.counts()


def test_a_users_columns_are_his_own():
    """A file may have columns that mean something in a database."""
    table = pa.table({"formula": ["NaCl", "NaCl"], "source_id": ["a", "a"], "reason": ["x", "y"]})
    splitter = Splitter(table.schema, "a.csv")
    data, rejected = splitter.split(table)
    assert data.column_names == ["row", "formula", "composition", "source_id", "reason"]
    assert data.num_rows == 2
    assert rejected.column_names == ["row", "formula", "reason"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("E", "e"), "column 'e': it differs from 'E' by case alone, rename one of the two"),
        (("Formula", "x"), "column '[Ff]ormula': it differs from '[Ff]ormula' by case alone"),
        (("Row", "x"), "column 'Row': a snapshot has a column of its own"),
        (("file_row_number", "x"), "column 'file_row_number': a snapshot has a column of its own"),
    ],
)
def test_names_that_sql_would_take_for_one(names, message):
    schema = pa.schema([FORMULA.field(), *(pa.field(name, pa.float64()) for name in names)])
    with pytest.raises(DataError, match=message):
        Splitter(schema, "test")
