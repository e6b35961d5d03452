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

    The atoms of a free kind all have the same sign, and choose one after the other.

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
        fitting = _Rows(sites, *(column[:, fits] for column in part), words)
        low[rows[fits]], high[rows[fits]] = fitting.states(signs[:, fits])
    return low, high


@lru_cache(maxsize=8)
def patterns(k: int) -> NDArray[np.int8]:
    """Signs of k elements, (3**k, k): fewest zeros first, then fewest anions, then cations first."""
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
            sums = (self._sum(rows, columns, sign) for columns, sign in ((cations, 1), (anions, -1)))
            positive, negative = sums
            rows = rows[(positive & negative).any(axis=0)]
            signs[:, rows] = pattern[:, None]
            open_rows = open_rows[signs[0, open_rows] == UNKNOWN]
        return signs

    def states(self, signs: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """First lowest and highest states (n, k) with these signs (k, n), which must fit."""
        k, n = self.kinds.shape
        every = np.arange(n)
        cation, anion = signs > 0, signs < 0
        charges = [self._shifts(j, every, signs[j]) for j in range(k)]
        # what the elements behind j and none, one, two... of its own atoms can still add up to
        left: list[list[tuple[Bits, Bits]]] = []
        rest = (nothing(self.words, n), nothing(self.words, n))
        for j in reversed(range(k)):
            own = np.where(anion[j], rest[1], rest[0])
            sets = [rest]
            for bits in repeated(own, charges[j], self.times[j]):
                positive = np.where(cation[j], bits, rest[0])
                sets.append((positive, np.where(anion[j], bits, rest[1])))
            left.append(sets)
            rest = sets[-1]
        low, high = np.zeros((2, n, k), np.int8)
        total = np.zeros(n, np.uint64)  # charge of those that have chosen; wraps below 0
        for j, sets in enumerate(reversed(left)):
            least, most = np.full(n, NEVER, np.uint64), np.zeros(n, np.uint64)
            for atom in range(len(sets) - 1, 0, -1):
                waiting = self.times[j] >= atom
                positive, negative = sets[atom - 1]
                chosen = np.full(n, NEVER, np.uint64)
                for by in charges[j]:
                    after = total + np.where(anion[j], -by, by)
                    meet = shifted(positive, after) & negative | positive & shifted(negative, -after)
                    fits = waiting & meet.any(axis=0)
                    np.copyto(chosen, by, where=fits)
                    waiting &= ~fits
                    if not waiting.any():
                        break
                taken = np.where(chosen < NEVER, chosen, 0)
                total += np.where(anion[j], -taken, taken)
                np.minimum(least, chosen, out=least)
                np.maximum(most, taken, out=most)
            together = np.maximum(self.together[j], 1)
            least, most = (size // together for size in (least, most))
            low[:, j] = np.where(anion[j], -most, least).view(np.int64)
            high[:, j] = np.where(anion[j], -least, most).view(np.int64)
        return low, high

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
