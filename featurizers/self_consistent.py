"""Hulls that hold the candidates' own predictions beside the known phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from featurizers.hulls import build_facets
from irnet_core.screening.facets import Facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import Phases, sorted_compositions


def self_consistent_facets(
    phases: Phases, numbers: ArrayLike, amounts: ArrayLike, energies: ArrayLike
) -> Facets:
    """Hulls of the candidates' chemical systems, candidates included.

    Against them no candidate lies below the hull, and those that the others outdo lie above it. A
    candidate counts in every system that holds all its elements, so give all candidates that should
    compete with each other at once, those of fewer elements included.

    Parameters
    ----------
    phases : Phases
        Known phases.
    numbers : array_like of int, shape (n, k)
        Atomic numbers of the candidates in any order; slots with amount 0 are ignored.
    amounts : array_like of float, shape (n, k)
        Amounts or atomic fractions.
    energies : array_like of float, shape (n,)
        Predicted formation energies in eV/atom, or cautious bounds on them.

    Returns
    -------
    Facets
        Candidate i is the phase with ``rows == FIRST_CANDIDATE - i``.

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
    >>> facets = self_consistent_facets(known, *candidates, [-2.4, -1.7])
    >>> Hull(facets).above(*candidates, [-2.4, -1.7]).abs().numpy().round(9).tolist()
    [0.0, 0.1]
    """
    number, fraction = sorted_compositions(numbers, amounts)
    energy = np.asarray(energies, np.float64)
    # what does not lie below the known hull is no vertex of the new one: most candidates
    known = build_facets(phases, number)
    below = (Hull(known).above(number, fraction, energy) < 0).numpy()
    rows = np.flatnonzero(below)
    everything = phases.with_candidates(number[rows], fraction[rows], energy[rows], rows)
    return build_facets(everything, number)
