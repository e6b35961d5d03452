"""Reading one structure, and the reasons for which one cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featurizers.elements import SYMBOLS, Z_OF, Missing, refused
from featurizers.periodic import Crystal, reduced
from featurizers.tessellation import MIN_DISTANCE
from irnet_core.errors import DataError

if TYPE_CHECKING:
    from pymatgen.core import IStructure

MAX_SITES = 1000
"""Sites beyond which a structure is refused; distances within it are held as one matrix."""

MAX_EDGE = 1e4
"""Longest lattice vector in Å that is taken for a length and not for a mistake."""

MAX_COORDINATE = 1e6
"""Largest fractional coordinate; beyond it, too few digits are left for the place in the cell."""

# Volume of the cell over that of a box with the same edges. Below this, the vectors lie in a plane
# as far as the rounding of a reduction can tell.
_FLAT = 1e-9


def read_structure(
    lattice: Any,
    numbers: Any,
    frac_coords: Any,
    missing: Missing = "matminer",
    max_sites: int = MAX_SITES,
) -> tuple[Crystal, NDArray[np.int64]]:
    """A structure ready to be tessellated, and its atomic numbers.

    Parameters
    ----------
    lattice : array_like, shape (3, 3)
        Lattice vectors as rows, in Å.
    numbers : array_like of int, shape (n,)
        Atomic numbers.
    frac_coords : array_like, shape (n, 3)
        Fractional coordinates.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties; it says which elements are refused.
    max_sites : int
        Structures with more sites are refused.

    Returns
    -------
    crystal : Crystal
    numbers : ndarray, int64, shape (n,)

    Raises
    ------
    DataError
        The structure cannot be used; the message is the reason.

    Examples
    --------
    >>> read_structure(np.eye(3) * 3.0, [118], [[0, 0, 0]])
    Traceback (most recent call last):
    irnet_core.errors.DataError: no Magpie data for element 'Og'
    """
    cell = _floats(lattice, "lattice")
    frac = _floats(frac_coords, "coordinates")
    z = _floats(numbers, "atomic numbers")
    if cell.shape != (3, 3):
        raise DataError(f"the lattice has shape {cell.shape}, not (3, 3)")
    if z.ndim != 1 or len(z) == 0:
        raise DataError("there are no sites")
    if len(z) > max_sites:
        raise DataError(f"{len(z)} sites are more than the {max_sites} allowed")
    if frac.shape != (len(z), 3):
        raise DataError(f"the coordinates have shape {frac.shape}, not {(len(z), 3)}")
    if not np.isfinite(cell).all():
        raise DataError("the lattice holds a value that is not finite")
    if not np.isfinite(frac).all():
        raise DataError("a coordinate is not finite")
    if np.abs(frac).max() > MAX_COORDINATE:
        raise DataError(f"a fractional coordinate is beyond {MAX_COORDINATE:g}")
    known = (z >= 1) & (z < len(SYMBOLS)) & (z == np.floor(z))
    if not known.all():
        raise DataError(f"unknown species: atomic number {z[~known][0]:g}")
    whole = z.astype(np.int64)
    for number in np.unique(whole):
        if number in refused(missing):
            raise DataError(refused(missing)[int(number)])
    if np.abs(cell).max() > MAX_EDGE:
        raise DataError(f"a lattice vector is longer than {MAX_EDGE:g} Å")
    if _fullness(cell) < _FLAT:
        raise DataError("the cell has no volume")
    crystal = reduced(cell, frac - np.floor(frac))
    shortest = float(np.linalg.norm(crystal.lattice, axis=1).min())
    if shortest < MIN_DISTANCE:
        raise DataError(f"atoms overlap: the lattice repeats every {shortest:.3g} Å")
    return crystal, whole


def _fullness(cell: NDArray[np.float64]) -> float:
    """Volume of a cell over the product of its edges."""
    edges = float(np.prod(np.linalg.norm(cell, axis=1)))
    return abs(float(np.linalg.det(cell))) / edges if edges > 0 else 0.0


def _floats(values: Any, what: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the {what} are not an array of numbers") from None


def from_pymatgen(
    structure: IStructure,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Lattice, atomic numbers and fractional coordinates of a pymatgen structure.

    Parameters
    ----------
    structure : pymatgen.core.IStructure or Structure
        Oxidation states and other properties of the sites are ignored.

    Returns
    -------
    lattice : ndarray, float64, shape (3, 3)
        Lattice vectors as rows, in Å.
    numbers : ndarray, int64, shape (n,)
    frac_coords : ndarray, float64, shape (n, 3)

    Raises
    ------
    DataError
        A site is partly occupied or shared by several elements, or holds none; the message is
        the reason.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> structure = Structure(Lattice.cubic(4.1), ["Cs+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> lattice, numbers, frac_coords = from_pymatgen(structure)
    >>> numbers.tolist()
    [55, 17]
    """
    numbers = []
    for i, site in enumerate(structure):
        if not site.is_ordered:
            raise DataError(f"partial occupancy at site {i}: {site.species_string}")
        symbol = site.specie.symbol
        if symbol not in Z_OF:
            raise DataError(f"unknown species: {symbol!r} at site {i}")
        numbers.append(Z_OF[symbol])
    return (
        np.array(structure.lattice.matrix, np.float64),
        np.array(numbers, np.int64),
        np.array(structure.frac_coords, np.float64).reshape(-1, 3),
    )
