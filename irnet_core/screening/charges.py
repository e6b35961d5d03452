"""Oxidation states that make compositions neutral: verdicts first, states for those that pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.choices import first_choice
from irnet_core.screening.ions import MAX_STATE
from irnet_core.screening.reach import can_cancel, first_anions
from irnet_core.screening.sites import Mixed, Sites

ROWS = 512  # whose pairs of states are looked at together


class Found(NamedTuple):
    """Verdicts (n,), and the states of the first choice that fits, (n, k), zeros where none does.

    `second` equals `states` but for elements of mixed valence, whose lowest state is in `states`
    and highest in `second`.
    """

    passes: NDArray[np.bool_]
    states: NDArray[np.int8]
    second: NDArray[np.int8]


def find_neutral(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    sites: Sites,
    electronegativity: bool,
    with_states: bool = True,
) -> Found:
    """Oxidation states that make each composition neutral, one for each element.

    Choices are tried by the signs of their states: those with fewest zeros first, then those with
    fewest anions, then those whose cations come first. For given signs the states are tried in the
    order of the elements' tables, the last element's changing fastest. A choice of zeros only is
    neutral, as in SMACT.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Atomic numbers, zeros at the end for padding, and atoms of each.
    sites : Sites
        What the elements can be.
    electronegativity : bool
        Whether every cation must be less electronegative than every anion.
    with_states : bool
        Whether states are wanted; without them `states` and `second` are zeros.

    Returns
    -------
    Found

    Examples
    --------
    >>> from irnet_core.screening.ions import ElementRules
    >>> from irnet_core.screening.sites import element_sites
    >>> data = ElementRules.from_lists({3: [1], 8: [-2, -1]}, {3: 0.98, 8: 3.44})
    >>> lithium_oxides = np.array([[3, 8], [3, 8], [3, 8]], np.uint8)
    >>> amounts = np.array([[2, 1], [1, 1], [3, 1]], np.uint8)
    >>> found = find_neutral(lithium_oxides, amounts, element_sites(data), electronegativity=True)
    >>> found.passes.tolist(), found.states.tolist()
    ([True, True, False], [[1, -2], [1, -1], [0, 0]])
    """
    cuts = first_anions(sites, numbers, amounts) if electronegativity else None
    passes = can_cancel(sites, numbers, amounts) if cuts is None else cuts >= 0
    states = np.zeros(numbers.shape, np.int8)
    if with_states:
        rows = np.flatnonzero(passes)
        at = None if cuts is None else cuts[rows]
        states[rows] = first_choice(sites, numbers[rows], amounts[rows], at).low
    return Found(passes, states, states)


def find_mixed(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    mixed: Mixed,
    with_states: bool = True,
) -> Found:
    """Choices of states in which each atom of the elements of mixed valence chooses on its own.

    The states of one element have one sign, and cations are less electronegative than anions. Of
    the choices those are preferred in which one element alone has two states, the first such
    element, in the order of :func:`find_neutral`; instead of a state that element
    takes a pair of them, neighbours first.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Rows that no choice of one state per element makes neutral.
    mixed : Mixed
        What the elements and those of mixed valence can be.
    with_states : bool

    Returns
    -------
    Found
    """
    states, second = np.zeros((2, *numbers.shape), np.int8)
    sites, every, pairs = mixed.sites, mixed.every, mixed.pairs
    several = (every[numbers] != numbers) & (amounts > 1)
    rows = np.flatnonzero(several.any(axis=1))
    cuts = np.full(len(numbers), -1)
    cuts[rows] = first_anions(sites, every[numbers[rows]], amounts[rows])
    passes = cuts >= 0
    if not with_states:
        return Found(passes, states, second)
    rows = np.flatnonzero(passes)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        z, atoms = numbers[part], amounts[part]
        pair, row, place = np.nonzero((pairs[:, z] > 0) & (atoms > 1))  # one element alone
        kinds = z[row].astype(np.intp)
        kinds[np.arange(len(row)), place] = pairs[pair, z[row, place]]
        cut = first_anions(sites, kinds, atoms[row])
        fits = np.flatnonzero(cut >= 0)
        kinds, pair, row, place = kinds[fits], pair[fits], row[fits], place[fits]
        choice = first_choice(sites, kinds, atoms[row], cut[fits])
        slots = mixed.slots[z[row], choice.low.astype(np.intp) + MAX_STATE]
        slots[np.arange(len(row)), place] = pair
        order = np.lexsort((_rank(choice.low, slots, place), place, row))
        found, first = np.unique(row[order], return_index=True)
        at = order[first]
        states[part[found]], second[part[found]] = choice.low[at], choice.high[at]
        rest = np.delete(part, found)
        kinds = every[numbers[rest]]
        states[rest], second[rest] = first_choice(sites, kinds, amounts[rest], cuts[rest])
    return Found(passes, states, second)


def _rank(
    states: NDArray[np.int8], slots: NDArray[np.intp], place: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Preference of choices (n, k): fewest zeros, fewest anions, cations first, first slots."""
    rank = (states == 0).sum(axis=1) * 9 + (states < 0).sum(axis=1)
    for state in states.T:
        rank = rank * 3 + np.where(state > 0, 0, np.where(state < 0, 1, 2))
    for j, slot in enumerate(slots.T):  # at most 31 states, 210 pairs of them: 62 bits in all
        rank = rank * np.where(place == j, 256, 32) + slot
    return rank
