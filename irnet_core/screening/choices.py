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
            atoms = np.ascontiguousarray(amounts[part, :real].T, np.uint64)
            for words, rows in by_words(reach_of(sites, which, atoms)):
                chosen = _choose(sites, which[:, rows], atoms[:, rows], ordered, words)
                low[part[rows], :real], high[part[rows], :real] = chosen
    return Choice(low, high)


def _choose(
    sites: Sites,
    kinds: NDArray[np.intp],
    atoms: NDArray[np.uint64],
    ordered: bool,
    words: int,
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Lowest and highest states (n, k) of rows (k, n) whose charges fit into some words."""
    row = _Rows(sites, kinds, atoms, words)
    if ordered and not sites.has_zero.take(kinds).any():
        first = first_anion(sites, kinds, atoms, words)
        signs = np.where(sites.order.take(kinds).view(np.int64) < first, 1, -1).astype(np.int8)
        signs[:, first < 0] = 2
    else:
        signs = row.signs(ordered)
    fits = np.flatnonzero((signs < 2).all(axis=0))
    low, high = np.zeros((2, *kinds.shape[::-1]), np.int8)
    low[fits], high[fits] = _Rows(sites, kinds[:, fits], atoms[:, fits], words).states(
        signs[:, fits]
    )
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
        """Preferred signs (k, n) with which the charges can cancel; 2 where there are none."""
        k, n = self.kinds.shape
        signs = np.full((k, n), 2, np.int8)
        weight = 1 << np.arange(k)[:, None]
        able = {
            1: (self.sites.has_cation.take(self.kinds) * weight).sum(axis=0),
            -1: (self.sites.has_anion.take(self.kinds) * weight).sum(axis=0),
            0: (self.sites.has_zero.take(self.kinds) * weight).sum(axis=0),
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
            open_rows = open_rows[signs[0, open_rows] == 2]
        return signs

    def states(self, signs: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """First lowest and highest states (n, k) with these signs (k, n), which must fit."""
        k, n = self.kinds.shape
        every = np.arange(n)
        # what the elements behind j and none, one, two... of its own atoms can still reach
        left: list[list[tuple[Bits, Bits]]] = []
        rest = (nothing(self.words, n), nothing(self.words, n))
        for j in reversed(range(k)):
            shifts = self._shifts(j, every, signs[j])
            cations, anions = (repeated(part, shifts, self.times[j]) for part in rest)
            sets = [rest]
            for positive, negative in zip(cations, anions, strict=True):
                positive = np.where(signs[j] > 0, positive, rest[0])
                sets.append((positive, np.where(signs[j] < 0, negative, rest[1])))
            left.append(sets)
            rest = sets[-1]
        low, high = np.zeros((2, n, k), np.int8)
        spent = np.zeros((2, n), np.uint64)  # charges of the cations and anions that have chosen
        for j, sets in enumerate(reversed(left)):
            anion = (signs[j] < 0).astype(np.intp)
            shifts = self._shifts(j, every, signs[j])
            least, most = np.full(n, NEVER, np.uint64), np.zeros(n, np.uint64)
            for atom in range(len(sets) - 1, 0, -1):
                waiting = np.flatnonzero(self.times[j] >= atom)
                cations, anions = sets[atom - 1]
                for by in shifts:
                    after = spent[:, waiting]
                    after[anion[waiting], np.arange(len(waiting))] += by[waiting]
                    meet = shifted(cations[:, waiting], after[0])
                    meet &= shifted(anions[:, waiting], after[1])
                    found = meet.any(axis=0)
                    chosen = waiting[found]
                    spent[:, chosen] = after[:, found]
                    least[chosen] = np.minimum(least[chosen], by[chosen])
                    most[chosen] = np.maximum(most[chosen], by[chosen])
                    waiting = waiting[~found]
                    if not len(waiting):
                        break
            together = np.maximum(self.together[j], 1)
            least, most = least // together, most // together
            low[:, j] = np.where(anion, -most.astype(np.int64), least)
            high[:, j] = np.where(anion, -least.astype(np.int64), most)
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
        return self.sites.signed.take(which, axis=1) * self.together[j, rows]
