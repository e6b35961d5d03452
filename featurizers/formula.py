"""Chemical formulas to arrays: parsing many at once, and the canonical form.

Plain formulas (symbols and numbers only) are read together, with array operations on one byte
buffer; anything else goes one by one through :mod:`featurizers.formula_grammar`, which defines the
syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurizers.canonical import canonical_formulas
from featurizers.elements import SYMBOLS, Z_OF
from featurizers.formula_grammar import (
    MAX_AMOUNT,
    MAX_ELEMENTS,
    MAX_LENGTH,
    MIN_AMOUNT,
    read_formula,
)
from irnet_core.errors import FormulaError

__all__ = [
    "MAX_AMOUNT",
    "MAX_ELEMENTS",
    "MAX_LENGTH",
    "ParsedFormulas",
    "canonical_formula",
    "canonical_formulas",
    "parse_formula",
    "parse_formulas",
]


@dataclass(frozen=True)
class ParsedFormulas:
    """Compositions as arrays; k is the largest number of elements in one formula.

    Attributes
    ----------
    numbers : ndarray, uint8, shape (n, k)
        Atomic numbers in ascending order, padded with 0 on the right.
    amounts : ndarray, float64, shape (n, k)
        Amounts as given, repeats of an element summed, zeros dropped.
    reasons : dict of int to str
        Why a row cannot be used; such rows are all zeros.
    """

    numbers: NDArray[np.uint8]
    amounts: NDArray[np.float64]
    reasons: dict[int, str]


def parse_formula(formula: str) -> dict[str, float]:
    """Amounts of the elements in one formula, in order of atomic number.

    Parameters
    ----------
    formula : str
        See :mod:`featurizers.formula_grammar` for the syntax.

    Returns
    -------
    dict of str to float

    Raises
    ------
    FormulaError
        The text is no formula; the message names it and the reason.

    Examples
    --------
    >>> parse_formula("CuSO4.5H2O")
    {'H': 10.0, 'O': 9.0, 'S': 1.0, 'Cu': 1.0}
    """
    try:
        amounts = read_formula(formula)
    except FormulaError as error:
        raise FormulaError(f"Formula {formula!r:.60} cannot be read: {error}.") from None
    return dict(sorted(amounts.items(), key=lambda item: Z_OF[item[0]]))


def canonical_formula(formula: str) -> str:
    """Canonical reduced composition of one formula; see :func:`canonical_formulas`.

    Raises
    ------
    FormulaError
        The text is no formula.

    Examples
    --------
    >>> canonical_formula("PaCaAg2"), canonical_formula("Li0.333333Fe0.666667")
    ('Ag2CaPa', 'Fe2Li')
    """
    amounts = parse_formula(formula)
    numbers = np.array([[Z_OF[symbol] for symbol in amounts]], np.uint8)
    return str(canonical_formulas(numbers, np.array([[*amounts.values()]]))[0][0])


def parse_formulas(formulas: Sequence[str | None]) -> ParsedFormulas:
    """Read many formulas.

    Parameters
    ----------
    formulas : sequence of str or None, length n
        Anything in it that is no formula, ``None`` included, becomes a row with a reason.

    Returns
    -------
    ParsedFormulas

    Examples
    --------
    >>> parsed = parse_formulas(["NaCl", "Xx2O3"])
    >>> parsed.numbers.tolist(), parsed.amounts.tolist(), parsed.reasons
    ([[11, 17], [0, 0]], [[1.0, 1.0], [0.0, 0.0]], {1: "unknown element 'Xx'"})
    """
    if isinstance(formulas, str):
        raise TypeError("parse_formulas takes a sequence of formulas; use parse_formula for one.")
    texts = list(formulas)
    numbers, amounts, open_rows = _parse_plain(texts)
    reasons: dict[int, str] = {}
    found: dict[int, list[tuple[int, float]]] = {}
    for row in open_rows.tolist():
        try:
            found[row] = sorted((Z_OF[s], a) for s, a in read_formula(texts[row]).items())
        except FormulaError as error:
            reasons[row] = str(error)
    width = max(map(len, found.values()), default=0) - numbers.shape[1]
    if width > 0:
        numbers = np.pad(numbers, ((0, 0), (0, width)))
        amounts = np.pad(amounts, ((0, 0), (0, width)))
    for row, items in found.items():
        numbers[row, : len(items)] = [z for z, _ in items]
        amounts[row, : len(items)] = [a for _, a in items]
    return ParsedFormulas(numbers, amounts, reasons)


# plain formulas, all at once -----------------------------------------------------------------
_MAX_PLAIN = 15  # elements per row and digits per number; 15 digits are exact in float64
_OTHER, _NEWLINE, _UPPER, _LOWER, _DIGIT, _STOP, _SPACE = range(7)


def _byte_classes() -> NDArray[np.uint8]:
    classes = np.full(256, _OTHER, np.uint8)
    classes[ord("\n")] = _NEWLINE
    classes[ord("A") : ord("Z") + 1] = _UPPER
    classes[ord("a") : ord("z") + 1] = _LOWER
    classes[ord("0") : ord("9") + 1] = _DIGIT
    classes[ord(".")] = _STOP
    classes[ord(" ")] = _SPACE
    return classes


def _symbol_table() -> NDArray[np.uint8]:
    """Atomic number by first letter and second letter (0: none); 0 where there is no element."""
    table = np.zeros((32, 32), np.uint8)
    for z, symbol in enumerate(SYMBOLS):
        if z:
            table[ord(symbol[0]) & 31, ord(symbol[1:] or "\0") & 31] = z
    return table.ravel()


_CLASSES, _SYMBOL_TABLE = _byte_classes(), _symbol_table()


def _joined(texts: list[str | None]) -> NDArray[np.uint8]:
    """All texts in one buffer, each ended by a newline; what cannot be plain becomes '?'."""
    try:
        text = "\n".join(texts)  # type: ignore[arg-type]  # most often all are strings
    except TypeError:  # something is no string
        text = "\n".join(t if isinstance(t, str) else "?" for t in texts)
    if text.count("\n") != len(texts) - 1 or len(text) > MAX_LENGTH * len(texts):
        text = "\n".join(
            t if isinstance(t, str) and "\n" not in t and len(t) <= MAX_LENGTH else "?"
            for t in texts
        )
    return np.frombuffer((text + "\n").encode("ascii", "replace"), np.uint8)


def _parse_plain(
    texts: list[str | None],
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """Numbers and amounts of the plain formulas, and the rows left to the grammar (all zeros)."""
    n = len(texts)
    if n == 0:
        return np.zeros((0, 1), np.uint8), np.zeros((0, 1)), np.zeros(0, np.int64)
    buffer = _joined(texts)
    classes = _CLASSES[buffer]
    marks = np.flatnonzero((classes == _UPPER) | (classes == _NEWLINE)).astype(np.int32)
    newline = classes[marks] == _NEWLINE
    ends_of_rows = np.flatnonzero(newline)  # (n,) among the marks
    mark_row = np.cumsum(newline, dtype=np.int32) - newline
    is_symbol = ~newline
    start, row = marks[is_symbol], mark_row[is_symbol]  # (t,) one per symbol
    end = marks[1:][is_symbol[:-1]]  # where its number must have ended

    left = np.zeros(n, bool)  # rows for the grammar
    first = np.concatenate([[0], marks[ends_of_rows[:-1]] + 1])
    left[classes[first] != _UPPER] = True

    two = classes[start + 1] == _LOWER
    second = np.where(two, buffer[start + 1] & 31, 0)
    z = _SYMBOL_TABLE[(buffer[start] & 31).astype(np.int32) * 32 + second]
    left[row[z == 0]] = True
    start += 1 + two
    end = end - (classes[end - 1] == _SPACE)
    amount, unread = _read_numbers(buffer, classes, start, end)
    left[row[unread]] = True
    # a stop in a formula with hydrogen may be a hydrate's dot
    with_stop = np.zeros(n, bool)
    with_stop[np.searchsorted(marks[ends_of_rows], np.flatnonzero(classes == _STOP))] = True
    left[row[(z == 1) & with_stop[row]]] = True
    return _as_rows(row, z, amount, left)


def _read_numbers(
    buffer: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    start: NDArray[np.int32],
    end: NDArray[np.int32],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Decimals in buffer[start:end], 1 where empty; and where there is something else."""
    mantissa = np.zeros(len(start), np.int64)
    decimals = np.full(len(start), -1, np.int8)  # digits behind the stop, -1 before it
    length = end - start
    unread = length > _MAX_PLAIN
    mantissa[length <= 0] = 1
    at = np.flatnonzero((length > 0) & ~unread)
    offset = 0
    while len(at):
        byte = start[at] + offset
        kind = classes[byte]
        stop, digit = kind == _STOP, kind == _DIGIT
        if digit.all():
            mantissa[at] = mantissa[at] * 10 + (buffer[byte] - 48)
            seen = decimals[at]
            decimals[at] = seen + (seen >= 0)
        else:
            unread[at[~(digit | stop)]] = True
            unread[at[stop & ((decimals[at] >= 0) | (offset == 0))]] = True
            decimals[at[stop]] = 0
            at_digit = at[digit]
            mantissa[at_digit] = mantissa[at_digit] * 10 + (buffer[byte[digit]] - 48)
            decimals[at_digit] += decimals[at_digit] >= 0
        offset += 1
        at = at[length[at] > offset]
    unread |= decimals == 0  # a stop without digits
    # exact below 2**53 and 1e22: one correctly rounded division gives the decimal's float
    amount = mantissa / np.power(10.0, np.maximum(decimals, 0))
    unread |= (amount < MIN_AMOUNT) | (amount > MAX_AMOUNT)
    return amount, unread


def _as_rows(
    row: NDArray[np.int32],
    z: NDArray[np.uint8],
    amount: NDArray[np.float64],
    left: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """Symbols with their amounts, in reading order, as rows sorted by atomic number."""
    n = len(left)
    count = np.bincount(row, minlength=n)
    left |= (count == 0) | (count > _MAX_PLAIN)
    slot = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    keep = ~left[row]
    row, z, amount, slot = row[keep], z[keep], amount[keep], slot[keep]
    width = int(count[~left].max(initial=1))
    order = np.full((n, width), 0xFFFF, np.uint16)  # atomic number * 16 + slot
    order[row, slot] = z.astype(np.uint16) * 16 + slot.astype(np.uint16)
    order.sort(axis=1)
    given = np.zeros((n, width))
    given[row, slot] = amount
    filled = order != 0xFFFF
    numbers = np.where(filled, order >> 4, 0).astype(np.uint8)
    amounts = np.take_along_axis(given, np.where(filled, order & 15, width - 1).astype(np.int64), 1)
    amounts[~filled] = 0.0
    repeated = ((numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] > 0)).any(axis=1)
    left |= repeated
    numbers[left] = 0
    amounts[left] = 0.0
    return numbers, amounts, np.flatnonzero(left)
