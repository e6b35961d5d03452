"""Grammar of a single chemical formula.

::

    formula = part { separator part }            CuSO4·5H2O
    part    = [ number ] unit { unit }           5H2O: the number multiplies the whole part
    unit    = ( symbol | bracket formula bracket ) [ number ]

Brackets are ``()``, ``[]`` and ``{}``, nested at will. A number is a decimal such as ``2``,
``0.5``, ``.15`` or ``1e-05``; subscript digits count as digits. Separators are the dots
``· ∙ • ⋅ ‧ ・ *``.

A full stop is a separator instead of a decimal point where

* it stands before a symbol or bracket (``CuCO3.Cu(OH)2``),
* it comes first of two in one run of digits (``CaSO4.0.5H2O``), or
* it stands behind a symbol, bracket or whole number, and 1 to 24 molecules of water or ammonia
  follow and end the part (``CuSO4.5H2O``, ``NiCl2.6NH3``).

Everywhere else it is a decimal point (``Ag0.5Ge``, ``La1.85Sr.15CuO4``, ``Na0.5H2O``). Spaces may
stand between units and on both sides of a number; where they leave open what a number belongs to
(``NaCl 2H2O``) the formula is refused.
"""

from __future__ import annotations

import re

from featurizers.elements import Z_OF
from irnet_core.errors import FormulaError

MAX_LENGTH = 1000
"""Longest text, in characters, that is taken for a formula."""
MAX_ELEMENTS = 32
"""Most elements in one formula."""
MAX_AMOUNT = 1e6
"""Largest amount of one element."""
MIN_AMOUNT = 1e-8
"""Smaller amounts count as zero, as in pymatgen."""

_TRANSLATION = str.maketrans(
    {
        **{chr(0x2080 + digit): str(digit) for digit in range(10)},  # subscript digits
        **dict.fromkeys("∙•⋅‧・*", "·"),
    }
)
_MOLECULE = r"(?:H2O|OH2|NH3|[(\[{](?:H2O|OH2|NH3)[)\]}])"
_SEPARATING_STOPS = (  # each leaves what stands before the stop in group 1
    re.compile(r"([\dA-Za-z)\]}])\.(?=\d*\.\d)"),
    re.compile(
        r"([A-Za-z)\]}]\s*(?:[1-9]\d*\s*)?)"
        rf"\.(?=\s*(?:[1-9]|1\d|2[0-4]){_MOLECULE}\s*(?:$|[.·)\]}}]))"
    ),
    re.compile(r"(.)\.(?=\s*[A-Z(\[{])"),
)
_TOKEN = re.compile(
    r"(?P<symbol>[A-Z][a-z]*)"
    r"|(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?)"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<separator>·)|(?P<space>[ \t\u00a0]+)"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def read_formula(text: object) -> dict[str, float]:
    """Amounts of the elements in one formula.

    Parameters
    ----------
    text : object
        The formula; anything but a string is refused.

    Returns
    -------
    dict of str to float
        Amount of each element as given, repeats summed, zeros dropped.

    Raises
    ------
    FormulaError
        The text is no formula; the message is only the reason, e.g. ``unknown element 'Xx'``.

    Examples
    --------
    >>> read_formula("Ca(OH)2")
    {'Ca': 1.0, 'O': 2.0, 'H': 2.0}
    """
    if not isinstance(text, str):
        raise FormulaError("no formula given" if text is None else f"{text!r:.40} is not text")
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"longer than {MAX_LENGTH} characters")
    text = text.translate(_TRANSLATION).strip()
    if not text:
        raise FormulaError("no formula given")
    for pattern in _SEPARATING_STOPS:
        text = pattern.sub(r"\1·", text)
    amounts = {s: a for s, a in _Reader().read(text).items() if a >= MIN_AMOUNT}
    if not amounts:
        raise FormulaError("no element has an amount above zero")
    if len(amounts) > MAX_ELEMENTS:
        raise FormulaError(f"more than {MAX_ELEMENTS} elements")
    for symbol, amount in amounts.items():
        if not amount <= MAX_AMOUNT:
            raise FormulaError(f"the amount of {symbol} exceeds {MAX_AMOUNT:g}")
    return amounts


class _Part:
    """Units read so far since the last bracket or separator, and the number before them."""

    def __init__(self) -> None:
        self.factor: float | None = None
        self.amounts: dict[str, float] = {}
        self.unit: dict[str, float] | None = None  # last unit, whose number may still come

    def add_unit(self, unit: dict[str, float]) -> None:
        self.end_unit(1.0)
        self.unit = unit

    def end_unit(self, number: float) -> None:
        _add(self.amounts, self.unit or {}, number)
        self.unit = None

    def take_number(self, number: float) -> None:
        if self.unit is not None:
            self.end_unit(number)
        elif self.amounts or self.factor is not None:
            raise FormulaError("two numbers in a row")
        else:
            self.factor = number

    def end_into(self, group: dict[str, float]) -> None:
        self.end_unit(1.0)
        if not self.amounts:
            raise FormulaError("no element between brackets or dots, or beside a number")
        _add(group, self.amounts, 1.0 if self.factor is None else self.factor)


class _Reader:
    """Stack machine over the tokens of one formula."""

    def read(self, text: str) -> dict[str, float]:
        group: dict[str, float] = {}
        part = _Part()
        stack: list[tuple[str, dict[str, float], _Part]] = []  # what goes on behind each bracket
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                if text[position] == ".":
                    raise FormulaError("a full stop without digits behind it")
                raise FormulaError(f"unexpected character {text[position]!r}")
            token = match.group()
            if match.lastgroup == "symbol":
                if token not in Z_OF:
                    raise FormulaError(f"unknown element {token[:20]!r}")
                part.add_unit({token: 1.0})
            elif match.lastgroup == "number":
                glued = text[match.end() : match.end() + 1].strip()
                if part.unit is not None and text[position - 1].isspace() and glued:
                    raise FormulaError(f"unclear what the number {token} after a space belongs to")
                part.take_number(float(token))
            elif match.lastgroup == "open":
                part.end_unit(1.0)
                stack.append((_CLOSING[token], group, part))
                group, part = {}, _Part()
            elif match.lastgroup == "close":
                part.end_into(group)
                if not stack or stack[-1][0] != token:
                    raise FormulaError(f"unbalanced bracket {token!r}")
                unit = group
                _, group, part = stack.pop()
                part.add_unit(unit)
            elif match.lastgroup == "separator":
                part.end_into(group)
                part = _Part()
            position = match.end()
        if stack:
            raise FormulaError(f"a bracket lacks its {stack[-1][0]!r}")
        part.end_into(group)
        return group


def _add(target: dict[str, float], amounts: dict[str, float], factor: float) -> None:
    for symbol, amount in amounts.items():
        target[symbol] = target.get(symbol, 0.0) + amount * factor
