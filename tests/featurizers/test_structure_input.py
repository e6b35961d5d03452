"""Structures of pymatgen as input; bad arrays are tested with the featurizer itself."""

from __future__ import annotations

import numpy as np
import pytest

from featurizers.structure import featurize_structure
from featurizers.structure_input import from_pymatgen, read_structure
from irnet_core.errors import DataError

core = pytest.importorskip("pymatgen.core")
CUBE = 4.1 * np.eye(3)
SITES = [[0.0, 0, 0], [0.5, 0.5, 0.5]]


def test_a_structure_gives_its_arrays() -> None:
    structure = core.Structure(CUBE, ["Cs+", "Cl-"], SITES)
    lattice, numbers, frac_coords = from_pymatgen(structure)
    np.testing.assert_array_equal(lattice, CUBE)
    assert numbers.tolist() == [55, 17]
    np.testing.assert_array_equal(frac_coords, SITES)
    np.testing.assert_array_equal(
        featurize_structure(lattice, numbers, frac_coords),
        featurize_structure(CUBE, [55, 17], SITES),
    )


@pytest.mark.parametrize(
    ("species", "reason"),
    [
        (["Cs", {"Cl": 0.5}], "partial occupancy at site 1: Cl:0.5"),
        ([{"Fe": 0.5, "Ni": 0.5}, "O"], "partial occupancy at site 0: Fe:0.5, Ni:0.5"),
        (["Cs", core.DummySpecies("X")], "unknown species: 'X' at site 1"),
    ],
)
def test_what_arrays_cannot_say_is_a_reason(species, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_pymatgen(core.Structure(CUBE, species, SITES))


def test_two_atoms_on_one_site_are_no_occupancy() -> None:
    with pytest.raises(DataError, match="atoms overlap: two are 0.000 Å apart"):
        featurize_structure(CUBE, [26, 28, 8], [SITES[0], SITES[0], SITES[1]])


def test_no_sites() -> None:
    with pytest.raises(DataError, match="no sites"):
        read_structure(*from_pymatgen(core.Structure(CUBE, [], [])))
