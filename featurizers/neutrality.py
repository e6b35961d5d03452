"""Whether some choice of one oxidation state per element makes a composition neutral."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from featurizers.arrays import Array
from featurizers.elements import element_data

TOLERANCE = 1e-8
"""Largest charge per atom, in elementary charges, that counts as neutral."""

_QUANTUM = 2.0**-33  # charges become whole multiples of this, 1e-10 e, to be sorted exactly
_SPAN = 2**38  # more than the quanta between the extreme charges per atom, -8 and +8
_LIMIT = 1 << 22  # partial sums held at once


def can_be_neutral(xp: Any, z: Array, f: Array) -> Array:
    """Whether one common oxidation state per element can balance, as matminer decides it.

    Instead of all combinations of states, the charges of two halves of the elements are listed and
    matched by binary search, so that the work grows with the square root of their number.

    Parameters
    ----------
    xp : object
        Operations on the arrays, from :func:`featurizers.arrays.backend`.
    z : ndarray or torch.Tensor, int64, shape (c, m)
        Atomic numbers, all above 0; m compositions of c elements each.
    f : ndarray or torch.Tensor, float64, shape (c, m)
        Atomic fractions, all above 0.

    Returns
    -------
    ndarray or torch.Tensor, bool, shape (m,)
        True for single elements; False where an element has no common oxidation state.
    """
    c, m = z.shape
    result = xp.full((m,), c == 1, xp.bool)
    if c == 1:
        return result
    states, counts, lowest, highest = _tables(xp)
    low, high = f[0] * lowest[z[0]], f[0] * highest[z[0]]
    for j in range(1, c):
        low += f[j] * lowest[z[j]]
        high += f[j] * highest[z[j]]
    rows = xp.nonzero((low <= TOLERANCE) & (high >= -TOLERANCE))
    if len(rows) == 0:
        return result
    z, f = z[:, rows], f[:, rows]
    if c > 4:  # so many states that equal halves are worth sorting the elements for
        order = xp.argsort(counts[z], 0)
        z, f = xp.take_along_axis(z, order, 0), xp.take_along_axis(f, order, 0)
    halves = range(0, c, 2), range(1, c, 2)
    size = sum(xp.prod(counts[z[half.start :: 2]], 0) for half in halves)
    block = xp.cumsum(size, 0) // _LIMIT
    for b in range(int(block[-1]) + 1):
        picked = xp.nonzero(block == b)
        if len(picked):
            keys = [
                _charges(xp, states, counts, z[:, picked], f[:, picked], half) for half in halves
            ]
            result[rows[picked[_opposite(xp, *keys)]]] = True
    return result


def _charges(
    xp: Any, states: Array, counts: Array, z: Array, f: Array, slots: range
) -> tuple[Array, Array]:
    """All charges that the elements in some slots can have: row of each, and charge in quanta."""
    row = xp.arange(z.shape[1])
    charge = xp.full((z.shape[1],), 0.0, xp.float64)
    for j in slots:
        element = z[j, row]
        count = counts[element]
        begin = xp.cumsum(count, 0) - count
        row, charge, element = (xp.repeat(v, count) for v in (row, charge, element))
        which = xp.arange(len(row)) - xp.repeat(begin, count)
        charge = charge + f[j, row] * states[element, which]
    return row, xp.asarray(xp.round(charge / _QUANTUM), xp.int64)


def _opposite(xp: Any, half: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
    """Rows where a charge of one half cancels a charge of the other."""
    tolerance = round(TOLERANCE / _QUANTUM)
    keys = xp.sort_values(half[0] * _SPAN + half[1])
    wanted = other[0] * _SPAN - other[1] - tolerance
    at = xp.searchsorted(keys, wanted)
    nearest = keys[xp.clip(at, 0, len(keys) - 1)]
    return other[0][(nearest >= wanted) & (nearest <= wanted + 2 * tolerance)]


@lru_cache(maxsize=8)
def _tables(xp: Any) -> tuple[Array, Array, Array, Array]:
    """States (119, 9), their counts, and the lowest and highest; no state: infinitely positive."""
    data = element_data()
    real = np.arange(data.oxidation_states.shape[1]) < data.oxidation_counts[:, None]
    lowest = np.where(real, data.oxidation_states, np.inf).min(axis=1)
    highest = np.where(real, data.oxidation_states, -np.inf).max(axis=1)
    highest[~real.any(axis=1)] = np.inf
    return (
        xp.asarray(data.oxidation_states.astype(float), xp.float64),
        xp.asarray(data.oxidation_counts, xp.int64),
        xp.asarray(lowest, xp.float64),
        xp.asarray(highest, xp.float64),
    )
