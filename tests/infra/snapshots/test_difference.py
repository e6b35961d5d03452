import math
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.artifact import DATA
from infra.folder import Folder
from infra.snapshots.difference import ADDED, CHANGED, REMOVED, compare
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import BAND_GAP, COMPOSITION, FORMATION_ENERGY, FORMULA, ROW, SOURCE_ID

ENERGY, GAP = FORMATION_ENERGY.name, BAND_GAP.name
FIELDS = {c.name: c.field() for c in (ROW, FORMULA, COMPOSITION, SOURCE_ID, FORMATION_ENERGY)}


def table(rows, *more):
    """A snapshot's rows from (source_id, composition, energy); energies of the known type."""
    fields = [*FIELDS.values(), *more]
    columns = [
        range(len(rows)),
        [row[1] for row in rows],
        [row[1] for row in rows],
        [row[0] for row in rows],
        [row[2] for row in rows],
        *([row[3 + i] for row in rows] for i in range(len(more))),
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))


@pytest.fixture(scope="module")
def differing(tmp_path_factory):
    """Compares two tables; returns the summary and the rows that differ."""
    base = tmp_path_factory.mktemp("differing") / "it's [a] *store?"
    folders = [Folder(base / side) for side in ("old", "new")]

    def run(old, new, by=None):
        for folder, side in zip(folders, (old, new), strict=True):
            folder.write_table(DATA, side)
        with compare(*folders, by) as comparison:
            return comparison.summary, comparison.changes().read_all()

    return run


OLD = [("a", "ClNa", -2.0), ("b", "MgO", -3.0), ("c", "Si", 0.0), ("d", "Fe", None)]
NEW = [("c", "Si", 0.0), ("b", "MgO", -3.25), ("d", "Fe", 0.5), ("e", "ClK", -2.1)]


def test_rows_are_matched_by_id(differing):
    found, rows = differing(table(OLD), table(NEW))
    assert found.key == SOURCE_ID.name
    assert (found.rows_old, found.rows_new) == (4, 4)
    assert (found.added, found.removed, found.changed, found.unchanged) == (1, 1, 2, 1)
    assert found.examples == {ADDED: ["e"], REMOVED: ["a"], CHANGED: ["b", "d"]}
    (name,) = found.columns
    change = found.columns[name]
    assert (name, change.rows, change.emptied, change.filled) == (ENERGY, 2, 0, 1)
    assert (change.median, change.largest, change.unit) == (0.25, 0.25, "eV/atom")
    assert rows.select(["change", "source_id", f"{ENERGY}_old", f"{ENERGY}_new"]).to_pylist() == [
        {"change": REMOVED, "source_id": "a", f"{ENERGY}_old": -2.0, f"{ENERGY}_new": None},
        {"change": CHANGED, "source_id": "b", f"{ENERGY}_old": -3.0, f"{ENERGY}_new": -3.25},
        {"change": CHANGED, "source_id": "d", f"{ENERGY}_old": None, f"{ENERGY}_new": 0.5},
        {"change": ADDED, "source_id": "e", f"{ENERGY}_old": None, f"{ENERGY}_new": -2.1},
    ]
    assert rows.schema.field(f"{ENERGY}_new").metadata[b"unit"] == b"eV/atom"


def test_the_reverse_is_the_reverse(differing):
    there, _ = differing(table(OLD), table(NEW))
    back, _ = differing(table(NEW), table(OLD))
    assert (back.added, back.removed, back.changed) == (there.removed, there.added, there.changed)
    assert back.columns[ENERGY].emptied == there.columns[ENERGY].filled


def test_without_ids_by_composition(differing):
    """One of three polymorphs goes, and the others are not taken for changed."""
    old = [(None, "C", 1.0), (None, "C", 2.0), (None, "C", 3.0), (None, "Si", 0.0)]
    found, _ = differing(table(old), table(old[1:]))
    assert (found.key, found.removed, found.changed, found.unchanged) == ("composition", 1, 0, 3)
    changed = [*old[:2], (None, "C", 3.5), old[3]]
    found, _ = differing(table(old), table(changed))
    assert (found.added, found.removed, found.changed, found.unchanged) == (0, 0, 1, 3)
    assert found.columns[ENERGY].largest == 0.5


def test_one_row_without_an_id_is_enough(differing):
    found, _ = differing(table(OLD), table([*NEW, (None, "Si", 1.0)]))
    assert found.key == COMPOSITION.name


def test_ids_that_come_twice(differing):
    found, _ = differing(table([*OLD, OLD[0]]), table(OLD))
    assert (found.removed, found.changed, found.unchanged) == (1, 0, 4)


def test_a_key_may_be_named(differing):
    found, _ = differing(table(OLD), table(NEW), COMPOSITION.name)
    assert (found.key, found.added, found.removed, found.changed) == ("composition", 1, 1, 2)
    with pytest.raises(DataError, match="the old snapshot, column 'nope': there is no such column"):
        differing(table(OLD), table(NEW), "nope")


def test_nan_is_equal_to_itself_and_sizes_are_of_finite_numbers(differing):
    old = [("a", "C", math.nan), ("b", "C", math.nan), ("c", "C", 1.0), ("d", "C", 1.0)]
    new = [("a", "C", math.nan), ("b", "C", 1.0), ("c", "C", math.inf), ("d", "C", 3.0)]
    found, _ = differing(table(old), table(new))
    assert (found.changed, found.unchanged) == (3, 1)
    assert (found.columns[ENERGY].rows, found.columns[ENERGY].largest) == (3, 2.0)


def test_columns_that_come_go_and_change_their_meaning(differing):
    gap, mev = BAND_GAP.field(), pa.field("g", pa.float64(), metadata={"unit": "meV"})
    old = table([("a", "C", 1.0, 5.5, 1.0)], gap, mev)
    whole = pa.field("g", pa.int64(), metadata={"unit": "eV"})
    new = table([("a", "C", 1.0, 1, "x")], whole, pa.field("note", pa.string()))
    found, rows = differing(old, new)
    assert (found.columns_added, found.columns_removed) == (["note"], [GAP])
    assert found.redefined == {"g": ("double in meV", "int64 in eV")}
    assert (found.changed, found.columns) == (0, {})
    assert rows.num_rows == 0
    text = table([("a", "C", 1.0, "one")], pa.field("g", pa.string()))
    found, rows = differing(new, text)
    assert (found.columns["g"].rows, found.columns["g"].largest) == (1, None)
    assert (rows["g_old"].to_pylist(), rows["g_new"].to_pylist()) == (["1"], ["one"])


def test_structures_are_compared_as_a_whole(differing):
    sites = pa.field("frac_coords", pa.list_(pa.float64()))
    old = table([("a", "C", 1.0, [0.0, 0.5]), ("b", "C", 1.0, None)], sites)
    new = table([("a", "C", 1.0, [0.0, 0.25]), ("b", "C", 1.0, [])], sites)
    found, rows = differing(old, new)
    assert (found.changed, found.columns["frac_coords"].filled) == (2, 1)
    assert found.columns["frac_coords"].largest is None
    assert "frac_coords_old" not in rows.column_names


def test_odd_names(differing):
    odd = pa.field('a "b", k; c0', pa.float64())
    found, rows = differing(
        table([("x'y", "C", 1.0, 1.0)], odd), table([("x'y", "C", 1.0, 2.0)], odd)
    )
    assert list(found.columns) == [odd.name]
    assert rows[f"{odd.name}_new"].to_pylist() == [2.0]


def test_a_damaged_file_is_named_in_one_sentence(differing, tmp_path):
    whole, damaged = Folder(tmp_path / "whole"), Folder(tmp_path / "damaged")
    for folder in (whole, damaged):
        folder.write_table(DATA, table(OLD * 1000))
    path = tmp_path / "damaged" / DATA
    data = bytearray(path.read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # where the footer begins
    data[4:end] = bytes(end - 4)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="cannot compare the snapshots"), compare(whole, damaged):
        pass


VALUES = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5]), st.just(math.nan))
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["C", "Si"]), VALUES), max_size=8)


@settings(max_examples=12)
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_counts_are_those_of_multisets_in_any_order(differing, old, new, random):
    found, rows = differing(table(old), table(new))

    def contents(side):
        return Counter((i, c, "nan" if e is not None and math.isnan(e) else e) for i, c, e in side)

    rest = [contents(old) - contents(new), contents(new) - contents(old)]
    keys = [Counter(), Counter()]
    for counter, several in zip(rest, keys, strict=True):
        for (id_, _, _), times in counter.items():
            several[id_] += times
    assert found.unchanged == len(old) - rest[0].total() == len(new) - rest[1].total()
    assert found.changed == (keys[0] & keys[1]).total()
    assert found.added == (keys[1] - keys[0]).total()
    assert found.removed == (keys[0] - keys[1]).total()
    assert Counter(rows["change"].to_pylist()) == Counter(
        {ADDED: found.added, REMOVED: found.removed, CHANGED: found.changed}
    )
    shuffled = [random.sample(side, len(side)) for side in (old, new)]
    again, same = differing(*map(table, shuffled))
    assert again == found
    assert str(same.to_pylist()) == str(rows.to_pylist())


def test_keys_that_are_numbers_of_two_types_and_may_be_empty(differing):
    def keyed(keys, type_):
        rows = [(str(i), "Si", float(i)) for i in range(len(keys))]
        return table(rows).append_column("n", pa.array(keys, type_)).drop([SOURCE_ID.name])

    old, new = keyed([1, 2, None], pa.int64()), keyed([1.0, 2.5, None], pa.float64())
    found, rows = differing(old, new, by="n")
    assert (found.added, found.removed, found.unchanged) == (1, 1, 2)
    assert sorted(rows["n"].to_pylist()) == [2.0, 2.5]
    found, rows = differing(old, keyed([1, None, 3], pa.int64()), by="n")
    assert (found.added, found.removed, found.changed) == (1, 1, 1)
    assert set(rows["n"].to_pylist()) == {2, 3, None}
    assert rows.schema.field("n").type == pa.int64()


@pytest.mark.parametrize(("old", "new"), [([[1], [2]], [[1, 2]]), ([[None]], [[]])])
def test_lists_that_differ_in_form_alone(differing, old, new):
    def nested(value):
        rows = table([("a", "Si", 0.0)])
        return rows.append_column("x", pa.array([value], pa.list_(pa.list_(pa.int64()))))

    assert differing(nested(old), nested(new))[0].changed == 1
