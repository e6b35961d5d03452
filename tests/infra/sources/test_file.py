import datetime
import gzip
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.sources import SOURCES, TableFile
from irnet_core.errors import DataError, SourceError

CSV = "formula,gap,kind,when\nNaCl,8.5,salt,2020-01-02\nNaN,,,\nSi,1.1,NA,2021-01-02\n"


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def parquet(path, table):
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV),
        ("a.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("A.CSV.GZ", gzip.compress(CSV.encode(), mtime=0)),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.tsv.gz", gzip.compress(CSV.replace(",", "\t").encode(), mtime=0)),
    ],
)
def test_csv(write, name, data):
    table = TableFile(write(name, data)).read()
    assert table.column_names == ["formula", "gap", "kind", "when"]
    assert table.to_pydict() == {
        "formula": ["NaCl", "NaN", "Si"],  # NaN: sodium and nitrogen, not a missing value
        "gap": [8.5, None, 1.1],
        "kind": ["salt", "", "NA"],
        "when": [datetime.date(2020, 1, 2), None, datetime.date(2021, 1, 2)],
    }
    assert table.schema.field("gap").metadata == {
        b"unit": b"as given",
        b"meaning": f"column of {name}".encode(),
    }


def test_formulas_that_look_like_numbers_stay_text(write):
    assert TableFile(write("a.csv", "formula\n1\n2\n")).read()["formula"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize("name", ["id", "source_id", "duplicate_of", "number"])
def test_identifiers_that_look_like_numbers_stay_text(write, name):
    path = write("a.csv", f"formula,{name},x,y\nNaCl,007,1,0\nKCl,12E4,2e3,0.5\n,0,,\n")
    table = TableFile(path).read()
    assert table[name].to_pylist() == ["007", "12E4", "0"]
    assert table["x"].to_pylist() == [1, 2000, None]
    assert table["y"].to_pylist() == [0, 0.5, None]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("source_id", "12E4", "12E4"),
        ("source_id", "7", "7"),
        ("id", "12E4", "12E4"),
        ("id", "7", 7),
        ("n", "12E4", 12e4),
        ("n", "0", 0),
        ("n", "0.5", 0.5),
    ],
)
def test_identifiers_without_zeros_in_front(write, name, text, value):
    table = TableFile(write("a.csv", f"formula,{name}\nNaCl,{text}\n")).read()
    assert table[name].to_pylist() == [value]


@pytest.mark.parametrize("name", ["formula", "x", "note", "source_id"])
def test_columns_that_are_not_utf8_are_refused(write, name):
    text = f"{name},{'y' if name == 'formula' else 'formula'}\nNaCl,NaCl\nNaCl\u00b0,KCl\n"
    with pytest.raises(DataError, match=rf"a\.csv, column '{name}', row 1: it is not UTF-8, save"):
        TableFile(write("a.csv", text.encode("latin-1"))).read()


def test_names_that_are_not_utf8_are_refused(write):
    with pytest.raises(SourceError, match=r"names of columns in .*a\.csv are not UTF-8: save"):
        TableFile(write("a.csv", "formula,\u00b0\nNaCl,1\n".encode("latin-1"))).read()


def test_quoted_cells(write):
    path = write("a.csv", 'formula,note\nNaCl,"two\nlines, ""so"""\n')
    assert TableFile(path).read()["note"].to_pylist() == ['two\nlines, "so"']


def test_unnamed_column_gets_a_name(write):
    path = write("a.csv", ",formula\n0,NaCl\n")  # as pandas writes its index
    assert TableFile(path).read().column_names == ["column_0", "formula"]


def test_parquet_keeps_types(tmp_path):
    table = pa.table(
        {
            "formula": pa.array(["NaCl", None]).dictionary_encode(),
            "formation_energy_ev_atom": [1.0, None],
            "small": pa.array([1, 2], pa.int8()),
            "nested": [[1], None],
        }
    )
    read = TableFile(parquet(tmp_path / "a.parquet", table)).read()
    assert read["formula"].to_pylist() == ["NaCl", None]
    assert read.schema.field("formula").type == pa.string()
    assert read.schema.types[1:] == table.schema.types[1:] or read.to_pydict() == table.to_pydict()
    assert read.schema.field("small").type == pa.int8()
    assert read.schema.field("formation_energy_ev_atom").metadata[b"unit"] == b"eV/atom"


def test_other_formula_column(write):
    path = write("a.csv", "gap,composition\n1,NaCl\n")
    table = TableFile(path, "composition").read()
    assert table.column_names == ["gap", "formula"]


def test_no_formula_column(write):
    with pytest.raises(DataError, match=r"a.csv, column 'formula': .* name one of a, b$"):
        TableFile(write("a.csv", "a,b\n1,2\n")).read()


def test_formula_column_beside_another(write):
    with pytest.raises(DataError, match=r"column 'formula': .* beside the formulas in 'f', rename"):
        TableFile(write("a.csv", "f,formula\nNaCl,Si\n"), "f").read()


def test_formulas_must_be_text(tmp_path):
    path = parquet(tmp_path / "a.parquet", pa.table({"formula": [1, 2]}))
    with pytest.raises(DataError, match="column 'formula': it holds int64, but formulas are text"):
        TableFile(path).read()


def test_repeated_columns(write):
    with pytest.raises(DataError, match="column 'a': two columns have this name"):
        TableFile(write("a.csv", "formula,a,a\nNaCl,1,2\n")).read()


def test_no_rows(write, tmp_path):
    paths = [
        write("a.csv", "formula,a\n"),
        parquet(tmp_path / "a.parquet", pa.table({"formula": pa.array([], pa.string())})),
    ]
    for path in paths:
        with pytest.raises(DataError, match="there are no rows"):
            TableFile(path).read()


def test_no_such_file(tmp_path):
    for use in (TableFile(tmp_path / "x.csv").read, TableFile(tmp_path / "x.csv").fingerprint):
        with pytest.raises(SourceError, match=r"there is no file .*x.csv: check the path"):
            use()


def test_folder(tmp_path):
    folder = tmp_path / "x.csv"
    folder.mkdir()
    with pytest.raises(SourceError, match="is a folder: name one file in it"):
        TableFile(folder).read()


def test_unknown_format(write):
    with pytest.raises(SourceError, match=r"a.xlsx is none of \.csv, .*\.parquet: convert"):
        TableFile(write("a.xlsx", b"PK")).read()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b""),
        ("a.csv", b"formula,a\nNaCl,1\nSi\n"),
        ("a.csv.gz", b"no gzip"),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-12]),
        ("a.parquet", b"PAR1"),
        ("a.parquet", b""),
    ],
)
def test_damaged_files(write, name, data):
    with pytest.raises(SourceError, match=f"cannot read .*{name}.*; c"):
        TableFile(write(name, data)).read()


def test_unreadable_file(write):
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind the superuser")
    path = write("a.csv", CSV)
    path.chmod(stat.S_IWUSR)
    for use in (TableFile(path).read, TableFile(path).fingerprint):
        with pytest.raises(SourceError, match="Permission denied; check the file"):
            use()


def test_fingerprint_is_that_of_the_bytes_and_the_column(write, tmp_path):
    one = TableFile(write("a.csv", CSV)).fingerprint()
    assert one == TableFile(write("b.csv", CSV)).fingerprint()
    assert one != TableFile(write("c.csv", CSV + "\n")).fingerprint()
    assert one != TableFile(write("d.csv", CSV), "kind").fingerprint()
    assert str(tmp_path) not in str(one)
    assert SOURCES["file"] is TableFile


def test_columns_can_be_left_as_the_text_they_are(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("formula,id,z\nNaCl,001,1e3\nKCl,002,NaN\n")
    table = TableFile(path, as_text=True).read()
    assert table.column("id").to_pylist() == ["001", "002"]
    assert table.column("z").to_pylist() == ["1e3", "NaN"]


def test_a_file_with_another_separator_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "semicolons.csv"
    for text in ("formula;y\nNaCl;1\n", "\ufeffformula;y\nNaCl;4,2\n"):  # of a spreadsheet
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="separated by ';', save it with commas between col"):
            TableFile(path).read()
