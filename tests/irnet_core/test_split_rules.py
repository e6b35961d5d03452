import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import DataError
from irnet_core.split_rules import (
    Cluster,
    Element,
    Folds,
    Given,
    Random,
    SplitRows,
    System,
    Time,
    chemical_systems,
)
from irnet_core.split_texts import only_pair, parse_split

POOL = ["Fe2O3", "FeO", "ClNa", "AlFe", "Al2O3", "F", "CaF2", "CaO", "MgO", "Fe3O4"]


def rows_of(compositions, clusters=None, **columns):
    compositions = np.array(compositions, dtype=object)
    return SplitRows(
        compositions,
        lambda name: np.array(columns[name]),
        lambda count, seed: np.asarray(clusters),
        "a.csv",
        np.arange(10, 10 + len(compositions)),
    )


tables = st.lists(st.sampled_from(POOL), min_size=4, max_size=40).filter(lambda c: len(set(c)) > 3)


@st.composite
def rules(draw):
    compositions = draw(tables)
    by_composition = {c: draw(st.integers(0, 3)) for c in sorted(set(compositions))}
    folds = [by_composition[c] for c in compositions]
    years = draw(
        st.lists(st.integers(1990, 1999), min_size=len(compositions), max_size=len(compositions))
    )
    roles = ["val" if fold == 0 else "train" for fold in folds]
    rows = rows_of(compositions, clusters=folds, fold=folds, year=years, role=roles)
    kinds = ["random:0.3", "folds:fold", "element:*", "system:*", "cluster:4", "time:year<1995"]
    return parse_split(draw(st.sampled_from([*kinds, "given:role"])), 3), rows


@given(rules())
def test_no_composition_sits_on_both_sides(drawn):
    rule, rows = drawn
    try:
        pairs = list(rule.pairs(rows))
    except DataError as error:
        if not re.search("leaves no row to|no row is marked", str(error)):
            raise
        return
    assert pairs
    every = set(range(len(rows.compositions)))
    for _, split in pairs:
        train, validation = set(split.train.tolist()), set(split.validation.tolist())
        assert train
        assert validation
        assert not train & validation
        assert not set(rows.compositions[split.train]) & set(rows.compositions[split.validation])
        if not isinstance(rule, Time):  # there, later rows of what was known are left out
            assert train | validation == every
        assert split.description["kind"] == rule.kind
    if isinstance(rule, Folds | System | Cluster):  # every row validates once
        validated = np.concatenate([split.validation for _, split in pairs])
        assert sorted(validated.tolist()) == sorted(every)


def test_element():
    rows = rows_of(["Fe2O3", "F", "CaF2", "AlFe", "CaO"])
    (name, split), *rest = Element("F").pairs(rows)
    assert (name, rest) == ("F", [])
    assert split.validation.tolist() == [1, 2]  # and no iron
    assert split.description["held_out"] == "F"
    names = [name for name, _ in Element("*").pairs(rows)]
    assert names == ["Al", "Ca", "F", "Fe", "O"]
    with pytest.raises(DataError, match="^a.csv: no row belongs to the element 'Xe': choose among"):
        list(Element("Xe").pairs(rows))


def test_system_in_any_order():
    rows = rows_of(["Fe2O3", "FeO", "CaFe2O4", "CaO"])
    assert only_pair(System("O-Fe"), rows).validation.tolist() == [0, 1]
    assert chemical_systems(rows.compositions).tolist() == ["Fe-O", "Fe-O", "Ca-Fe-O", "Ca-O"]


def test_time_leaves_out_what_was_known():
    rows = rows_of(["FeO", "CaO", "FeO", "MgO"], year=[2000, 2001, 2016, 2020])
    split = only_pair(parse_split("time:year<2015"), rows)
    assert split.train.tolist() == [0, 1]
    assert split.validation.tolist() == [3]
    assert split.description["later_rows_of_known_compositions_left_out"] == 1
    with pytest.raises(
        DataError, match=r"column 'year', row 11: .* needs a number in each row, not nan:"
    ):
        only_pair(Time("year", 2015), rows_of(["FeO", "CaO"], year=[2000, np.nan]))
    with pytest.raises(DataError):  # no rows, and so no times to look at
        only_pair(Time("year", 2015), rows_of([], year=np.array([], object)))


def test_cluster_keeps_structures_of_a_composition_together():
    rows = rows_of(["FeO", "CaO", "FeO", "MgO"], clusters=[0, 1, 1, 1])
    assert only_pair(Cluster(2, "0"), rows).validation.tolist() == [0, 2]


def test_what_validates_in_a_fold_trains_nothing():
    rows = rows_of(["FeO", "CaO", "FeO", "MgO"], fold=[0, 0, 1, 1])
    split = only_pair(parse_split("folds:fold/0"), rows)
    assert (split.train.tolist(), split.validation.tolist()) == ([3], [0, 1])
    assert split.description["training_rows_of_validated_compositions_left_out"] == 1
    with pytest.raises(DataError, match="column 'fold', row 11: the row belongs to no fold"):
        list(Folds("fold").pairs(rows_of(["FeO", "CaO"], fold=[0, np.nan])))


def test_training_takes_one_split():
    rows = rows_of(["FeO", "CaO"], fold=[0, 1])
    assert only_pair(parse_split("folds:fold/1"), rows).validation.tolist() == [1]
    with pytest.raises(DataError, match=r"this one is several \(0, 1, .*as in folds:fold/0$"):
        only_pair(parse_split("folds:fold"), rows)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, Random(0.1, 7)),
        ("role", Given("role")),
        ("given:a:b", Given("a:b")),
        ("random:0.25", Random(0.25, 7)),
        ("folds:fold/2", Folds("fold", "2")),
        ("element:Fe", Element("Fe")),
        ("system:Fe-O", System("Fe-O")),
        ("cluster:10", Cluster(10, "*", 7)),
        ("cluster:10/3", Cluster(10, "3", 7)),
        ("time:year<2015", Time("year", 2015)),
    ],
)
def test_texts(text, rule):
    assert parse_split(text, 7) == rule


@pytest.mark.parametrize(
    "text", ["random:1.5", "random:x", "element:fe", "cluster:0", "time:year", "colour:red", ":"]
)
def test_texts_that_are_none(text):
    with pytest.raises(DataError, match="is no split: write one like given:split, random:0.1, "):
        parse_split(text)
