"""Filters of the Materials Project: a text such as ``elements=Fe,O,band_gap=1:2``.

Names and kinds of values are those of its client's own search, whose annotations are read.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from infra.sources.mp_client import client_class
from irnet_core.errors import SourceError

# parameters of the search that are no filters
_OURS = {"self", "kwargs", "num_chunks", "chunk_size", "all_fields", "fields"}
_FIXED = {"_page", "_sort_fields", "deprecated"}


def search_arguments(text: str) -> dict[str, Any]:
    """A filter as arguments of the client's own ``search``.

    Parameters
    ----------
    text : str
        ``name=value,...``; ranges as ``1:2``, ``1:`` or ``:2``, lists with commas, as in
        ``elements=Fe,O,band_gap=1:2,is_stable=true``.

    Raises
    ------
    SourceError
        If there is no such parameter, or it does not take such a value.

    Examples
    --------
    >>> search_arguments("elements=Fe,O, band_gap=1:, is_stable=true")
    {'elements': ['Fe', 'O'], 'band_gap': (1.0, None), 'is_stable': True}
    """
    values: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            if name in values:
                raise SourceError(f"--filter {text!r} has {name} twice: give it once")
            values[name] = [value]
        elif values:
            values[next(reversed(values))].append(part)
        else:
            raise SourceError(
                f"--filter {text!r}: {part!r} is no name=value; write band_gap=1:2,elements=Fe,O"
            )
    if not values:
        return {}
    parameters = inspect.signature(client_class().search).parameters
    known = {name: str(p.annotation) for name, p in parameters.items() if name not in _OURS}
    found: dict[str, Any] = {}
    for name, texts in values.items():
        if name in _FIXED or name not in known:
            near = ", ".join(get_close_matches(name, known.keys() - _FIXED, 3))
            raise SourceError(
                f"--filter {text!r}: the Materials Project is not asked by {name!r}; "
                + (f"did you mean {near}?" if near else "see the parameters of its search")
            )
        try:
            found[name] = _value(texts, known[name])
        except ValueError as error:
            raise SourceError(f"--filter {text!r}: {name} is {error}") from None
    return found


def _value(texts: list[str], annotation: str) -> Any:
    """Texts as a value of a parameter, by how the client annotates it."""
    given = ",".join(texts)
    if "tuple[" in annotation:
        kind = int if "int" in annotation else float
        low, colon, high = texts[0].partition(":")
        try:
            ends = [kind(end) if end else None for end in (low, high if colon else low)]
        except ValueError:
            ends = []
        if len(texts) > 1 or not ends or not (low or high):
            raise ValueError(f"a range of numbers, not {given!r}: write 1:2, 1: or :2")
        return (ends[0], ends[1])
    if "list[" in annotation and "str" not in annotation and "int" in annotation:
        if len(texts) > 1:  # the client makes a request of each, whose pages are those of nothing
            raise ValueError(f"one number, not {given!r}: take a snapshot for each")
        if not texts[0].isdecimal():
            raise ValueError(f"a number, not {given!r}")
        return int(texts[0])
    if "list[" in annotation:
        return texts if len(texts) > 1 or "str |" not in annotation else texts[0]
    if len(texts) > 1:
        raise ValueError(f"one value, not {given!r}")
    if "bool" in annotation:
        if (text := texts[0].lower()) not in ("true", "false"):
            raise ValueError(f"true or false, not {texts[0]!r}")
        return text == "true"
    if "Ordering" in annotation:
        from pymatgen.analysis.magnetism import Ordering

        if given not in (known := [ordering.value for ordering in Ordering]):
            raise ValueError(f"one of {', '.join(known)}, not {given!r}")
        return Ordering(given)
    return texts[0]
