"""Oxidation states that make compositions neutral, found system by system.

Candidates of one chemical system share the choices of states; these are listed once per system,
in one flat table, and held against all its stoichiometries in one matrix product.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.ions import N_ATOMIC_NUMBERS, ElementRules

CHUNK_ROWS = 32_768  # rows whose stoichiometries are looked at together
CELLS = 1_000_000  # choices times stoichiometries held at once


class Choices(NamedTuple):
    """Choices of states of some systems, those of one system adjacent, the preferred first.

    `states` is (c, k); `step` (c,) is how far the second state of the mixed element is, else 0.
    """

    owner: NDArray[np.intp]
    states: NDArray[np.int8]
    step: NDArray[np.int8]


class Found(NamedTuple):
    """Verdicts (n,), and the states of the first choice that fits, (n, k), zeros where none does.

    `second` equals `states` but for an element of mixed valence, where it is the higher state.
    """

    passes: NDArray[np.bool_]
    states: NDArray[np.int8]
    second: NDArray[np.int8]


def find_neutral(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    data: ElementRules,
    electronegativity: bool,
    mixed: bool = False,
    with_states: bool = True,
) -> Found:
    """Neutral choices of states for each row; see :func:`rules.neutral_assignments`.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Rows of one system adjacent if this is to be fast; zeros for padding.
    data : ElementRules
    electronegativity : bool
        Whether every cation must be less electronegative than every anion.
    mixed : bool
        Whether exactly one element of mixed valence takes two of its states, of one sign, instead
        of every element one.
    with_states : bool
        Whether states are wanted; without them `states` and `second` are zeros.

    Returns
    -------
    Found
    """
    n, k = numbers.shape
    passes = np.zeros(n, np.bool_)
    states, second = np.zeros((n, k), np.int8), np.zeros((n, k), np.int8)
    for place in range(k) if mixed else (None,):
        tables = _tables(data, place is not None)
        for start in range(0, n, CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, n))
            undecided = ~passes[rows]
            if place is not None and not undecided.any():
                continue
            part = _Chunk(numbers[rows], amounts[rows])
            for first, last in part.blocks(tables, place):
                choices = _choices(
                    part.systems[first:last], data, tables, electronegativity, place, with_states
                )
                if len(choices.owner) == 0:
                    continue
                row, choice = part.hits(choices, first, last, place)
                new = undecided[row]
                row, choice = row[new], choice[new]
                passes[start + row] = True
                if with_states:
                    states[start + row] = choices.states[choice]
                    second[start + row] = choices.states[choice]
                    if place is not None:
                        second[start + row, place] += choices.step[choice]
    return Found(passes, states, second)


class _Tables(NamedTuple):
    """States by atomic number (119, w), their counts, and pairs of states of mixed elements."""

    states: NDArray[np.int8]
    n_states: NDArray[np.intp]
    lower: NDArray[np.int8]
    step: NDArray[np.int8]
    n_pairs: NDArray[np.intp]


def _tables(data: ElementRules, mixed: bool) -> _Tables:
    count = data.n_states.astype(np.intp)
    count[0] = 1  # padding has the one state 0
    states = data.oxidation_states.astype(np.int8)
    states[0] = 0
    pairs: dict[int, list[tuple[int, int]]] = {}
    for z in np.flatnonzero(data.mixed_valence).tolist() if mixed else ():
        own = sorted(set(data.oxidation_states[z, : count[z]].tolist()))
        two = [(a, b - a) for i, a in enumerate(own) for b in own[i + 1 :] if a * b > 0]
        pairs[z] = sorted(two, key=lambda pair: pair[1])  # neighbouring states first
    width = max(map(len, pairs.values()), default=1) or 1
    lower, step = np.zeros((2, N_ATOMIC_NUMBERS, width), np.int8)
    n_pairs = np.zeros(N_ATOMIC_NUMBERS, np.intp)
    for z, two in pairs.items():
        n_pairs[z] = len(two)
        for slot, (low, distance) in enumerate(two):
            lower[z, slot], step[z, slot] = low, distance
    return _Tables(states, count, lower, step, n_pairs)


class _Chunk:
    """Rows as systems times stoichiometries: each row is one cell of that grid."""

    def __init__(self, numbers: NDArray[np.uint8], amounts: NDArray[np.uint8]) -> None:
        n = len(numbers)
        new = np.ones(n, np.bool_)
        new[1:] = False
        for column in numbers.T:
            new[1:] |= column[1:] != column[:-1]
        starts = np.flatnonzero(new)
        self.systems = numbers[starts].astype(np.intp)  # (s, k)
        self.ends = np.append(starts, n)  # rows of system i are ends[i] to ends[i + 1]
        self.amounts = amounts
        self.kind: NDArray[np.intp] | None = None  # stoichiometry of each row; None if not shared
        self.width = 1
        if len(starts) * 4 <= n:
            key = np.zeros(n, np.uint64)
            for column in amounts.T:
                key = key << np.uint64(8) | column
            kinds, example, self.kind = np.unique(key, return_index=True, return_inverse=True)
            self.grid = amounts[example].T.astype(np.float32)  # (k, m)
            self.width = len(kinds)
            if len(starts) * self.width > 4 * n:
                self.kind, self.width = None, 1
        if self.kind is None:  # each row on its own
            self.systems = numbers.astype(np.intp)
            self.ends = np.arange(n + 1)

    def blocks(self, tables: _Tables, place: int | None) -> list[tuple[int, int]]:
        """Ranges of systems that fit in memory together."""
        count = tables.n_states[self.systems]
        if place is not None:
            count[:, place] = tables.n_pairs[self.systems[:, place]]
        total = np.cumsum(count.prod(axis=1))
        bounds = [0]
        budget = max(CELLS // self.width, 1)
        while bounds[-1] < len(total):
            done = total[bounds[-1] - 1] if bounds[-1] else 0
            stop = int(np.searchsorted(total, done + budget, side="right"))
            bounds.append(max(stop, bounds[-1] + 1))
        return list(pairwise(bounds))

    def hits(
        self, choices: Choices, first: int, last: int, place: int | None
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of systems `first` to `last` - 1 that a choice fits, and the first such choice."""
        owner, starts = np.unique(choices.owner, return_index=True)
        charge = choices.states.astype(np.float32)
        if self.kind is None:
            amount = self.amounts[first:last][choices.owner]
            total = np.einsum("ij,ij->i", charge, amount.astype(np.float32))[:, None]
            mixed = None if place is None else amount[:, place, None]
        else:
            total = charge @ self.grid  # (c, m); whole numbers, exact in float32
            mixed = None if place is None else self.grid[place]
        if mixed is None:
            fits = total == 0
        else:  # some of its atoms, not all, take the higher state
            step = choices.step[:, None]
            fits = (total < 0) & (-total < step * mixed.astype(np.float32)) & (total % step == 0)
        n_choices, width = fits.shape
        place_of = np.where(fits, np.arange(n_choices, dtype=np.int32)[:, None], n_choices)
        best = np.minimum.reduceat(place_of, starts, axis=0)  # (systems with choices, m)
        if self.kind is None:
            found = np.flatnonzero(best[:, 0] < n_choices)
            return first + owner[found], best[found, 0].astype(np.intp)
        grid = np.full((last - first, width), n_choices, best.dtype)
        grid[owner] = best
        begin, end = self.ends[first], self.ends[last]
        which = np.repeat(np.arange(last - first), np.diff(self.ends[first : last + 1]))
        choice = grid[which, self.kind[begin:end]]
        found = np.flatnonzero(choice < n_choices)
        return begin + found, choice[found].astype(np.intp)


def _choices(
    systems: NDArray[np.intp],
    data: ElementRules,
    tables: _Tables,
    electronegativity: bool,
    place: int | None,
    ordered: bool,
) -> Choices:
    """All choices of states of some systems that can cancel and keep the order of the elements."""
    k = systems.shape[1]
    count = tables.n_states[systems]
    if place is not None:
        count[:, place] = tables.n_pairs[systems[:, place]]
    if electronegativity:  # an element without a value fails even where its own charge is 0
        known = ~np.isnan(data.electronegativity)
        known[0] = True
        count[~known[systems].all(axis=1)] = 0
    total = count.prod(axis=1)
    owner = np.repeat(np.arange(len(systems)), total)
    slot = np.arange(len(owner)) - np.repeat(np.cumsum(total) - total, total)
    states = np.empty((k, len(owner)), np.int8)
    step = np.zeros(len(owner), np.int8)
    positive, negative = np.zeros((2, len(owner)), np.bool_)
    high, low = np.full(len(owner), -np.inf), np.full(len(owner), np.inf)
    for j in reversed(range(k)):  # the last element's state changes fastest
        z = systems[owner, j]
        slot, own = np.divmod(slot, count[owner, j])
        if j == place:
            states[j], step = tables.lower[z, own], tables.step[z, own]
        else:
            states[j] = tables.states[z, own]
        cation, anion = states[j] > 0, states[j] < 0
        positive |= cation
        negative |= anion
        if electronegativity:
            value = data.electronegativity[z]
            np.maximum(high, value, out=high, where=cation)
            np.minimum(low, value, out=low, where=anion)
    keep = np.flatnonzero((positive == negative) & (high < low))
    owner, states, step = owner[keep], states[:, keep], step[keep]
    if ordered:
        sign = np.where(states > 0, 0, np.where(states < 0, 1, 2))
        rank = owner * (k + 1) + (sign == 2).sum(axis=0)
        rank = rank * (k + 1) + (sign == 1).sum(axis=0)
        for row in sign:
            rank = rank * 3 + row
        order = np.argsort(rank, kind="stable")
        owner, states, step = owner[order], states[:, order], step[order]
    return Choices(owner, np.ascontiguousarray(states.T), step)
