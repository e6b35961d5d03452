"""Lowest mixtures of known phases at single compositions, by linear programming.

The same energies as a convex hull's, without its facets: the shares of the phases are sought that
give the composition at the lowest energy, with HiGHS through scipy. A composition takes
milliseconds whatever its number of elements, where facets multiply with each; hulls are far faster
for many compositions of a few elements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from featurizers.hull_points import hull_points, system_name
from irnet_core.errors import ScreenError
from irnet_core.screening.phases import Phases, sorted_compositions

_TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def lowest_mixtures(
    phases: Phases,
    numbers: ArrayLike,
    amounts: ArrayLike,
    without: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Energy of the most stable mixture of phases at each composition.

    Parameters
    ----------
    phases : Phases
    numbers : array_like of int, shape (n, k)
        Atomic numbers of up to 9 elements in any order; slots with amount 0 are ignored.
    amounts : array_like of float, shape (n, k)
        Amounts or atomic fractions.
    without : numpy.ndarray of int64, shape (n,), optional
        Position of a phase to leave out of each row's mixture, -1 for none.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In eV/atom.

    Raises
    ------
    DataError
        If a row cannot be used.
    ScreenError
        If an element has no phase, or HiGHS fails.

    Examples
    --------
    >>> known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])  # MgO
    >>> lowest_mixtures(known, [[8, 12]], [[1, 2]]).round(9).tolist()  # Mg2O
    [-2.0]
    """
    number, fraction = sorted_compositions(numbers, amounts)
    arity = (number > 0).sum(1)
    energies = np.empty(len(number))
    for row, c in enumerate(arity.tolist()):
        system = number[row : row + 1, :c]
        left_out = None if without is None else without[row : row + 1]
        points = hull_points(phases, system, left_out)
        result = linprog(
            points.energies,
            A_eq=points.fractions.T,
            b_eq=fraction[row, :c],
            method="highs",
            options=_TIGHT,
        )
        if result.status != 0:
            raise ScreenError(
                f"the lowest mixture of row {row} ({system_name(system[0])}) cannot be found "
                f"({result.message}); look for compositions that are almost the same among its "
                "phases"
            )
        energies[row] = result.fun * points.scales[0] + fraction[row, :c] @ points.elements[0]
    return energies
