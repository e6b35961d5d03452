"""Energies of decomposition: pymatgen's, and those of the hull built again without the phase."""

from __future__ import annotations

import numpy as np
from benchmarks.hull_peer import Peer, distance, system_of
from benchmarks.hull_samples import generated_sample
from hypothesis import given, settings
from standins.phases import phase_tables

from featurizers import decomposition
from featurizers.decomposition import decomposition_energies
from featurizers.elements import SYMBOLS
from featurizers.hulls import build_facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import REFERENCE, Phases

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_stable_phases_are_held_against_the_others_as_in_pymatgen() -> None:
    sample = generated_sample(1200, n_elements=8)
    phases = Phases.lowest(sample.numbers, sample.amounts, sample.energies)
    peer = Peer(phases.numbers, phases.fractions, phases.energies)
    compounds = np.flatnonzero(((phases.numbers > 0).sum(1) > 1) & (phases.energies < 0))[::15]
    expected = []
    for row in compounds:
        share = dict(zip(phases.numbers[row].tolist(), phases.fractions[row].tolist(), strict=True))
        own = next(
            e
            for e in peer.entries[system_of(phases.numbers[row])]
            if all(abs(e.composition[SYMBOLS[z]] - f) < 1e-9 for z, f in share.items() if z)
        )
        # not get_equilibrium_reaction_energy: it knows the other stable phases alone, and some that
        # is unstable only beside this one may be the better product
        others = peer.diagram(system_of(phases.numbers[row]), without=own)
        expected.append(distance(others, own))
    found = decomposition_energies(phases, compounds)
    assert (found < 0).any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@settings(max_examples=30)
@given(phase_tables())
def test_only_phases_on_the_hull_lie_below_that_of_the_others(table: Table) -> None:
    phases = Phases.lowest(*table)
    own = np.flatnonzero(phases.rows != REFERENCE)
    found = decomposition_energies(phases, own)
    facets = build_facets(phases, phases.numbers[own])
    above = Hull(facets).above(phases.numbers[own], phases.fractions[own], phases.energies[own])
    np.testing.assert_allclose(np.maximum(found, 0), above, rtol=0, atol=1e-9)
    alone = (phases.numbers[own] > 0).sum(1) == 1
    assert (found[alone] == 0).all()


def test_many_elements_take_the_other_way_to_the_same_energies(monkeypatch) -> None:
    sample = generated_sample(400, n_elements=6)
    phases = Phases.lowest(sample.numbers, sample.amounts, sample.energies)
    some = np.flatnonzero((phases.numbers > 0).sum(1) > 3)[::10]
    by_hulls = decomposition_energies(phases, some)
    monkeypatch.setattr(decomposition, "MAX_HULL_ELEMENTS", 3)
    np.testing.assert_allclose(decomposition_energies(phases, some), by_hulls, rtol=0, atol=1e-7)
