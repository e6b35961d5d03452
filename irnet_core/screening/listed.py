"""Families of candidates that are held as tables: a user's list, and substitutions.

Rows are sorted by chemical system, then by amounts, and each composition occurs once. A row takes
two bytes per element, so ten million ternaries take 60 MB.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import MAX_ATOMIC_NUMBER, Candidates

MAX_AMOUNT = 255
MAX_ELEMENTS = 8  # as many as the rules judge


class Listed:
    """Compositions that a user lists.

    Parameters
    ----------
    numbers : array_like of int, shape (n, k)
        Atomic numbers in any order; entries with amount 0 are ignored.
    amounts : array_like of int, shape (n, k)
        Whole amounts; common divisors are taken out here.
    n_skipped : int
        Rows that were left out before.

    Attributes
    ----------
    arity : int
        Columns: the most elements in one composition.
    n_skipped : int

    Raises
    ------
    DataError
        If a row is empty, names an element twice, or holds a value out of range.
    ScreenError
        If there is no row.

    Examples
    --------
    >>> own = Listed([[26, 8], [8, 3], [8, 3]], [[4, 6], [1, 2], [2, 4]])
    >>> own.take(0, 2).numbers.tolist(), own.take(0, 2).amounts.tolist()
    ([[3, 8], [8, 26]], [[2, 1], [3, 2]])
    """

    def __init__(self, numbers: ArrayLike, amounts: ArrayLike, n_skipped: int = 0) -> None:
        number, amount = np.asarray(numbers), np.asarray(amounts)
        if number.shape != amount.shape or number.ndim != 2:
            raise ScreenError(
                f"numbers {number.shape} and amounts {amount.shape} should be tables of one shape"
            )
        if number.size == 0:
            raise ScreenError("the list holds no composition; give at least one")
        number, amount = reduced_rows(number, amount)
        arity = int((number > 0).sum(axis=1).max())
        number, amount = distinct_rows(number[:, :arity], amount[:, :arity])
        self.arity, self.n_skipped = arity, n_skipped
        self._numbers, self._amounts = number, amount

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, start: int, stop: int) -> Candidates:
        """Candidates ``start`` to ``stop - 1``; see :meth:`Family.take`.

        Raises
        ------
        ScreenError
            If the range leaves the list.
        """
        if not 0 <= start <= stop <= len(self):
            raise ScreenError(
                f"range {start}:{stop} leaves the list of {len(self)} candidates;"
                " ask for indices inside it"
            )
        return Candidates(self._numbers[start:stop], self._amounts[start:stop])


def fits_row(numbers: ArrayLike, amounts: ArrayLike) -> NDArray[np.bool_]:
    """Which rows (n, k) can be listed: whole amounts that reduce to 255 or less, 1 to 8 elements.

    Examples
    --------
    >>> fits_row([[3, 8], [3, 8]], [[2.0, 1.0], [2.5, 1.0]]).tolist()
    [True, False]
    """
    amount = np.asarray(amounts, np.float64)
    whole = ((amount == np.rint(amount)) & (amount >= 0) & (amount < 2**53)).all(axis=1)
    rows = np.where(whole[:, None], amount, 1.0).astype(np.int64)
    divisor = np.maximum(np.gcd.reduce(rows, axis=1), 1)
    count = (amount > 0).sum(axis=1)
    fits: NDArray[np.bool_] = whole & (count > 0) & (count <= MAX_ELEMENTS)
    return fits & (rows.max(axis=1, initial=0) <= MAX_AMOUNT * divisor)


def reduced_rows(
    numbers: NDArray[np.integer], amounts: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rows with ascending atomic numbers, zeros at the end, amounts without a common divisor.

    Raises
    ------
    DataError
        Naming the first row that is no composition.
    """
    if not fits_row(numbers, amounts).all():
        raise DataError(
            f"amounts are not whole numbers up to {MAX_AMOUNT} of 1 to {MAX_ELEMENTS} elements; "
            "leave the row out",
            row=int(np.argmin(fits_row(numbers, amounts))),
        )
    amount = np.asarray(amounts).astype(np.int64)
    number = np.where(amount > 0, numbers, 0).astype(np.int64)
    bad = ((amount > 0) & ((number < 1) | (number > MAX_ATOMIC_NUMBER))).any(axis=1)
    if bad.any():
        raise DataError(
            f"an atomic number is not 1 to {MAX_ATOMIC_NUMBER}; correct the row",
            row=int(np.argmax(bad)),
        )
    amount = amount // np.gcd.reduce(amount, axis=1)[:, None]
    order = np.argsort(np.where(number > 0, number, 256), axis=1, kind="stable")
    number = np.take_along_axis(number, order, axis=1)
    amount = np.take_along_axis(amount, order, axis=1)
    bad = ((number[:, 1:] == number[:, :-1]) & (number[:, 1:] > 0)).any(axis=1)
    if bad.any():
        raise DataError("an element occurs twice; add its amounts up", row=int(np.argmax(bad)))
    return number.astype(np.uint8), amount.astype(np.uint8)


def distinct_rows(
    numbers: NDArray[np.uint8], amounts: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Each row once, sorted by system, then by amounts."""
    columns = [*numbers.T, *amounts.T]
    packed = [
        reduce(lambda key, column: key << np.uint64(8) | column, part, np.zeros(1, np.uint64))
        for part in (columns[i : i + 8] for i in range(0, len(columns), 8))
    ]
    order = np.lexsort(packed[::-1]) if len(packed) > 1 else np.argsort(packed[0])
    new = np.ones(len(order), np.bool_)
    if len(order) > 1:
        new[1:] = np.logical_or.reduce([np.diff(key[order]) != 0 for key in packed])
    return numbers[order[new]], amounts[order[new]]
