"""Oxidation states that make compositions neutral: verdicts first, states for those that pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.choices import first_choice
from irnet_core.screening.reach import can_cancel
from irnet_core.screening.sites import Mixed, Sites


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
    """Neutral choices of states for each row; see :func:`rules.neutral_assignments`.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Zeros at the end for padding.
    sites : Sites
        What the elements can be.
    electronegativity : bool
        Whether every cation must be less electronegative than every anion.
    with_states : bool
        Whether states are wanted; without them `states` and `second` are zeros.

    Returns
    -------
    Found
    """
    passes = can_cancel(sites, numbers, amounts, electronegativity)
    states = np.zeros(numbers.shape, np.int8)
    if with_states:
        rows = np.flatnonzero(passes)
        states[rows] = first_choice(sites, numbers[rows], amounts[rows], electronegativity).low
    return Found(passes, states, states)


def find_mixed(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    mixed: Mixed,
    with_states: bool = True,
) -> Found:
    """Choices of states in which each atom of the elements of mixed valence chooses on its own.

    The states of one element have one sign, and cations are less electronegative than anions. Of
    the choices those are preferred in which one element alone has two states, first the first
    element with the two closest to each other, and the others as in
    :func:`rules.neutral_assignments`.

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
    passes = np.zeros(len(numbers), np.bool_)
    sites, every, pairs = mixed
    several = (every[numbers] != numbers) & (amounts > 1)
    rows = np.flatnonzero(several.any(axis=1))
    passes[rows] = can_cancel(sites, every[numbers[rows]], amounts[rows], True)
    rows = np.flatnonzero(passes) if with_states else rows[:0]
    for place in range(numbers.shape[1]):
        for pair in pairs:
            kind = pair[numbers[rows, place]]
            two = np.flatnonzero((kind > 0) & (amounts[rows, place] > 1))
            kinds = numbers[rows[two]].astype(np.intp)
            kinds[:, place] = kind[two]
            fits = can_cancel(sites, kinds, amounts[rows[two]], True)
            at = rows[two[fits]]
            states[at], second[at] = first_choice(sites, kinds[fits], amounts[at], True)
            rows = np.delete(rows, two[fits])
    states[rows], second[rows] = first_choice(sites, every[numbers[rows]], amounts[rows], True)
    return Found(passes, states, second)
