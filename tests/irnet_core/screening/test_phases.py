"""One phase per composition, whatever its spelling, and damaged rows are named."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import MAX_ATOMIC_NUMBER
from irnet_core.screening.phases import (
    FIRST_CANDIDATE,
    REFERENCE,
    Phases,
    sorted_compositions,
    system_keys,
)

compositions = st.dictionaries(st.integers(1, 118), st.integers(1, 1200), min_size=1, max_size=6)


@given(st.lists(st.tuples(compositions, st.floats(-5, 5)), max_size=8), st.integers(1, 7))
def test_the_lowest_of_each_composition_stays(
    rows: list[tuple[dict[int, int], float]], divisor: int
) -> None:
    rows = rows + rows[::-1]  # each twice, at least
    numbers, amounts = np.zeros((len(rows), 6), int), np.zeros((len(rows), 6))
    for i, (row, _) in enumerate(rows):
        numbers[i, : len(row)] = list(row)
        amounts[i, : len(row)] = np.array(list(row.values())) / (divisor if i % 2 else 1)
    energies = np.array([energy for _, energy in rows])
    lowest: dict[frozenset[tuple[int, Fraction]], float] = {}
    for row, energy in rows:
        key = frozenset((z, Fraction(a, sum(row.values()))) for z, a in row.items())
        lowest[key] = min(energy, lowest.get(key, energy))
    phases = Phases.lowest(numbers, amounts, energies, "refuse")
    assert sorted(phases.energies) == sorted(lowest.values())
    np.testing.assert_array_equal(energies[phases.rows], phases.energies)
    assert (np.diff(phases.keys) >= 0).all()
    np.testing.assert_allclose(phases.fractions.sum(1), 1)


def test_missing_elements_are_added_at_zero() -> None:
    phases = Phases.lowest([[8, 0], [8, 12]], [[1, 0], [1, 1]], [0.2, -3.0])
    elements = phases.energies[np.searchsorted(phases.keys, np.arange(1, MAX_ATOMIC_NUMBER + 1))]
    assert np.flatnonzero(elements).tolist() == [7]
    assert (phases.rows == REFERENCE).sum() == MAX_ATOMIC_NUMBER - 1
    assert len(Phases.lowest([[8, 12]], [[1, 1]], [-3.0], "refuse")) == 1
    with pytest.raises(ScreenError, match="missing_elements='drop' is no option"):
        Phases.lowest([[8, 12]], [[1, 1]], [-3.0], "drop")  # type: ignore[arg-type]


def test_of_equal_energies_the_known_phase_and_the_first_row_stay() -> None:
    phases = Phases.lowest([[8, 12]] * 2, [[1, 1], [2, 2]], [-3.0, -3.0], "refuse")
    assert phases.rows.tolist() == [0]
    more = phases.with_candidates([[12, 8, 3], [12, 8, 3]], [[4, 4, 0], [1, 1, 1]], [-3.0, -2.0])
    assert sorted(more.rows.tolist()) == [FIRST_CANDIDATE - 1, 0]
    better = phases.with_candidates([[12, 8]], [[4, 4]], [-3.1], [5])
    assert (better.rows.tolist(), better.energies.tolist()) == ([FIRST_CANDIDATE - 5], [-3.1])


@given(st.lists(st.sets(st.integers(1, 118), min_size=1, max_size=9), min_size=2, max_size=9))
def test_keys_are_those_of_systems(systems: list[set[int]]) -> None:
    numbers = np.zeros((len(systems), 9), np.uint8)
    for i, system in enumerate(systems):
        numbers[i, : len(system)] = sorted(system)
    keys = system_keys(numbers)
    assert (keys > 0).all()
    assert len(set(keys.tolist())) == len({frozenset(system) for system in systems})


@pytest.mark.parametrize(
    ("numbers", "amounts", "message"),
    [
        ([[3, 8], [0, 8]], [[1, 1], [1, 1]], "row 1: an atomic number is not 1 to 118"),
        ([[3, 8], [3, 119]], [[1, 1], [1, 1]], "row 1: an atomic number is not 1 to 118"),
        ([[3, 8], [8, 8]], [[1, 1], [1, 1]], "row 1: an element occurs twice"),
        ([[3, 8], [3, 8]], [[1, 1], [1, -1]], "row 1: an amount is negative"),
        ([[3, 8], [3, 8]], [[1, 1], [1, np.nan]], "row 1: an amount is negative or not finite"),
        ([[3, 8], [3, 8]], [[1, 1], [0, 0]], "row 1: the composition is empty"),
        ([list(range(1, 11))], [[1] * 10], "row 0: there are more than 9 elements"),
        ([[3, 8]], [[1]], "tables of one shape"),
    ],
)
def test_damaged_rows_are_named(
    numbers: list[list[int]], amounts: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        sorted_compositions(numbers, amounts)


def test_damaged_energies_are_named() -> None:
    rows = [[3, 8]] * 2, [[1, 1], [1, 2]]
    with pytest.raises(DataError, match="row 1: an energy is not finite"):
        Phases.lowest(*rows, [0.0, np.nan])
    with pytest.raises(DataError, match="should have 2 rows"):
        Phases.lowest(*rows, [0.0])
