"""What may sit on the sites of a composition: elements, or atoms that choose one by one.

A kind is a row of these tables. Kind 0 is padding, kinds 1 to 118 are the elements, all of whose
atoms take one state; further kinds are elements of mixed valence whose atoms take states each on
its own, all of their states or two of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.candidates import N_ATOMIC_NUMBERS
from irnet_core.screening.ions import MAX_STATE, ElementRules

NEVER = 1 << 16  # stands for no state: more than any charge that is looked at, 8 * 255 * 15


class Slots(NamedTuple):
    """Sizes of charges by kind, (s, c), in order of preference, then `NEVER`; how many (c,)."""

    sizes: NDArray[np.uint64]
    used: NDArray[np.intp]

    def of(self, kinds: NDArray[np.intp], atoms: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Charges of some atoms of each kind, (slots, n), as many slots as these kinds need."""
        slots = int(self.used.take(kinds).max(initial=1))
        return self.sizes[:slots].take(kinds, axis=1) * atoms


class Sites(NamedTuple):
    """Tables of c kinds.

    Attributes
    ----------
    free : numpy.ndarray of bool, shape (c,)
        Whether each atom takes a state of its own.
    order : numpy.ndarray of uint32, shape (c,)
        Places in the order of the electronegativities, equal where they are equal.
    key : numpy.ndarray of uint32, shape (c,)
        Place in that order, kind and room for a number of atoms, 8, 16 and 8 bits: for sorting.
    cation, anion, zero : numpy.ndarray of bool, shape (c,)
        Whether there is such a state.
    first, last : numpy.ndarray of bool, shape (c,)
        Whether it can be the least electronegative and so not an anion, or the most and no cation.
    extent : numpy.ndarray of uint64, shape (c,)
        Largest charge as a cation, in the upper 32 bits, and as an anion.
    most, least : numpy.ndarray of int64, shape (c,)
        Highest and lowest state, 0 where there are none.
    as_cation, as_anion : Slots
        Sizes of the states that are not negative, and of those that are not positive; none where
        the electronegativity is unknown.
    signed : Slots
        Of 2 * c kinds: the positive states, then the negative ones; for kind 0 the state 0.
    from_end : Slots
        Of 2 * c kinds: the states less the lowest, then the highest less the states.
    """

    free: NDArray[np.bool_]
    order: NDArray[np.uint32]
    key: NDArray[np.uint32]
    cation: NDArray[np.bool_]
    anion: NDArray[np.bool_]
    zero: NDArray[np.bool_]
    first: NDArray[np.bool_]
    last: NDArray[np.bool_]
    extent: NDArray[np.uint64]
    most: NDArray[np.int64]
    least: NDArray[np.int64]
    as_cation: Slots
    as_anion: Slots
    signed: Slots
    from_end: Slots


class Mixed(NamedTuple):
    """Kinds of the elements of mixed valence.

    `every` (119,) is each element's kind that takes all its states, the element itself if its
    valence is not mixed; `pairs[i]` (119,) that which takes its i-th pair of states of one sign,
    neighbours first, 0 if it has no more pairs. `slots[z, 15 + s]` (119, 31) is the place of state
    s among those of element z.
    """

    sites: Sites
    every: NDArray[np.intp]
    pairs: NDArray[np.intp]
    slots: NDArray[np.intp]


def element_sites(data: ElementRules) -> Sites:
    """Elements alone."""
    return _tables(*_own(data), np.zeros(N_ATOMIC_NUMBERS, np.bool_))


def mixed_sites(data: ElementRules) -> Mixed:
    """Elements, and behind them the kinds of those of mixed valence; these never take state 0."""
    states, count, value = _own(data)
    own = {
        int(z): [s for s in dict.fromkeys(states[z, : count[z]].tolist()) if s]
        for z in np.flatnonzero(data.mixed_valence & (np.arange(N_ATOMIC_NUMBERS) > 0))
    }
    pairs = {
        z: sorted(
            ((a, b) for a in sorted(own[z]) for b in sorted(own[z]) if a < b and a * b > 0),
            key=lambda pair: pair[1] - pair[0],
        )
        for z in own
    }
    every = np.arange(N_ATOMIC_NUMBERS)
    of_pair = np.zeros((max(map(len, pairs.values()), default=0), N_ATOMIC_NUMBERS), np.intp)
    elements: list[int] = []
    lists: list[tuple[int, ...]] = []
    for z in own:
        every[z] = N_ATOMIC_NUMBERS + len(lists)
        lists.append(tuple(own[z]))
        of_pair[: len(pairs[z]), z] = N_ATOMIC_NUMBERS + len(lists) + np.arange(len(pairs[z]))
        lists += pairs[z]
        elements += [z] * (1 + len(pairs[z]))
    more = np.zeros((len(lists), states.shape[1]), np.int64)
    for row, wanted in zip(more, lists, strict=True):
        row[: len(wanted)] = wanted
    sites = _tables(
        np.concatenate([states, more]),
        np.append(count, np.array([len(wanted) for wanted in lists], np.int64)),
        np.append(value, value[elements]),
        np.arange(N_ATOMIC_NUMBERS + len(lists)) >= N_ATOMIC_NUMBERS,
    )
    slots = np.zeros((N_ATOMIC_NUMBERS, 2 * MAX_STATE + 1), np.intp)
    for slot in reversed(range(states.shape[1])):  # of equal states the first counts
        rows = np.flatnonzero(slot < count)
        slots[rows, MAX_STATE + states[rows, slot]] = slot
    return Mixed(sites, every, of_pair, slots)


def _own(
    data: ElementRules,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """States, their counts and electronegativities, padding with the one state 0."""
    states, count = data.oxidation_states.astype(np.int64), data.n_states.astype(np.int64)
    value = data.electronegativity.copy()
    states[0], count[0], value[0] = 0, 1, -np.inf
    return states, count, value


def _tables(
    states: NDArray[np.int64],
    count: NDArray[np.int64],
    value: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> Sites:
    used = np.arange(states.shape[1]) < count[:, None]
    known = ~np.isnan(value)
    most = np.where(used, states, states.min()).max(axis=1)
    least = np.where(used, states, states.max()).min(axis=1)
    most, least = np.where(count > 0, most, 0), np.where(count > 0, least, 0)
    positive, negative = used & (states > 0), used & (states < 0)
    zero = used & (states == 0)
    ion = np.concatenate([positive, negative])
    ion[0, 0] = True  # padding stands for any element in the state 0
    as_cation, as_anion = (positive | zero) & known[:, None], (negative | zero) & known[:, None]
    order = np.unique(np.where(known, value, -np.inf), return_inverse=True)[1].astype(np.uint32)
    extent = np.maximum(most, 0) << 32 | np.maximum(-least, 0)
    return Sites(
        free=free,
        order=order,
        key=order << np.uint32(24) | np.arange(len(order), dtype=np.uint32) << np.uint32(8),
        cation=np.any(positive, axis=1),
        anion=np.any(negative, axis=1),
        zero=zero.any(axis=1),
        first=as_cation.any(axis=1),
        last=as_anion.any(axis=1),
        extent=extent.astype(np.uint64),
        most=most,
        least=least,
        as_cation=_slots(states, as_cation),
        as_anion=_slots(-states, as_anion),
        signed=_slots(np.concatenate([states, -states]), ion),
        from_end=_slots(
            np.concatenate([states - least[:, None], most[:, None] - states]),
            np.concatenate([used, used]),
        ),
    )


def _slots(sizes: NDArray[np.int64], keep: NDArray[np.bool_]) -> Slots:
    """What is kept of each row (c, w), moved to the front."""
    count = keep.sum(axis=1)
    slots = max(int(count.max()), 1)
    order = np.argsort(~keep, axis=1, kind="stable")[:, :slots]
    table = np.take_along_axis(np.where(keep, sizes, NEVER), order, axis=1)
    return Slots(np.ascontiguousarray(table.T, np.uint64), count)
