import math
import shutil
import subprocess

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from flows.models import open_model
from infra.store import Store
from irnet_core.bundle import CARD, WEIGHTS

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
ROWS = "id,formula,note\n7,NaCl,a\n8,Xx2O3,\n9,Fe2O3,b\n10,OgO,c\n11,Cl2Na2,d\n"
OUTPUTS = ["prediction", "prediction_std", "lower_90", "upper_90", "domain_percentile"]
REASONS = [None, "unknown element 'Xx'", None, "no Magpie data for element 'Og'", None]


@pytest.fixture
def predict(filled, cli, tmp_path):
    """Predict for a table of a name; returns what was printed and the path of the output."""

    def run(path, output, *options):
        output = tmp_path / output
        result = cli("predict", "--model", "small", "--input", path, "--output", output, *options)
        assert result.exit_code == 0, result.output
        return result.stdout, output

    return run


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ROWS)
    return path


def check(found):
    assert found["id"] == [7, 8, 9, 10, 11]
    assert found["formula"] == ["NaCl", "Xx2O3", "Fe2O3", "OgO", "Cl2Na2"]
    values = found["prediction"]
    assert [value is None for value in values] == [reason is not None for reason in REASONS]
    assert values[0] == pytest.approx(values[4], abs=1e-5)  # the same composition
    assert abs(values[0] - values[2]) > 1e-4
    assert all(math.isfinite(value) for value in values if value is not None)
    for row in (0, 2, 4):
        assert found["lower_90"][row] < values[row] < found["upper_90"][row]
        assert found["prediction_std"][row] > 0
        assert 0 <= found["domain_percentile"][row] <= 100


def test_csv(predict, table):
    said, output = predict(table, "b.csv")
    assert said.splitlines() == [
        f"3 rows predicted -> {output}",
        "2 rows have none, the column 'reason' says why",
    ]
    found = pa_csv.read_csv(output).to_pydict()
    assert list(found) == ["id", "formula", "note", *OUTPUTS, "reason"]
    check(found)
    assert found["reason"] == [reason or "" for reason in REASONS]
    assert found["note"] == ["a", "", "b", "c", "d"]


def test_parquet(predict, table, tmp_path):
    pq.write_table(pa_csv.read_csv(table), tmp_path / "a.parquet")
    _, output = predict(tmp_path / "a.parquet", "b.parquet")
    found = pq.read_table(output)
    check(found.to_pydict())
    assert found["reason"].to_pylist() == REASONS
    field = found.schema.field("prediction")
    assert field.metadata == {
        b"unit": b"eV/atom",
        b"meaning": b"formation_energy_ev_atom as small has it",
    }


def test_both_formats_hold_the_same_numbers(predict, table):
    one = pa_csv.read_csv(predict(table, "b.csv")[1])["prediction"].to_pylist()
    other = pq.read_table(predict(table, "b.parquet")[1])["prediction"].to_pylist()
    assert one == other


def test_all_rows_good(predict, tmp_path):
    (tmp_path / "a.csv").write_text("formula\nNaCl\nNaN\n")
    said, output = predict(tmp_path / "a.csv", "b.csv")
    assert said == f"2 rows predicted -> {output}\n"
    assert pa_csv.read_csv(output).column_names == ["formula", *OUTPUTS]


def test_other_formula_column_keeps_its_name(predict, tmp_path):
    (tmp_path / "a.csv").write_text("x,comp\n1,NaCl\n2,KBr\n")
    _, output = predict(tmp_path / "a.csv", "b.csv", "--formula-column", "comp")
    assert pa_csv.read_csv(output).column_names == ["x", "comp", *OUTPUTS]


def test_rows_do_not_depend_on_each_other(predict, tmp_path, monkeypatch):
    formulas = [f"Na{i}Cl{j}" for i in range(1, 30) for j in range(1, 30)]
    monkeypatch.setattr("flows.formulas.CHUNK", 100)
    (tmp_path / "a.csv").write_text("formula\n" + "\n".join(["Xx", *formulas]))
    (tmp_path / "b.csv").write_text("formula\n" + "\n".join(formulas[::-1]))
    one = pa_csv.read_csv(predict(tmp_path / "a.csv", "c.csv")[1])["prediction"].to_pylist()
    other = pa_csv.read_csv(predict(tmp_path / "b.csv", "d.csv")[1])["prediction"].to_pylist()
    assert one[0] is None
    assert one[1:] == pytest.approx(other[::-1], abs=1e-5)


def test_input_may_be_replaced(predict, table):
    predict(table, table.name)
    check(pa_csv.read_csv(table).to_pydict())


def test_bundle_in_a_folder(filled, cli, table, tmp_path):
    model = Store(filled).open("models/small")
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in (CARD, WEIGHTS):
        shutil.copy(model.path(name), copied)
    for where, output in ((copied, "b.csv"), (model.id, "c.csv"), ("models/small", "d.csv")):
        arguments = ("--input", table, "--output", tmp_path / output)
        assert cli("predict", "--model", where, *arguments).exit_code == 0
    outputs = [(tmp_path / name).read_bytes() for name in ("b.csv", "c.csv", "d.csv")]
    assert outputs[0] == outputs[1] == outputs[2]
    assert open_model(str(copied), Store(filled))[1] != model.id


# what fails leaves no output ----------------------------------------------------------------------


@pytest.fixture
def refused(filled, fails, tmp_path):
    """Predict for a table and return the error; nothing may be written."""

    def run(path, output="b.csv", *options, model="small"):
        before = sorted(tmp_path.iterdir())
        arguments = ("--input", path, "--output", tmp_path / output, *options)
        found = fails("predict", "--model", model, *arguments)
        assert sorted(tmp_path.iterdir()) == before
        return found

    return run


def test_no_usable_formula(refused, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("comp\nXx\nOgO\n")
    assert refused(path, "b.csv", "--formula-column", "comp") == (
        f"{path}, column 'comp', row 0: no formula can be used, the first because: unknown element "
        "'Xx'; correct the formulas or name another column with --formula-column"
    )


@pytest.mark.parametrize("column", [*OUTPUTS, "reason"])
def test_columns_that_are_taken(refused, tmp_path, column):
    path = tmp_path / "a.csv"
    path.write_text(f"formula,{column}\nNaCl,1\n")
    message = f"{path}, column '{column}': the output has a column of this name, rename it"
    assert refused(path) == message
    path.write_text(f"{column}\nNaCl\n")
    assert refused(path, "b.csv", "--formula-column", column) == message


def test_unknown_format_of_the_output(refused, table, tmp_path):
    message = refused(table, "b.xlsx")
    assert message == f"{tmp_path}/b.xlsx: name a file that ends in .csv or .parquet"


@pytest.mark.parametrize("output", ["missing/b.csv", "a.csv/b.csv"])
def test_folder_that_is_not_there(refused, table, tmp_path, output):
    message = refused(table, output)
    assert message == f"{tmp_path}/{output}: its folder does not exist: make it first"


def test_nested_columns_do_not_fit_into_csv(refused, predict, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"formula": ["NaCl"], "sites": [[1, 2]]}), path)
    message = refused(path)
    assert message.startswith(f"{tmp_path}/b.csv: the table does not fit into CSV (")
    assert message.endswith("let --output end in .parquet")
    assert pq.read_table(predict(path, "b.parquet")[1])["sites"].to_pylist() == [[1, 2]]


def test_unknown_model(refused, table, tmp_path):
    assert "answers to 'other': there are models/latest, models/small" in refused(
        table, model="other"
    )


def test_full_disk(filled, cli, table, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        lines = "".join(f"Na{i}Cl{j}\n" for i in range(1, 90) for j in range(1, 90))
        (tmp_path / "long.csv").write_text("formula\n" + lines)
        arguments = ("--input", tmp_path / "long.csv", "--output", place / "b.csv")
        result = cli("predict", "--model", "small", *arguments)
        assert result.exit_code == 1
        assert "b.csv: the file cannot be written (No space left on device)" in result.stderr
        assert list(place.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        result = cli("predict", "--model", "small", "--input", table, "--output", place / "b.csv")
        assert result.exit_code == 1
        assert "b.csv: the file cannot be written (Read-only file system)" in result.stderr
    finally:
        subprocess.run(["umount", str(place)], check=True)
