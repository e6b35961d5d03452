"""OQMD's filters, as its server reads them: by replacing text first, then by OPTIMADE's grammar."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from featurizers.elements import Z_OF

Row = dict[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<word>AND\b|OR\b|NOT\b|HAS\b)|(?P<paren>[()])|(?P<name>[a-z_][a-z_0-9]*)"
    r'|(?P<op><=|>=|!=|<|>|=)|(?P<number>[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)|"(?P<text>[^"]*)"'
    r"|(?P<bare>[A-Z][A-Za-z0-9/_-]*))"
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


class FilterError(Exception):
    """The server answers 400."""


def expand(text: str) -> str:
    """What the server makes of ``element_set=(Fe-Mn),O``, with its fault.

    A set is replaced wherever its text stands, also at the beginning of a longer one.
    """
    for part in re.findall(r"element_set=\S*", text):
        inside = re.sub(r"([A-Z][a-z]?)", r' element="\1" ', part.removeprefix("element_set="))
        inside = inside.replace(",", " AND ").replace("-", " OR ")
        text = text.replace(part, f"( {inside} )")
    return text


def predicate(text: str, keys: dict[str, str]) -> Test:
    """A test of rows; ``keys`` are the row's keys by the names that can be filtered.

    As in Django, a comparison with null is false, and its negation true.
    """
    parser = _Parser(expand(text.replace("stability=0", "stability<=0")), keys)
    test = parser.either()
    if parser.tokens:
        raise FilterError(text)
    return test


class _Parser:
    def __init__(self, text: str, keys: dict[str, str]) -> None:
        self.keys = keys
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise FilterError(text)
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    def take(self, kind: str, value: str | None = None) -> str:
        if not self.tokens or self.tokens[0][0] != kind or value not in (None, self.tokens[0][1]):
            raise FilterError(f"expected {value or kind}")
        return self.tokens.pop(0)[1]

    def next_is(self, *token: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == token

    def either(self) -> Test:
        tests = [self.both()]
        while self.next_is("word", "OR"):
            self.take("word")
            tests.append(self.both())
        return lambda row: any(test(row) for test in tests)

    def both(self) -> Test:
        tests = [self.one()]
        while self.next_is("word", "AND"):
            self.take("word")
            tests.append(self.one())
        return lambda row: all(test(row) for test in tests)

    def one(self) -> Test:
        if self.next_is("word", "NOT"):
            self.take("word")
            test = self.one()
            return lambda row: not test(row)
        if self.next_is("paren", "("):
            self.take("paren")
            test = self.either()
            self.take("paren", ")")
            return test
        return self.comparison()

    def comparison(self) -> Test:
        name = self.take("name")
        if name in ("element", "elements"):
            self.take(*(("op", "=") if name == "element" else ("word", "HAS")))
            symbol = self.take("text")
            if symbol not in Z_OF:
                raise FilterError(f"Unknown element name queried: {symbol}")
            # the server looks for "S_" in "Cs_O_", and finds it
            return lambda row: f"{symbol}_" in row["element_list"]
        if name not in self.keys:
            raise FilterError(f"Cannot resolve the property name {name}")
        key, compare = self.keys[name], _OPERATORS[self.take("op")]
        kind = self.tokens[0][0] if self.tokens else ""
        if kind not in ("number", "text", "bare"):
            raise FilterError(name)
        text = self.take(kind)
        value = float(text) if kind == "number" else text
        return lambda row: row[key] is not None and compare(row[key], value)
