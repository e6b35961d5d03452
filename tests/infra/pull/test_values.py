from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurizers.elements import SYMBOLS
from infra.pull.values import Notes, integers, numbers, structures, table, texts
from irnet_core.schema import (
    BAND_GAP,
    FORMULA,
    FRAC_COORDS,
    LATTICE,
    N_SITES,
    NOTE,
    NUMBERS,
    REASON,
    SOURCE_ID,
    VOLUME,
    arrow_schema,
)

CELL = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
ODD = [None, "na", "NA", "", " ", "nan", "NaN", "n/a", "null", "-", math.nan]


# numbers ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("missing", ODD, ids=repr)
@pytest.mark.parametrize("others", [[1.5, 2], [1.5, "2"], [1.5, 2, "x"]], ids=str)
def test_missing_numbers_are_null_without_a_note(missing: Any, others: list[Any]) -> None:
    notes = Notes()
    made = numbers([missing, *others], "gap", notes)
    assert made.type == pa.float64()
    assert made.to_pylist()[:3] == [None, 1.5, 2.0]
    assert notes.column(4).to_pylist()[:3] == [None, None, None]


@pytest.mark.parametrize(
    "bad", ["x", "1.5 eV", True, [], {}, [1.0], "inf", math.inf, -math.inf, 10**400, "1" * 10**6]
)
def test_what_is_no_number_is_null_with_a_note(bad: Any) -> None:
    notes = Notes()
    made = numbers([1.0, bad, 2], "gap", notes)
    assert made.to_pylist() == [1.0, None, 2.0]
    note = notes.column(3).to_pylist()
    assert note[0] is None
    assert note[2] is None
    assert note[1].startswith("gap: ")
    assert note[1].endswith("is no number")
    assert len(note[1]) < 100


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none())))
def test_floats_come_through_unchanged_as_numbers_and_as_texts(values: list[float | None]) -> None:
    assert numbers(values, "x", Notes()).to_pylist() == values
    as_texts = [None if value is None else repr(value) for value in values]
    assert numbers(as_texts, "x", Notes()).to_pylist() == values


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists))
def test_any_value_becomes_a_number_or_null(value: Any) -> None:
    notes = Notes()
    got = numbers([value], "x", notes).to_pylist()[0]
    assert got is None or math.isfinite(got)
    note = notes.column(1).to_pylist()[0]
    assert note is None or got is None


@pytest.mark.parametrize(
    ("value", "made", "note"),
    [
        (225, 225, None),
        ("225", 225, None),
        (225.0, 225, None),
        ("na", None, None),
        (None, None, None),
        (1.5, None, "sg: 1.5 is no whole number"),
        (32768, None, "sg: 32768 is out of the range of int16"),
        (-32768, -32768, None),
        (-32769, None, "sg: -32769 is out of the range of int16"),
        (True, None, "sg: True is no number"),
        (10**400, None, f"sg: 1{'0' * 39} is out of the range of int16"),
        ("Fm-3m", None, "sg: 'Fm-3m' is no number"),
        (math.inf, None, "sg: inf is no whole number"),
    ],
)
def test_integers(value: Any, made: int | None, note: str | None) -> None:
    notes = Notes()
    array = integers([1, value], pa.int16(), "sg", notes)
    assert array.type == pa.int16()
    assert array.to_pylist() == [1, made]
    assert notes.column(2).to_pylist() == [None, note]


def test_unsigned_integers_have_their_own_range() -> None:
    assert integers([255, 256, -1], pa.uint8(), "z", Notes()).to_pylist() == [255, None, None]


def test_large_integers_are_exact() -> None:
    assert integers([2**62 + 1, "x"], pa.int64(), "id", Notes()).to_pylist() == [2**62 + 1, None]


# texts ------------------------------------------------------------------------------------------
def test_texts_keep_what_might_be_a_formula_and_turn_integers_to_digits() -> None:
    notes = Notes()
    made = texts(["NaN", "na", 0, "", None, "a/b", ["x"], 1.5, "\ud800"], "id", notes)
    assert made.to_pylist() == ["NaN", "na", "0", None, None, "a/b", None, None, None]
    assert notes.column(9).to_pylist()[6:] == [
        "id: ['x'] is no text",
        "id: 1.5 is no text",
        "id: '\\ud800' is no text that can be written as UTF-8",
    ]


def test_a_row_may_have_several_notes() -> None:
    notes = Notes()
    numbers(["?"], "gap", notes)
    texts([[]], "name", notes)
    assert notes.column(1).to_pylist() == ["gap: '?' is no number; name: [] is no text"]


# structures -------------------------------------------------------------------------------------
def made(
    lattice: Any = CELL,
    species: Any = ("Na", "Cl"),
    coords: Any = ((0, 0, 0), (0.5, 0.5, 0.5)),
    cartesian: bool = False,
) -> tuple[list[Any], str | None]:
    """One structure among good ones: its columns, and its note."""
    notes = Notes()
    good = (CELL, ["Na"], [[0.0, 0.25, 0.5]])
    rows = [good, (lattice, species, coords), good]
    got = structures(*map(list, zip(*rows, strict=True)), cartesian, notes)
    columns = [got.lattice, got.numbers, got.frac_coords, got.n_sites, got.volume]
    for array in columns:
        array.validate(full=True)
        assert array[0].as_py() is not None
        assert array[0] == array[2]
    note = notes.column(3).to_pylist()
    assert note[0] is None
    assert note[2] is None
    return [array[1].as_py() for array in columns], note[1]


def test_a_structure_becomes_columns_of_the_schema() -> None:
    notes = Notes()
    got = structures([CELL], [["Na", 17]], [[[0, 0, 0], ["0.5", 0.5, 0.5]]], False, notes)
    columns = got.columns()
    assert list(columns) == [LATTICE, NUMBERS, FRAC_COORDS, N_SITES]
    assert all(array.type == column.type for column, array in columns.items())
    assert got.lattice.to_pylist() == [[4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]]
    assert got.numbers.to_pylist() == [[11, 17]]
    assert got.frac_coords.to_pylist() == [[0, 0, 0, 0.5, 0.5, 0.5]]
    assert got.n_sites.to_pylist() == [2]
    assert got.volume.to_pylist() == [32.0]
    assert notes.column(1).to_pylist() == [None]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"lattice": None, "species": None, "coords": None}, "none given"),
        ({"lattice": [], "species": [], "coords": []}, "none given"),
        ({"lattice": None}, "its lattice is no 3 x 3 matrix"),
        ({"lattice": [1, 2, 3]}, "its lattice is no 3 x 3 matrix"),
        ({"lattice": [[1, 2], [3, 4]]}, "its lattice is no 3 x 3 matrix"),
        ({"lattice": [[1, 2, 3], [4, 5, 6]]}, "its lattice is no 3 x 3 matrix"),
        ({"lattice": "abc"}, "its lattice is no 3 x 3 matrix of numbers"),
        ({"lattice": [[None] * 3] * 3}, "its lattice holds something that is not finite"),
        ({"lattice": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "its lattice has no volume"),
        (
            {"lattice": [[math.inf, 0, 0], *CELL[1:]]},
            "its lattice holds something that is not finite",
        ),
        ({"species": None}, "it names no species of its sites"),
        ({"species": "NaCl"}, "it names no species of its sites"),
        ({"species": ["Na", "Xx"]}, "site 1 holds 'Xx', which is no element"),
        ({"species": ["Na", None]}, "site 1 holds None, which is no element"),
        ({"species": ["Na", {"Fe": 0.5}]}, "site 1 holds {'Fe': 0.5}, which is no element"),
        ({"species": [11, 119]}, "site 1 holds 119, which is no element"),
        ({"species": [11, 0]}, "site 1 holds 0, which is no element"),
        ({"species": ["Na"]}, "its coordinates are not those of 1 sites"),
        ({"coords": None}, "its coordinates are not those of 2 sites"),
        ({"coords": [[0, 0, 0]]}, "its coordinates are not those of 2 sites"),
        ({"coords": [[0, 0], [1, 1]]}, "its coordinates are not those of 2 sites"),
        ({"coords": [[0, 0, 0, 0], [1, 1]]}, "its coordinates are no numbers"),
        ({"coords": [[0, 0, 0], [1, "x", 1]]}, "its coordinates are no numbers"),
        (
            {"coords": [[0, 0, 0], [1, None, 1]]},
            "its coordinates hold something that is not finite",
        ),
    ],
    ids=str,
)
def test_an_unusable_structure_is_null_with_a_reason_and_harms_no_other(
    change: dict[str, Any], note: str
) -> None:
    columns, got = made(**change)
    assert columns == [None] * 5
    assert got == f"structure: {note}"


def test_rows_that_would_make_up_for_each_other_are_told_apart() -> None:
    # two sites too few here, two too many there: the sums agree
    species = [["Na", "Na"], ["Na"] * 3]
    coords = [[[0, 0, 0]] * 3, [[0, 0, 0]] * 2]
    notes = Notes()
    got = structures([CELL, CELL], species, coords, False, notes)
    assert got.n_sites.to_pylist() == [None, None]
    assert None not in notes.column(2).to_pylist()
    lattices = [[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]]
    got = structures(lattices, [["Na"]] * 2, [[[0, 0, 0]]] * 2, False, Notes())
    assert got.n_sites.to_pylist() == [None, None]


def test_reasons_of_the_caller_are_noted() -> None:
    notes = Notes()
    got = structures([CELL, CELL], [["Na"], ["?"]], [[[0, 0, 0]]] * 2, False, notes, {1: "mixed"})
    assert got.n_sites.to_pylist() == [1, None]
    assert notes.column(2).to_pylist() == [None, "structure: mixed"]


def test_no_rows_are_no_structures() -> None:
    got = structures([], [], [], True, Notes())
    assert [len(array) for array in got.columns().values()] == [0, 0, 0, 0]


cells = st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=3, max_size=3).filter(
    lambda cell: abs(np.linalg.det(cell)) > 1
)
sites = st.lists(
    st.tuples(st.sampled_from(SYMBOLS[1:]), st.lists(st.floats(-2, 2), min_size=3, max_size=3)),
    min_size=1,
    max_size=6,
)


@given(st.lists(st.tuples(cells, sites, st.booleans()), min_size=1, max_size=6))
def test_cartesian_coordinates_agree_with_linear_algebra(rows: list[Any]) -> None:
    notes = Notes()
    got = structures(
        [cell for cell, _, _ in rows],
        [[symbol for symbol, _ in row] for _, row, _ in rows],
        [[xyz for _, xyz in row] for _, row, _ in rows],
        [cartesian for _, _, cartesian in rows],
        notes,
    )
    for row, (cell, sites_, cartesian) in enumerate(rows):
        xyz = np.array([xyz for _, xyz in sites_])
        fractions = np.reshape(got.frac_coords[row].as_py(), (-1, 3))
        if cartesian:
            wanted = np.linalg.solve(np.array(cell).T, xyz.T).T
            assert np.allclose(fractions, wanted, atol=1e-9, rtol=1e-9)
        else:
            assert np.array_equal(fractions, xyz)
        assert got.volume[row].as_py() == pytest.approx(abs(np.linalg.det(cell)) / len(sites_))


@given(st.lists(st.tuples(cells, sites), min_size=2, max_size=6))
def test_last_bits_do_not_depend_on_which_rows_come_together(rows: list[Any]) -> None:
    def convert(part: list[Any]) -> Any:
        return structures(
            [cell for cell, _ in part],
            [[symbol for symbol, _ in row] for _, row in part],
            [[xyz for _, xyz in row] for _, row in part],
            True,
            Notes(),
        ).frac_coords.to_pylist()

    assert convert(rows) == [convert([row])[0] for row in rows]


# tables -----------------------------------------------------------------------------------------
def test_a_table_has_the_columns_in_order_and_says_why_rows_are_unusable() -> None:
    notes = Notes()
    got = table(
        (SOURCE_ID, FORMULA, VOLUME, BAND_GAP, NOTE),
        {
            BAND_GAP: numbers([1, "?"], "gap", notes),
            SOURCE_ID: texts([1, 2], "id", notes),
            FORMULA: texts(["NaCl", None], "formula", notes),
        },
        notes,
        {1: "there is no formula"},
    )
    assert got.schema.equals(arrow_schema((SOURCE_ID, FORMULA, VOLUME, BAND_GAP, NOTE, REASON)))
    assert got.to_pylist()[1] == {
        "source_id": "2",
        "formula": None,
        "volume_a3_atom": None,
        "band_gap_ev": None,
        "note": "gap: '?' is no number",
        "reason": "there is no formula",
    }
    with pytest.raises(ValueError, match="band_gap_ev"):
        table((SOURCE_ID,), {SOURCE_ID: pa.array(["1"]), BAND_GAP: pa.array([1.0])}, notes)


def test_values_of_real_json_come_through(tmp_path: Any) -> None:
    text = '{"gap": ["na", 1, 2.5, "3"], "spg": [1, "2", null, 4.0]}'
    value = json.loads(text)
    assert numbers(value["gap"], "gap", Notes()).to_pylist() == [None, 1.0, 2.5, 3.0]
    assert integers(value["spg"], pa.int16(), "spg", Notes()).to_pylist() == [1, 2, None, 4]
