"""Hulls that hold the candidates' own predictions beside the known phases."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featurizers.hulls import MAX_ELEMENTS, build_facets, lower_hulls
from irnet_core.screening.facets import Facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import FIRST_CANDIDATE, Phases, sorted_compositions

Value = TypeVar("Value", bound=np.generic)
_BLOCK = 1024  # hulls without one of their corners, built together


class SelfConsistent(NamedTuple):
    """Hulls with candidates in them.

    Attributes
    ----------
    facets : Facets
        Candidate i is the phase with ``rows == FIRST_CANDIDATE - i``.
    others : numpy.ndarray of float64, shape (n,)
        For candidates at a corner, the height in eV/atom of the hull that they are not part of;
        NaN for the others.
    """

    facets: Facets
    others: NDArray[np.float64]


def self_consistent(
    phases: Phases, numbers: ArrayLike, amounts: ArrayLike, energies: ArrayLike
) -> SelfConsistent:
    """Hulls of the candidates' chemical systems, candidates included.

    Candidates compete within their own chemical system. One at a corner of the hull belongs to it;
    how stable it is, is told by the hull of the known phases and the other candidates.

    Parameters
    ----------
    phases : Phases
        Known phases.
    numbers : array_like of int, shape (n, k)
        Atomic numbers of the candidates in any order; slots with amount 0 are ignored. Those of
        more than 6 elements have no hull.
    amounts : array_like of float, shape (n, k)
        Amounts or atomic fractions.
    energies : array_like of float, shape (n,)
        Predicted formation energies in eV/atom, or cautious bounds on them.

    Returns
    -------
    SelfConsistent

    Raises
    ------
    DataError
        If a row cannot be used.
    ScreenError
        If a hull cannot be built.

    Examples
    --------
    >>> known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])  # MgO
    >>> candidates = [[8, 12], [8, 12]], [[2, 1], [3, 1]]  # MgO2, MgO3
    >>> made = self_consistent(known, *candidates, [-2.4, -1.7])
    >>> Hull(made.facets).above(*candidates, [-2.4, -1.7]).abs().numpy().round(9).tolist()
    [0.0, 0.1]
    >>> made.others.round(9).tolist()
    [-2.133333333, nan]
    """
    number, fraction = sorted_compositions(numbers, amounts)
    energy = np.asarray(energies, np.float64)
    count = (number > 0).sum(1)
    others = np.full(len(number), np.nan)
    parts = []
    for c in np.unique(count[count <= MAX_ELEMENTS]).tolist():
        rows = np.flatnonzero(count == c)
        own = _of_one_size(phases, number[rows, :c], fraction[rows, :c], energy[rows], rows)
        parts.append(own.facets)
        others[rows] = own.others
    return SelfConsistent(_joined(parts, phases), others)


def _of_one_size(
    phases: Phases,
    number: NDArray[np.uint8],
    fraction: NDArray[np.float64],
    energy: NDArray[np.float64],
    index: NDArray[np.intp],
) -> SelfConsistent:
    """The same for candidates (n, c) of c elements each, which are candidates ``index`` (n,)."""
    # what does not lie below the known hull is no corner of the new one: most candidates
    heights = Hull(build_facets(phases, number)).energies(number, fraction).numpy()
    rows = np.flatnonzero(energy < heights)
    every = phases.with_candidates(number[rows], fraction[rows], energy[rows], index[rows])
    facets = build_facets(every, number)
    corners = np.unique(facets.vertices).astype(np.int64)
    corners = corners[corners >= 0]
    corners = corners[every.rows[corners] <= FIRST_CANDIDATE]
    place = np.searchsorted(index, FIRST_CANDIDATE - every.rows[corners])
    others = np.full(len(number), np.nan)
    others[place] = heights[place]
    if number.shape[1] == 1:  # nothing else has this element alone
        return SelfConsistent(facets, others)
    for block in np.split(np.arange(len(place)), range(_BLOCK, len(place), _BLOCK)):
        if not len(block):
            continue
        at = place[block]
        hulls = lower_hulls(every, number[at], without=corners[block])
        planes = (hulls.potentials * np.repeat(fraction[at], hulls.counts, axis=0)).sum(1)
        without = np.maximum.reduceat(planes, np.cumsum(hulls.counts) - hulls.counts)
        # a known phase of its composition, which it stands in the place of, is in the known hull
        others[at] = np.minimum(others[at], without)
    return SelfConsistent(facets, others)


def _joined(parts: list[Facets], phases: Phases) -> Facets:
    """Hulls of systems of ever more elements, each part with phases of its own."""
    if not parts:
        return build_facets(phases, np.empty((0, 1), np.uint8))
    width = max(part.vertices.shape[1] for part in parts)
    wide = max(part.phases.numbers.shape[1] for part in parts)
    begin = np.cumsum([0, *(len(part.phases) for part in parts[:-1])])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    vertices = [
        np.where(part.vertices < 0, -1, part.vertices + first).astype(np.int32)
        for part, first in zip(parts, begin, strict=True)
    ]
    return Facets(
        systems=_together([part.systems for part in parts], width),
        keys=np.concatenate([part.keys for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        vertices=_together(vertices, width, -1),
        potentials=_together([part.potentials for part in parts], width),
        phases=Phases(
            _together([part.phases.numbers for part in parts], wide),
            _together([part.phases.fractions for part in parts], wide),
            np.concatenate([part.phases.energies for part in parts]),
            np.concatenate([part.phases.rows for part in parts]),
            np.concatenate([part.phases.keys for part in parts]),
        ),
    )


def _together(tables: list[NDArray[Value]], width: int, empty: int = 0) -> NDArray[Value]:
    """Tables below each other, with further columns of empty slots where they are narrower."""
    return np.concatenate(
        [
            np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=empty)
            for table in tables
        ]
    )
