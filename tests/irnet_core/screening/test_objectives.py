"""Objectives, constraints and attitudes to risk: what is read, refused, and how scores follow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.errors import ScreenError
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.objectives import Objective, aims, objective

number = st.floats(-1e6, 1e6)


def normal(mean: list[float], std: float) -> Estimate:
    """A property whose error is normal."""
    m = torch.tensor(mean, dtype=torch.float64)
    half = 1.6448536 * std
    return Estimate(
        m,
        torch.full_like(m, std),
        m - half,
        m + half,
        lambda threshold: torch.special.ndtr((threshold - m) / std),
    )


@given(number, number, st.none() | st.floats(1e-3, 1e3))
def test_an_objective_is_what_its_text_says(low: float, high: float, step: float | None) -> None:
    low, high = min(low, high), max(low, high)
    for made in (
        Objective("gap", 1, step=step),
        Objective("gap", -1, step=step),
        Objective("gap", 0, low, high, step),
        Objective("gap", 0, -math.inf, high, step),
    ):
        assert objective(str(made)) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gap",
        "minimise",
        "gap in",
        "gap in ..",
        "gap in 3..1",
        "gap < 3",
        "minimise gap per 0",
        "minimise gap per -1",
        "gap in 1..2..3",
        "gap >= x",
    ],
)
def test_a_text_that_is_none_is_refused_and_named(text: str) -> None:
    with pytest.raises(ScreenError, match="write, for example|leaves|above 0"):
        objective(text)


def test_both_signs_of_a_bound() -> None:
    assert objective("k >= 100") == Objective("k", 0, 100, math.inf)
    assert objective("e <= -0.5") == Objective("e", 0, -math.inf, -0.5)
    assert objective("minimize e") == objective("minimise e")


def test_costs_by_mean_and_by_the_worse_bound() -> None:
    values = {"e": normal([0.0, 0.5], 0.1), "gap": normal([1.0, 2.0], 0.1)}
    half = 0.16448536
    wanted = ["minimise e per 0.1", "gap in 1.1..1.7 per 0.5"]
    mean = aims(wanted).costs(values)
    torch.testing.assert_close(mean, torch.tensor([[0.0, 0.2], [5.0, 0.6]], dtype=torch.float64))
    bound = aims(wanted, risk="bound").costs(values)
    expected = [[half / 0.1, (0.1 + half) / 0.5], [5 + half / 0.1, (0.3 + half) / 0.5]]
    torch.testing.assert_close(bound, torch.tensor(expected, dtype=torch.float64))
    largest = aims(["maximise e"], risk="bound").costs(values)
    torch.testing.assert_close(largest[:, 0], half - values["e"].mean)


def test_a_single_objective_is_scored_in_its_own_unit() -> None:
    values = {"e": normal([0.25], 0.1)}
    assert aims(["minimise e per 0.1"]).costs(values).tolist() == [[0.25]]


def test_probability_is_that_of_meeting_all() -> None:
    values = {"e": normal([0.0, 0.2], 0.1), "gap": normal([1.4, 1.4], 0.2)}
    found = aims(["e <= 0", "gap in 1.2..1.6"], risk="probability").costs(values).sum(1)
    inside = math.erf(1 / math.sqrt(2))
    below = 0.5 * (1 + math.erf(-2 / math.sqrt(2)))
    expected = torch.tensor([-math.log(0.5 * inside), -math.log(below * inside)])
    torch.testing.assert_close(found, expected.double())


def test_constraints_hold_for_the_interval_only_where_the_whole_of_it_does() -> None:
    values = {"e": normal([0.0, 0.04, 0.2], 0.03)}
    assert aims(["minimise e"], ["e <= 0.05"]).allowed(values).tolist() == [True, True, False]
    bound = aims(["minimise e"], ["e <= 0.05"], "bound")
    assert bound.allowed(values).tolist() == [True, False, False]
    assert aims(["minimise e"]).allowed(values) is None


@pytest.mark.parametrize("risk", ["mean", "bound", "probability"])
def test_what_is_no_number_has_no_score_and_meets_nothing(risk: str) -> None:
    values = {"e": normal([math.nan], 0.1)}
    wanted = aims(["e in 0..1"], ["e <= 1"], risk)
    assert wanted.costs(values).isnan().all()
    assert wanted.allowed(values).tolist() == [False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "at least one"),
        ((["minimise e", "maximise e"], []), "one objective"),
        ((["minimise e", "maximise k per 10"], []), "say what difference counts as one"),
        ((["minimise e"], ["minimise k"]), "no constraint"),
        ((["minimise e"], ["e <= 0", "e >= 1"]), "contradict"),
        ((["minimise e"], [], "probability"), "no bound"),
        ((["minimise e"], [], "brave"), "no attitude"),
    ],
)
def test_aims_that_cannot_be(arguments: tuple[list[str], ...], message: str) -> None:
    with pytest.raises(ScreenError, match=message):
        aims(*arguments)


def test_a_property_must_be_predicted_and_calibrated_where_risk_counts() -> None:
    aims(["minimise e"]).check({"e": False})
    with pytest.raises(ScreenError, match="there are e"):
        aims(["minimise gap"]).check({"e": True})
    with pytest.raises(ScreenError, match="calibrated"):
        aims(["minimise e"], risk="bound").check({"e": False})
