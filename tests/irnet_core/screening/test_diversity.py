"""Pareto fronts by their definition, and spreads that keep their distance."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irnet_core.screening.diversity import pareto_fronts, spread

costs = st.integers(1, 4).flatmap(
    lambda m: arrays(float, st.tuples(st.integers(0, 25), st.just(m)), elements=st.integers(0, 4))
)


def fronts_by_definition(values: np.ndarray) -> list[int]:
    front, left, number = np.zeros(len(values), int), np.ones(len(values), bool), 0
    while left.any():
        number += 1
        rows = np.flatnonzero(left)
        here = values[rows]
        no_larger = (here[:, None] <= here[None]).all(2)
        outdone = (no_larger & (here[:, None] < here[None]).any(2)).any(0)
        front[rows[~outdone]] = number
        left[rows[~outdone]] = False
    return front.tolist()


@settings(deadline=None, max_examples=300)
@given(costs)
def test_fronts_are_those_of_the_definition(values: np.ndarray) -> None:
    assert pareto_fronts(values).tolist() == fronts_by_definition(values)


@settings(deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(0, 5)),
    st.integers(0, 6),
    st.integers(1, 40),
)
def test_a_spread_is_the_greedy_one(points: np.ndarray, distance: int, most: int) -> None:
    taken: list[int] = []
    for row, point in enumerate(points):
        if len(taken) < most and all(np.abs(point - points[t]).sum() >= distance for t in taken):
            taken.append(row)
    assert spread(points, distance, most).tolist() == taken


def test_a_spread_over_many_blocks() -> None:
    points = np.random.default_rng(0).random((3000, 3)).astype(np.float32)
    taken = spread(points, 0.1, 3000)
    chosen = points[taken]
    gaps = np.abs(chosen[:, None] - chosen).sum(2)
    assert gaps[~np.eye(len(chosen), dtype=bool)].min() >= 0.1
    left = np.setdiff1d(np.arange(3000), taken)
    assert (np.abs(points[left, None] - chosen).sum(2).min(1) < 0.1).all()
