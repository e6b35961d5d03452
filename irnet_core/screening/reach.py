"""Whether charges can cancel, by sets of reachable charges instead of choices of states.

The charges that the atoms of some elements can add up to are the bits of a word: an element whose
atoms take a state s shifts them by s times its atoms, its states together are the union of such
shifts. Where cations must be less electronegative than anions, a row's elements are put into that
order and cut at each place: what the elements before the cut can reach as cations meets what those
behind it can reach as anions. The work grows with the states of the elements, not their product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from irnet_core.screening.sites import NEVER, Sites

CHUNK = 8192  # rows looked at together: their sets stay in the cache
WORD = 64

Bits = NDArray[np.uint64]
"""Sets of charges, (words, n): charge q of row i is bit q % 64 of word q // 64."""


def can_cancel(
    sites: Sites, kinds: NDArray[np.integer], amounts: NDArray[np.uint8], ordered: bool
) -> NDArray[np.bool_]:
    """Whether states can be chosen such that the charges of all atoms cancel.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (n, k)
        Rows of the tables in `sites`; zeros for padding.
    amounts : numpy.ndarray of uint8, shape (n, k)
        Atoms of each, 1 or more but for padding.
    ordered : bool
        Whether every cation must be less electronegative than every anion, and every
        electronegativity known.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    passes = np.zeros(len(kinds), np.bool_)
    if kinds.shape[1] == 0:
        return passes
    judge = _in_order if ordered else _in_any_order
    for start in range(0, len(kinds), CHUNK):
        which = np.ascontiguousarray(kinds[start : start + CHUNK].T, np.intp)
        atoms = np.ascontiguousarray(amounts[start : start + CHUNK].T, np.uint64)
        reach = reach_of(sites, which, atoms)
        possible = (reach > 0) | sites.has_zero.take(which).all(axis=0)
        if ordered:
            possible &= sites.known.take(which).all(axis=0)
        rows = np.flatnonzero(possible)
        for words, group in by_words(reach[rows]):
            at = rows[group]
            passes[start + at] = judge(sites, which[:, at], atoms[:, at], words)
    return passes


def reach_of(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Largest charge, (n,), that cations and anions of a row (k, n) could both add up to."""
    number = atoms.view(np.int64)
    most = np.maximum(sites.most, 0).take(kinds)
    least = np.minimum(sites.least, 0).take(kinds)
    return np.minimum((most * number).sum(axis=0), -(least * number).sum(axis=0))


def by_words(reach: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Rows by the words that charges up to `reach` need, few enough at a time to fit in memory."""
    words, least = 1, -1
    while True:
        rows = np.flatnonzero((reach > least) & (reach < words * WORD))
        step = max(CHUNK // words, 1)
        for start in range(0, len(rows), step):
            yield words, rows[start : start + step]
        least = words * WORD - 1
        if not (reach > least).any():
            return
        words *= 2


def shifted(bits: Bits, by: NDArray[np.uint64]) -> Bits:
    """Sets with `by` (n,) added to each of their charges; what exceeds their words is lost."""
    union = bits << by  # a shift by 64 or more leaves nothing, one below 0 wraps and is more
    if len(bits) > 1:
        furthest = int(by.max(where=by < NEVER, initial=0)) // WORD + 2
        for d in range(1, min(len(bits), furthest)):
            words = np.uint64(WORD * d)
            union[d:] |= bits[:-d] << (by - words) | bits[:-d] >> (words - by)
    return union


def spread(bits: Bits, shifts: NDArray[np.uint64]) -> Bits:
    """Union of the sets with each of some charges (slots, n) added."""
    union = shifted(bits, shifts[0])
    for by in shifts[1:]:
        union |= shifted(bits, by)
    return union


def repeated(bits: Bits, shifts: NDArray[np.uint64], times: NDArray[np.integer]) -> list[Bits]:
    """Sets after each of the atoms that choose on their own, `times` (n,) of them per row.

    A row with fewer atoms than the others keeps its last set.
    """
    sets = [spread(bits, shifts)]
    for done in range(1, int(times.max(initial=1))):
        more = np.flatnonzero(times > done)
        union = sets[-1].copy()
        union[:, more] = spread(union[:, more], shifts[:, more])
        sets.append(union)
    return sets


def nothing(words: int, n: int) -> Bits:
    """Sets of the charge 0 alone."""
    bits = np.zeros((words, n), np.uint64)
    bits[0] = 1
    return bits


def steps(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Atoms that take a state together, and how many such groups there are."""
    free = sites.free.take(kinds)
    one = np.uint64(1)
    return np.where(free, one, atoms), np.where(free, atoms, one)


def _in_order(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64], words: int
) -> NDArray[np.bool_]:
    return first_anion(sites, kinds, atoms, words) >= 0


def first_anion(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64], words: int
) -> NDArray[np.int64]:
    """Place in the order of electronegativities, (n,), from which on elements can be anions.

    Of the cuts that let charges cancel it is the one with fewest elements behind it, and -1 if
    there is none.
    """
    k, n = kinds.shape
    cut = np.where(sites.has_zero.take(kinds).all(axis=0), 0, -1)
    key = sites.order.take(kinds) << np.uint64(32) | kinds.astype(np.uint64) << np.uint64(8) | atoms
    key.sort(axis=0)
    order = (key >> np.uint64(32)).view(np.int64)
    kinds = ((key >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.intp)
    able = np.flatnonzero(
        (sites.as_cation[0].take(kinds[0]) < NEVER) & (sites.as_anion[0].take(kinds[-1]) < NEVER)
    )
    order, kinds = order[:, able], kinds[:, able]
    together, times = steps(sites, kinds, key[:, able] & np.uint64(0xFF))
    anions = [nothing(words, len(able))]  # of the last elements, one more of them each time
    for j in range(k - 1, 0, -1):
        shifts = sites.as_anion.take(kinds[j], axis=1) * together[j]
        anions.append(repeated(anions[-1], shifts, times[j])[-1])
    cations = anions[0]
    for j in range(1, k):
        shifts = sites.as_cation.take(kinds[j - 1], axis=1) * together[j - 1]
        cations = repeated(cations, shifts, times[j - 1])[-1]
        meet = (cations & anions[k - j]).any(axis=0)
        meet &= order[j - 1] != order[j]  # no cut between equals
        cut[able[meet]] = order[j, meet]
    return cut


def _in_any_order(
    sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64], words: int
) -> NDArray[np.bool_]:
    """Charges are counted from the lowest that the row can have, or from the highest down."""
    number = atoms.view(np.int64)
    below = -(sites.least.take(kinds) * number).sum(axis=0)
    above = (sites.most.take(kinds) * number).sum(axis=0)
    wanted = np.minimum(below, above)
    ends = kinds + np.where(above < below, len(sites.free), 0)
    together, times = steps(sites, kinds, atoms)
    bits = nothing(words, kinds.shape[1])
    for j in range(len(kinds)):
        shifts = sites.from_end.take(ends[j], axis=1) * together[j]
        bits = repeated(bits, shifts, times[j])[-1]
    found = np.take_along_axis(bits, np.maximum(wanted >> 6, 0)[None], axis=0)[0]
    return (wanted >= 0) & (found >> (wanted & 63).astype(np.uint64) & np.uint64(1) != 0)
