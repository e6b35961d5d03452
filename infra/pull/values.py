"""Raw values as databases send them, to Arrow columns: numbers, integers, texts.

Whole columns are converted at once where all values are as they should be, else one by one. What
was given and cannot be used becomes null and is noted, by row, so that nothing is lost without a
word. Structures are converted by :mod:`infra.pull.structures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from infra.pull.notes import Notes
from infra.pull.structures import Structures, structures, structures_of_sites
from irnet_core.schema import NOTE, REASON, Column, arrow_schema

__all__ = [
    "MISSING",
    "Notes",
    "Structures",
    "integers",
    "numbers",
    "structures",
    "structures_of_sites",
    "table",
    "texts",
]

T = TypeVar("T")

MISSING = frozenset({"", "-", "na", "n/a", "nan", "none", "null"})
"""Texts, in small letters, that stand for a number that is not there."""

_NUMBER_TYPES: set[type] = {float, int, type(None)}
_INTEGER_TYPES: set[type] = {int, type(None)}
_SHOWN = 40  # characters of a value in a note


def numbers(values: Sequence[Any], what: str, notes: Notes) -> pa.Array:
    """Numbers as float64.

    Parameters
    ----------
    values : sequence
        Numbers, or texts of numbers. None, NaN and the texts in :data:`MISSING` are null without a
        note; infinities, truth values and all else are null with one.
    what : str
        The source's name of the values, for notes.
    notes : Notes
        Where to say what could not be used.

    Returns
    -------
    pyarrow.Array
        float64.
    """
    values = values if isinstance(values, list) else list(values)
    array = _at_once(values, pa.float64(), _NUMBER_TYPES)
    if array is None and (written := _written(values)) is not None:
        array = _at_once(written, pa.float64(), _NUMBER_TYPES)
    if array is None:
        array = pa.array(
            [_one(_float, value, row, what, notes) for row, value in enumerate(values)],
            pa.float64(),
        )
    floats = array.to_numpy(zero_copy_only=False)
    if np.isinf(floats).any():
        for row in np.flatnonzero(np.isinf(floats)).tolist():
            notes.add(row, f"{what}: {floats[row]} is no number")
        array = pa.array(floats, mask=~np.isfinite(floats))
    return array


def integers(values: Sequence[Any], type_: pa.DataType, what: str, notes: Notes) -> pa.Array:
    """Whole numbers of an Arrow type, from integers, whole floats and texts of them.

    Parameters
    ----------
    values : sequence
        As for :func:`numbers`.
    type_ : pyarrow.DataType
        An integer type; what lies out of its range is null with a note.
    what : str
        The source's name of the values, for notes.
    notes : Notes
        Where to say what could not be used.

    Examples
    --------
    >>> integers([225, "62", 1.0, "na"], pa.int16(), "spg_number", Notes()).to_pylist()
    [225, 62, 1, None]
    """
    values = values if isinstance(values, list) else list(values)
    array = _at_once(values, type_, _INTEGER_TYPES)  # no floats: Arrow would cut 1.5 to 1
    if array is None:
        bits = type_.bit_width - pa.types.is_signed_integer(type_)
        least = -(2**bits) if pa.types.is_signed_integer(type_) else 0

        def whole(value: Any) -> int | None:
            number = _number(value)
            if number is None:
                return None
            if isinstance(number, float) and not number.is_integer():
                raise ValueError("no whole number")
            if not least <= int(number) < 2**bits:
                raise ValueError(f"out of the range of {type_}")
            return int(number)

        array = pa.array(
            [_one(whole, value, row, what, notes) for row, value in enumerate(values)], type_
        )
    return array


def texts(values: Sequence[Any], what: str, notes: Notes) -> pa.Array:
    """Texts; whole numbers become their digits, None and empty texts null.

    Parameters
    ----------
    values : sequence
        Texts or integers; all else is null with a note.
    what : str
        The source's name of the values, for notes.
    notes : Notes
        Where to say what could not be used.

    Examples
    --------
    >>> texts(["NaN", 12, "", None], "formula", Notes()).to_pylist()
    ['NaN', '12', None, None]
    """
    values = [value or None if value.__class__ is str else value for value in values]
    try:
        if {value.__class__ for value in values} == {int}:
            return pa.array(values, pa.int64()).cast(pa.string())
        return pa.array(values, pa.string())
    except (pa.ArrowException, TypeError, UnicodeError, OverflowError):
        return pa.array(
            [_one(_text, value, row, what, notes) for row, value in enumerate(values)],
            pa.string(),
        )


def table(
    columns: Sequence[Column],
    arrays: Mapping[Column, pa.Array],
    notes: Notes,
    reasons: Mapping[int, str] | None = None,
) -> pa.Table:
    """Table of a source's columns, with the column ``reason``.

    Parameters
    ----------
    columns : sequence of Column
        Columns of the source; those without an array are null throughout.
    arrays : mapping of Column to pyarrow.Array
        Values by column, all of one length.
    notes : Notes
        Fills the column ``note``, if it is among ``columns``.
    reasons : mapping of int to str, optional
        Why a row as a whole cannot be used.

    Raises
    ------
    ValueError
        If there is an array for a column that is not among ``columns``.
    """
    if unknown := [column.name for column in arrays if column not in columns]:
        raise ValueError(f"not among the columns: {', '.join(unknown)}")
    n = len(next(iter(arrays.values())))
    given = {NOTE: notes.column(n), **arrays}
    reason = pa.array([(reasons or {}).get(row) for row in range(n)], REASON.type)
    return pa.table(
        [*(given[c] if c in given else pa.nulls(n, c.type) for c in columns), reason],
        schema=arrow_schema([*columns, REASON]),
    )


# one value -----------------------------------------------------------------------------------
def _at_once(values: list[Any], type_: pa.DataType, types: set[type]) -> pa.Array | None:
    """The values as an array, none if they must be looked at one by one."""
    if not {value.__class__ for value in values} <= types:
        # most of what is no number is a missing mark
        values = [None if v.__class__ is str and v.lower() in MISSING else v for v in values]
        if not {value.__class__ for value in values} <= types:
            return None
    try:
        return pa.array(values, type_, from_pandas=True)
    except (pa.ArrowException, OverflowError):  # an integer out of range
        return None


def _written(values: list[Any]) -> list[Any] | None:
    """Texts of numbers as numbers, the rest as it is; none if a text is no number."""
    try:
        return [
            (None if v.lower() in MISSING else float(v)) if v.__class__ is str else v
            for v in values
        ]
    except ValueError:
        return None


def _one(convert: Callable[[Any], T], value: Any, row: int, what: str, notes: Notes) -> T | None:
    try:
        return convert(value)
    except ValueError as error:
        notes.add(row, f"{what}: {repr(value)[:_SHOWN]} is {error}")
        return None


def _number(value: Any) -> float | int | None:
    """A number or none; ValueError for anything else."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("no number")
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except ValueError:
        raise ValueError("no number") from None
    return None if math.isnan(number) else number


def _float(value: Any) -> float | None:
    number = _number(value)
    try:
        return None if number is None else float(number)
    except OverflowError:
        raise ValueError("no number") from None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("no text")
    text = str(value)
    try:
        text.encode()
    except UnicodeError:
        raise ValueError("no text that can be written as UTF-8") from None
    return text
