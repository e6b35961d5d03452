"""Known phases for convex hulls: the lowest energy at each composition, sorted by system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import MAX_ATOMIC_NUMBER

MAX_ELEMENTS = 9  # seven bits of atomic number each, 63 in all
REFERENCE = -1
"""Row of an element that has no phase of its own and counts as one of 0 eV/atom."""
FIRST_CANDIDATE = -2
"""Row of the first candidate among phases; the others follow downwards."""

MissingElements = Literal["reference", "refuse"]
"""What stands for an element without a phase: ``"reference"``, a phase at 0 eV/atom, which is what
a formation energy is measured from; or ``"refuse"``, nothing, and hulls with it are refused."""

Value = TypeVar("Value", np.uint8, np.float64)

# Fractions p/N are told apart, and found equal however they were rounded, up to N = 65,000: on a
# binary grid no fraction whose denominator is smaller than the grid lies half-way between points.
_GRID = 2.0**32


@dataclass(frozen=True, eq=False)
class Phases:
    """Phases of distinct compositions; make one with :meth:`lowest`.

    Attributes
    ----------
    numbers : numpy.ndarray of uint8, shape (n, k)
        Atomic numbers, ascending in each row, 0 in the empty slots at the end.
    fractions : numpy.ndarray of float64, shape (n, k)
        Atomic fractions, which sum to 1; 0 in empty slots.
    energies : numpy.ndarray of float64, shape (n,)
        Formation energies in eV/atom.
    rows : numpy.ndarray of int64, shape (n,)
        Row of each phase in the arrays it came from, :data:`REFERENCE` if it came from none.
    keys : numpy.ndarray of int64, shape (n,)
        Chemical systems by :func:`system_keys`, ascending.
    """

    numbers: NDArray[np.uint8]
    fractions: NDArray[np.float64]
    energies: NDArray[np.float64]
    rows: NDArray[np.int64]
    keys: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.energies)

    @classmethod
    def lowest(
        cls,
        numbers: ArrayLike,
        amounts: ArrayLike,
        energies: ArrayLike,
        missing_elements: MissingElements = "reference",
    ) -> Phases:
        """The phase of lowest energy at each composition; of equal ones the first row.

        Compositions are equal if their atomic fractions agree to 2e-10, so scaling and order of
        the amounts do not matter. The result does not depend on the order of the rows.

        Parameters
        ----------
        numbers : array_like of int, shape (n, k)
            Atomic numbers, each once in a row, in any order; slots with amount 0 are ignored.
        amounts : array_like of float, shape (n, k)
            Amounts or atomic fractions.
        energies : array_like of float, shape (n,)
            Formation energies in eV/atom. An element's own phase counts with its energy here,
            even where that is not 0.
        missing_elements : {"reference", "refuse"}
            See :data:`MissingElements`.

        Raises
        ------
        DataError
            If a row is empty, has more than 9 elements or one of them twice, or holds a value
            that is not finite or out of range.
        ScreenError
            If the option has another value.

        Examples
        --------
        >>> oxides = Phases.lowest([[8, 26], [26, 8]], [[3, 2], [4, 6]], [-1.6, -1.7], "refuse")
        >>> oxides.numbers.tolist(), oxides.fractions.tolist(), oxides.rows.tolist()
        ([[8, 26]], [[0.6, 0.4]], [1])
        """
        if missing_elements not in get_args(MissingElements):
            raise ScreenError(
                f"missing_elements={missing_elements!r} is no option;"
                f" choose one of {get_args(MissingElements)}"
            )
        number, fraction = sorted_compositions(numbers, amounts)
        energy = _checked_energies(energies, len(number))
        row = np.arange(len(number), dtype=np.int64)
        if missing_elements == "reference":
            alone = (number > 0).sum(1) == 1
            missing = np.setdiff1d(np.arange(1, MAX_ATOMIC_NUMBER + 1), number[alone, :1])
            width = max(number.shape[1], 1)
            element = missing[:, None].astype(np.uint8)
            number = np.concatenate([_widened(number, width), _widened(element, width)])
            one = np.ones((len(missing), 1))
            fraction = np.concatenate([_widened(fraction, width), _widened(one, width)])
            energy = np.concatenate([energy, np.zeros(len(missing))])
            row = np.concatenate([row, np.full(len(missing), REFERENCE)])
        return cls._lowest(number, fraction, energy, row)

    def with_candidates(
        self,
        numbers: ArrayLike,
        amounts: ArrayLike,
        energies: ArrayLike,
        index: ArrayLike | None = None,
    ) -> Phases:
        """These phases and some candidates, the lowest energy at each composition.

        Parameters
        ----------
        numbers, amounts, energies
            As for :meth:`lowest`.
        index : array_like of int, shape (n,), optional
            Candidate i gets the row ``FIRST_CANDIDATE - i``; by default i counts from 0.

        Returns
        -------
        Phases
            Where both are equal in energy, the known phase stands.
        """
        number, fraction = sorted_compositions(numbers, amounts)
        energy = _checked_energies(energies, len(number))
        count = np.arange(len(number)) if index is None else np.asarray(index)
        row = FIRST_CANDIDATE - count.astype(np.int64)
        width = max(number.shape[1], self.numbers.shape[1])
        return Phases._lowest(
            np.concatenate([_widened(self.numbers, width), _widened(number, width)]),
            np.concatenate([_widened(self.fractions, width), _widened(fraction, width)]),
            np.concatenate([self.energies, energy]),
            np.concatenate([self.rows, row]),
        )

    @classmethod
    def _lowest(
        cls,
        number: NDArray[np.uint8],
        fraction: NDArray[np.float64],
        energy: NDArray[np.float64],
        row: NDArray[np.int64],
    ) -> Phases:
        key = system_keys(number)
        grid = np.rint(fraction * _GRID).astype(np.int64)
        order = np.lexsort((np.abs(row), row <= FIRST_CANDIDATE, energy, *grid.T[::-1], key))
        same = (key[order][1:] == key[order][:-1]) & (grid[order][1:] == grid[order][:-1]).all(1)
        best = order[np.concatenate([np.full(min(1, len(order)), True), ~same])]
        return cls(number[best], fraction[best], energy[best], row[best], key[best])


def sorted_compositions(
    numbers: ArrayLike, amounts: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Compositions with ascending atomic numbers, empty slots last, as atomic fractions.

    Parameters
    ----------
    numbers : array_like of int, shape (n, k)
        Atomic numbers in any order; slots with amount 0 are ignored.
    amounts : array_like of float, shape (n, k)
        Amounts or atomic fractions.

    Returns
    -------
    numbers : numpy.ndarray of uint8, shape (n, m)
        m is the largest number of elements in a row.
    fractions : numpy.ndarray of float64, shape (n, m)

    Raises
    ------
    DataError
        If a row cannot be used.

    Examples
    --------
    >>> sorted_compositions([[26, 0, 8]], [[1, 0, 3]])
    (array([[ 8, 26]], dtype=uint8), array([[0.75, 0.25]]))
    """
    number, amount = np.asarray(numbers), np.asarray(amounts, np.float64)
    if number.shape != amount.shape or number.ndim != 2:
        raise DataError(
            f"numbers {number.shape} and amounts {amount.shape} should be tables of one shape"
        )
    present = amount != 0
    number = np.where(present, number, 0)
    count = present.sum(1)
    for wrong, message in (
        (~(np.isfinite(amount) & (amount >= 0)).all(1), "an amount is negative or not finite"),
        (count == 0, "the composition is empty"),
        (count > MAX_ELEMENTS, f"there are more than {MAX_ELEMENTS} elements"),
        (
            (present & ((number < 1) | (number > MAX_ATOMIC_NUMBER))).any(1),
            f"an atomic number is not 1 to {MAX_ATOMIC_NUMBER}",
        ),
    ):
        if wrong.any():
            raise DataError(f"{message}; leave the row out", row=int(np.argmax(wrong)))
    number = number.astype(np.uint8)
    width = int(count.max(initial=0))
    # 0 - 1 wraps round to 255, so that empty slots come last
    order = np.argsort(number - np.uint8(1), axis=1, kind="stable")[:, :width]
    number = np.take_along_axis(number, order, axis=1)
    amount = np.take_along_axis(amount, order, axis=1)
    twice = ((number[:, 1:] == number[:, :-1]) & (number[:, 1:] > 0)).any(1)
    if twice.any():
        raise DataError("an element occurs twice; add its amounts up", row=int(np.argmax(twice)))
    return number, amount / amount.sum(1, keepdims=True)


def system_keys(numbers: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Chemical systems as one integer each, without loss: seven bits for each element.

    Parameters
    ----------
    numbers : numpy.ndarray of uint8, shape (n, k)
        Atomic numbers, ascending in each row, 0 in the empty slots at the end; at most 9 columns.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)

    Examples
    --------
    >>> system_keys(np.array([[8, 26, 0]], np.uint8)) == system_keys(np.array([[8, 26]], np.uint8))
    array([ True])
    """
    keys = np.zeros(len(numbers), np.int64)
    for column in numbers.T:
        keys = np.where(column > 0, keys << 7 | column, keys)
    return keys


def _checked_energies(energies: ArrayLike, n: int) -> NDArray[np.float64]:
    energy = np.asarray(energies, np.float64)
    if energy.shape != (n,):
        raise DataError(f"energies {energy.shape} should have {n} rows, as the compositions")
    if not (finite := np.isfinite(energy)).all():
        raise DataError("an energy is not finite; leave the row out", row=int(np.argmin(finite)))
    return energy


def _widened(table: NDArray[Value], width: int) -> NDArray[Value]:
    """The table with zeros in further columns."""
    wide = np.zeros((len(table), width), table.dtype)
    wide[:, : table.shape[1]] = table
    return wide
