"""Structure attributes against matminer, against symmetry, and on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers.structure import (
    FEATURE_NAMES_STRUCTURE,
    featurize_structure,
    featurize_structures,
    structure_schema,
)
from irnet_core.errors import DataError

GOLDEN = Path(__file__).with_name("ward_golden.json")
# Where a column is zero by symmetry, both sides give rounding noise.
NOISE = 1e-6
CESIUM_CHLORIDE = (np.eye(3) * 4.1, [55, 17], [[0.0, 0, 0], [0.5, 0.5, 0.5]])


def golden() -> list[dict]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def featurized(records: list[dict]) -> np.ndarray:
    result = featurize_structures(
        *([r[key] for r in records] for key in ("lattice", "numbers", "frac_coords"))
    )
    assert result.reasons == {}
    return result.values


def test_names_are_the_126_of_the_publication():
    assert len(FEATURE_NAMES_STRUCTURE) == len(set(FEATURE_NAMES_STRUCTURE)) == 126
    assert not {"range CN_VoronoiNN", "range neighbor distance variation"} & {
        *FEATURE_NAMES_STRUCTURE
    }
    assert structure_schema().columns == FEATURE_NAMES_STRUCTURE


def test_golden_values_of_prototypes():
    """Ideal prototypes, whose cell corners coincide, and strained ones; no outliers to explain."""
    records = golden()
    expected = np.array([r["values"] for r in records])
    np.testing.assert_allclose(featurized(records), expected, rtol=1e-4, atol=NOISE)


def test_matches_matminer():
    """The oracle itself, on a few cells that the golden file does not hold."""
    pytest.importorskip("matminer")
    from benchmarks.peers import structure_peer

    peer = structure_peer()
    random = np.random.default_rng(4)
    for n in (1, 2, 3, 4, 6):
        lattice = 2.6 * np.cbrt(n) * (np.eye(3) + 0.15 * random.normal(size=(3, 3)))
        frac = (np.arange(n)[:, None] / n + 0.1 * random.random((n, 3)) + [0, 0.3, 0.6]) % 1.0
        numbers = random.integers(1, 84, n)
        expected = peer(lattice, numbers, frac)
        np.testing.assert_allclose(
            featurize_structure(lattice, numbers, frac), expected, rtol=1e-4, atol=NOISE
        )


def test_ideal_lattices():
    """Numbers known from geometry."""
    packing = FEATURE_NAMES_STRUCTURE.index("max packing efficiency")
    face_centred = 0.5 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    x = featurize_structure(3.6 * face_centred, [29], [[0, 0, 0]])
    assert x[:4] == pytest.approx([12, 12, 12, 0], abs=1e-5)
    assert x[packing] == pytest.approx(np.pi / 18**0.5)
    x = featurize_structure(np.eye(3), [29], [[0, 0, 0]])
    assert x[:4] == pytest.approx([6, 6, 6, 0], abs=1e-5)
    assert x[packing] == pytest.approx(np.pi / 6)


# invariances ---------------------------------------------------------------------------------
@st.composite
def crystals(draw):
    n = draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lattice = 3.0 * np.cbrt(n) * (np.eye(3) + 0.1 * random.normal(size=(3, 3)))
    spots = random.permutation(np.indices((2, 2, 2)).reshape(3, -1).T)[:n] / 2
    ideal = draw(st.booleans())  # sites on a grid: corners of many cells coincide
    frac = spots if ideal else spots + 0.1 * random.random((n, 3))
    if ideal:
        lattice = np.diag(np.diag(lattice))
    return lattice, random.integers(1, 84, n), frac, random


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6 * np.maximum(1, np.abs(a).max() / 100))


@settings(max_examples=25)
@given(crystals())
def test_order_translation_and_periodic_images_do_not_matter(crystal):
    lattice, numbers, frac, random = crystal
    order = random.permutation(len(numbers))
    moved = frac[order] + random.random(3) + random.integers(-3, 4, (len(numbers), 3))
    same(
        featurize_structure(lattice, numbers, frac),
        featurize_structure(lattice, numbers[order], moved),
    )


@settings(max_examples=25)
@given(crystals())
def test_rotation_and_scale_do_not_matter(crystal):
    lattice, numbers, frac, random = crystal
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]  # a mirror image half of the time
    same(
        featurize_structure(lattice, numbers, frac),
        featurize_structure(1.7 * lattice @ rotation, numbers, frac),
    )


@settings(max_examples=25)
@given(crystals())
def test_the_lattice_basis_does_not_matter(crystal):
    lattice, numbers, frac, random = crystal
    change = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = random.permutation(3)[:2]
        change[i] += int(random.integers(-2, 3)) * change[j]
    same(
        featurize_structure(lattice, numbers, frac),
        featurize_structure(change @ lattice, numbers, frac @ np.linalg.inv(change)),
    )


@settings(max_examples=15)
@given(crystals(), st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)))
def test_a_supercell_has_the_same_attributes(crystal, repeats):
    lattice, numbers, frac, _ = crystal
    shifts = np.indices(repeats).reshape(3, -1).T
    many = ((frac + shifts[:, None, :]) / repeats).reshape(-1, 3)
    same(
        featurize_structure(lattice, numbers, frac),
        featurize_structure(
            np.array(repeats)[:, None] * lattice, np.tile(numbers, len(shifts)), many
        ),
    )


def test_a_row_does_not_depend_on_its_batch():
    records = golden()[:40]
    together = featurized(records)
    for record, row in list(zip(records, together, strict=True))[::8]:
        np.testing.assert_array_equal(featurized([record])[0], row)


def test_eighty_atoms():
    random = np.random.default_rng(1)
    spots = np.indices((5, 4, 4)).reshape(3, -1).T + 0.2 * random.random((80, 3))
    x = featurize_structure(np.diag([12.5, 10, 10]), random.integers(1, 84, 80), spots / [5, 4, 4])
    assert np.isfinite(x).all()


# bad input -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lattice": np.zeros((3, 3))}, "no volume"),
        ({"lattice": [[4, 0, 0], [0, 4, 0], [4, 4, 0]]}, "no volume"),
        ({"lattice": [[4, 0, 0], [0, 4, 0], [4, 4, 1e-3]]}, "overlap: the lattice repeats"),
        ({"lattice": np.full((3, 3), np.nan)}, "lattice holds a value that is not finite"),
        ({"lattice": np.full((3, 3), np.inf)}, "lattice holds a value that is not finite"),
        ({"lattice": np.eye(3) * 1e200}, "longer than"),
        ({"lattice": np.eye(2)}, "lattice has shape"),
        ({"frac_coords": [[0, 0, np.nan], [0.5, 0.5, 0.5]]}, "coordinate is not finite"),
        ({"frac_coords": [[0, 0, 0]]}, "coordinates have shape"),
        ({"frac_coords": [[0, 0, 0], [0.01, 0, 0]]}, "atoms overlap: two are 0.041"),
        ({"frac_coords": [[0, 0, 0], [1, 0, 0]]}, "atoms overlap: two are 0.000"),
        ({"frac_coords": [[0, 0, 0], [0.5, -np.inf, 0.5]]}, "coordinate is not finite"),
        ({"frac_coords": [[0, 0, 0], [0.5, 1e17, 0.5]]}, "fractional coordinate is beyond 1e"),
        ({"frac_coords": "?"}, "coordinates are not an array of numbers"),
        ({"numbers": [55, 0]}, "unknown species: atomic number 0"),
        ({"numbers": [55, 119]}, "unknown species"),
        ({"numbers": [55, 8.5]}, "unknown species: atomic number 8.5"),
        ({"numbers": [55, 1e300]}, "unknown species"),
        ({"numbers": [55, None]}, "unknown species"),
        ({"numbers": ["Cs", "Cl"]}, "atomic numbers are not an array of numbers"),
        ({"numbers": [55, 118]}, "no Magpie data for element 'Og'"),
        ({"numbers": [], "frac_coords": np.zeros((0, 3))}, "no sites"),
        ({"numbers": np.ones(2000), "frac_coords": np.zeros((2000, 3))}, "2000 sites are more"),
    ],
)
def test_bad_input_is_a_reason_and_not_an_exception(change, reason):
    lattice, numbers, frac = CESIUM_CHLORIDE
    bad = {"lattice": lattice, "numbers": numbers, "frac_coords": frac, **change}
    with pytest.raises(DataError, match=reason):
        featurize_structure(**bad)
    result = featurize_structures(
        [lattice, bad["lattice"], lattice],
        [numbers, bad["numbers"], numbers],
        [frac, bad["frac_coords"], frac],
    )
    assert [*result.reasons] == [1]
    assert reason in result.reasons[1]
    assert np.isnan(result.values[1]).all()
    np.testing.assert_array_equal(result.values[0], result.values[2])


def test_nothing_at_all():
    result = featurize_structures([], [], [])
    assert (result.values.shape, result.reasons) == ((0, 126), {})
