"""Energies of decomposition: how far each known phase lies from the hull of all the others.

For an unstable phase that is the energy above the hull. For a stable one the hull is built again
without it, and the negative distance is what its decomposition costs: the label that tells stable
compounds from unstable ones by its sign (Bartel et al., npj Comput. Mater. 2020,
doi:10.1038/s41524-020-00362-y).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featurizers.hulls import lower_hulls
from featurizers.mixtures import lowest_mixtures
from irnet_core.screening.phases import Phases

MAX_HULL_ELEMENTS = 5
"""Beyond, a single composition costs less by linear programming than by a hull."""

_BLOCK = 1024


def decomposition_energies(
    phases: Phases, positions: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Distance of known phases from the hull of all other compositions.

    Parameters
    ----------
    phases : Phases
    positions : numpy.ndarray of int64, shape (n,), optional
        Which phases; by default all.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In eV/atom, negative for stable phases; 0 for elements, which have nothing to decompose to.

    Raises
    ------
    ScreenError
        If an element has no phase, or a hull cannot be built.

    Examples
    --------
    >>> known = Phases.lowest([[8, 12], [8, 12]], [[1, 1], [2, 1]], [-3.0, -1.9])
    >>> stable = known.rows >= 0
    >>> decomposition_energies(known, np.flatnonzero(stable)).round(9).tolist()  # MgO, MgO2
    [-1.575, 0.1]
    """
    place = np.arange(len(phases)) if positions is None else np.asarray(positions, np.int64)
    arity = (phases.numbers[place] > 0).sum(1)
    result = np.zeros(len(place))
    for c in range(2, MAX_HULL_ELEMENTS + 1):
        rows = np.flatnonzero(arity == c)
        for block in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
            if not len(block):
                continue
            phase = place[block]
            hulls = lower_hulls(phases, phases.numbers[phase, :c], without=phase)
            fractions = np.repeat(phases.fractions[phase, :c], hulls.counts, axis=0)
            heights = (hulls.potentials * fractions).sum(1)
            begin = np.cumsum(hulls.counts) - hulls.counts
            result[block] = phases.energies[phase] - np.maximum.reduceat(heights, begin)
    many = np.flatnonzero(arity > MAX_HULL_ELEMENTS)
    if len(many):
        phase = place[many]
        mixed = lowest_mixtures(phases, phases.numbers[phase], phases.fractions[phase], phase)
        result[many] = phases.energies[phase] - mixed
    return result
