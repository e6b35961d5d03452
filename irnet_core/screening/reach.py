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
    sites: Sites, kinds: NDArray[np.integer], amounts: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Whether states can be chosen such that the charges of all atoms cancel, in any order.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (n, k)
        Rows of the tables in `sites`; zeros for padding.
    amounts : numpy.ndarray of uint8, shape (n, k)
        Atoms of each, 1 or more but for padding.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
    """
    passes = np.zeros(len(kinds), np.bool_)
    for start in range(0, len(kinds), CHUNK):
        part = slice(start, start + CHUNK)
        which = np.ascontiguousarray(kinds[part].T, np.intp)
        passes[part] = _in_any_order(sites, which, np.ascontiguousarray(amounts[part].T))
    return passes


def first_anions(
    sites: Sites, kinds: NDArray[np.integer], amounts: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Where cations end and anions begin, if each cation is less electronegative than each anion.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (n, k)
    amounts : numpy.ndarray of uint8, shape (n, k)
        As for :func:`can_cancel`.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        The place in `sites.order` from which on elements are anions or of charge 0, such that all
        charges cancel; the one with fewest elements behind it. It is -1 if there is none, or if
        an electronegativity is unknown.
    """
    cuts = np.full(len(kinds), -1)
    if kinds.shape[1]:
        for start in range(0, len(kinds), CHUNK):
            part = slice(start, start + CHUNK)
            which = np.ascontiguousarray(kinds[part].T, np.intp)
            cuts[part] = _in_order(sites, which, np.ascontiguousarray(amounts[part].T))
    return cuts


def reach_of(sites: Sites, kinds: NDArray[np.intp], atoms: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Largest charge that cations and anions of a row could both add up to.

    Parameters
    ----------
    sites : Sites
    kinds : numpy.ndarray of int, shape (k, n)
        Rows of the tables in `sites`; zeros for padding.
    atoms : numpy.ndarray of uint64, shape (k, n)
        Atoms of each.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
    """
    both = (sites.extent.take(kinds) * atoms).sum(axis=0)
    return np.minimum(both >> np.uint64(32), both & np.uint64(0xFFFFFFFF)).view(np.int64)


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
    """Sets after each of the atoms that choose on their own.

    Parameters
    ----------
    bits : numpy.ndarray of uint64, shape (words, n)
        Sets before the first of them, see :data:`Bits`.
    shifts : numpy.ndarray of uint64, shape (slots, n)
        Charges that an atom may take.
    times : numpy.ndarray of int, shape (n,)
        Atoms of each row.

    Returns
    -------
    list of numpy.ndarray of uint64, shape (words, n)
        As long as the largest of `times`; a row with fewer atoms keeps its last set.
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
    """Atoms that take a state together, and how many such groups there are.

    Parameters
    ----------
    sites, kinds, atoms
        As for :func:`reach_of`.

    Returns
    -------
    together, times : numpy.ndarray of uint64, shape (k, n)
        One atom, in as many groups as there are atoms, where each chooses on its own; else all of
        them in one group.
    """
    free = sites.free.take(kinds)
    one = np.uint64(1)
    return np.where(free, one, atoms), np.where(free, atoms, one)


def _in_order(
    sites: Sites, kinds: NDArray[np.intp], amounts: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Cuts of rows (k, n) by their electronegativities."""
    keys = list(sites.key.take(kinds) | amounts)
    for turn in range(len(keys)):  # sorts the few elements of all rows at once
        for j in range(turn % 2, len(keys) - 1, 2):
            low, high = keys[j], keys[j + 1]
            keys[j], keys[j + 1] = np.minimum(low, high), np.maximum(low, high)
    first, last = ((key >> np.uint32(8) & np.uint32(0xFFFF)) for key in (keys[0], keys[-1]))
    able = np.flatnonzero(sites.first.take(first) & sites.last.take(last))
    key = np.stack([key[able] for key in keys])
    order = (key >> np.uint32(24)).astype(np.int64)
    kinds = (key >> np.uint32(8) & np.uint32(0xFFFF)).astype(np.intp)
    atoms = (key & np.uint32(0xFF)).astype(np.uint64)
    cut = np.full(amounts.shape[1], -1)
    if sites.zero[1:].any():
        none = np.where((sites.zero & sites.first).take(kinds).all(axis=0), 0, -1)
        cut[able] = none
    for words, rows in by_words(reach_of(sites, kinds, atoms)):
        _cut(sites, kinds[:, rows], atoms[:, rows], order[:, rows], words, cut, able[rows])
    return cut


def _cut(
    sites: Sites,
    kinds: NDArray[np.intp],
    atoms: NDArray[np.uint64],
    order: NDArray[np.int64],
    words: int,
    cut: NDArray[np.int64],
    at: NDArray[np.intp],
) -> None:
    """Writes the cuts of rows in the order of their electronegativities into `cut[at]`."""
    k, n = kinds.shape
    together, times = steps(sites, kinds, atoms)
    anions = [nothing(words, n)]  # of the last elements, one more of them each time
    for j in range(k - 1, 0, -1):
        shifts = sites.as_anion.of(kinds[j], together[j])
        anions.append(repeated(anions[-1], shifts, times[j])[-1])
    cations = anions[0]
    for j in range(1, k):
        shifts = sites.as_cation.of(kinds[j - 1], together[j - 1])
        cations = repeated(cations, shifts, times[j - 1])[-1]
        meet = (cations & anions[k - j]).any(axis=0)
        meet &= order[j - 1] != order[j]  # no cut between equals
        cut[at[meet]] = order[j, meet]


def _in_any_order(
    sites: Sites, kinds: NDArray[np.intp], amounts: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Charges are counted from the lowest that the row can have, or from the highest down."""
    passes = np.zeros(amounts.shape[1], np.bool_)
    atoms = amounts.astype(np.uint64)
    reach = reach_of(sites, kinds, atoms)
    rows = np.flatnonzero((reach > 0) | sites.zero.take(kinds).all(axis=0))
    kinds, atoms = kinds[:, rows], atoms[:, rows]
    number = atoms.view(np.int64)
    below = -(sites.least.take(kinds) * number).sum(axis=0)
    above = (sites.most.take(kinds) * number).sum(axis=0)
    wanted = np.minimum(below, above)  # at most their reach
    ends = kinds + np.where(above < below, len(sites.free), 0)
    together, times = steps(sites, kinds, atoms)
    for words, part in by_words(wanted):
        bits = nothing(words, len(part))
        for j in range(len(kinds)):
            shifts = sites.from_end.of(ends[j, part], together[j, part])
            bits = repeated(bits, shifts, times[j, part])[-1]
        charge = wanted[part]
        found = np.take_along_axis(bits, charge[None] >> 6, axis=0)[0]
        passes[rows[part]] = found >> (charge & 63).astype(np.uint64) & np.uint64(1) != 0
    return passes
