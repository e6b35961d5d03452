"""Which of the best candidates differ enough to be worth the trouble, and which none outdoes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512


def pareto_fronts(costs: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number of the Pareto front of each row: 1 for those that no other outdoes.

    A row outdoes another if none of its costs is larger and one is smaller. The second front is
    what is left of the rows that none outdoes once the first is taken away, and so on (Deb et al.,
    IEEE Trans. Evol. Comput. 2002, doi:10.1109/4235.996017).

    Parameters
    ----------
    costs : numpy.ndarray of float64, shape (n, m)
        Small is good; no NaN.

    Returns
    -------
    numpy.ndarray of int32, shape (n,)

    Examples
    --------
    >>> pareto_fronts(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])).tolist()
    [1, 1, 2]
    """
    points, inverse = np.unique(costs, axis=0, return_inverse=True)  # lexicographically ascending
    front = np.zeros(len(points), np.int32)
    if costs.shape[1] == 1:
        front[:] = np.arange(1, len(points) + 1)
        return front[inverse.ravel()]
    # an earlier row is never outdone by a later one, so each row's front follows from those before
    # it: the first front that holds no row that outdoes it; fronts nest, so bisection finds it
    members: list[NDArray[np.float64]] = []
    for row, point in enumerate(points):
        low, high = 0, len(members)
        while low < high:
            middle = (low + high) // 2
            if (members[middle] <= point[1:]).all(1).any():
                low = middle + 1
            else:
                high = middle
        rest = point[None, 1:]
        if low == len(members):
            members.append(rest)
        else:  # of a front only what no member outdoes in the other costs has to be looked at
            kept = members[low][~(rest <= members[low]).all(1)]
            members[low] = np.concatenate([kept, rest])
        front[row] = low + 1
    return front[inverse.ravel()]


def spread(points: NDArray[np.float32], distance: float, most: int) -> NDArray[np.intp]:
    """Rows taken greedily, best first, that keep a distance from all taken before.

    Parameters
    ----------
    points : numpy.ndarray of float32, shape (n, d)
        Candidates, best first, for example their element fractions.
    distance : float
        Least Manhattan distance; between element fractions 2 is the largest there is.
    most : int
        Rows to take.

    Returns
    -------
    numpy.ndarray of intp
        Ascending.

    Examples
    --------
    >>> spread(np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32), 0.5, 3).tolist()
    [0, 2]
    """
    taken: list[int] = []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        free = np.ones(len(block), bool)
        for first in range(0, len(taken), _BLOCK):
            chosen = points[taken[first : first + _BLOCK]]
            rows = np.flatnonzero(free)
            gaps = np.abs(block[rows, None] - chosen).sum(2)
            free[rows[(gaps < distance).any(1)]] = False
        for row in np.flatnonzero(free).tolist():
            if not free[row]:
                continue
            taken.append(start + row)
            free[row + 1 :] &= np.abs(block[row + 1 :] - block[row]).sum(1) >= distance
        if len(taken) >= most:
            break
    return np.array(taken[:most], np.intp)
