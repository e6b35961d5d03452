"""Composition keys are exact, and known compositions are found whatever their spelling."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.known import KnownCompositions, composition_keys

compositions = st.dictionaries(st.integers(1, 118), st.integers(1, 1200), min_size=1, max_size=6)


def table(rows: list[dict[int, int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order given, empty slots last."""
    numbers, amounts = np.zeros((2, len(rows), width), np.int64)
    for i, row in enumerate(rows):
        numbers[i, : len(row)] = list(row)
        amounts[i, : len(row)] = list(row.values())
    return numbers, amounts


def reduced(row: dict[int, int]) -> dict[int, int]:
    divisor = gcd(*row.values())
    return {z: row[z] // divisor for z in sorted(row)}


def unpack(key: int) -> dict[int, int]:
    fields = [(key >> shift) & 0xFFFF for shift in (48, 32, 16, 0)]
    return {field >> 9: field & 511 for field in fields if field}


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 118), st.integers(1, 511), min_size=1, max_size=4))
def test_keys_lose_nothing(row: dict[int, int]) -> None:
    numbers, amounts = table([dict(sorted(row.items()))], len(row))
    (key,) = composition_keys(numbers, amounts).tolist()
    assert unpack(key) == row


@pytest.mark.parametrize("arity", [2, 3, 4])
def test_keys_of_an_enumeration_are_distinct(arity: int) -> None:
    enumeration = Enumeration((1, 8, 26, 57, 118), arity, 20)
    keys = composition_keys(*enumeration.take(0, len(enumeration)))
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == len(enumeration)


def test_empty_slots_do_not_change_a_key() -> None:
    narrow = composition_keys([[3, 8]], [[2, 1]])
    assert composition_keys([[0, 0, 3, 8]], [[0, 0, 2, 1]]) == narrow
    assert composition_keys([[3, 8, 0, 0]], [[2, 1, 0, 0]]) == narrow


@settings(deadline=None)
@given(st.lists(compositions, max_size=8), st.lists(compositions, max_size=8))
def test_membership_is_equality_of_atomic_fractions(
    known_rows: list[dict[int, int]], other_rows: list[dict[int, int]]
) -> None:
    known = KnownCompositions(*table(known_rows, 6))

    def fractions(row: dict[int, int]) -> frozenset[tuple[int, Fraction]]:
        return frozenset((z, Fraction(a, sum(row.values()))) for z, a in row.items())

    fits = [row for row in known_rows if max(reduced(row).values()) <= 511]
    assert known.n_skipped == len(known_rows) - len(fits)
    assert len(known) == len({fractions(row) for row in fits})
    for row in known_rows + other_rows:
        candidate = reduced(row)
        if max(candidate.values()) > 511:
            continue
        found = known.contains([list(candidate)], [list(candidate.values())])
        assert found.tolist() == [fractions(row) in map(fractions, known_rows)]


def test_every_known_candidate_is_found_and_no_other() -> None:
    enumeration = Enumeration((3, 8, 15, 26, 27), 3, 12)
    numbers, amounts = enumeration.take(0, len(enumeration))
    chosen = np.random.default_rng(0).random(len(numbers)) < 0.1
    # as a database spells them: reversed elements, three formula units, wider table
    pad = ((0, 0), (1, 2))
    known = KnownCompositions(
        np.pad(numbers[chosen, ::-1], pad), np.pad(amounts[chosen, ::-1] * 3, pad)
    )
    np.testing.assert_array_equal(known.contains(numbers, amounts), chosen)


def test_nothing_known_finds_nothing() -> None:
    empty = np.empty((0, 3), np.int64)
    known = KnownCompositions(empty, empty)
    assert (len(known), known.n_skipped) == (0, 0)
    assert known.contains([[3, 8]], [[2, 1]]).tolist() == [False]
    assert known.contains(empty, empty).tolist() == []


@pytest.mark.parametrize(
    ("numbers", "amounts"),
    [
        ([[8, 3]], [[1, 2]]),
        ([[3, 3]], [[1, 2]]),
        ([[3, 119]], [[1, 2]]),
        ([[3, 8]], [[1, 512]]),
        ([[3, 8]], [[0, 2]]),
        ([[3, 0]], [[1, 1]]),
        ([[1, 2, 3, 4, 5]], [[1, 1, 1, 1, 1]]),
    ],
)
def test_rows_that_do_not_fit_a_key_are_refused(
    numbers: list[list[int]], amounts: list[list[int]]
) -> None:
    with pytest.raises(ScreenError, match="key"):
        composition_keys(numbers, amounts)


@pytest.mark.parametrize(
    ("numbers", "amounts", "message"),
    [
        ([[3, 8], [8, 8]], [[2, 1], [1, 1]], "row 1: an element occurs twice"),
        ([[3, 8], [3, 8]], [[2, 1], [0, 0]], "row 1: the composition is empty"),
        ([[3, 8], [3, 8]], [[2, 1], [2, -1]], "row 1: an amount is negative"),
        ([[3, 8], [3, 200]], [[2, 1], [2, 1]], "row 1: an atomic number"),
    ],
)
def test_damaged_known_rows_are_named(
    numbers: list[list[int]], amounts: list[list[int]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        KnownCompositions(numbers, amounts)


def test_a_union_holds_what_each_snapshot_holds() -> None:
    wide = np.array([[1, 3, 6, 7, 8]]), np.array([[1, 2, 3, 4, 5]])
    narrow = np.array([[3, 8], [8, 26]]), np.array([[2, 1], [3, 2]])
    known = KnownCompositions.union([narrow, wide])
    assert len(known) == 3
    assert known.contains(*narrow).tolist() == [True, True]
    assert known.contains(*wide).tolist() == [True]
    assert known.contains(wide[0], wide[1][:, ::-1]).tolist() == [False]
    assert known.contains([[3, 8, 0, 0, 0]], [[2, 1, 0, 0, 0]]).tolist() == [True]
    assert len(KnownCompositions.union([])) == 0


def test_fractional_amounts_are_refused() -> None:
    with pytest.raises(ScreenError, match="whole numbers"):
        KnownCompositions([[3, 8]], [[0.5, 1.0]])
    with pytest.raises(ScreenError, match="one shape"):
        composition_keys([[3, 8]], [[1]])
