"""Candidates in the hull: none lies below it, and it is the hull of all phases together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from standins.phases import phase_tables

from featurizers.hulls import build_facets
from featurizers.self_consistent import self_consistent
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import FIRST_CANDIDATE, Phases

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


@settings(max_examples=60)
@given(phase_tables(), phase_tables(max_rows=20))
def test_candidates_and_known_phases_make_one_hull(known: Table, candidates: Table) -> None:
    phases = Phases.lowest(*known)
    numbers, amounts, energies = candidates
    count = (amounts > 0).sum(1)
    facets, others = self_consistent(phases, *candidates)
    above = Hull(facets).above(*candidates).numpy()
    assert above.min() > -1e-9
    for c in np.unique(count):  # candidates compete with those of their own chemical system
        rows = np.flatnonzero(count == c)
        same = numbers[rows], amounts[rows]
        together = phases.with_candidates(*same, energies[rows])
        expected = Hull(build_facets(together, same[0])).above(*same, energies[rows])
        np.testing.assert_allclose(above[rows], expected, rtol=0, atol=1e-9)
        for row in rows[~np.isnan(others[rows])]:
            # at a corner: the hull of the known phases and of all candidates but it
            assert above[row] < 1e-9
            rest = rows[rows != row]
            alone = phases.with_candidates(numbers[rest], amounts[rest], energies[rest])
            hull = Hull(build_facets(alone, numbers[[row]]))
            height = hull.energies(numbers[[row]], amounts[[row]])[0]
            equal = np.isclose(fractions(*same), fractions(*(t[[row]] for t in candidates[:2])))
            if equal.all(1).sum() == 1:  # else another one of its composition takes its place
                assert others[row] == pytest.approx(float(height), abs=1e-9)
                assert energies[row] <= height + 1e-9


def fractions(numbers: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Of all elements (n, 119)."""
    found = np.zeros((len(numbers), 119))
    np.put_along_axis(found, np.where(amounts > 0, numbers, 0).astype(int), amounts, 1)
    found[:, 0] = 0
    return found / found.sum(1, keepdims=True)


def test_what_has_too_many_elements_has_no_hull() -> None:
    known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])
    seven = [[8, 12, 0, 0, 0, 0, 0], [22, 23, 24, 25, 26, 27, 28]]
    facets, others = self_consistent(known, seven, [[2, 1, 0, 0, 0, 0, 0], [1] * 7], [-2.4, -1])
    assert facets.systems.tolist() == [[8, 12]]
    assert others[0] == pytest.approx(-2.0)
    assert np.isnan(others[1])
    facets, others = self_consistent(known, seven[1:], [[1] * 7], [-1.0])
    assert (len(facets), np.isnan(others).tolist()) == (0, [True])


def test_candidates_are_named_in_the_products() -> None:
    known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])
    candidates = [[8, 12], [8, 12], [8, 12]], [[3, 1], [2, 1], [1, 1]]
    hull = Hull(self_consistent(known, *candidates, [-1.7, -2.4, -2.9]).facets)
    rows = hull.facets.phases.rows
    products = hull.products(*candidates)
    # O3Mg falls apart into the second candidate and oxygen, MgO is known at a lower energy
    assert rows[products.phases[0]].tolist() == [FIRST_CANDIDATE - 1, -1]
    np.testing.assert_allclose(products.fractions[0], [0.75, 0.25])
    assert rows[int(products.phases[2, 0])] == 0
    np.testing.assert_allclose(
        hull.above(*candidates, [-1.7, -2.4, -2.9]), [0.1, 0, 0.1], atol=1e-12
    )
