"""Candidates made from known compounds by replacing one element by a similar one.

The idea is as old as crystal chemistry; which elements are similar is handed in as a table, for
example mined from known compounds as in Hautier et al. 2011, doi:10.1021/ic102031h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import ScreenError
from irnet_core.screening.candidates import N_ATOMIC_NUMBERS, Candidates
from irnet_core.screening.listed import Listed, distinct_rows, fits_row, reduced_rows

MAX_ELEMENTS = 4  # of a known compound; those of more are left out
BLOCK = 65_536  # known compounds whose substitutions are made at once


class Substitutions:
    """Known compounds with one element, all of its atoms, replaced by a similar one.

    The candidates are distinct, none of them is known, and their order depends on the set of
    known compounds alone.

    Parameters
    ----------
    numbers, amounts : array_like of int, shape (n, k)
        Known compounds, as :class:`Listed` takes them.
    similar : numpy.ndarray of bool, shape (119, 119)
        ``similar[a, b]`` if `b` may replace `a`.
    elements : tuple of int, optional
        Elements that candidates may have; all by default.

    Attributes
    ----------
    arity : int
        Columns: the most elements in one composition.
    n_skipped : int
        Known compounds left out: more than :data:`MAX_ELEMENTS` elements, or amounts above 255 or
        not whole.

    Raises
    ------
    ScreenError
        If no candidate is left, or `similar` has another shape.

    Examples
    --------
    >>> similar = np.zeros((119, 119), bool)
    >>> similar[11, [3, 19]] = True
    >>> made = Substitutions([[11, 17], [17, 19]], [[1, 1], [1, 1]], similar)
    >>> made.take(0, len(made)).numbers.tolist()
    [[3, 17]]
    """

    def __init__(
        self,
        numbers: ArrayLike,
        amounts: ArrayLike,
        similar: NDArray[np.bool_],
        elements: tuple[int, ...] | None = None,
    ) -> None:
        if similar.shape != (N_ATOMIC_NUMBERS, N_ATOMIC_NUMBERS):
            raise ScreenError(f"similar {similar.shape} should be (119, 119); build it anew")
        number, amount = np.asarray(numbers), np.asarray(amounts)
        fits = fits_row(number, amount) & ((amount > 0).sum(axis=1) <= MAX_ELEMENTS)
        self.n_skipped = int((~fits).sum())
        if not fits.any():
            raise ScreenError("there is no known compound to replace elements in; choose others")
        known, whole = reduced_rows(number[fits], amount[fits])
        known, whole = distinct_rows(known[:, :MAX_ELEMENTS], whole[:, :MAX_ELEMENTS])
        choices = _choices(similar, elements)
        allowed = np.ones(N_ATOMIC_NUMBERS, np.bool_)
        if elements is not None:
            allowed = np.isin(np.arange(N_ATOMIC_NUMBERS), (0, *elements))
        parts = [
            _replaced(known[i : i + BLOCK], whole[i : i + BLOCK], choices, allowed)
            for i in range(0, len(known), BLOCK)
        ]
        made, atoms = (np.concatenate(column) for column in zip(*parts, strict=True))
        made, atoms = _without(made, atoms, known, whole)
        if len(made) == 0:
            raise ScreenError(
                "no substitution leads to a new composition; allow more elements, or start from"
                " other compounds"
            )
        self._rows = Listed(made, atoms)
        self.arity = self._rows.arity

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, start: int, stop: int) -> Candidates:
        """Candidates ``start`` to ``stop - 1``; see :meth:`Family.take`."""
        return self._rows.take(start, stop)


def _choices(
    similar: NDArray[np.bool_], elements: tuple[int, ...] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """What may replace each element, one after the other, and where its list begins, (120,)."""
    table = similar.copy()
    table[0] = table[:, 0] = False
    np.fill_diagonal(table, False)
    if elements is not None:
        table &= np.isin(np.arange(N_ATOMIC_NUMBERS), elements)
    return np.nonzero(table)[1], np.concatenate([[0], np.cumsum(table.sum(axis=1))])


def _replaced(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    choices: tuple[NDArray[np.intp], NDArray[np.intp]],
    allowed: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All compositions that differ from one of the rows by one element."""
    others, begin = choices
    found_numbers, found_amounts = [], []
    for place in range(numbers.shape[1]):
        z = numbers[:, place].astype(np.intp)
        count = begin[z + 1] - begin[z]
        row = np.repeat(np.arange(len(z)), count)
        slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        made = numbers[row]
        other = others[begin[z[row]] + slot].astype(np.uint8)
        taken = (made == other[:, None]).any(axis=1)
        made[:, place] = other
        keep = ~taken & allowed[made].all(axis=1)
        found_numbers.append(made[keep])
        found_amounts.append(amounts[row[keep]])
    made, atoms = np.concatenate(found_numbers), np.concatenate(found_amounts)
    return distinct_rows(*reduced_rows(made, atoms)) if len(made) else (made, atoms)


def _without(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    known: NDArray[np.uint8],
    whole: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rows that are not among the known ones."""
    every = np.concatenate([np.hstack([known, whole]), np.hstack([numbers, amounts])])
    rows = np.ascontiguousarray(every).view(f"V{every.shape[1]}").ravel()
    new = ~np.isin(rows[len(known) :], rows[: len(known)])
    return numbers[new], amounts[new]
