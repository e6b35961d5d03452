from dataclasses import replace

import pytest

from infra.store import Store
from infra.study.grid import Cell, DataSet
from infra.study.results import Result, Results, as_csv, cell_key, curves_table, results_table
from irnet_core.notation import NAMED
from irnet_core.recipes import RECIPES

DATA = DataSet(name="a", table="a.csv", target="gap_ev")
CELL = Cell("a", "composition", "irnet", 17, "modern", 100, 5, None, 0)
DONE = Result(status="done", mae=0.5, train_rows=100, history=[(1, 2.0, 0.7), (2, 1.0, 0.5)])


def test_results_come_back_and_damaged_ones_are_none(tmp_path):
    results = Results(Store(tmp_path))
    key = cell_key(CELL, DATA, "digest", ["magpie"])
    assert results.get(key) is None
    results.put(key, DONE)
    assert results.get(key) == DONE
    odd = DONE.model_copy(update={"history": [(1, float("nan"), float("inf")), (2, 1.0, 0.5)]})
    results.put(key, odd)
    assert results.get(key).history == [(1, None, None), (2, 1.0, 0.5)]
    assert curves_table([(key, CELL, DATA, results.get(key))]).column("mae").null_count == 1
    results.folder.write_bytes(f"{key}.json", b'{"status": "do')
    assert results.get(key) is None


def test_one_study_at_a_time_is_at_a_cell(tmp_path):
    mine, other = Results(Store(tmp_path)), Results(Store(tmp_path))
    with mine.at_work("k1") as folder:
        folder.write_bytes("checkpoint", b"1")
        with other.at_work("k1") as held, other.at_work("k2") as free:
            assert held is None
            assert free is not None
    with other.at_work("k1") as folder:
        assert folder.read_bytes("checkpoint") == b"1"


@pytest.mark.parametrize(
    ("cell", "data", "content", "schemas"),
    [
        (Cell("a", "composition", "irnet", 17, "modern", 100, 5, None, 1), DATA, "d", ["m"]),
        (CELL, DATA.model_copy(update={"below": 1.0}), "d", ["m"]),
        (CELL, DATA, "other", ["m"]),
        (CELL, DATA, "d", ["n"]),
    ],
)
def test_whatever_a_result_depends_on_is_in_its_key(cell, data, content, schemas):
    assert cell_key(cell, data, content, schemas) != cell_key(CELL, DATA, "d", ["m"])


def test_what_others_published_is_in_the_tables_but_in_no_key():
    published = DATA.model_copy(update={"published": {"Roost": 0.4, "CrabNet": 0.3}})
    assert cell_key(CELL, published, "d", ["m"]) == cell_key(CELL, DATA, "d", ["m"])
    row = results_table([("k", CELL, published, DONE)]).to_pylist()[0]
    assert (row["peer"], row["peer_mae"]) == ("CrabNet", 0.3)


def test_tables():
    rows = [("k1", CELL, DATA, DONE), ("k2", CELL, DATA, Result(status="not run", reason="no"))]
    table = results_table(rows)
    assert table.column("unit").to_pylist() == ["eV", "eV"]
    assert table.column("mae").to_pylist() == [0.5, None]
    assert curves_table(rows).to_pylist()[1] == {
        "cell": "k1",
        "epoch": 2,
        "train_loss": 1.0,
        "mae": 0.5,
    }
    head, first, _ = as_csv(table).decode().splitlines()
    assert head.startswith('"cell","data","target"')
    assert first.startswith('"k1","a","gap_ev","eV","composition","irnet",17,"modern",1,"done"')


def test_what_names_mean_is_in_the_key(monkeypatch):
    """A network or a recipe that a later version changes is another cell."""
    cell = Cell("a", "composition", "irnet-elements", None, "modern", 100, 5, None, 0)
    before = cell_key(cell, DATA, "d", ["m"])
    with monkeypatch.context() as patch:
        patch.setitem(NAMED, "irnet-elements", "64Ex3-64BARx2-1")
        assert cell_key(cell, DATA, "d", ["m"]) != before
    with monkeypatch.context() as patch:
        patch.setitem(RECIPES, "modern", replace(RECIPES["modern"], dropout=0.2))
        assert cell_key(cell, DATA, "d", ["m"]) != before
    assert cell_key(cell, DATA, "d", ["m"]) == before
