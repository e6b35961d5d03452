"""A crystal as a finite cloud of points: the sites of one cell and the images around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 200_000
"""Images beyond which a cell is taken for unusable: one far too thin for its length."""
MAX_DISTANCES = 50_000_000
"""Likewise for the distances between the sites and all points, which are held at once."""

_ROUNDS = 100  # of making the lattice vectors shorter; a handful is the rule
_PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))


@dataclass(frozen=True)
class Crystal:
    """Sites of one cell in a reduced basis, around the origin.

    Attributes
    ----------
    lattice : ndarray, float64, shape (3, 3)
        Reduced lattice vectors as rows, in Å.
    frac_coords : ndarray, float64, shape (n, 3)
        Fractional coordinates in the reduced basis, in [-0.5, 0.5].
    """

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]

    @property
    def volume(self) -> float:
        """Volume of the cell in Å^3."""
        return float(abs(np.linalg.det(self.lattice)))


@dataclass(frozen=True)
class Cloud:
    """Sites of one cell, which come first, and images of them.

    Attributes
    ----------
    points : ndarray, float64, shape (m, 3)
        Cartesian coordinates in Å.
    sites : ndarray, int64, shape (m,)
        Site of which each point is an image.
    images : ndarray, int64, shape (m, 3)
        Its lattice translation.
    nearest : float
        Shortest distance between a site and another point, in Å.
    """

    points: NDArray[np.float64]
    sites: NDArray[np.int64]
    images: NDArray[np.int64]
    nearest: float


def reduced(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]) -> Crystal:
    """The same crystal in a basis of short vectors, so that few images surround the cell.

    Parameters
    ----------
    lattice : ndarray, float64, shape (3, 3)
        Lattice vectors as rows, in Å; must span a volume.
    frac_coords : ndarray, float64, shape (n, 3)

    Returns
    -------
    Crystal

    Examples
    --------
    >>> crystal = reduced(np.array([[4.0, 0, 0], [40, 4, 0], [0, 0, 4]]), np.zeros((1, 3)))
    >>> crystal.lattice.tolist()
    [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    """
    basis = lattice.tolist()
    for _ in range(_ROUNDS):
        if not (_shorten_pairs(basis) or _shorten_longest(basis)):
            break
    short = np.array(basis)
    frac = frac_coords @ (lattice @ np.linalg.inv(short))
    return Crystal(short, frac - np.rint(frac))


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _shorten_pairs(basis: list[list[float]]) -> bool:
    """Take from each vector whole multiples of the others; whether any became shorter."""
    changed = False
    for i, j in _PAIRS:
        a, b = basis[i], basis[j]
        steps = round(_dot(a, b) / _dot(b, b))
        if steps:
            changed |= _replace_if_shorter(
                basis, i, [x - steps * y for x, y in zip(a, b, strict=True)]
            )
    return changed


def _shorten_longest(basis: list[list[float]]) -> bool:
    """Replace the longest vector by a sum or difference of all three, if one is shorter."""
    longest = max(range(3), key=lambda i: _dot(basis[i], basis[i]))
    a, b, c = basis
    return any(
        _replace_if_shorter(
            basis, longest, [x + p * y + q * z for x, y, z in zip(a, b, c, strict=True)]
        )
        for p, q in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    )


def _replace_if_shorter(basis: list[list[float]], i: int, new: list[float]) -> bool:
    # a tie must not count: it could alternate for ever
    shorter = _dot(new, new) < (1 - 1e-9) * _dot(basis[i], basis[i])
    if shorter:
        basis[i] = new
    return shorter


def surround(crystal: Crystal, reach: NDArray[np.float64]) -> Cloud | None:
    """Sites of one cell and every image within reach of them.

    Parameters
    ----------
    crystal : Crystal
    reach : ndarray, float64, shape (n,)
        Distance in Å within which all neighbours of each site are wanted.

    Returns
    -------
    Cloud or None
        None if there would be more than :data:`MAX_POINTS`, or too many distances between them.
    """
    frac = crystal.frac_coords
    # a sphere extends by its radius over the height of the cell along each fractional axis
    margin = reach[:, None] * np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)  # (n, 3)
    low, high = (frac - margin).min(0), (frac + margin).max(0)
    first = np.ceil(low - frac.max(0)).astype(np.int64)
    last = np.floor(high - frac.min(0)).astype(np.int64)
    counts = np.maximum(last - first + 1, 1)
    if float(np.prod(counts.astype(np.float64))) * len(frac) > MAX_POINTS:
        return None
    shifts = np.indices(counts).reshape(3, -1).T + first  # (number of cells, 3)
    home = (shifts == 0).all(1)
    shifts = np.concatenate([np.zeros((1, 3), np.int64), shifts[~home]])
    moved = shifts[:, None, :] + frac  # (number of cells, n, 3)
    inside = ((moved >= low) & (moved <= high)).all(2)
    inside[0] = True
    cells, sites = np.nonzero(inside)
    if len(sites) * len(frac) > MAX_DISTANCES:
        return None
    points = moved[cells, sites] @ crystal.lattice
    squares = _squared_distances(points, points[: len(frac)])  # (m, n)
    near = np.any(squares <= reach**2, axis=1)
    near |= np.arange(len(points)) < len(frac)
    np.fill_diagonal(squares, np.inf)
    nearest = float(np.sqrt(max(squares.min(), 0.0)))
    return Cloud(points[near], sites[near], shifts[cells[near]], nearest)


def _squared_distances(
    points: NDArray[np.float64], centers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squares of the distances between points (m, 3) and centers (n, 3), (m, n)."""
    squares = np.zeros((len(points), len(centers)))
    for axis in range(3):
        difference = points[:, axis, None] - centers[:, axis]
        squares += difference * difference
    return squares
