"""Structures as databases send them, to Arrow columns, many at once.

All rows of a table become arrays together. Where that fails, each row is looked at by itself, and
those that cannot be used are noted with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurizers.elements import Z_OF
from infra.pull.notes import Notes
from irnet_core.schema import FRAC_COORDS, LATTICE, N_SITES, NUMBERS, VOLUME, Column

_ATOMIC_NUMBERS: dict[Any, int] = {**Z_OF, **{z: z for z in Z_OF.values()}}
_LEAST_VOLUME_A3 = 1e-3  # per cell; the smallest atom takes some 4 A^3
_SHOWN = 40  # characters of a value in a note

_Arrays = tuple[
    NDArray[np.float64],  # cells (n, 3, 3)
    NDArray[np.uint8],  # atomic numbers (sites,)
    NDArray[np.float64],  # coordinates (sites, 3)
    NDArray[np.int64],  # sites per row (n,)
]


@dataclass(frozen=True)
class Structures:
    """Structures of n rows as Arrow columns; a row without a structure is null in all of them.

    Attributes
    ----------
    lattice, numbers, frac_coords, n_sites : pyarrow.Array
        The columns ``LATTICE``, ``NUMBERS``, ``FRAC_COORDS`` and ``N_SITES`` of the schema.
    volume : pyarrow.Array
        Volume per atom in A^3, of the cells as given.
    """

    lattice: pa.Array
    numbers: pa.Array
    frac_coords: pa.Array
    n_sites: pa.Array
    volume: pa.Array

    def columns(self) -> dict[Column, pa.Array]:
        """The four structure columns by their definition, without the volume."""
        return {
            LATTICE: self.lattice,
            NUMBERS: self.numbers,
            FRAC_COORDS: self.frac_coords,
            N_SITES: self.n_sites,
        }


def structures(
    lattices: Sequence[Any],
    species: Sequence[Any],
    coords: Sequence[Any],
    cartesian: bool | Sequence[bool],
    notes: Notes,
    reasons: Mapping[int, str] | None = None,
) -> Structures:
    """Structures of n rows.

    Parameters
    ----------
    lattices : sequence, length n
        Lattice vectors as rows, 3 x 3, in A.
    species : sequence, length n
        Element symbols or atomic numbers of the sites.
    coords : sequence, length n
        Coordinates of the sites, sites x 3.
    cartesian : bool or sequence of bool
        Whether the coordinates are cartesian in A, or else fractional; for all rows or for each.
    notes : Notes
        Gets ``structure: ...`` for each row without a usable structure, also where none was given.
    reasons : mapping of int to str, optional
        Why the caller knows some rows' structures to be unusable, such as disorder.

    Returns
    -------
    Structures

    Examples
    --------
    >>> cell = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
    >>> made = structures([cell], [["Cs", 17]], [[[0, 0, 0], [2, 2, 2]]], True, Notes())
    >>> made.numbers.to_pylist(), made.frac_coords.to_pylist(), made.volume.to_pylist()
    ([[55, 17]], [[0.0, 0.0, 0.0, 0.5, 0.5, 0.5]], [32.0])
    """
    found = dict(reasons or {})
    rows = [row for row in range(len(lattices)) if row not in found]
    arrays = _arrays(lattices, species, coords, rows)
    if arrays is None:  # something is wrong somewhere: look at each row
        for row in rows:
            if reason := _fault(lattices[row], species[row], coords[row]):
                found[row] = reason
        rows = [row for row in rows if row not in found]
        arrays = _arrays(lattices, species, coords, rows)
        if arrays is None:
            raise ValueError("rows that are usable one by one are unusable together")
    return _made(len(lattices), rows, arrays, cartesian, found, notes)


def structures_of_sites(
    lattices: Sequence[Any] | NDArray[np.float64],
    symbols: Sequence[str],
    xyz: NDArray[np.float64],
    counts: Sequence[int],
    cartesian: bool,
    notes: Notes,
) -> Structures:
    """As :func:`structures`, from the sites of all rows together, which is faster.

    Parameters
    ----------
    lattices : sequence, length n, or ndarray, shape (n, 3, 3)
        Lattice vectors as rows, 3 x 3, in A.
    symbols : sequence of str, length m
        Elements of the sites of all rows, one row after the other.
    xyz : ndarray, float64, shape (m, 3)
        Their coordinates.
    counts : sequence of int, length n
        Sites of each row.
    cartesian : bool
        Whether the coordinates are cartesian, in A.
    notes : Notes
        As for :func:`structures`.

    Returns
    -------
    Structures
    """
    n = len(lattices)
    try:
        cells = np.array(lattices, np.float64).reshape(-1, 3, 3)
        sites = np.array([_ATOMIC_NUMBERS[symbol] for symbol in symbols], np.uint8)
        whole = len(cells) == n and 0 not in counts
    except (TypeError, ValueError, KeyError):
        whole = False
    if whole:
        arrays = (cells, sites, np.array(xyz, np.float64), np.array(counts, np.int64))
        return _made(n, list(range(n)), arrays, cartesian, {}, notes)
    ends = list(accumulate(counts))
    spans = list(zip([0, *ends], ends, strict=False))
    return structures(
        lattices if isinstance(lattices, Sequence) else lattices.tolist(),
        [list(symbols[start:end]) for start, end in spans],
        [xyz[start:end].tolist() for start, end in spans],
        cartesian,
        notes,
    )


def _made(
    n: int,
    rows: list[int],
    arrays: _Arrays,
    cartesian: bool | Sequence[bool],
    found: dict[int, str],
    notes: Notes,
) -> Structures:
    """Structures of those of n rows that are readable, less those that make no crystal."""
    cells, sites, xyz, counts = arrays
    inverse, volume = _inverse(cells)
    first = np.cumsum(counts) - counts
    faults = {
        "its lattice holds something that is not finite": ~np.isfinite(cells).all(axis=(1, 2)),
        "its lattice has no volume": ~(volume > _LEAST_VOLUME_A3),
        "its coordinates hold something that is not finite": ~np.logical_and.reduceat(
            np.isfinite(xyz).all(axis=1), first
        )
        if len(rows)
        else np.zeros(0, bool),
    }
    usable = np.ones(len(rows), bool)
    for reason, where in faults.items():
        for i in np.flatnonzero(where & usable).tolist():
            found[rows[i]] = reason
        usable &= ~where
    given = np.full(len(rows), cartesian) if isinstance(cartesian, bool) else None
    if given is None:
        given = np.array([bool(cartesian[r]) for r in rows], bool)  # type: ignore[index]
    to_turn = np.repeat(given & usable, counts)
    if to_turn.any():
        turn = np.repeat(inverse, counts, axis=0)[to_turn]  # (sites, 3, 3)
        x, y, z = (xyz[to_turn, i, None] for i in range(3))
        # written out, so that the last bits do not depend on which rows are converted together
        xyz[to_turn] = x * turn[:, 0] + y * turn[:, 1] + z * turn[:, 2]
    for row in sorted(found):
        notes.add(row, f"structure: {found[row]}")
    return _columns(
        n, np.array(rows, np.int64)[usable], usable, (cells, sites, xyz, counts, volume)
    )


def _arrays(
    lattices: Sequence[Any], species: Sequence[Any], coords: Sequence[Any], rows: list[int]
) -> _Arrays | None:
    """Some rows' structures as arrays, none if there is one among them that cannot be one."""
    try:
        cells = np.array([lattices[row] for row in rows], np.float64).reshape(-1, 3, 3)
        counts = np.array([len(species[row]) for row in rows], np.int64)
        if not counts.all() or [len(coords[row]) for row in rows] != counts.tolist():
            return None
        sites = [_ATOMIC_NUMBERS[s] for s in chain.from_iterable([species[row] for row in rows])]
        flat = list(chain.from_iterable([coords[row] for row in rows]))
        if set(map(len, flat)) - {3}:
            return None
        xyz = np.array(list(chain.from_iterable(flat)), np.float64).reshape(-1, 3)
    except (TypeError, ValueError, KeyError):
        return None
    if len(cells) != len(rows):
        return None
    return cells, np.array(sites, np.uint8), xyz, counts


def _fault(lattice: Any, species: Any, coords: Any) -> str | None:
    """Why a row's structure cannot be read, none if it can."""
    if all(part is None or (isinstance(part, list) and not part) for part in (lattice, coords)):
        return "none given"
    try:
        if np.array(lattice, np.float64).shape != (3, 3):
            return "its lattice is no 3 x 3 matrix"
    except (TypeError, ValueError):
        return "its lattice is no 3 x 3 matrix of numbers"
    if not isinstance(species, (list, tuple)) or not species:
        return "it names no species of its sites"
    for site, symbol in enumerate(species):
        try:
            _ATOMIC_NUMBERS[symbol]
        except (KeyError, TypeError):
            return f"site {site} holds {repr(symbol)[:_SHOWN]}, which is no element"
    try:
        if np.array(coords, np.float64).shape != (len(species), 3):
            return f"its coordinates are not those of {len(species)} sites"
    except (TypeError, ValueError):
        return "its coordinates are no numbers"
    return None


def _inverse(cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inverse matrices of cells, by cross products, and their volumes."""
    a, b, c = cells[:, 0], cells[:, 1], cells[:, 2]
    with np.errstate(all="ignore"):
        columns = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)
        volume = (
            a[:, 0] * columns[:, 0, 0] + a[:, 1] * columns[:, 1, 0] + a[:, 2] * columns[:, 2, 0]
        )
        return columns / volume[:, None, None], np.abs(volume)


def _columns(
    n: int,
    rows: NDArray[np.int64],
    usable: NDArray[np.bool_],
    arrays: tuple[
        NDArray[np.float64],
        NDArray[np.uint8],
        NDArray[np.float64],
        NDArray[np.int64],
        NDArray[np.float64],
    ],
) -> Structures:
    """Arrays of the ``usable`` ones of some structures at ``rows`` of n rows."""
    cells, sites, xyz, counts, volume = arrays
    kept = np.repeat(usable, counts)
    cells, sites, xyz, counts, volume = (
        cells[usable],
        sites[kept],
        xyz[kept],
        counts[usable],
        volume[usable],
    )
    n_sites = np.zeros(n, np.int32)
    n_sites[rows] = counts
    absent = np.ones(n, bool)
    absent[rows] = False
    volumes = np.zeros(n)
    volumes[rows] = volume / counts

    def lists(values: NDArray[Any], each: int) -> pa.Array:
        lengths = n_sites * each if each != 9 else np.where(absent, 0, 9)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(offsets, values.ravel(), mask=pa.array(absent))

    return Structures(
        lattice=lists(cells, 9),
        numbers=lists(sites, 1),
        frac_coords=lists(xyz, 3),
        n_sites=pa.array(n_sites, N_SITES.type, mask=absent),
        volume=pa.array(volumes, VOLUME.type, mask=absent),
    )
