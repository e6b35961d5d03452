"""Convex hulls of known phases, chemical system by chemical system, with Qhull through scipy.

Here is the geometry alone: :mod:`irnet_core.screening.hull` evaluates the facets, on machines that
have no scipy. Like the tessellation of structures it is a pure function of arrays, which workers
call without a store, and so it belongs in this layer and not in ``infra``.

The construction is the usual one (Ong et al., Chem. Mater. 2008, doi:10.1021/cm702327g). Energies
are taken relative to the elements first and scaled to 1 in each system. Phases above the elements'
plane are no vertices, and with the others the points always span all dimensions, so that Qhull
meets no flat input and never needs to joggle. Every system is then checked: its facets tile the
whole range of compositions, and no phase lies below them. Both together prove a hull right.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError

from featurizers.hull_points import Points, hull_points, system_name
from irnet_core.errors import ScreenError
from irnet_core.screening.facets import Facets
from irnet_core.screening.phases import Phases, sorted_compositions, system_keys

MAX_ELEMENTS = 6
"""Facets multiply with every element: about 0.1 s for a well explored system of six, 1 s for one of
seven. Beyond, :mod:`featurizers.mixtures` needs milliseconds for a composition."""

TOLERANCE = 1e-8
"""eV/atom by which a facet may miss its phases or lie above others, and share of all compositions
that the facets may cover too little or too much, before a hull counts as wrong."""

_VERTICAL = 1e-9  # facets this steep are the sides of the hull
_DEGENERATE = 1e-15  # simplices smaller than this share of all compositions are empty
_BLOCK = 1024  # systems worked on together


class LowerHulls(NamedTuple):
    """Facets of s hulls of c elements each, one hull after the other.

    Attributes
    ----------
    counts : numpy.ndarray of int64, shape (s,)
        Facets of each hull.
    vertices : numpy.ndarray of int64, shape (f, c)
        Positions in the phases.
    potentials : numpy.ndarray of float64, shape (f, c)
        Chemical potentials of the elements in eV/atom.
    """

    counts: NDArray[np.int64]
    vertices: NDArray[np.int64]
    potentials: NDArray[np.float64]


def build_facets(phases: Phases, systems: ArrayLike) -> Facets:
    """Lower convex hulls of some chemical systems.

    A system's hull holds the phases of all subsets of its elements. Only what was asked for is
    built, and memory goes with the facets: about 36 bytes each for ternaries.

    Parameters
    ----------
    phases : Phases
        Known phases of any systems.
    systems : array_like of int, shape (s, k)
        Atomic numbers of 1 to 6 elements in any order, 0 in empty slots. Duplicates are built once.

    Returns
    -------
    Facets

    Raises
    ------
    DataError
        If a row is empty, or holds an element twice or a number out of range.
    ScreenError
        If a system has more than 6 elements, an element has no phase, or Qhull fails.

    Examples
    --------
    >>> known = Phases.lowest([[8, 26], [8, 26]], [[3, 2], [1, 1]], [-1.7, -0.2])
    >>> facets = build_facets(known, [[26, 8]])
    >>> facets.offsets.tolist(), known.rows[facets.vertices].tolist()
    ([0, 2], [[0, -1], [0, -1]])
    """
    given = np.asarray(systems)
    number, _ = sorted_compositions(given, given != 0)
    keys, first = np.unique(system_keys(number), return_index=True)
    number = number[first]
    arity = (number > 0).sum(1)
    width = int(arity.max(initial=1))
    counts = np.zeros(len(keys), np.int64)
    parts = []
    for c in np.unique(arity).tolist():
        rows = np.flatnonzero(arity == c)
        for block in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
            hulls = lower_hulls(phases, number[block, :c])
            counts[block] = hulls.counts
            parts.append((block, hulls))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    vertices = np.full((offsets[-1], width), -1, np.int32)
    potentials = np.zeros((offsets[-1], width))
    for block, hulls in parts:
        begin = np.cumsum(hulls.counts) - hulls.counts
        place = np.arange(len(hulls.vertices)) + np.repeat(offsets[block] - begin, hulls.counts)
        c = hulls.vertices.shape[1]
        vertices[place, :c] = hulls.vertices
        potentials[place, :c] = hulls.potentials
    return Facets(number[:, :width], keys, offsets, vertices, potentials, phases)


def lower_hulls(
    phases: Phases, systems: NDArray[np.uint8], without: NDArray[np.int64] | None = None
) -> LowerHulls:
    """Lower hulls of systems with the same number of elements.

    Parameters
    ----------
    phases : Phases
    systems : numpy.ndarray of uint8, shape (s, c)
        Atomic numbers, ascending in each row, without empty slots.
    without : numpy.ndarray of int64, shape (s,), optional
        Position of a phase to leave out of each system's hull, -1 for none.

    Returns
    -------
    LowerHulls

    Raises
    ------
    ScreenError
        If there are more than 6 elements, one of them has no phase, or Qhull fails.
    """
    n_systems, c = systems.shape
    if c > MAX_ELEMENTS:
        raise ScreenError(
            f"the system {system_name(systems[0])} has {c} elements and hulls are built for up to"
            f" {MAX_ELEMENTS}; use featurizers.mixtures for its compositions"
        )
    points = hull_points(phases, systems, without)
    system, corner, plane, above = _facets_of_each(points, systems)
    steep = plane[:, -2]  # the normal's part along energy, negative below
    lower = steep < -_VERTICAL
    system, corner, plane, above = system[lower], corner[lower], plane[lower], above[lower]
    steep = steep[lower, None]
    # heights of the planes at the elements, the last of which is the origin
    heights = np.concatenate([plane[:, :-2], np.zeros((len(plane), 1))], axis=1)
    heights = (heights + plane[:, -1:]) / -steep
    share = np.abs(np.linalg.det(points.fractions[corner]))
    kept = share > _DEGENERATE
    system, corner, heights = system[kept], corner[kept], heights[kept]
    scale = points.scales[system]
    missed = np.einsum("fvc,fc->fv", points.fractions[corner], heights) - points.energies[corner]
    error = np.maximum(np.abs(missed).max(1), (above / -steep[:, 0])[kept]) * scale
    counts = np.bincount(system, minlength=n_systems)
    gap = np.abs(np.bincount(system, share[kept], n_systems) - 1)
    wrong = (counts == 0) | (gap > TOLERANCE)
    wrong[system[error > TOLERANCE]] = True
    if wrong.any():
        raise _failure(systems[int(np.argmax(wrong))], "its facets fail the check")
    potentials = heights * scale[:, None] + points.elements[system]
    return LowerHulls(counts, points.phases[corner], potentials)


def _facets_of_each(
    points: Points, systems: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """All facets of the systems, upper ones and sides too.

    Each has its system (f,), corners as positions in `points` (f, c), a plane in c dimensions, the
    normal of length 1 and the offset (f, c + 1), and the distance that its system's points lie
    outside at most (f,), which is rounding in a hull.
    """
    c = systems.shape[1]
    # the last fraction follows from the others
    coordinates = np.column_stack([points.fractions[:, :-1], points.energies])
    elements = np.arange(c, dtype=np.int32)[None]
    flat = np.zeros((1, c + 1))
    flat[0, -2] = -1.0
    simplices, planes, furthest = [], [], []
    for i, (start, stop) in enumerate(pairwise(points.offsets.tolist())):
        if stop - start == c:
            simplices.append(elements)
            planes.append(flat)
            furthest.append(np.zeros(1))
            continue
        here = coordinates[start:stop]
        try:
            hull = ConvexHull(here, qhull_options="Qt")
        except QhullError as error:
            raise _failure(systems[i], str(error).splitlines()[0]) from error
        simplices.append(hull.simplices)
        planes.append(equations := hull.equations)
        furthest.append((equations[:, :-1] @ here.T).max(1))
    system = np.repeat(np.arange(len(systems)), [len(simplex) for simplex in simplices])
    plane = np.concatenate(planes)
    corner = np.concatenate(simplices) + points.offsets[system, None]
    return system, corner, plane, np.concatenate(furthest) + plane[:, -1]


def _failure(system: NDArray[np.uint8], reason: str) -> ScreenError:
    return ScreenError(
        f"the hull of {system_name(system)} cannot be built ({reason}); look for compositions that "
        "are almost the same among its phases, and leave one out"
    )
