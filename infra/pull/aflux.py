"""AFLUX, the query language of AFLOW: filters that are only filters, and answers of both shapes.

Grammar and error texts: Rose et al., Comput. Mater. Sci. 137, 362 (2017),
https://doi.org/10.1016/j.commatsci.2017.04.036, and the official client, aflow-org/aflow,
``aflowlib_web_interface.cpp``, which takes ``DB Fail``, ``Lux Fail`` and ``Count Fail`` with status
200 for failures.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from infra.pull.answers import Answer, not_json
from infra.pull.protocol import Page, Transient
from irnet_core.errors import SourceError

FAILURES = ("DB Fail", "Lux Fail", "Count Fail")
DIRECTIVES = frozenset({"paging", "format", "catalog", "schema", "help", "directives"})
_EMPTY = (b"", b"{}", b"[]", b"null")
_NUMBERED = re.compile(r"\s*\d+ of (-?\d+)\s*")  # keys such as "257 of 3064"
_TERM = re.compile(r"\$?([A-Za-z][A-Za-z0-9_]*)(\(.*\))?")
_PLAIN = re.compile(r"[A-Za-z0-9_.:*!/ -]")  # what values and quoted texts are made of
_LONGEST = 2000


def filter_terms(text: str) -> list[tuple[str, str]]:
    """Keywords of a filter and what they are to be, such as ``("Egap", "(1*,*3)")``.

    Parameters
    ----------
    text : str
        Comma separated terms of the matchbook, ``Egap(1*,*3),species(Cr,!O)``.

    Raises
    ------
    SourceError
        If it is anything else, such as a directive: these are not the user's to give.

    Examples
    --------
    >>> filter_terms("$Egap(1*), species(Cr,(Se:Te))")
    [('Egap', '(1*)'), ('species', '(Cr,(Se:Te))')]
    """
    found = []
    for term in _split(text):
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise _unusable(text, f"{term.strip()[:40]!r} is no keyword with conditions")
        keyword, conditions = match[1], match[2] or ""
        if keyword.lower() in DIRECTIVES:
            raise _unusable(text, f"{keyword!r} is a directive, of the pull's own")
        if keyword.lower() == "auid":
            raise _unusable(text, "the pull itself divides the database by 'auid'")
        if not conditions:
            raise _unusable(text, f"{keyword!r} has no condition, such as {keyword}(*)")
        found.append((keyword, conditions))
    return found


def _split(text: str) -> list[str]:
    """Terms between the commas outside of parentheses."""
    if len(text) > _LONGEST:
        raise _unusable(text, f"it is longer than {_LONGEST:,} characters")
    terms, term, depth, quoted, closed = [], "", 0, False, False
    for character in text:
        if closed and character not in ", ":
            raise _unusable(text, f"{character!r} follows on {term[-40:]!r}")
        if character == "'":
            quoted = not quoted
        elif not quoted and character in "(),$":
            depth += {"(": 1, ")": -1}.get(character, 0)
            closed = character == ")" and not depth
            if depth < 0:
                raise _unusable(text, "a parenthesis is closed that was not opened")
            if character == "$" and (depth or term.strip()):
                raise _unusable(text, "'$' stands elsewhere than before a keyword")
            if character == "," and not depth:
                terms.append(term)
                term = ""
                continue
        elif not _PLAIN.fullmatch(character):
            raise _unusable(text, f"{character!r} is not allowed in it")
        term += character
    if depth or quoted:
        raise _unusable(text, "a parenthesis or a quote is not closed")
    return [*terms, term]


def _unusable(text: str, reason: str) -> SourceError:
    return SourceError(
        f"the filter {text[:100]!r} cannot be used, {reason}: give conditions such as "
        "Egap(1*,*3),species(Cr,!O)"
    )


def read_page(answer: Answer) -> Page:
    """Rows of an answer and the server's count of all, in whichever shape it comes.

    Raises
    ------
    Transient
        If it is no page.

    Examples
    --------
    >>> read_page(Answer(200, {}, b'{"3 of 9": {"auid": "aflow:0"}}', ""))
    Page(rows=[{'auid': 'aflow:0'}], total=9)
    >>> read_page(Answer(200, {}, b'[{"auid": "aflow:0"}]', ""))
    Page(rows=[{'auid': 'aflow:0'}], total=None)
    """
    body = answer.body.strip()
    if body in _EMPTY:
        return Page([], None)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Transient(_failure(body)) from None
    rows: list[Any]
    total = None
    if isinstance(value, dict):
        numbered = [_NUMBERED.fullmatch(key) for key in value]
        if not all(numbered):
            raise Transient("JSON of another shape")
        rows = list(value.values())
        counts = {int(match[1]) for match in numbered if match}
        total = min(counts) if len(counts) == 1 and min(counts) >= len(rows) else None
    elif isinstance(value, list):
        rows = value
    else:
        raise Transient(_failure(body))
    if not all(isinstance(row, dict) and row.get("auid") for row in rows):
        raise Transient("rows of another shape")
    return Page(rows, total)


def _failure(body: bytes) -> str:
    """What is wrong with an answer that is no page."""
    text = " ".join(body.decode(errors="replace").split())
    return next((mark for mark in FAILURES if mark in text), None) or not_json(body)
