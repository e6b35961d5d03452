"""Rules of splitting as the short texts that a user writes, such as ``element:Fe``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from irnet_core.errors import DataError
from irnet_core.split_rules import (
    ALL,
    Cluster,
    Element,
    Folds,
    Given,
    Random,
    Rule,
    SplitRows,
    System,
    Time,
)
from irnet_core.splits import Split


@dataclass(frozen=True)
class _Kind:
    pattern: re.Pattern[str]
    example: str
    make: Callable[..., Rule] = field(repr=False)


_KINDS = {
    "given": _Kind(re.compile("(.+)"), "given:split", lambda seed, c: Given(c)),
    "random": _Kind(
        re.compile(r"(0?\.\d+|\d(?:\.\d+)?e-\d+)"),
        "random:0.1",
        lambda seed, s: Random(float(s), seed),
    ),
    "folds": _Kind(
        re.compile(r"([^/]+)(?:/(.+))?"), "folds:fold", lambda seed, c, w: Folds(c, w or ALL)
    ),
    "element": _Kind(re.compile(r"([A-Z][a-z]?|\*)"), "element:Fe", lambda seed, w: Element(w)),
    "system": _Kind(
        re.compile(r"([A-Z][a-z]?(?:-[A-Z][a-z]?)*|\*)"),
        "system:Fe-O",
        lambda seed, w: System(w),
    ),
    "cluster": _Kind(
        re.compile(r"([1-9]\d{0,3})(?:/(\d+|\*))?"),
        "cluster:10/3",
        lambda seed, k, w: Cluster(int(k), w or ALL, seed),
    ),
    "time": _Kind(
        re.compile(r"([^<]+)<(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"),
        "time:year<2010",
        lambda seed, c, t: Time(c, float(t)),
    ),
}


def parse_split(text: str | None, seed: int = 0) -> Rule:
    """Rule that a text describes.

    Parameters
    ----------
    text : str, optional
        ``kind:choice``; a text without a colon names a column of roles, and none is a random tenth.
    seed : int
        For what is drawn.

    Raises
    ------
    DataError
        If there is no such rule.

    Examples
    --------
    >>> parse_split("time:year<2010"), parse_split("split")
    (Time(column='year', before=2010.0), Given(column='split'))
    """
    if text is None:
        return Random(seed=seed)
    kind, colon, choice = text.partition(":")
    if not colon:
        return Given(text)
    match = _KINDS[kind].pattern.fullmatch(choice) if kind in _KINDS else None
    if match is None:
        examples = ", ".join(known.example for known in _KINDS.values())
        raise DataError(f"{text!r} is no split: write one like {examples}")
    return _KINDS[kind].make(seed, *match.groups())


def only_pair(rule: Rule, rows: SplitRows) -> Split:
    """The one pair of a rule that has no second.

    Raises
    ------
    DataError
        If it has several.
    """
    found = rule.pairs(rows)
    name, split = next(found)
    if (second := next(found, None)) is not None:
        example = _KINDS[rule.kind].example
        raise DataError(
            f"one split is needed, and this one is several ({name}, {second[0]}, ...): "
            f"name one as in {example if rule.kind != 'folds' else f'{example}/{name}'}",
            source=rows.source,
        )
    return split
