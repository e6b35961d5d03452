"""Canonical reduced compositions, the keys of joins, de-duplication and novelty."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featurizers.elements import SYMBOLS

MAX_TOTAL = 1000
"""Most atoms in a reduced formula that is looked for as a ratio of small whole numbers."""
PPM = 1_000_000

_WORK = 1 << 16  # numbers tried at once in the search for ratios
_EXACT = 1e-10  # fractions this close to p/N are p/N up to rounding of the arithmetic


def canonical_formulas(
    numbers: ArrayLike, amounts: ArrayLike
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Canonical reduced composition of each row.

    The form depends on the atomic fractions f alone, so scaling, order and splitting of the amounts
    do not matter, and the form of a form is itself:

    1. fractions that are exactly p/N with N <= 1000 give the smallest such whole amounts p;
    2. otherwise f is rounded to whole parts per million (at least one for each element, summing to
       a million), and the smallest N <= 1000 with all ``|f - p/N| <= 1e-6`` gives p, so that
       ``Li0.333333Fe0.666667`` is ``Fe2Li``;
    3. otherwise the parts per million, divided by their greatest common divisor, are the amounts.

    Elements stand in alphabetical order of their symbols, and an amount of 1 is omitted.

    Parameters
    ----------
    numbers : array_like of int, shape (n, k)
        Atomic numbers, each at most once in a row, 0 for padding.
    amounts : array_like of float, shape (n, k)
        Amounts, at most 1e6, not below zero; slots with amount 0 are left out.

    Returns
    -------
    formulas : ndarray of str objects, shape (n,)
        ``""`` for rows without elements.
    reduced : ndarray, int64, shape (n, k)
        Whole amounts in the slots of `numbers`.

    Examples
    --------
    >>> formulas, reduced = canonical_formulas([[20, 47, 91]], [[0.5, 1, 0.5]])
    >>> formulas[0], reduced.tolist()
    ('Ag2CaPa', [[1, 2, 1]])
    """
    z = np.asarray(numbers, np.int64)
    given = np.where(z > 0, np.asarray(amounts, np.float64), 0.0)
    reduced = _reduced_amounts(given)
    return _formula_strings(z, reduced), reduced


def _divided_by_gcd(whole: NDArray[np.int64]) -> NDArray[np.int64]:
    divisor = np.zeros(len(whole), np.int64)
    for column in whole.T:  # much faster than reducing short rows
        np.gcd(divisor, column, out=divisor)
    return whole // np.maximum(divisor, 1)[:, None]


def _reduced_amounts(amounts: NDArray[np.float64]) -> NDArray[np.int64]:
    micro = amounts * PPM
    whole = np.rint(micro)
    noise = 1e-9 + 4e-16 * micro  # of a decimal, and of a product
    exact = (np.abs(micro - whole) <= noise) & (micro < 2**53)
    on_grid = np.logical_and.reduce(exact, axis=1)
    reduced = _divided_by_gcd(np.where(exact, whole, 0.0).astype(np.int64))
    hard = np.flatnonzero(~on_grid | (reduced.sum(axis=1) > MAX_TOTAL))
    if len(hard):
        reduced[hard] = _approximated(amounts[hard])
    return reduced


def _approximated(amounts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole amounts of rows whose decimals have no small common denominator at first sight."""
    present = amounts > 0
    fractions = amounts / amounts.sum(axis=1, keepdims=True)
    ppm = _parts_per_million(fractions, present)
    result = _divided_by_gcd(ppm)
    todo = np.arange(len(amounts))  # rows without an exact ratio so far
    near = np.zeros(len(amounts), bool)  # rows that have a ratio within a part per million
    begin = 1
    while begin <= MAX_TOTAL and len(todo):
        step = max(1, _WORK // max(1, fractions[todo].size))  # few rows: many totals at once
        totals = np.arange(begin, min(begin + step, MAX_TOTAL + 1))
        begin += step
        scaled = fractions[todo, None, :] * totals[:, None]  # (rows, totals, k)
        whole = np.rint(scaled).astype(np.int64)
        complete = ((whole > 0) == present[todo, None, :]).all(axis=2)
        exact = complete & (np.abs(scaled - whole) <= _EXACT * totals[:, None]).all(axis=2)
        off = np.abs(ppm[todo, None, :] * totals[:, None] - whole * PPM)
        close = complete & (off <= totals[:, None]).all(axis=2) & ~near[todo, None]
        for ratio in (close, exact):  # exact ratios, found later, replace close ones
            found = ratio.any(axis=1)
            result[todo[found]] = whole[found, ratio[found].argmax(axis=1)]
        near[todo] |= close.any(axis=1)
        todo = todo[~exact.any(axis=1)]
    return result


def _parts_per_million(
    fractions: NDArray[np.float64], present: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Whole parts per million that sum to a million: largest remainders, one at least for each."""
    nano = np.rint(fractions * PPM * 1000).astype(np.int64)  # thousandths of a part, ends noise
    parts, remainder = nano // 1000, nano % 1000
    raised = present & (parts == 0)
    parts[raised], remainder[raised] = 1, -1
    missing = PPM - parts.sum(axis=1)
    rank = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1, kind="stable")
    parts += (rank < missing[:, None]) & present
    # what traces have taken goes from the largest amount
    np.put_along_axis(
        parts,
        (largest := np.argmax(parts, axis=1)[:, None]),
        np.take_along_axis(parts, largest, 1) + (PPM - parts.sum(axis=1))[:, None],
        axis=1,
    )
    return parts


_ALPHABETICAL = np.zeros(len(SYMBOLS), np.uint16)  # place of each symbol, from 1; 0 for padding
_ALPHABETICAL[sorted(range(1, len(SYMBOLS)), key=SYMBOLS.__getitem__)] = np.arange(1, len(SYMBOLS))
_SYMBOL_AT = ["", *sorted(SYMBOLS[1:])]


def _token(place: int, amount: int) -> str:
    return _SYMBOL_AT[place] + (str(amount) if amount > 1 else "")


def _formula_strings(z: NDArray[np.int64], reduced: NDArray[np.int64]) -> NDArray[np.object_]:
    """Symbols and amounts joined, one distinct token at a time instead of one row at a time."""
    n, k = z.shape
    place = np.where(reduced > 0, _ALPHABETICAL[z], 0)
    # place and slot in one sortable number, absent elements last: far faster than argsort
    order = np.where(place > 0, place * 128 + np.arange(k, dtype=np.uint16), 0xFFFF)
    order = np.sort(order.astype(np.uint16), axis=1)
    place = np.where(order < 0xFFFF, order >> 7, 0).astype(np.int64)
    whole = np.take_along_axis(reduced, np.minimum(order & 127, k - 1).astype(np.int64), 1)
    formulas = np.full(n, "", object)
    for slot in range(k):
        rows = np.flatnonzero(place[:, slot])
        if not len(rows):
            break
        codes, which = np.unique(place[rows, slot] << 32 | whole[rows, slot], return_inverse=True)
        tokens = [_token(code >> 32, code & 0xFFFFFFFF) for code in codes.tolist()]
        formulas[rows] += np.array(tokens, object)[which]
    return formulas
