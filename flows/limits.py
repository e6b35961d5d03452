"""What a screen covers: family, elements, atoms, rules; checked before any work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featurizers.elements import SYMBOLS, TABLE_SHA256, Z_OF, has_magpie_data
from featurizers.formula import parse_formulas
from infra.snapshots.snapshot import DATA
from infra.store import Artifact
from irnet_core.errors import ScreenError
from irnet_core.schema import COMPOSITION
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.engine import RULE_SETS
from irnet_core.screening.rules import RULES

FAMILIES = {"binaries": 2, "ternaries": 3, "quaternaries": 4}


@dataclass(frozen=True)
class Limits:
    """What is screened, as the manifest records it."""

    family: str
    elements: tuple[int, ...]
    max_atoms: int
    rules: str
    top: int
    descending: bool

    @property
    def candidates(self) -> Enumeration:
        """All candidates, in their order."""
        return Enumeration(self.elements, FAMILIES[self.family], self.max_atoms)

    def parameters(self) -> dict[str, Any]:
        """For people and for the request digest."""
        return asdict(self) | {
            "elements": [SYMBOLS[z] for z in self.elements],
            "rules": {name: RULES[name] for name in RULE_SETS[self.rules]},
            "element_table": TABLE_SHA256,
        }


def limits_of(
    known: Artifact | None,
    family: str,
    elements: list[str] | None,
    exclude: list[str] | None,
    max_atoms: int,
    rules: str,
    top: int,
    descending: bool,
) -> Limits:
    """Check what the user asked for; by default the elements are those of the known compounds.

    Raises
    ------
    ScreenError
        Naming the element or limit that cannot be used.
    """
    if family not in FAMILIES:
        raise ScreenError(f"there is no family {family!r}: choose among {', '.join(FAMILIES)}")
    if rules not in RULE_SETS:
        raise ScreenError(f"there are no rules {rules!r}: choose among {', '.join(RULE_SETS)}")
    if top < 1:
        raise ScreenError(f"--top is {top}: keep at least 1 candidate")
    for symbol in (*(elements or ()), *(exclude or ())):
        if symbol not in Z_OF:
            raise ScreenError(f"there is no element {symbol!r}: write symbols such as Li,Fe,O")
        if not has_magpie_data(Z_OF[symbol]):
            raise ScreenError(f"there is no Magpie data for element {symbol!r}: leave it out")
    both = set(elements or ()) & set(exclude or ())
    if both:
        raise ScreenError(f"{', '.join(sorted(both))} is in --elements and in --exclude")
    if elements is not None:
        chosen = {Z_OF[symbol] for symbol in elements}
    elif known is not None:
        chosen = _elements_of(known)
    else:
        raise ScreenError("name --elements: there is no snapshot to take them from")
    chosen -= {Z_OF[symbol] for symbol in exclude or ()}
    limits = Limits(family, tuple(sorted(chosen)), max_atoms, rules, top, descending)
    if not len(limits.candidates):
        raise ScreenError("these limits leave no candidate: allow more elements or atoms")
    return limits


def compositions_of(known: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Distinct compositions of a snapshot: atomic numbers and whole amounts, both (n, k)."""
    formulas = known.read_table(DATA, [COMPOSITION.name]).column(COMPOSITION.name)
    parsed = parse_formulas(formulas.unique().to_pylist())
    return parsed.numbers, parsed.amounts.astype(np.int64)  # canonical amounts are whole


def _elements_of(known: Artifact) -> set[int]:
    """Elements of a snapshot that have data, but for the noble gases, which bond to nothing."""
    noble = {Z_OF[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")}
    present = set(np.unique(compositions_of(known)[0]).tolist()) - {0} - noble
    return {z for z in present if has_magpie_data(z)}
