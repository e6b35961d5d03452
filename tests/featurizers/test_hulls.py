"""Hulls agree with pymatgen, and are convex functions below all phases that touch some."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.hull_peer import Peer, distance, entry, system_of
from benchmarks.hull_samples import generated_sample, load_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from standins.phases import phase_tables
from thorough import few_or_all

from featurizers.hulls import MAX_ELEMENTS, build_facets
from featurizers.mixtures import lowest_mixtures
from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import REFERENCE, Phases

SAME = 1e-9  # eV/atom

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def hull_of(table: Table) -> Hull:
    """Hull of the system of all elements of a table."""
    elements = np.unique(table[0][table[0] > 0])
    return Hull(build_facets(Phases.lowest(*table), elements[None]))


def grid(table: Table, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Compositions of all elements of a table."""
    elements = np.unique(table[0][table[0] > 0])
    amounts = np.random.default_rng(seed).integers(1, 9, (20, len(elements)))
    return np.tile(elements, (20, 1)), amounts


def peer_distances(table: Table, candidates: Table) -> np.ndarray:
    """What pymatgen says, with one diagram for each candidate's chemical system."""
    systems = [system_of(number) for number in candidates[0]]
    peer = Peer(*table, systems)
    diagrams = {system: peer.diagram(system) for system in sorted(set(systems))}
    return np.array(
        [
            distance(diagrams[s], entry(z.tolist(), a.tolist(), e))
            for s, z, a, e in zip(systems, *candidates, strict=True)
        ]
    )


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("count", [25, pytest.param(few_or_all(150, 500), marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_agrees_with_pymatgen_from_binaries_to_quinaries(count: int, generated: bool) -> None:
    sample = generated_sample(2000) if generated else load_sample()
    rows = np.concatenate([sample.draw(arity, count) for arity in (2, 3, 4, 5)])
    tables = (sample.numbers, sample.amounts, sample.energies)
    known = tuple(column[sample.known] for column in tables)
    candidates = tuple(column[rows] for column in tables)
    facets = build_facets(Phases.lowest(*known), candidates[0])
    ours = Hull(facets).above(*candidates).numpy()
    assert np.abs(ours - peer_distances(known, candidates)).max() < SAME
    assert (ours < 0).any()  # there are candidates on both sides
    assert (ours > 0).any()


@settings(max_examples=60)
@given(phase_tables(max_elements=4))
def test_agrees_with_pymatgen_where_hulls_are_degenerate(table: Table) -> None:
    facets = build_facets(Phases.lowest(*table), table[0])
    ours = Hull(facets).above(*table).numpy()
    np.testing.assert_allclose(ours, peer_distances(table, table), rtol=0, atol=SAME)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("one element", [([8], [2], -0.1), ([8], [1], 0.3)]),
        ("nothing below the elements", [([3, 8], [1, 1], 0.4), ([3, 8, 26], [1, 1, 1], 0.1)]),
        ("phases on one line", [([3, 8, 26], [i, i, 6], -0.1 * i) for i in range(1, 6)]),
        ("one plane", [([3, 8], [i, 6 - i], -1.0 * min(i, 6 - i)) for i in range(1, 6)]),
        ("all on the elements' plane", [([3, 8, 26], [i, 1, 2], 0.0) for i in range(1, 6)]),
        ("duplicates", [([3, 8], [2, 1], -1.0), ([8, 3], [3, 6], -2.0), ([3, 8], [4, 2], -2.0)]),
        ("an edge only", [([3, 8], [2, 1], -2.0), ([3, 8], [1, 1], -1.5)]),
        ("an element below 0", [([3], [1], -0.5), ([3, 8], [2, 1], -2.0)]),
        ("an element above 0", [([26], [1], 0.5), ([8, 26], [2, 1], -2.0)]),
        ("next to nothing", [([3, 8], [1, 1], -1e-9), ([8, 26], [1, 1], -2e-9)]),
        ("long formulas", [([3, 8], [199, 200], -2.0), ([3, 8], [200, 201], -2.0)]),
    ],
)
def test_degenerate_systems(name: str, rows: list[tuple[list[int], list[int], float]]) -> None:
    table = tuple(np.zeros((len(rows), 3), int) for _ in range(2))
    for i, (numbers, amounts, _) in enumerate(rows):
        table[0][i, : len(numbers)], table[1][i, : len(numbers)] = numbers, amounts
    known = (*table, np.array([energy for *_, energy in rows]))
    elements = np.array([3, 8, 26])
    amounts = np.array([[a, b, c] for a in range(4) for b in range(4) for c in range(4)][1:])
    numbers = np.where(amounts > 0, elements, 0)
    candidates = (numbers, amounts, np.zeros(len(amounts)))
    facets = build_facets(Phases.lowest(*known), numbers)
    ours = Hull(facets).above(*candidates).numpy()
    np.testing.assert_allclose(
        ours, peer_distances(known, candidates), rtol=0, atol=SAME, err_msg=name
    )


@given(phase_tables())
def test_known_phases_lie_on_the_hull_or_above_and_vertices_on_it(table: Table) -> None:
    phases = Phases.lowest(*table)
    hull = hull_of(table)
    elements = np.unique(table[0][table[0] > 0])
    inside = (np.isin(phases.numbers, elements) | (phases.numbers == 0)).all(1)
    full = build_facets(phases, phases.numbers[inside])
    above = Hull(full).above(
        phases.numbers[inside], phases.fractions[inside], phases.energies[inside]
    )
    assert above.min() > -SAME
    vertices = np.unique(hull.facets.vertices[hull.facets.vertices >= 0])
    at = np.flatnonzero(np.isin(np.flatnonzero(inside), vertices))
    assert above[at].abs().max() < SAME


@given(phase_tables(), st.randoms(use_true_random=False))
def test_order_and_scaling_of_rows_do_not_matter(table: Table, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1000))  # type: ignore[attr-defined]
    rows = rng.permutation(len(table[0]))
    columns = rng.permutation(table[0].shape[1])
    scale = rng.integers(1, 5, (len(rows), 1))
    shuffled = (
        table[0][rows][:, columns],
        table[1][rows][:, columns] * scale,
        table[2][rows],
    )
    one, other = hull_of(table).facets, hull_of(shuffled).facets
    np.testing.assert_array_equal(one.vertices, other.vertices)
    np.testing.assert_array_equal(one.potentials, other.potentials)


@given(phase_tables(), st.sampled_from([1e-3, 0.5, 7.0]))
def test_energies_scale(table: Table, factor: float) -> None:
    scaled = (table[0], table[1], table[2] * factor)
    places = grid(table)
    expected = hull_of(table).energies(*places) * factor
    np.testing.assert_allclose(hull_of(scaled).energies(*places), expected, rtol=0, atol=SAME)


@given(phase_tables(), st.floats(0, 2))
def test_a_phase_above_the_hull_changes_nothing(table: Table, height: float) -> None:
    numbers, amounts = grid(table)
    hull = hull_of(table)
    before = hull.energies(numbers, amounts).numpy()
    width = ((0, 0), (0, table[0].shape[1] - numbers.shape[1]))
    more = (
        np.concatenate([table[0], np.pad(numbers, width)]),
        np.concatenate([table[1], np.pad(amounts, width)]),
        np.concatenate([table[2], before + height]),
    )
    if numbers.shape[1] == 1:  # an element's own phase is no phase above the hull
        return
    np.testing.assert_allclose(hull_of(more).energies(numbers, amounts), before, rtol=0, atol=SAME)


@given(phase_tables())
def test_hulls_are_convex(table: Table) -> None:
    hull = hull_of(table)
    numbers, amounts = grid(table)
    fractions = amounts / amounts.sum(1, keepdims=True)
    energies = hull.energies(numbers, fractions)
    middle = hull.energies(numbers[1:], (fractions[1:] + fractions[:-1]) / 2)
    assert (middle <= (energies[1:] + energies[:-1]) / 2 + SAME).all()


@settings(max_examples=30)
@given(phase_tables())
def test_facets_agree_with_linear_programming(table: Table) -> None:
    numbers, amounts = (column[:5] for column in grid(table))
    mixed = lowest_mixtures(Phases.lowest(*table), numbers, amounts)
    np.testing.assert_allclose(hull_of(table).energies(numbers, amounts), mixed, rtol=0, atol=1e-7)


def test_a_system_can_be_built_with_others_or_alone() -> None:
    sample = generated_sample(1500, n_elements=7)
    phases = Phases.lowest(
        *(c[sample.known] for c in (sample.numbers, sample.amounts, sample.energies))
    )
    systems = np.unique(sample.numbers, axis=0)
    together = build_facets(phases, systems[::-1])
    for i, system in enumerate(together.systems):
        alone = build_facets(phases, system[None])
        rows = slice(together.offsets[i], together.offsets[i + 1])
        width = alone.vertices.shape[1]
        np.testing.assert_array_equal(together.vertices[rows, :width], alone.vertices)
        np.testing.assert_array_equal(together.potentials[rows, :width], alone.potentials)


def test_missing_elements_count_as_references_or_are_refused() -> None:
    table = ([[8, 12]], [[1, 1]], [-3.0])
    facets = build_facets(Phases.lowest(*table), [[8, 12]])
    assert facets.phases.rows[facets.vertices].max(1).tolist() == [0, 0]
    assert (facets.phases.rows[facets.vertices] == REFERENCE).sum() == 2
    with pytest.raises(ScreenError, match="no phase of the elements O, Mg is known"):
        build_facets(Phases.lowest(*table, "refuse"), [[8, 12]])  # type: ignore[arg-type]
    nothing = np.empty((0, 2))
    with pytest.raises(ScreenError, match="no phase of the elements O, Mg is known"):
        build_facets(Phases.lowest(nothing, nothing, [], "refuse"), [[8, 12]])
    empty = Hull(build_facets(Phases.lowest(nothing, nothing, []), [[8, 12]]))
    assert empty.energies([[8, 12]], [[1, 1]]).tolist() == [0.0]


def test_systems_that_cannot_be_built_are_named() -> None:
    phases = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])
    with pytest.raises(ScreenError, match=f"has 7 elements and hulls .* up to {MAX_ELEMENTS}"):
        build_facets(phases, [range(1, 8)])
    with pytest.raises(DataError, match="row 1: an element occurs twice"):
        build_facets(phases, [[8, 12], [8, 8]])
    with pytest.raises(DataError, match="row 0: the composition is empty"):
        build_facets(phases, [[0, 0]])


def test_no_systems_have_no_facets() -> None:
    facets = build_facets(Phases.lowest([[8, 12]], [[1, 1]], [-3.0]), np.empty((0, 3), int))
    assert (len(facets), len(facets.vertices)) == (0, 0)
