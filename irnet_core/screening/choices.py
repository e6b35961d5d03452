"""The preferred choice of states among those that make a composition neutral.

Which element is cation, which anion, is tried in the order of preference, for all rows at once;
then each element in turn takes the first of its states that leaves the others a way to cancel.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.reach import (
    CHUNK,
    Bits,
    by_words,
    nothing,
    reach_of,
    repeated,
    shifted,
    steps,
)
from irnet_core.screening.sites import NEVER, Sites

UNKNOWN = 2  # no sign


class Choice(NamedTuple):
    """Lowest and highest state of each element's atoms, (n, k); they differ for free kinds only."""

    low: NDArray[np.int8]
    high: NDArray[np.int8]


def first_choice(
    sites: Sites,
    kinds: NDArray[np.integer],
    amounts: NDArray[np.uint8],
    cuts: NDArray[np.int64] | None,
) -> Choice:
    """Preferred states of each row; see :func:`irnet_core.screening.charges.find_neutral`.

    The atoms of a free kind all have the same sign, and choose after the others, one by one.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (n, k)
        Rows of the tables in `sites`; zeros, at the end, for padding.
    amounts : numpy.ndarray of uint8, shape (n, k)
    cuts : numpy.ndarray of int64, shape (n,), optional
        From :func:`irnet_core.screening.reach.first_anions`, if every cation must be less
        electronegative than every anion.

    Returns
    -------
    Choice
        Zeros where nothing fits.
    """
    n, k = kinds.shape
    low, high = np.zeros((n, k), np.int8), np.zeros((n, k), np.int8)
    n_elements = (kinds > 0).sum(axis=1)
    for real in range(1, k + 1):
        same = np.flatnonzero(n_elements == real)
        for start in range(0, len(same), CHUNK):
            part = same[start : start + CHUNK]
            which = np.ascontiguousarray(kinds[part, :real].T, np.intp)
            atoms = np.ascontiguousarray(amounts[part, :real].T)
            cut = None if cuts is None else cuts[part]
            chosen = _choose(sites, which, atoms.astype(np.uint64), cut)
            low[part, :real], high[part, :real] = (column.T for column in chosen)
    return Choice(low, high)


def _choose(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64], cut: NDArray[np.int64] | None
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Lowest and highest states (k, n) of rows (k, n)."""
    low, high = np.zeros((2, *kinds.shape), np.int8)
    every = None
    if cut is not None and not sites.zero.take(kinds).any():  # the signs follow from the cut
        every = np.where(sites.order.take(kinds) < cut, np.int8(1), np.int8(-1))
        every[:, cut < 0] = UNKNOWN
    for words, rows in by_words(reach_of(sites, kinds, atoms)):
        part = _Rows(sites, kinds[:, rows], atoms[:, rows], words)
        signs = part.signs(cut is not None) if every is None else every[:, rows]
        fits = np.flatnonzero(signs[0] != UNKNOWN)
        z, atom, sign = kinds[:, rows[fits]], atoms[:, rows[fits]], signs[:, fits]
        free = sites.free.take(z)
        back = None
        if free.any():  # atoms that choose on their own do so last: their element's states count
            order = np.argsort(free, axis=0, kind="stable")
            z, atom, sign = (np.take_along_axis(x, order, axis=0) for x in (z, atom, sign))
            back = np.argsort(order, axis=0)
        first, last = _Rows(sites, z, atom, words).states(sign)
        if back is not None:
            first, last = (np.take_along_axis(x, back, axis=0) for x in (first, last))
        low[:, rows[fits]], high[:, rows[fits]] = first, last
    return low, high


@lru_cache(maxsize=8)
def patterns(k: int) -> NDArray[np.int8]:
    """Signs of k elements, (3**k, k): fewest zeros first, then fewest anions, cations first."""
    every = product((1, -1, 0), repeat=k)  # cations first already
    return np.array(sorted(every, key=lambda signs: (signs.count(0), signs.count(-1))), np.int8)


class _Rows:
    """Compositions of k elements each, as (k, n), whose charges fit into some words."""

    def __init__(
        self, sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64], words: int
    ) -> None:
        self.sites, self.kinds, self.words = sites, kinds, words
        self.together, self.times = steps(sites, kinds, atoms)

    def signs(self, ordered: bool) -> NDArray[np.int8]:
        """Preferred signs (k, n) with which the charges can cancel, or `UNKNOWN`."""
        k, n = self.kinds.shape
        signs = np.full((k, n), UNKNOWN, np.int8)
        weight = 1 << np.arange(k)[:, None]
        able = {
            1: (self.sites.cation.take(self.kinds) * weight).sum(axis=0),
            -1: (self.sites.anion.take(self.kinds) * weight).sum(axis=0),
            0: (self.sites.zero.take(self.kinds) * weight).sum(axis=0),
        }
        rank = self.sites.order.take(self.kinds).astype(np.int64)
        open_rows = np.arange(n)
        any_zero = bool(able[0].any())
        for pattern in patterns(k):
            if not len(open_rows) or (not any_zero and not pattern.all()):
                break
            may = np.ones(len(open_rows), np.bool_)
            for sign, has in able.items():
                wanted = int(weight[pattern == sign].sum())
                may &= has[open_rows] & wanted == wanted
            rows = open_rows[may]
            cations, anions = np.flatnonzero(pattern > 0), np.flatnonzero(pattern < 0)
            if ordered and len(cations) and len(anions):
                high = rank[cations[:, None], rows].max(axis=0)
                rows = rows[high < rank[anions[:, None], rows].min(axis=0)]
            if not len(rows):
                continue
            meet = self._sum(rows, cations, 1) & self._sum(rows, anions, -1)
            rows = rows[meet.any(axis=0)]
            signs[:, rows] = pattern[:, None]
            open_rows = open_rows[signs[0, open_rows] == UNKNOWN]
        return signs

    def states(self, signs: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """First lowest and highest states (k, n) with these signs (k, n), which must fit."""
        k, n = self.kinds.shape
        every = np.arange(n)
        charges = [self._shifts(j, every, signs[j]) for j in range(k)]
        low, high = np.zeros((2, k, n), np.int8)
        total = np.zeros(n, np.uint64)  # charge of those that have chosen; wraps below 0
        for j, left in enumerate(self._left(signs, charges)):
            anion = signs[j] < 0
            least, most = np.full(n, NEVER, np.uint64), np.zeros(n, np.uint64)
            for atom in range(len(left) - 1, 0, -1):
                waiting = self.times[j] >= atom
                positive, negative = left[atom - 1]
                chosen = np.full(n, NEVER, np.uint64)
                for by in charges[j]:
                    after = total + np.where(anion, -by, by)
                    meet = shifted(positive, after) & negative  # nothing if after is below 0
                    meet |= shifted(negative, -after) & positive
                    fits = waiting & meet.any(axis=0)
                    np.copyto(chosen, by, where=fits)
                    waiting &= ~fits
                    if not waiting.any():
                        break
                taken = np.where(chosen < NEVER, chosen, 0)
                total += np.where(anion, -taken, taken)
                np.minimum(least, chosen, out=least)
                np.maximum(most, taken, out=most)
            # whole numbers that a float holds: its division is faster
            least, most = (size / np.maximum(self.together[j], 1) for size in (least, most))
            low[j] = np.where(anion, -most, least)
            high[j] = np.where(anion, -least, most)
        return low, high

    def _left(
        self, signs: NDArray[np.int8], charges: list[NDArray[np.uint64]]
    ) -> list[list[tuple[Bits, Bits]]]:
        """What cations and anions of the elements behind each can still add up to.

        For each element a list: without its own atoms, then with one, two... of those that choose
        on their own.
        """
        n = self.kinds.shape[1]
        rest = (nothing(self.words, n), nothing(self.words, n))
        left: list[list[tuple[Bits, Bits]]] = []
        for sign, by, times in zip(signs[::-1], charges[::-1], self.times[::-1], strict=True):
            own = np.where(sign < 0, rest[1], rest[0])
            sets = [rest]
            for bits in repeated(own, by, times):
                positive = np.where(sign > 0, bits, rest[0])
                sets.append((positive, np.where(sign < 0, bits, rest[1])))
            left.append(sets)
            rest = sets[-1]
        return left[::-1]

    def _sum(self, rows: NDArray[np.intp], columns: NDArray[np.intp], sign: int) -> Bits:
        """What these elements of some rows can add up to as ions of one sign."""
        bits = nothing(self.words, len(rows))
        for j in columns:
            shifts = self._shifts(j, rows, np.int8(sign))
            bits = repeated(bits, shifts, self.times[j, rows])[-1]
        return bits

    def _shifts(
        self, j: int, rows: NDArray[np.intp], sign: np.int8 | NDArray[np.int8]
    ) -> NDArray[np.uint64]:
        """Sizes of charges (slots, n) of the states of one sign, 0 for the sign 0."""
        which = self.kinds[j, rows] + np.where(sign < 0, len(self.sites.free), 0)
        which = np.where(sign == 0, 0, which)
        return self.sites.signed.of(which, self.together[j, rows])
