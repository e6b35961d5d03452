"""The best K: those of a full sort, however the rows arrive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.errors import ScreenError
from irnet_core.screening.ranking import TopK

# few distinct values, so that ties, NaN and infinities are common
values = st.lists(
    st.sampled_from([-1.5, -0.0, 0.0, 0.25, 2.0, float("inf"), float("-inf"), float("nan")])
    | st.floats(width=32),
    max_size=60,
)


def full_sort(
    value: np.ndarray, index: np.ndarray, k: int, most: int | None, group: np.ndarray
) -> list[int]:
    found: list[int] = []
    rows = np.flatnonzero(~np.isnan(value))
    for row in rows[np.lexsort((index[rows], value[rows]))]:
        same = sum(group[index == i][0] == group[row] for i in found)
        if most is None or same < most:
            found.append(int(index[row]))
    return found[:k]


@settings(deadline=None)
@given(values, st.integers(1, 20), st.none() | st.integers(1, 4), st.data())
def test_ranking_is_that_of_a_full_sort_for_any_chunks_and_order(
    values: list[float], k: int, most: int | None, data: st.DataObject
) -> None:
    value, index = np.array(values, float), np.arange(len(values)) * 7 + 3
    group = np.array(data.draw(st.lists(st.integers(0, 3), min_size=60)), int)[: len(values)]
    order = np.array(data.draw(st.permutations(range(len(values)))), np.intp)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=6)))
    best = TopK(k, most)
    for rows in np.split(order, cuts):
        best.push(value[rows], index[rows], twice=2 * index[rows], group=group[rows])
    table = best.table()
    assert table["candidate"].tolist() == full_sort(value, index, k, most, group)
    assert table["rank"].tolist() == list(range(1, len(table["rank"]) + 1))
    np.testing.assert_array_equal(table["score"], value[(table["candidate"] - 3) // 7])
    np.testing.assert_array_equal(table["twice"], 2 * table["candidate"])


@settings(deadline=None)
@given(values, st.integers(1, 8), st.none() | st.integers(1, 3), st.integers(0, 60))
def test_rankings_of_whole_groups_pushed_into_one_equal_one(
    values: list[float], k: int, most: int | None, cut: int
) -> None:
    value, index = np.array(values, float), np.arange(len(values))
    group = np.where(index < cut, 0, 10) + index % 3
    whole, merged = TopK(k, most), TopK(k, most)
    whole.push(value, index, group=group)
    for rows in (slice(cut, None), slice(cut)):
        part = TopK(k, most)
        part.push(value[rows], index[rows], group=group[rows])
        kept = part.table()
        merged.push(kept["score"], kept["candidate"], group=kept["group"])
    for name, column in whole.table().items():
        np.testing.assert_array_equal(merged.table()[name], column)


@given(values, st.integers(1, 20))
def test_rows_without_hope_can_be_left_out(values: list[float], k: int) -> None:
    value, index = np.array(values, float), np.arange(len(values))
    every, some = TopK(k), TopK(k)
    for start in range(0, len(value), 7):
        rows = index[start : start + 7]
        every.push(value[rows], rows)
        hope = rows[some.hopeful(value[rows])]
        some.push(value[hope], hope)
    np.testing.assert_array_equal(every.table()["candidate"], some.table()["candidate"])


def test_long_streams_keep_little() -> None:
    rng = np.random.default_rng(0)
    value = np.sort(rng.normal(size=100_000).astype(np.float32))[::-1]  # each row beats the last
    best, k, chunk = TopK(100), 100, 1000
    for start in range(0, len(value), chunk):
        best.push(value[start : start + chunk], np.arange(start, start + chunk))
        assert sum(len(part["candidate"]) for part in best._parts) <= 2 * k + chunk
    assert best.table()["candidate"].tolist() == list(range(len(value) - 1, len(value) - 1 - k, -1))


def test_equal_predictions_go_to_the_smallest_indices() -> None:
    best = TopK(3)
    for start in (40, 0, 20):
        best.push(np.zeros(20), np.arange(start, start + 20))
    assert best.table()["candidate"].tolist() == [0, 1, 2]


def test_columns_may_be_tables_and_are_copied() -> None:
    numbers = np.array([[3, 8], [8, 26]], np.uint8)
    best = TopK(5)
    best.push(np.array([1.0, 0.0]), np.array([0, 1]), numbers=numbers)
    numbers[:] = 0
    table = best.table()
    assert table["numbers"].dtype == np.uint8
    assert table["numbers"].tolist() == [[8, 26], [3, 8]]


def test_empty_rankings_have_typed_columns() -> None:
    best = TopK(5)
    assert {name: len(column) for name, column in best.table().items()} == {
        "rank": 0, "candidate": 0, "score": 0
    }  # fmt: skip
    best.push(np.array([np.nan]), np.array([0]), numbers=np.array([[3, 8]], np.uint8))
    assert best.table()["numbers"].shape == (0, 2)
    assert best.table()["numbers"].dtype == np.uint8


def test_pushes_that_do_not_agree_are_refused() -> None:
    value, index = np.zeros(3), np.arange(3)
    with pytest.raises(ScreenError, match="at least 1"):
        TopK(0)
    best = TopK(2)
    best.push(value, index, a=index)
    with pytest.raises(ScreenError, match="first push"):
        best.push(value, index)
    with pytest.raises(ScreenError, match="should have 3 rows"):
        best.push(value, index, a=index[:2])
    with pytest.raises(ScreenError, match="rank"):
        best.push(value, index, a=index, rank=index)
    with pytest.raises(ScreenError, match="per group"):
        TopK(2, 0)
    with pytest.raises(ScreenError, match="group"):
        TopK(2, 1).push(value, index)
    with pytest.raises(ScreenError, match="vectors"):
        best.push(value, value, a=index)
