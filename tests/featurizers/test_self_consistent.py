"""Candidates in the hull: none lies below it, and it is the hull of all phases together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from standins.phases import phase_tables

from featurizers.hulls import build_facets
from featurizers.self_consistent import self_consistent_facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import FIRST_CANDIDATE, Phases

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


@settings(max_examples=60)
@given(phase_tables(), phase_tables(max_rows=20))
def test_candidates_and_known_phases_make_one_hull(known: Table, candidates: Table) -> None:
    phases = Phases.lowest(*known)
    hull = Hull(self_consistent_facets(phases, *candidates))
    above = hull.above(*candidates).numpy()
    assert above.min() > -1e-9
    together = phases.with_candidates(*candidates)
    expected = Hull(build_facets(together, candidates[0])).above(*candidates)
    np.testing.assert_allclose(above, expected, rtol=0, atol=1e-9)


def test_candidates_are_named_in_the_products() -> None:
    known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])
    candidates = [[8, 12], [8, 12], [8, 12]], [[3, 1], [2, 1], [1, 1]]
    hull = Hull(self_consistent_facets(known, *candidates, [-1.7, -2.4, -2.9]))
    rows = hull.facets.phases.rows
    products = hull.products(*candidates)
    # O3Mg falls apart into the second candidate and oxygen, MgO is known at a lower energy
    assert rows[products.phases[0]].tolist() == [FIRST_CANDIDATE - 1, -1]
    np.testing.assert_allclose(products.fractions[0], [0.75, 0.25])
    assert rows[int(products.phases[2, 0])] == 0
    np.testing.assert_allclose(
        hull.above(*candidates, [-1.7, -2.4, -2.9]), [0.1, 0, 0.1], atol=1e-12
    )
