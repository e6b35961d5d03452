import shutil
from pathlib import Path

import pandas as pd
import pytest

from infra.query import RANKED
from infra.store import Store

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine


def test_ranked_is_the_latest_screen(filled, cli):
    result = cli("query", "SELECT rank, formula, score FROM ranked ORDER BY rank LIMIT 3")
    assert result.exit_code == 0
    table = Store(filled).open("screens/latest").read_table(RANKED).slice(0, 3)
    for row in table.to_pylist():
        assert row["formula"] in result.stdout
        assert f"{row['score']:.4f}" in result.stdout
    assert "only the first" not in result.stdout


def test_views_by_id(filled, cli):
    store = Store(filled)
    for kind, prefix, rows in (("screens", "screen", 50), ("snapshots", "snapshot", 2135)):
        id_ = store.open("latest", kind).id
        result = cli("query", f"SELECT count(*) AS n FROM {prefix}_{id_}")
        assert str(rows) in result.stdout
    assert "2135" in cli("query", "SELECT count(*) FROM snapshot").stdout


def test_joins_work(filled, cli):
    sql = "SELECT count(*) AS n FROM ranked JOIN snapshot ON ranked.formula = snapshot.composition"
    assert " 0 " in cli("query", sql).stdout.replace("│", " ")  # nothing ranked is known


def test_rows(filled, cli):
    result = cli("query", "SELECT formula FROM ranked", "--rows", 2)
    assert "only the first 2 rows are shown, take more with --rows" in result.stdout
    assert len(result.stdout.splitlines()) == 3 + 2 + 1 + 1
    assert "only" not in cli("query", "SELECT formula FROM ranked", "--rows", 50).stdout


def test_all_rows_go_to_a_file(filled, cli, tmp_path):
    """Such as the known compounds without those that another table judges."""
    store = Store(filled)
    known = store.open("latest", "snapshots").read_table("data.parquet")
    judged = known["composition"].to_pylist()[:10]
    listed = ", ".join(f"'{composition}'" for composition in judged)
    sql = f"SELECT formula, composition FROM snapshot WHERE composition NOT IN ({listed})"
    for name, read in (("apart.parquet", pd.read_parquet), ("apart.csv", pd.read_csv)):
        result = cli("query", sql, "--output", tmp_path / name)
        assert result.exit_code == 0, result.output
        found = read(tmp_path / name, **({"keep_default_na": False} if "csv" in name else {}))
        assert result.stdout.startswith(f"{len(found):,} rows -> ")
        assert set(found.composition) == set(known["composition"].to_pylist()) - set(judged)


def test_sums_are_numbers(filled, cli, tmp_path):
    path = tmp_path / "sum.parquet"
    cli("query", "SELECT sum(rank) AS total, 0.5 AS half FROM ranked", "--output", path)
    assert pd.read_parquet(path).dtypes.tolist() == ["float64", "float64"]


def test_a_file_of_another_kind(filled, fails, tmp_path):
    assert "ends in .csv or .parquet" in fails("query", "SELECT 1", "--output", tmp_path / "a.txt")
    for sql, kind in (("SELECT {'a': 1} AS both", ".csv"), ("SELECT INTERVAL 1 DAY", ".parquet")):
        message = fails("query", sql, "--output", tmp_path / f"a{kind}")
        assert f"values that {kind} cannot hold" in message
        assert not (tmp_path / f"a{kind}").exists()
    alike = "SELECT 1 AS a, 2 AS a"
    assert "two columns are called 'a'" in fails("query", alike, "--output", tmp_path / "a.csv")
    message = fails("query", "SELECT nothing FROM ranked", "--output", tmp_path / "a.csv")
    assert "the query failed" in message
    assert not (tmp_path / "a.csv").exists()


def test_values_are_printed_as_they_are(cli):
    values = "NULL AS a, [1, 2] AS b, 'it''s [red]x[/red]' AS c, 0.123456e0 AS d, DATE '2020-01-02'"
    sql = f"SELECT {values}"
    result = cli("query", sql)
    assert result.exit_code == 0
    for text in ("None", "[1, 2]", "it's [red]x[/red]", "0.1235", "2020-01-02"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing FROM ranked", "the query failed (Binder Error: "),
        ("SELEC 1", "the query failed (Parser Error: "),
        ("SELECT CAST(formula AS INTEGER) FROM ranked", "the query failed (Conversion Error: "),
    ],
)
def test_sql_that_fails(filled, fails, sql, message):
    found = fails("query", sql)
    assert found.startswith(message)
    assert "): the views are ranked, " in found


def test_no_screen_yet(fails):
    found = fails("query", "SELECT * FROM ranked")
    assert found.endswith("the views are (none yet, run a screen first)")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (b INTEGER)",
        "COPY (SELECT 1) TO 'stray.csv'",
        "SELECT 1; DROP VIEW ranked",
        "ATTACH 'stray.db'",
    ],
)
def test_a_query_only_reads(filled, fails, sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fails("query", sql) == "a query only reads: write one SELECT"
    assert list(tmp_path.glob("stray*")) == []


def test_a_screen_that_was_removed(filled, cli, fails):
    shutil.rmtree(Path(Store(filled).open("screens/latest").path(RANKED)).parent)
    assert "Table with name ranked does not exist" in fails("query", "SELECT * FROM ranked")
    assert cli("query", "SELECT * FROM snapshot").exit_code == 0


def test_a_store_whose_path_looks_like_a_pattern(filled, cli, monkeypatch, tmp_path):
    odd = tmp_path / "a [draft] it's *"
    shutil.copytree(filled, odd)
    monkeypatch.setenv("IRNET_STORE", str(odd))
    assert "50" in cli("query", "SELECT count(*) AS n FROM ranked").stdout


def test_one_damaged_snapshot_is_no_end_of_queries(filled, cli, tmp_path):
    store = Store(filled)
    lost = store.open("latest", "snapshots")
    Path(lost.path("data.parquet")).write_bytes(b"no table")
    result = cli("query", "SELECT count(*) FROM ranked")
    assert "50" in result.stdout
    assert f"{lost.url} is damaged and has no view" in result.stderr


@pytest.mark.parametrize("name", ["kinds", "duck", "connection", "store"])
def test_our_own_variables_are_no_tables(filled, fails, name):
    assert f"Table with name {name} does not exist" in fails("query", f"SELECT * FROM {name}")
