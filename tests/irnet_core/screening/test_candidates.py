"""Enumeration: complete, without duplicates, ordered, and reachable by index."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.errors import ScreenError
from irnet_core.screening.candidates import (
    MAX_ATOMS,
    Enumeration,
    count_stoichiometries,
    stoichiometries,
)


def brute_stoichiometries(arity: int, max_atoms: int) -> list[tuple[int, ...]]:
    rows = product(range(1, max_atoms + 1), repeat=arity)
    reduced = [row for row in rows if sum(row) <= max_atoms and gcd(*row) == 1]
    return sorted(reduced, key=lambda row: (sum(row), row))


@st.composite
def enumerations(draw: st.DrawFn) -> Enumeration:
    arity = draw(st.integers(2, 4))
    elements = draw(st.lists(st.integers(1, 118), min_size=arity, max_size=7, unique=True))
    return Enumeration(tuple(elements), arity, draw(st.integers(arity, 9)))


@pytest.mark.parametrize(
    ("arity", "max_atoms"), [(2, 2), (2, 21), (3, 3), (3, 14), (4, 4), (4, 11)]
)
def test_stoichiometries_are_those_of_brute_force(arity: int, max_atoms: int) -> None:
    table = stoichiometries(arity, max_atoms)
    assert table.dtype == np.uint8
    assert [tuple(row) for row in table.tolist()] == brute_stoichiometries(arity, max_atoms)


@pytest.mark.parametrize(("arity", "max_atoms"), [(2, MAX_ATOMS), (3, 40), (4, 30)])
def test_count_needs_no_table(arity: int, max_atoms: int) -> None:
    assert count_stoichiometries(arity, max_atoms) == len(stoichiometries(arity, max_atoms))


def test_a_lower_limit_is_the_beginning_of_the_table() -> None:
    low, high = stoichiometries(3, 8), stoichiometries(3, 12)
    np.testing.assert_array_equal(high[: len(low)], low)


def test_stoichiometries_are_shared_and_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        stoichiometries(2, 5)[0, 0] = 7


@settings(deadline=None)
@given(enumerations())
def test_whole_enumeration_is_that_of_brute_force(enumeration: Enumeration) -> None:
    numbers, amounts = enumeration.take(0, len(enumeration))
    expected = list(
        product(
            combinations(enumeration.elements, enumeration.arity),
            brute_stoichiometries(enumeration.arity, enumeration.max_atoms),
        )
    )
    made = zip(map(tuple, numbers.tolist()), map(tuple, amounts.tolist()), strict=True)
    assert list(made) == expected
    assert len(enumeration) == len(expected)


@settings(deadline=None)
@given(enumerations(), st.data())
def test_any_range_stands_alone(enumeration: Enumeration, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(enumeration)))
    stop = data.draw(st.integers(start, len(enumeration)))
    whole, part = enumeration.take(0, len(enumeration)), enumeration.take(start, stop)
    np.testing.assert_array_equal(part.numbers, whole.numbers[start:stop])
    np.testing.assert_array_equal(part.amounts, whole.amounts[start:stop])


def rank(numbers: list[int], n: int) -> int:
    """Place of a system of elements 1 to n, by the combinatorial number system."""
    k = len(numbers)
    return comb(n, k) - 1 - sum(comb(n - z, k - j) for j, z in enumerate(numbers))


@pytest.mark.parametrize("arity", [2, 3, 4])
def test_far_ends_of_the_largest_enumerations(arity: int) -> None:
    enumeration = Enumeration(tuple(range(1, 119)), arity, 40)
    n = len(enumeration)
    places = {tuple(row): i for i, row in enumerate(stoichiometries(arity, 40).tolist())}
    for start in (0, n // 2, n - 500):
        numbers, amounts = enumeration.take(start, start + 500)
        found = [
            rank(row, 118) * len(places) + places[tuple(atoms)]
            for row, atoms in zip(numbers.tolist(), amounts.tolist(), strict=True)
        ]
        assert found == list(range(start, start + 500))
    last = enumeration.take(n - 1, n)
    assert last.numbers[0].tolist() == list(range(119 - arity, 119))


def test_elements_are_sorted_so_that_equal_searches_are_equal() -> None:
    assert Enumeration((26, 3, 8), 2, 5) == Enumeration((3, 8, 26), 2, 5)


@pytest.mark.parametrize(
    ("elements", "arity", "max_atoms", "message"),
    [
        ((3, 8), 3, 9, "2 elements"),
        ((3, 8, 26), 3, 2, "max_atoms 2"),
        ((3, 8, 26), 3, MAX_ATOMS + 1, "max_atoms"),
        ((3, 8, 26), 1, 9, "arity 1"),
        ((3, 8, 26, 27, 28), 5, 9, "arity 5"),
        ((3, 8, 8), 2, 9, "duplicate"),
        ((0, 8, 26), 2, 9, "range 1 to 118"),
        ((3, 8, 119), 2, 9, "range 1 to 118"),
    ],
)
def test_contradictory_limits_are_refused(
    elements: tuple[int, ...], arity: int, max_atoms: int, message: str
) -> None:
    with pytest.raises(ScreenError, match=message):
        Enumeration(elements, arity, max_atoms)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 28)])
def test_ranges_outside_the_enumeration_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ScreenError, match="27 candidates"):
        Enumeration((3, 8, 26), 2, 5).take(start, stop)
