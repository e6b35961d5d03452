from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins.oqmd_filter import predicate

from featurizers.elements import SYMBOLS
from infra.pull.http import Unanswered
from infra.pull.slices import ELEMENTS, Member, Number, Slice, divide
from irnet_core.errors import SourceError

CUTS = (Number("n", 1, 9), Member('elements HAS "{}"', ("O", "F", "Cl")), Number("e", -4, 4, 0.001))
KEYS = {"n": "n", "e": "e"}


def matching(rows: list[dict[str, Any]], filter_: str) -> list[dict[str, Any]]:
    return [row for row in rows if not filter_ or predicate(filter_, KEYS)(row)]


energies = st.one_of(
    st.none(), st.floats(-9, 9), st.sampled_from([-4.0, -2.0, 0.0, 0.001, 1.0, 4.0])
)
rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.one_of(st.none(), st.integers(0, 12)),
            "e": energies,
            "element_list": st.sets(st.sampled_from(["O", "F", "Cl", "Na"])).map(
                lambda s: "".join(f"{e}_" for e in sorted(s))
            ),
        }
    ),
    max_size=40,
).map(lambda rows: [{**row, "id": number} for number, row in enumerate(rows)])


@given(rows_of, st.integers(1, 10))
def test_slices_hold_every_row_once_whatever_is_null_or_on_a_boundary(
    rows: list[dict[str, Any]], most: int
) -> None:
    slices = divide(Slice((), len(rows)), CUTS, lambda part: len(matching(rows, part.filter)), most)
    parts = [matching(rows, part.filter) for part in slices]
    assert [len(part) for part in parts] == [part.rows for part in slices]
    assert sorted(row["id"] for part in parts for row in part) == list(range(len(rows)))


@given(rows_of)
def test_without_a_count_of_the_whole_it_is_the_same(rows: list[dict[str, Any]]) -> None:
    def count(part: Slice) -> int | None:
        found = len(matching(rows, part.filter))
        return None if found > 20 else found

    parts = divide(Slice((), None), CUTS, count, 5)
    found = [row["id"] for part in parts for row in matching(rows, part.filter)]
    assert sorted(found) == list(range(len(rows)))


def test_small_wholes_are_not_asked_about() -> None:
    def count(part: Slice) -> int:
        raise AssertionError(part)

    assert divide(Slice(("a",), 3), CUTS, count, 3) == [Slice(("a",), 3)]


@pytest.mark.parametrize("wrong", [lambda n: n + 1, lambda n: n - 1, lambda n: 100])
def test_a_cut_whose_parts_do_not_add_up_is_not_made(wrong: Any) -> None:
    rows = [{"n": number % 9, "e": number / 100, "element_list": "O_"} for number in range(100)]

    def count(part: Slice) -> int:
        right = len(matching(rows, part.filter))
        return wrong(right) if "n<" in part.filter or "n>" in part.filter else right

    parts = divide(Slice((), 100), CUTS, count, 30)
    assert not any("n<" in part.filter for part in parts)
    assert sum(part.rows or 0 for part in parts) == 100
    assert all((part.rows or 0) <= 30 for part in parts)


def test_a_refused_cut_is_not_made() -> None:
    def count(part: Slice) -> int:
        raise SourceError("not implemented")

    assert divide(Slice((), 100), CUTS, count, 30) == [Slice((), 100)]


@pytest.mark.parametrize("down", [False, True])
def test_a_server_that_is_down_is_told_from_one_that_fails_on_a_condition(down: bool) -> None:
    def count(part: Slice) -> int:
        if down or part.conditions:
            raise Unanswered("gave no answer", "HTTP 500")
        return 100

    if down:
        with pytest.raises(Unanswered):
            divide(Slice((), 100), CUTS, count, 30)
    else:
        assert divide(Slice((), 100), CUTS, count, 30) == [Slice((), 100)]


def test_conditions_that_tell_nothing_apart_are_left_out() -> None:
    rows = [{"n": 8, "e": 0.0, "element_list": "O_F_Na_" if i % 2 else "O_"} for i in range(10)]
    parts = divide(Slice((), 10), CUTS, lambda part: len(matching(rows, part.filter)), 5)
    assert [part.conditions for part in parts] == [
        ('elements HAS "F"',),
        ('NOT elements HAS "F"',),
    ]


def test_a_server_that_counts_nothing_is_not_asked_for_ever() -> None:
    asked = []

    def count(part: Slice) -> None:
        asked.append(part)

    with pytest.raises(SourceError, match="give a filter"):
        divide(Slice((), None), CUTS, count, 5, most_counts=300)
    assert len(asked) == 300


def test_every_natural_element_is_cut_by_once() -> None:
    rare = {"Po", "At", "Rn", "Fr", "Ra", "He", "Ne", "Ar", "Kr", "Xe"}
    assert len(ELEMENTS) == len(set(ELEMENTS))
    assert set(ELEMENTS) == {*SYMBOLS[1:95]} - rare
