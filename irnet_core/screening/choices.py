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
    first_anion,
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
    sites: Sites, kinds: NDArray[np.integer], amounts: NDArray[np.uint8], ordered: bool
) -> Choice:
    """Preferred states of each row; see :func:`rules.neutral_assignments`.

    The atoms of a free kind all have the same sign, and choose after the others, one by one.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (n, k)
        Rows of the tables in `sites`; zeros, at the end, for padding.
    amounts : numpy.ndarray of uint8, shape (n, k)
    ordered : bool
        Whether every cation must be less electronegative than every anion.

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
            low[part, :real], high[part, :real] = _choose(sites, which, atoms, ordered)
    return Choice(low, high)


def _choose(
    sites: Sites, kinds: NDArray[np.intp], amounts: NDArray[np.uint8], ordered: bool
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Lowest and highest states (n, k) of rows (k, n)."""
    low, high = np.zeros((2, *kinds.shape[::-1]), np.int8)
    atoms = amounts.astype(np.uint64)
    cut = ordered and not sites.zero.take(kinds).any()
    if cut:  # the signs follow from the cut
        first = first_anion(sites, kinds, amounts)
        every = np.where(sites.order.take(kinds) < first, np.int8(1), np.int8(-1))
        every[:, first < 0] = UNKNOWN
    for words, rows in by_words(reach_of(sites, kinds, atoms)):
        part = kinds[:, rows], atoms[:, rows]
        signs = every[:, rows] if cut else _Rows(sites, *part, words).signs(ordered)
        fits = np.flatnonzero(signs[0] != UNKNOWN)
        # atoms that choose on their own do so last: it is their element's states that count
        order = np.argsort(sites.free.take(part[0][:, fits]), axis=0, kind="stable")
        z, n, s = (np.take_along_axis(column[:, fits], order, axis=0) for column in (*part, signs))
        chosen = _Rows(sites, z, n, words).states(s)
        at = rows[fits][:, None]
        low[at, order.T], high[at, order.T] = chosen
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
        """First lowest and highest states (n, k) with these signs (k, n), which must fit."""
        k, n = self.kinds.shape
        every = np.arange(n)
        charges = [self._shifts(j, every, signs[j]) for j in range(k)]
        low, high = np.zeros((2, n, k), np.int8)
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
            together = np.maximum(self.together[j], 1)
            least, most = least // together, most // together
            low[:, j] = np.where(anion, -most, least).view(np.int64)
            high[:, j] = np.where(anion, -least, most).view(np.int64)
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
