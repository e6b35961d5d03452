import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import DataError
from irnet_core.hold_out import HOLD_OUT, recorded_rule, recorded_rules, split_without
from irnet_core.split_rules import SplitRows, described
from irnet_core.split_texts import only_pair, parse_split

POOL = ["Fe2O3", "FeO", "ClNa", "AlFe", "Al2O3", "CaF2", "CaO", "MgO", "Fe3O4", "KCl"]
HELD = ["cluster:2/1", "element:Fe", "system:Fe-O", "time:year<1994", "folds:fold/0", "random:0.3"]


def rows_of(compositions):
    place = np.array([POOL.index(one) for one in compositions])
    columns = {"fold": place % 3, "year": 1990 + place}
    return SplitRows(
        np.array(compositions, dtype=object),
        columns.__getitem__,
        lambda count, seed: place % count,
        "a.csv",
        np.arange(10, 10 + len(compositions)),
    )


tables = st.lists(st.sampled_from(POOL), min_size=0, max_size=20).map(lambda more: POOL + more)


@given(tables, st.sampled_from(HELD), st.sampled_from([None, "random:0.4", "folds:fold/1"]))
def test_what_is_held_out_takes_no_part(compositions, hold_out, split):
    rows = rows_of(compositions)
    outer = parse_split(hold_out, 3)
    found = split_without(parse_split(split, 3), outer, rows)
    held = only_pair(outer, rows).validation
    met = rows.compositions[np.concatenate([found.train, found.validation])]
    assert len(found.train)
    assert len(found.validation)
    assert not set(met) & set(rows.compositions[held])
    assert not set(rows.compositions[found.train]) & set(rows.compositions[found.validation])
    assert found.description[HOLD_OUT]["rows"] == len(held)
    # what the card records is enough to make the same split again
    again = split_without(*recorded_rules(found.description), rows)
    assert again.train.tolist() == found.train.tolist()
    assert again.validation.tolist() == found.validation.tolist()


@pytest.mark.parametrize(
    "text", ["random:0.00001", "time:ts<1600000000000000000", "time:y<-0.00002", "time:y<1e-7"]
)
def test_what_a_card_records_is_read_again(text):
    rule = parse_split(text, 3)
    assert recorded_rule(described(rule)) == rule


def test_test_rows_stay_out():
    rows = rows_of(POOL)
    roles = np.array(["test", "val", "val", *["train"] * 7], dtype=object)
    rows = SplitRows(rows.compositions, lambda name: roles, rows.clusters, "a.csv")
    found = split_without(parse_split(None), parse_split("given:role"), rows)
    assert sorted([*found.train, *found.validation]) == [3, 4, 5, 6, 7, 8, 9]


def test_messages_name_rows_of_the_table():
    rows = rows_of(POOL)
    roles = np.array(["train"] * 9 + ["?"], dtype=object)
    rows = SplitRows(rows.compositions, lambda name: roles, rows.clusters, "a.csv", rows.rows)
    with pytest.raises(DataError, match="^a.csv, column 'role', row 19: '\\?' is no role"):
        split_without(parse_split("role"), parse_split("element:Fe"), rows)


def test_several_splits_are_none():
    with pytest.raises(DataError, match=r"this one is several \(0, 1, ...\): name one as in"):
        split_without(parse_split(None), parse_split("cluster:2"), rows_of(POOL))


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"kind": ["random"]},
        {"kind": "random"},
        {"kind": "random", "share": "1; x", "seed": 0},
        {"kind": "random", "share": 0.1, "seed": "0"},
        {"kind": "random", "share": 0.1, "seed": -1},
        {"kind": "cluster", "count": {}, "which": "1"},
    ],
)
def test_records_that_tell_of_no_split(description):
    with pytest.raises(DataError, match="split"):
        recorded_rule(description)
    with pytest.raises(DataError, match="split|hold-out"):
        recorded_rules({"kind": "random", "share": 0.1, HOLD_OUT: description or 3})
