"""Divide a database into parts that exclude each other and together are all of it.

The database is cut by filters, each time into the rows that meet a condition and the others, until
the parts are small enough. Every cut is checked by the server's own counts: where the parts of a
slice do not add up to it, because the server takes a condition otherwise than meant or does not
know it, that cut is not made. Rows without a value meet neither side of a comparison; they are
asked for by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from infra.pull.http import Unanswered
from irnet_core.errors import SourceError

_ORDER = (
    "O F S Se Te Cl Br I N P As Sb Bi C Si Ge Sn Pb B Al Ga In Tl Zn Cd Hg Cu Ag Au Ni Pd Pt Co Rh "
    "Ir Fe Ru Os Mn Tc Re Cr Mo W V Nb Ta Ti Zr Hf Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb "
    "Lu Ac Th Pa U Np Pu Be Mg Ca Sr Ba Li Na K Rb Cs H"
)
ELEMENTS = tuple(_ORDER.split())
"""Elements to cut by, in that order: anions first, since they divide most databases best."""


@dataclass(frozen=True)
class Slice:
    """Rows that meet all of some conditions.

    Attributes
    ----------
    conditions : tuple of str
        Filters, joined by AND.
    rows : int, optional
        How many the server counts, none if it does not say.
    """

    conditions: tuple[str, ...]
    rows: int | None

    @property
    def filter(self) -> str:
        """One filter for all conditions, empty for all rows.

        Examples
        --------
        >>> Slice(("(a=1 OR b=2)", "natoms<4"), 7).filter
        '(a=1 OR b=2) AND natoms<4'
        """
        return " AND ".join(self.conditions)


Count = Callable[[Slice], int | None]
"""Rows of a slice by the server's count, none if it gives no count; SourceError if it refuses."""


class Cut(Protocol):
    """A way to divide rows in two, and to go on with either part."""

    def halves(self) -> tuple[tuple[str, Self], tuple[str, Self]] | None:
        """Two conditions that exclude each other, with the next cuts; none if there are no more."""
        ...


@dataclass(frozen=True)
class Number:
    """Cut at values of a number.

    Examples
    --------
    >>> (low, _), (high, _) = Number("natoms", 1, 9).halves()
    >>> low, high
    ('natoms<5', 'natoms>=5')
    """

    key: str
    least: float
    most: float
    step: float = 1

    def halves(self) -> tuple[tuple[str, Self], tuple[str, Self]] | None:
        """Below and from the middle on; the outer ends stay open."""
        steps = round((self.most - self.least) / self.step)
        if steps < 2:
            return None
        middle = round(self.least + (steps // 2) * self.step, 9)
        return (
            (f"{self.key}<{middle:g}", replace(self, most=middle)),
            (f"{self.key}>={middle:g}", replace(self, least=middle)),
        )


@dataclass(frozen=True)
class Member:
    """Cut into rows with an element and without it.

    Examples
    --------
    >>> Member('elements HAS "{}"', ("O", "F")).halves()[1][0]
    'NOT elements HAS "O"'
    """

    condition: str
    elements: tuple[str, ...] = ELEMENTS

    def halves(self) -> tuple[tuple[str, Self], tuple[str, Self]] | None:
        """With the next element and without it."""
        if not self.elements:
            return None
        condition = self.condition.format(self.elements[0])
        further = replace(self, elements=self.elements[1:])
        return (condition, further), (f"NOT {condition}", further)


def divide(
    whole: Slice, cuts: Sequence[Cut], count: Count, most_rows: int, most_counts: int = 20_000
) -> list[Slice]:
    """Slices of at most so many rows, as far as the cuts allow.

    Parameters
    ----------
    whole : Slice
        What is divided.
    cuts : sequence of Cut
        Tried in this order.
    count : callable
        Asks the server.
    most_rows : int
        Rows of a slice; one that no cut divides stays larger.
    most_counts : int
        Times that the server may be asked.

    Returns
    -------
    list of Slice
        Those that have rows, in the order of the cuts.

    Raises
    ------
    SourceError
        If the server would have to be asked more often.

    Examples
    --------
    >>> rows = [1, 2, 2, None, 3]
    >>> def count(part):
    ...     test = part.filter.replace(" AND ", " and ").replace("NOT", "not").replace("OR", "or")
    ...     return sum(bool(eval(test, {"n": float("nan") if n is None else n})) for n in rows)
    >>> [(part.filter, part.rows) for part in divide(Slice((), 5), [Number("n", 1, 4)], count, 2)]
    [('n<2', 1), ('n>=2 AND n<3', 2), ('n>=2 AND n>=3', 1), ('NOT (n<2 OR n>=2)', 1)]
    """
    asked = 0

    def counted(slice_: Slice) -> int | None:
        nonlocal asked
        asked += 1
        return count(slice_) if asked <= most_counts else None

    slices = _divided(whole, cuts, counted, most_rows, lambda: asked <= most_counts)
    if asked > most_counts:
        raise SourceError(
            f"the database does not fall into parts of {most_rows:,} rows, even after "
            f"{most_counts:,} questions; give a filter"
        )
    return slices


def _divided(
    whole: Slice, cuts: Sequence[Cut], count: Count, most_rows: int, go_on: Callable[[], bool]
) -> list[Slice]:
    if (whole.rows is not None and whole.rows <= most_rows) or not go_on():
        return [whole]
    for place, cut in enumerate(cuts):
        parts = _parts(whole, cut, count)
        if parts is not None:
            slices = []
            for part, further in parts:
                next_cuts = [*([further] if further else []), *cuts[place + 1 :]]
                slices += _divided(part, next_cuts, count, most_rows, go_on)
            return slices
    return [whole]


def _parts(whole: Slice, cut: Cut, count: Count) -> list[tuple[Slice, Cut | None]] | None:
    """The parts of a slice that have rows, none if they are not exactly the slice."""
    halves = cut.halves()
    if halves is None:
        return None
    (low, low_cut), (high, high_cut) = halves
    neither = f"NOT ({low} OR {high})"
    parts: list[tuple[Slice, Cut | None]] = []
    left = whole.rows
    for condition, further in ((low, low_cut), (high, high_cut), (neither, None)):
        if left == 0:
            break
        part = Slice((*whole.conditions, condition), None)
        try:
            part = replace(part, rows=count(part))
        except Unanswered:
            count(whole)  # if the server is down, that is the error
            return None
        except SourceError:  # it does not take this condition
            return None
        if part.rows is not None and part.rows == whole.rows:  # the condition tells nothing apart
            return [(whole, further)]
        parts.append((part, further))
        if left is not None:
            if part.rows is None or part.rows > left:
                return None
            left -= part.rows
    if left:
        return None
    return [(part, further) for part, further in parts if part.rows != 0]
