"""Elements of canonical compositions, as DuckDB sees them, and the elements that are usual."""

from __future__ import annotations

from featurizers.elements import SYMBOLS
from infra import duck
from irnet_core.schema import COMPOSITION

_UNUSUAL = {"He", "Ne", "Ar", "Po", "At", "Rn", "Fr", "Ra"}

USUAL = tuple(symbol for symbol in SYMBOLS[1:95] if symbol not in _UNUSUAL)
"""The 86 elements that the networks of Jha et al. are trained on, hydrogen to plutonium without
those of which databases hold next to no compounds (doi:10.1038/s41598-018-35934-y)."""

OF_ROW = f"regexp_extract_all({duck.name(COMPOSITION.name)}, '[A-Z][a-z]?')"
"""SQL for the list of elements of a row, each once, in alphabetical order."""


def within(symbols: tuple[str, ...]) -> str:
    """SQL for whether all elements of a row are among some."""
    return f"list_has_all([{', '.join(map(duck.text, symbols))}], {OF_ROW})"
