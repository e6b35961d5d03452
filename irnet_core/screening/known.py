"""Which candidates are already known: exact keys of compositions and a sorted set of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import MAX_ATOMIC_NUMBER

MAX_ELEMENTS = 4
MAX_WIDE = 8  # elements of a composition that is kept as bytes, which is slower
AMOUNT_BITS = 9  # with 7 bits of atomic number, 16 per element and 64 for four elements
MAX_AMOUNT = 2**AMOUNT_BITS - 1


def composition_keys(numbers: ArrayLike, amounts: ArrayLike) -> NDArray[np.uint64]:
    """Compositions packed into one integer each, without loss.

    Sixteen bits per element, 7 of atomic number and 9 of amount, the heaviest element in the
    lowest bits. Equal keys mean equal compositions if the amounts have no common divisor.

    Parameters
    ----------
    numbers : array_like of int, shape (n, k)
        Atomic numbers, ascending in each row, ``k <= 4``; 0 for empty slots, at either end.
    amounts : array_like of int, shape (n, k)
        Reduced amounts below 512; 0 in empty slots.

    Returns
    -------
    numpy.ndarray of uint64, shape (n,)
        The keys; compositions of fewer elements have smaller keys.

    Raises
    ------
    ScreenError
        If the rows are too wide, not ascending, or hold a value out of range.

    Examples
    --------
    >>> [hex(key) for key in composition_keys([[3, 8]], [[2, 1]])]
    ['0x6021001']
    """
    number, amount = _as_tables(numbers, amounts)
    if number.shape[1] > MAX_ELEMENTS:
        raise ScreenError(f"keys hold {MAX_ELEMENTS} elements, not {number.shape[1]}")
    keys = np.zeros(len(number), np.uint64)
    before = np.zeros(len(number), number.dtype)
    for z, a in zip(number.T, amount.T, strict=True):
        empty = (z == 0) & (a == 0)
        fits = (z > before) & (z <= MAX_ATOMIC_NUMBER) & (a > 0) & (a <= MAX_AMOUNT)
        wrong = ~(fits | empty)
        if wrong.any():
            raise ScreenError(
                f"row {np.argmax(wrong)} does not fit a key; give ascending atomic numbers up to"
                f" {MAX_ATOMIC_NUMBER} and amounts of 1 to {MAX_AMOUNT}"
            )
        longer = keys << np.uint64(16) | z.astype(np.uint64) << np.uint64(AMOUNT_BITS)
        longer |= a.astype(np.uint64)
        if empty.any():  # empty slots take no place in a key, wherever they stand
            keys = np.where(empty, keys, longer)
            before = np.where(empty, before, z)
        else:
            keys, before = longer, z
    return keys


class KnownCompositions:
    """Set of known compositions that candidates are looked up in.

    Parameters
    ----------
    numbers : array_like of int, shape (n, k)
        Atomic numbers, any `k`, any order; entries with amount 0 are ignored.
    amounts : array_like of int, shape (n, k)
        Whole amounts; common divisors are taken out here.

    Attributes
    ----------
    n_skipped : int
        Rows left out because no candidate can equal them: more than 8 elements, or an amount
        above 511 in smallest whole numbers.

    Raises
    ------
    DataError
        If a row is empty, names an element twice, or holds a value out of range.

    Examples
    --------
    >>> known = KnownCompositions([[26, 8, 0], [8, 1, 0]], [[4, 6, 0], [1, 2, 0]])
    >>> known.contains([[8, 26], [8, 26]], [[3, 2], [4, 3]]).tolist()
    [True, False]
    """

    def __init__(self, numbers: ArrayLike, amounts: ArrayLike) -> None:
        number, amount = _as_tables(numbers, amounts)
        _check_known(number, amount)
        number = np.where(amount > 0, number, 0).astype(np.int64)
        amount = amount.astype(np.int64)
        if number.shape[1]:
            divisor = np.gcd.reduce(amount, axis=1)
            amount //= divisor[:, None]
        order = np.argsort(number, axis=1)  # empty slots first, as keys want them
        number = np.take_along_axis(number, order, axis=1)
        amount = np.take_along_axis(amount, order, axis=1)
        twice = ((number[:, 1:] == number[:, :-1]) & (number[:, 1:] > 0)).any(1)
        if twice.any():
            raise DataError(
                "an element occurs twice; add its amounts up", row=int(np.argmax(twice))
            )
        count = (number > 0).sum(1)
        fits = (count <= MAX_WIDE) & (amount <= MAX_AMOUNT).all(1)
        self.n_skipped = int((~fits).sum())
        wide = fits & (count > MAX_ELEMENTS)
        fits &= ~wide
        self._wide = np.unique(_wide_keys(number[wide, -MAX_WIDE:], amount[wide, -MAX_WIDE:]))
        self._keys = np.unique(
            composition_keys(number[fits, -MAX_ELEMENTS:], amount[fits, -MAX_ELEMENTS:])
        )

    def __len__(self) -> int:
        return len(self._keys) + len(self._wide)

    @classmethod
    def union(
        cls, tables: Iterable[tuple[NDArray[np.integer], NDArray[np.integer]]]
    ) -> KnownCompositions:
        """The known compositions of several snapshots together.

        Parameters
        ----------
        tables : iterable of (numbers, amounts)
            As the constructor takes them, each of a width of its own.
        """
        parts = [_as_tables(*table) for table in tables]
        width = max((number.shape[1] for number, _ in parts), default=1)
        joined = [
            np.concatenate(
                [np.zeros((0, width), np.int64)]
                + [np.pad(part[i], ((0, 0), (0, width - part[i].shape[1]))) for part in parts]
            )
            for i in (0, 1)
        ]
        return cls(*joined)

    def contains(self, numbers: ArrayLike, amounts: ArrayLike) -> NDArray[np.bool_]:
        """Which candidates are known.

        Parameters
        ----------
        numbers, amounts : array_like of int, shape (n, k)
            Candidates as :func:`composition_keys` takes them, ascending and reduced, but of up to
            8 elements.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            True where the composition is in the set.

        Raises
        ------
        ScreenError
            If a row does not fit a key.
        """
        number, amount = _as_tables(numbers, amounts)
        if number.shape[1] > MAX_ELEMENTS:
            return self._contains_wide(number, amount)
        keys = composition_keys(number, amount)
        if len(self._keys) == 0:
            return np.zeros(len(keys), bool)
        place = np.searchsorted(self._keys, keys)
        return self._keys[np.minimum(place, len(self._keys) - 1)] == keys

    def _contains_wide(
        self, number: NDArray[np.integer], amount: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Rows of tables with room for more than four elements."""
        if number.shape[1] > MAX_WIDE:
            raise ScreenError(f"keys hold {MAX_WIDE} elements, not {number.shape[1]}")
        order = np.argsort(number, axis=1, kind="stable")  # empty slots first
        number = np.take_along_axis(number, order, axis=1)
        amount = np.take_along_axis(amount, order, axis=1)
        wide = (number > 0).sum(1) > MAX_ELEMENTS
        found = np.zeros(len(number), bool)
        found[~wide] = self.contains(number[~wide, -MAX_ELEMENTS:], amount[~wide, -MAX_ELEMENTS:])
        for half in (slice(None, MAX_ELEMENTS), slice(MAX_ELEMENTS, None)):
            composition_keys(number[wide, half], amount[wide, half])  # checks the values
        found[wide] = np.isin(_wide_keys(number[wide], amount[wide]), self._wide)
        return found


def _wide_keys(number: NDArray[np.integer], amount: NDArray[np.integer]) -> NDArray[np.void]:
    """Rows of up to eight elements as bytes, empty slots first."""
    keys = np.zeros((len(number), MAX_WIDE), ">u2")
    if number.shape[1]:
        keys[:, -number.shape[1] :] = number.astype(np.int64) << AMOUNT_BITS | amount
    return keys.view(f"V{2 * MAX_WIDE}").ravel()


def _as_tables(
    numbers: ArrayLike, amounts: ArrayLike
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Both arguments as integer arrays of one two-dimensional shape."""
    number, amount = np.asarray(numbers), np.asarray(amounts)
    if number.shape != amount.shape or number.ndim != 2:
        raise ScreenError(
            f"numbers {number.shape} and amounts {amount.shape} should be tables of one shape"
        )
    if not (np.issubdtype(number.dtype, np.integer) and np.issubdtype(amount.dtype, np.integer)):
        raise ScreenError(
            f"numbers and amounts are {number.dtype} and {amount.dtype}; give whole numbers,"
            " fractional amounts scaled up"
        )
    return number, amount


def _check_known(number: NDArray[np.integer], amount: NDArray[np.integer]) -> None:
    wrong = ((amount > 0) & ((number < 1) | (number > MAX_ATOMIC_NUMBER))).any(1)
    for rows, message in (
        ((amount < 0).any(1), "an amount is negative; correct the table"),
        (~(amount > 0).any(1), "the composition is empty; leave the row out"),
        (wrong, f"an atomic number is not 1 to {MAX_ATOMIC_NUMBER}; correct the table"),
    ):
        if rows.any():
            raise DataError(message, row=int(np.argmax(rows)))
