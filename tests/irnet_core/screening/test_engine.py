"""The engine against the same screen done step by step on all candidates at once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from featurizers.hulls import build_facets
from featurizers.screening_elements import rules_data
from featurizers.self_consistent import self_consistent
from irnet_core.screening import engine
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.engine import Predicted, Screen, whole_systems
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.hull import Hull
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.objectives import Aims, aims
from irnet_core.screening.phases import Phases
from irnet_core.screening.rules import Rules
from irnet_core.screening.stability import CANDIDATE_CODE, NOTHING, Stability

ELEMENTS = (3, 8, 12, 17, 26)
KNOWN = ([[8, 12, 0], [3, 8, 0], [3, 8, 26]], [[1, 1, 0], [1, 2, 0], [1, 2, 1]])
STD = 0.2


class Energies:
    """A formation energy in closed form, with a normal error; no number where iron prevails."""

    def __call__(self, numbers: Any, amounts: Any, inputs: dict[Any, Any]) -> Predicted:
        z, n = numbers.double(), amounts.double()
        x = n / n.sum(1, keepdim=True)
        mean = -0.3 - torch.sin(z * x).sum(1) * (x * (1 - x)).sum(1)
        mean[(x * (z == 26)).sum(1) > 0.6] = torch.nan
        half = 1.6448536 * STD
        below = lambda t: torch.special.ndtr((t - mean) / STD)  # noqa: E731
        estimate = Estimate(mean, torch.full_like(mean, STD), mean - half, mean + half, below)
        return Predicted(estimate, 100 * x.amax(1))


def screen(wanted: Aims, family: Enumeration | None = None, **more: Any) -> Screen:
    family = family or Enumeration(ELEMENTS, 3, 8)
    return Screen(
        family, Rules("none", rules_data()), {"e_ev_atom": Energies()}, wanted, 50, **more
    )


def phases() -> Phases:
    return Phases.lowest(*KNOWN, [-3.0, -1.2, -2.0])


def held(candidates: Enumeration) -> Stability:
    hull = Hull(build_facets(phases(), np.unique(candidates.take(0, len(candidates))[0], axis=0)))
    return Stability("e_ev_atom", lambda *_: (hull, None), 0.05)


def merged(made: Screen, cuts: list[int]) -> tuple[dict[str, np.ndarray], Counter[str]]:
    best, funnel = made.ranking(), Counter[str]()
    for start, stop in pairwise(cuts):
        part, counts = made.run(start, stop)
        rows = part.table()
        del rows["rank"]
        if len(rows["score"]):
            best.push(rows.pop("score"), rows.pop("candidate"), **rows)
        for step, count in counts.items():
            funnel[step] += count
    return best.table(), funnel


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNK", 100)
    monkeypatch.setattr(engine, "BATCH", 150)


def everything(family: Enumeration) -> tuple[np.ndarray, np.ndarray, Predicted]:
    numbers, amounts = (np.ascontiguousarray(a) for a in family.take(0, len(family)))
    return numbers, amounts, Energies()(torch.from_numpy(numbers), torch.from_numpy(amounts), {})


def test_energies_above_the_hull_with_what_belongs_to_them() -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    wanted = aims(["minimise energy_above_hull"], ["e_ev_atom <= -0.2"])
    known = KnownCompositions(np.array(KNOWN[0], np.uint8), np.array(KNOWN[1]))
    made = screen(wanted, stability=held(family), known=known)
    table, funnel = merged(made, [0, len(family)])

    numbers, amounts, (energy, _) = everything(family)
    hull = Hull(build_facets(phases(), numbers))
    above = hull.above(numbers, amounts, energy.mean).numpy()
    new = ~known.contains(numbers, amounts)
    finite = np.isfinite(above)
    allowed = new & finite & (energy.mean.numpy() <= -0.2)
    rows = np.flatnonzero(allowed)
    order = rows[np.lexsort((rows, above[rows]))][:50]
    assert table["candidate"].tolist() == order.tolist()
    np.testing.assert_allclose(table["energy_above_hull"], above[order], atol=1e-12)
    np.testing.assert_array_equal(table["score"], table["energy_above_hull"])
    np.testing.assert_allclose(
        table["energy_above_hull_upper_90"] - table["energy_above_hull"], 1.6448536 * STD
    )
    chance = torch.special.ndtr((0.05 - torch.from_numpy(above[order])) / STD)
    np.testing.assert_allclose(table["p_stable"], chance.numpy(), atol=1e-12)
    assert funnel == {
        "generated": len(family),
        "after_rules": len(family),
        "known": (~new).sum(),
        "after_known": new.sum(),
        "predicted": new.sum(),
        "not_finite": (new & ~finite).sum(),
        "after_constraints": allowed.sum(),
        "after_domain": allowed.sum(),
    }
    assert funnel["known"] == 1  # LiO2Fe; the others are no ternaries
    assert funnel["not_finite"] > 0

    products = hull.products(numbers[order], amounts[order])
    origin = phases().rows
    for codes, shares, positions, fractions in zip(
        table["products"], table["product_shares"], *map(torch.Tensor.numpy, products), strict=True
    ):
        expected = [
            int(origin[p]) if origin[p] >= 0 else -int(phases().numbers[p, 0])
            for p in positions
            if p >= 0
        ]
        assert codes[codes != NOTHING].tolist() == expected
        np.testing.assert_allclose(shares, fractions, atol=1e-6)


@pytest.mark.parametrize("cuts", [[0, 60, 75, 500], [0, 1]])
def test_how_the_range_is_cut_plays_no_part(cuts: list[int]) -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    wanted = aims(["e_ev_atom in -1..-0.5 per 0.1", "energy_above_hull <= 0 per 0.1"])
    made = screen(wanted, stability=held(family))
    whole, funnel = merged(made, [0, len(family)])
    parts, counts = merged(made, [*cuts, len(family)])
    assert counts == funnel
    for name, column in whole.items():
        np.testing.assert_array_equal(parts[name], column, err_msg=name)


def test_known_compositions_can_be_kept_and_flagged() -> None:
    known = KnownCompositions(np.array(KNOWN[0], np.uint8), np.array(KNOWN[1]))
    family = Enumeration((3, 8, 26), 3, 4)
    table, funnel = merged(
        screen(aims(["minimise e_ev_atom"]), family, known=known, keep_known=True),
        [0, len(family)],
    )
    flagged = table["is_known"]
    assert table["numbers"][flagged].tolist() == [[3, 8, 26]]
    assert table["amounts"][flagged].tolist() == [[1, 2, 1]]
    assert funnel["known"] == 1
    assert funnel["after_known"] == len(family)


def test_candidates_far_from_the_training_data_are_dropped_only_if_asked() -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    _, _, (_, percentile) = everything(family)
    wanted = aims(["minimise e_ev_atom"])
    table, _ = merged(screen(wanted), [0, len(family)])
    assert table["domain_percentile"].max() > 50
    near, funnel = merged(screen(wanted, most_percentile=50.0), [0, len(family)])
    assert near["domain_percentile"].max() <= 50
    assert funnel["after_domain"] == int((percentile <= 50).sum())  # all of these are finite


def test_at_most_some_of_each_chemical_system() -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    every, _ = merged(screen(aims(["minimise e_ev_atom"])), [0, len(family)])
    made = screen(aims(["minimise e_ev_atom"]), most_per_system=2)
    few, _ = merged(made, [0, whole_systems(family, 200), len(family)])
    systems, counts = np.unique(few["numbers"], axis=0, return_counts=True)
    assert len(systems) == 10
    assert counts.tolist() == [2] * 10
    first = [tuple(row) for row in every["numbers"].tolist()]
    best = next(i for i, row in enumerate(first) if first[:i].count(row) == 2)
    assert few["candidate"][:best].tolist() == every["candidate"][:best].tolist()


def test_hulls_that_hold_the_other_candidates() -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    known = phases()

    def hulls(
        numbers: np.ndarray, amounts: np.ndarray, energies: np.ndarray
    ) -> tuple[Hull, np.ndarray]:
        usable = np.where(np.isfinite(energies), energies, 1e3)
        facets, others = self_consistent(known, numbers, amounts, usable)
        return Hull(facets), others

    made = screen(
        aims(["minimise energy_above_hull"]), stability=Stability("e_ev_atom", hulls, 0.0)
    )
    table, _ = merged(made, [0, len(family)])
    numbers, amounts, (energy, _) = everything(family)
    mean = energy.mean.numpy()
    usable = np.where(np.isfinite(mean), mean, 1e3)
    facets, others = self_consistent(known, numbers, amounts, usable)
    above = Hull(facets).above(numbers, amounts, energy.mean).numpy()
    corner = ~np.isnan(others)
    distance = np.where(corner, mean - others, above)
    rows = table["candidate"]
    np.testing.assert_allclose(table["energy_above_hull"], distance[rows], atol=1e-9)
    assert (distance[corner] < 0).all()
    assert table["energy_above_hull"][0] == distance[corner].min()
    codes = table["products"]
    into = codes[(codes >= CANDIDATE_CODE)] - CANDIDATE_CODE
    assert len(into)  # some decompose into candidates
    np.testing.assert_allclose(above[into], 0, atol=1e-9)
    stable = table["energy_above_hull"] < 0
    np.testing.assert_array_equal(codes[stable, 0] - CANDIDATE_CODE, rows[stable])


@pytest.mark.parametrize("stop", [1, 55, 56, 300])
def test_ranges_of_whole_systems(stop: int) -> None:
    family = Enumeration(ELEMENTS, 3, 8)
    m = family.n_stoichiometries
    assert whole_systems(family, stop) == min(-(-stop // m) * m, len(family))
    assert whole_systems(family, len(family)) == len(family)
