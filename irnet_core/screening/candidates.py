"""All reduced compositions of a set of elements, each reachable by its index alone.

Candidates are numbered, not stored: index ``i`` stands for chemical system ``i // m`` and
stoichiometry ``i % m``, where ``m`` is the number of stoichiometries. Any range of indices can
therefore be generated on its own, on any worker, in memory proportional to the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import comb
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import ScreenError

MAX_ATOMIC_NUMBER = 118
N_ATOMIC_NUMBERS = MAX_ATOMIC_NUMBER + 1  # rows of tables by atomic number, 0 for no element
ARITIES = (2, 3, 4)
MAX_ATOMS = 128  # keeps amounts in a byte and the quaternary table below 50 MB


class Candidates(NamedTuple):
    """Some compositions; those of an :class:`Enumeration` are contiguous by column.

    Attributes
    ----------
    numbers : numpy.ndarray of uint8, shape (n, arity)
        Atomic numbers, ascending in each row; zeros at the end of rows with fewer elements.
    amounts : numpy.ndarray of uint8, shape (n, arity)
        Atoms of each element in the reduced formula, no common divisor; zero for no element.
    """

    numbers: NDArray[np.uint8]
    amounts: NDArray[np.uint8]


#: Names of both arrays where they stand among the columns of a ranking.
NUMBERS, AMOUNTS = Candidates._fields


class Family(Protocol):
    """Candidates in a fixed order, any range of which can be had alone.

    No composition occurs twice, and those of one chemical system are adjacent.
    """

    @property
    def arity(self) -> int:
        """Columns of the arrays: the most elements in one composition."""
        ...

    def __len__(self) -> int:
        """Number of candidates."""
        ...

    def take(self, start: int, stop: int) -> Candidates:
        """Candidates ``start`` to ``stop - 1``, ``0 <= start <= stop <= len(self)``."""
        ...


@dataclass(frozen=True)
class Enumeration:
    """All reduced compositions of `arity` elements with at most `max_atoms` atoms.

    Chemical systems come in lexicographic order of the ascending atomic numbers; within a
    system, stoichiometries come in the order of :func:`stoichiometries`. No composition occurs
    twice.

    Parameters
    ----------
    elements : tuple of int
        Distinct atomic numbers, 1 to 118; stored in ascending order.
    arity : int
        Elements per composition: 2, 3 or 4.
    max_atoms : int
        Upper limit of the atoms in the reduced formula.

    Raises
    ------
    ScreenError
        If the limits contradict each other or leave no candidate.

    Examples
    --------
    >>> oxides = Enumeration(elements=(3, 8, 26), arity=2, max_atoms=5)
    >>> len(oxides)
    27
    >>> oxides.take(5, 7).numbers.tolist(), oxides.take(5, 7).amounts.tolist()
    ([[3, 8], [3, 8]], [[1, 4], [2, 3]])
    """

    elements: tuple[int, ...]
    arity: int
    max_atoms: int

    def __post_init__(self) -> None:
        _check_limits(self.arity, self.max_atoms)
        elements = tuple(sorted(int(number) for number in self.elements))
        if len(set(elements)) < len(elements):
            raise ScreenError(f"elements {elements} hold a duplicate; name each element once")
        if elements and not 1 <= elements[0] <= elements[-1] <= MAX_ATOMIC_NUMBER:
            raise ScreenError(
                f"elements {elements} leave the range 1 to {MAX_ATOMIC_NUMBER}; give atomic numbers"
            )
        if len(elements) < self.arity:
            raise ScreenError(
                f"{len(elements)} elements cannot form compositions of {self.arity};"
                " allow more elements or lower the arity"
            )
        object.__setattr__(self, "elements", elements)

    @property
    def n_systems(self) -> int:
        """Number of chemical systems."""
        return comb(len(self.elements), self.arity)

    @property
    def n_stoichiometries(self) -> int:
        """Number of candidates in each chemical system."""
        return count_stoichiometries(self.arity, self.max_atoms)

    def __len__(self) -> int:
        return self.n_systems * self.n_stoichiometries

    def take(self, start: int, stop: int) -> Candidates:
        """Candidates ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            Range of indices, ``0 <= start <= stop <= len(self)``.

        Returns
        -------
        Candidates
            ``stop - start`` rows in the order of their indices.

        Raises
        ------
        ScreenError
            If the range leaves the enumeration.
        """
        if not 0 <= start <= stop <= len(self):
            raise ScreenError(
                f"range {start}:{stop} leaves the enumeration of {len(self)} candidates;"
                " ask for indices inside it"
            )
        table = stoichiometries(self.arity, self.max_atoms)
        m = len(table)
        first, last = start // m, -(-stop // m)
        positions = _unrank(np.arange(first, last), len(self.elements), self.arity)
        systems = np.asarray(self.elements, np.uint8)[positions]  # (arity, s)
        # whole systems first, trimmed to the range afterwards; one plane per element
        numbers = np.empty((self.arity, last - first, m), np.uint8)
        numbers[...] = systems[:, :, None]
        amounts = np.empty_like(numbers)
        amounts[...] = table.T[:, None, :]
        rows = slice(start - first * m, stop - first * m)
        return Candidates(
            numbers.reshape(self.arity, -1)[:, rows].T, amounts.reshape(self.arity, -1)[:, rows].T
        )


def count_stoichiometries(arity: int, max_atoms: int) -> int:
    """Number of rows of :func:`stoichiometries`, without making them.

    Of all ``comb(max_atoms, arity)`` rows, those with the greatest common divisor ``d`` are ``d``
    times the reduced rows of the limit ``max_atoms // d``; taking these out leaves the reduced.
    """
    _check_limits(arity, max_atoms)
    reduced: dict[int, int] = {}  # limit -> rows without a common divisor
    for limit in sorted({max_atoms // d for d in range(1, max_atoms // arity + 1)}):
        multiples = sum(reduced[limit // d] for d in range(2, limit // arity + 1))
        reduced[limit] = comb(limit, arity) - multiples
    return reduced[max_atoms]


@cache
def stoichiometries(arity: int, max_atoms: int) -> NDArray[np.uint8]:
    """All whole amounts of `arity` elements with no common divisor.

    Rows are ordered by their sum, then lexicographically, so that the table of a lower
    `max_atoms` is the beginning of the table of a higher one.

    Parameters
    ----------
    arity : int
        Columns: 2, 3 or 4.
    max_atoms : int
        Upper limit of each row's sum.

    Returns
    -------
    numpy.ndarray of uint8, shape (m, arity)
        Amounts of at least 1; read-only.

    Raises
    ------
    ScreenError
        If `arity` or `max_atoms` is out of range.

    Examples
    --------
    >>> stoichiometries(2, 4).tolist()
    [[1, 1], [1, 2], [2, 1], [1, 3], [3, 1]]
    """
    _check_limits(arity, max_atoms)
    rows = np.zeros((1, 0), np.int64)
    for column in range(arity):
        # leave one atom for each column still to come
        choices = max_atoms - (arity - 1 - column) - rows.sum(1)
        ends = np.cumsum(choices)
        amount = np.arange(1, ends[-1] + 1) - np.repeat(ends - choices, choices)
        rows = np.column_stack([np.repeat(rows, choices, axis=0), amount])
    rows = rows[np.gcd.reduce(rows, axis=1) == 1]
    table = rows[np.argsort(rows.sum(1), kind="stable")].astype(np.uint8)
    table.flags.writeable = False
    return table


def _check_limits(arity: int, max_atoms: int) -> None:
    if arity not in ARITIES:
        raise ScreenError(f"arity {arity} is not supported; choose one of {ARITIES}")
    if not arity <= max_atoms <= MAX_ATOMS:
        raise ScreenError(
            f"max_atoms {max_atoms} does not fit compositions of {arity} elements;"
            f" choose {arity} to {MAX_ATOMS}"
        )


def _unrank(ranks: NDArray[np.int64], n: int, k: int) -> NDArray[np.intp]:
    """Positions (k, len(ranks)) of the k-subsets of ``range(n)`` with lexicographic ranks.

    Counted from the end, a subset's rank is the sum of ``comb(n - 1 - position, k - j)`` over its
    members: the combinatorial number system, read greedily.
    """
    rest = comb(n, k) - 1 - ranks
    positions = np.empty((k, len(ranks)), np.intp)
    for j in range(k):
        counts = np.array([comb(c, k - j) for c in range(n)])
        chosen = np.searchsorted(counts, rest, side="right") - 1
        rest = rest - counts[chosen]
        positions[j] = n - 1 - chosen
    return positions
