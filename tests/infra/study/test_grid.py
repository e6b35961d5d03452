import json

import pytest

from infra.study.classical import CLASSICAL
from infra.study.grid import BUILT_IN, read_grid
from irnet_core.errors import DataError

GRID = {
    "data": [{"name": "a", "table": "a.csv", "target": "y"}],
    "run": [
        {"data": ["a"], "learners": ["ridge", "irnet", "plain"], "depths": [10, 17], "sizes": [9]},
        {"data": ["a"], "learners": ["ridge", "svm"], "sizes": [9, "all"], "rows": 50},
    ],
}


def written(folder, grid, name="grid.json"):
    path = folder / name
    path.write_text(grid if isinstance(grid, str) else json.dumps(grid))
    return str(path)


def test_product_of_choices_each_cell_once(tmp_path):
    cells = read_grid(written(tmp_path, GRID)).cells()
    assert [(cell.name, cell.size) for cell in cells] == [
        *(("ridge", 9), ("irnet-10", 9), ("irnet-17", 9), ("plain-10", 9), ("plain-17", 9)),
        *(("svm", 9), ("ridge", 50), ("svm", 50)),
    ]
    assert {cell.recipe for cell in cells if cell.depth} == {"modern"}
    assert {cell.recipe for cell in cells if not cell.depth} == {None}


def test_three_formats_say_the_same(tmp_path):
    text = """
[[data]]
name = "a"
table = "a.csv"
target = "y"
[[run]]
data = ["a"]
learners = ["ridge"]
"""
    plain = {"data": GRID["data"], "run": [{"data": ["a"], "learners": ["ridge"]}]}
    toml = read_grid(written(tmp_path, text, "grid.toml"))
    assert (
        toml
        == read_grid(written(tmp_path, plain))
        == read_grid(
            written(tmp_path, plain, "grid.yaml")  # JSON is YAML
        )
    )


@pytest.mark.parametrize("name", ["paper", "small"])
def test_built_in_grids(name):
    cells = read_grid(name).cells()
    assert {cell.learner for cell in cells} >= {*CLASSICAL, "plain", "srnet", "irnet"}
    assert {cell.depth for cell in cells} == {None, 10, 17, 24, 48}
    assert {cell.inputs for cell in cells} == {"composition", "structure", "both"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_grids_fit_the_tables(name, shared_data):
    import pyarrow.parquet as pq

    from irnet_core.split_texts import parse_split

    for data in read_grid(name).data:
        if data.table:
            names = pq.read_schema(shared_data / data.table).names
            wanted = {data.target, data.formula_column, *data.where}
            assert wanted | set(parse_split(data.split).columns) <= set(names), data.name


def test_built_in_grids_drop_what_training_would_refuse(shared_data):
    import pandas as pd

    from featurizers.canonical import canonical_formulas
    from featurizers.formula import parse_formulas
    from irnet_core.splits import given_split, shared_compositions

    declared = [data for name in BUILT_IN for data in read_grid(name).data]
    given = {(data.table, data.drop_shared) for data in declared if data.split == "given:split"}
    kept = {table for table, dropped in given if not dropped}
    for table in sorted({table for table, _ in given}):
        rows = pd.read_parquet(shared_data / table, columns=["formula", "split"])
        parsed = parse_formulas(rows.formula.tolist())
        formulas, _ = canonical_formulas(parsed.numbers, parsed.amounts)
        split = given_split(rows.split.to_numpy(), column="split")
        assert table not in kept or not len(shared_compositions(split, formulas)), table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": [{"data": ["b"], "learners": ["svm"]}]}, "names the data set 'b', which is not"),
        ({"run": [{"data": ["a"], "learners": ["oracle"]}]}, "'oracle' is no learner: choose"),
        ({"run": [{"data": ["a"], "learners": ["svm"], "depths": [3]}]}, "no network has 3 layers"),
        ({"run": [{"data": ["a"], "learners": ["svm"], "recipe": "x"}]}, "'x' is no recipe"),
        ({"data": [{"name": "a", "target": "y"}]}, "either a table or a source"),
        ({"data": [*GRID["data"], *GRID["data"]]}, "two data sets have one name"),
        ({"data": [{**GRID["data"][0], "split": "magic:1"}]}, "'magic:1' is no split"),
        ({"speed": 1}, "speed: Extra inputs"),
        ({"run": [{"data": ["a"], "learners": ["svm"], "sizes": [1]}]}, "greater than or equal"),
        ({"run": [{"data": ["a"], "learners": ["svm"], "sizes": [True]}]}, "valid integer"),
        ({"data": [{"name": "a", "source": "oqmd", "target": "y"}]}, "should be 'pymatgen-expt'"),
    ],
)
def test_grids_that_are_none(tmp_path, change, message):
    path = written(tmp_path, GRID | change)
    with pytest.raises(DataError) as caught:
        read_grid(path)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("g.toml", "= 1"), ("g.json", "{"), ("g.yaml", "a: ]"), ("g.txt", ""), ("g.json", "[]")],
)
def test_files_that_are_no_grid(tmp_path, name, text):
    with pytest.raises(DataError, match=f"{name}: ") as caught:
        read_grid(written(tmp_path, text, name))
    assert "\n" not in str(caught.value)
    with pytest.raises(
        DataError, match="the grid cannot be read .*one of depth, paper, peers, small"
    ):
        read_grid("absent.toml")
