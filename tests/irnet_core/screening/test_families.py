"""Listed compositions and substitutions: distinct, ordered, complete, any range alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import Candidates, Enumeration, Family
from irnet_core.screening.listed import Listed, fits_row
from irnet_core.screening.substitutions import Substitutions

compositions = st.dictionaries(st.integers(1, 9), st.integers(1, 6), min_size=1, max_size=4)
pairs = st.sets(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=20)


def table(rows: list[dict[int, int]], width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    numbers, amounts = np.zeros((2, len(rows), width), np.int64)
    for i, row in enumerate(rows):
        numbers[i, : len(row)] = list(row)
        amounts[i, : len(row)] = list(row.values())
    return numbers, amounts


def as_sets(candidates: Candidates) -> list[frozenset[tuple[int, int]]]:
    return [
        frozenset((z, a) for z, a in zip(row, atoms, strict=True) if z)
        for row, atoms in zip(candidates.numbers.tolist(), candidates.amounts.tolist(), strict=True)
    ]


def reduced(row: dict[int, int]) -> frozenset[tuple[int, int]]:
    divisor = int(np.gcd.reduce(list(row.values())))
    return frozenset((z, a // divisor) for z, a in row.items())


def assert_well_formed(family: Family) -> None:
    whole = family.take(0, len(family))
    numbers = whole.numbers.astype(int)
    assert whole.numbers.dtype == whole.amounts.dtype == np.uint8
    assert numbers.shape == (len(family), family.arity)
    ascending = (np.diff(numbers, axis=1) > 0) | (numbers[:, 1:] == 0)
    assert ascending.all()
    assert ((numbers > 0) == (whole.amounts > 0)).all()
    rows = as_sets(whole)
    assert len(set(rows)) == len(rows)
    systems = [tuple(row) for row in numbers.tolist()]
    changes = sum(a != b for a, b in zip(systems[1:], systems[:-1], strict=True))
    assert changes + 1 == len(set(systems))
    middle = len(family) // 2
    halves = [family.take(0, middle), family.take(middle, len(family))]
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate([half[i] for half in halves]), whole[i])


@settings(deadline=None)
@given(st.lists(compositions, min_size=1, max_size=12))
def test_a_list_is_the_set_of_its_compositions(rows: list[dict[int, int]]) -> None:
    family = Listed(*table(rows))
    assert_well_formed(family)
    assert set(as_sets(family.take(0, len(family)))) == {reduced(row) for row in rows}


@settings(deadline=None)
@given(st.lists(compositions, min_size=1, max_size=8), pairs)
def test_substitutions_are_those_of_brute_force(
    rows: list[dict[int, int]], similar_pairs: set[tuple[int, int]]
) -> None:
    similar = np.zeros((119, 119), bool)
    for a, b in similar_pairs:
        similar[a, b] = True
    known = {reduced(row) for row in rows}
    expected = {
        frozenset((b if z == a else z, amount) for z, amount in row)
        for row in known
        for a, b in similar_pairs
        if a in dict(row) and b not in dict(row)
    } - known
    if not expected:
        with pytest.raises(ScreenError, match="no substitution"):
            Substitutions(*table(rows), similar)
        return
    family = Substitutions(*table(rows), similar)
    assert_well_formed(family)
    assert set(as_sets(family.take(0, len(family)))) == expected


def test_an_enumeration_is_a_family_too() -> None:
    assert_well_formed(Enumeration((3, 8, 26, 29), 3, 7))


def test_substitutions_keep_to_the_elements() -> None:
    similar = np.ones((119, 119), bool)
    numbers, amounts = table([{11: 1, 17: 1}, {92: 1, 8: 2}, {1: 1, 2: 1, 3: 1, 8: 300}])
    family = Substitutions(numbers, amounts, similar, elements=(3, 11, 9, 17))
    assert family.n_skipped == 1
    assert set(family.take(0, len(family)).numbers.ravel().tolist()) <= {3, 9, 11, 17}
    assert frozenset({(3, 1), (17, 1)}) in as_sets(family.take(0, len(family)))


def test_bad_rows_and_ranges_are_refused() -> None:
    with pytest.raises(ScreenError, match="leaves the list of 1"):
        Listed([[3, 8]], [[2, 1]]).take(0, 2)
    with pytest.raises(ScreenError, match="no composition"):
        Listed(np.zeros((0, 2), int), np.zeros((0, 2), int))
    with pytest.raises(DataError, match="row 1: an element occurs twice"):
        Listed([[3, 8], [8, 8]], [[2, 1], [1, 1]])
    with pytest.raises(DataError, match="row 0: an atomic number"):
        Listed([[3, 119]], [[2, 1]])
    with pytest.raises(DataError, match="row 0: amounts"):
        Listed([[3, 8]], [[256, 1]])
    with pytest.raises(ScreenError, match="no known compound"):
        Substitutions([[3, 8]], [[0.5, 1]], np.ones((119, 119), bool))
    with pytest.raises(ScreenError, match=r"\(119, 119\)"):
        Substitutions([[3, 8]], [[2, 1]], np.ones((2, 2), bool))
    assert fits_row([[3, 8], [3, 8]], [[0, 0], [510, 2]]).tolist() == [False, True]
