"""What a screen covers: family, elements, atoms, rules; checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np

from featurizers.elements import SYMBOLS, TABLE_SHA256, Z_OF, has_magpie_data
from featurizers.formula import parse_formulas
from featurizers.screening_elements import (
    States,
    default_elements,
    element_facts,
    rules_data,
    similar_elements,
    table_digests,
)
from infra.artifact import DATA, Artifact
from infra.store import Store
from irnet_core.errors import ScreenError
from irnet_core.schema import COMPOSITION
from irnet_core.screening.candidates import Enumeration, Family
from irnet_core.screening.element_limits import ElementLimits
from irnet_core.screening.listed import MAX_AMOUNT, MAX_ELEMENTS, Listed, fits_row
from irnet_core.screening.rules import Rules
from irnet_core.screening.substitutions import MAX_ELEMENTS as MAX_SUBSTITUTED
from irnet_core.screening.substitutions import Substitutions

ENUMERATED = {"binaries": 2, "ternaries": 3, "quaternaries": 4}
SUBSTITUTIONS, LIST = "substitutions", "list"
FAMILIES = (*ENUMERATED, SUBSTITUTIONS, LIST)
_SCREENED = (
    f"smallest whole amounts go to {MAX_AMOUNT}, elements of a list to {MAX_ELEMENTS} and of known "
    f"compounds to {MAX_SUBSTITUTED}"
)


@dataclass(frozen=True)
class Limits:
    """What is screened, as the manifest records it.

    Attributes
    ----------
    family : str
        One of :data:`FAMILIES`.
    elements : tuple of int
        Atomic numbers that candidates are made of.
    max_atoms : int
        Most atoms in a reduced formula, of an enumeration.
    base : str or None
        Id of the snapshot that substitutions start from, or that lists the candidates.
    rules, states : str
        Rule set, and the table of oxidation states that it uses.
    limits : ElementLimits
    """

    family: str
    elements: tuple[int, ...]
    max_atoms: int
    base: str | None
    rules: str
    states: str
    limits: ElementLimits

    def candidates(self, store: Store) -> Family:
        """All candidates, in their order."""
        if self.family in ENUMERATED:
            return Enumeration(self.elements, ENUMERATED[self.family], self.max_atoms)
        return _of_snapshot(self.family, store.root, str(self.base), self.elements)

    def left_out(self, store: Store) -> str:
        """What is said of compositions of a list, or of known ones, that cannot be screened."""
        family = self.candidates(store)
        skipped = family.n_skipped if isinstance(family, Listed | Substitutions) else 0
        if not skipped:
            return ""
        what = "of the list" if self.family == LIST else "to replace elements in"
        return f"{skipped:,} compositions {what} are left out: {_SCREENED}"

    def chosen_rules(self) -> Rules:
        """The rules with their tables."""
        return Rules(
            self.rules, rules_data(cast(States, self.states)), element_facts(), self.limits
        )

    def parameters(self) -> dict[str, Any]:
        """For people and for the request digest."""
        return {
            "family": self.family,
            "elements": [SYMBOLS[z] for z in self.elements],
            "max_atoms": self.max_atoms if self.family in ENUMERATED else None,
            "rules": self.chosen_rules().describe() | {"states": self.states},
            "element_tables": table_digests() | {"element_table.csv": TABLE_SHA256},
        }

    def describe(self) -> str:
        """In a few words, for the log."""
        size = f" up to {self.max_atoms} atoms" if self.family in ENUMERATED else ""
        what = {LIST: "compositions of a list,"}.get(self.family, self.family)
        return f"{what} of {len(self.elements)} elements{size}, rules: {self.rules}"


def limits_of(
    family: str,
    *,
    elements: list[str] | None,
    exclude: list[str] | None,
    contains: list[str] | None,
    max_atoms: int,
    base: Artifact | None,
    rules: str,
    states: str,
    max_price: float | None,
    min_abundance: float | None,
    no_toxic: bool,
) -> Limits:
    """Check what the user asked for; the parameters are those of the flow ``screen``.

    By default the elements are all with Magpie data but the radioactive ones and the noble gases.

    Raises
    ------
    ScreenError
        Naming the element or limit that cannot be used.
    """
    if family not in FAMILIES:
        raise ScreenError(f"there is no family {family!r}: choose among {', '.join(FAMILIES)}")
    if (base is None) != (family in ENUMERATED):
        raise ScreenError(
            f"{family} need --from, a snapshot or a table of compositions: name one"
            if base is None
            else f"{family} are generated from elements: leave out --from"
        )
    for symbol in (*(elements or ()), *(exclude or ()), *(contains or ())):
        if symbol not in Z_OF:
            raise ScreenError(f"there is no element {symbol!r}: write symbols such as Li,Fe,O")
        if not has_magpie_data(Z_OF[symbol]):
            raise ScreenError(f"there is no Magpie data for element {symbol!r}: leave it out")
    for one, other, names in (
        (elements, exclude, ("--elements", "--exclude")),
        (contains, exclude, ("--contains", "--exclude")),
    ):
        if both := set(one or ()) & set(other or ()):
            raise ScreenError(f"{', '.join(sorted(both))} is in {names[0]} and in {names[1]}")
    if elements is not None and (outside := set(contains or ()) - set(elements)):
        raise ScreenError(f"{', '.join(sorted(outside))} is in --contains and not in --elements")
    numbers = {Z_OF[symbol] for symbol in elements} if elements is not None else default_elements()
    left_out = {Z_OF[symbol] for symbol in exclude or ()}
    needed = tuple(sorted(Z_OF[symbol] for symbol in contains or ()))
    chosen = set(numbers) | (set(needed) if elements is None else set())
    limits = ElementLimits(
        # an enumeration has no other elements
        include=None if family in ENUMERATED else tuple(sorted(chosen - left_out)),
        must_contain=needed,
        max_price=max_price,
        min_abundance=min_abundance,
        no_toxic=no_toxic,
    )
    # an element that no candidate may have need not be enumerated
    allowed = limits.allowed(element_facts())
    kept = tuple(sorted(z for z in chosen - left_out if allowed[z]))
    if not kept:
        raise ScreenError("these limits leave no element: allow more elements")
    made = Limits(
        family=family,
        elements=kept,
        max_atoms=max_atoms,
        base=None if base is None else base.id,
        rules=rules,
        states=states,
        limits=limits,
    )
    made.chosen_rules()
    if family in ENUMERATED:
        Enumeration(kept, ENUMERATED[family], max_atoms)
    return made


@lru_cache(maxsize=1)
def _of_snapshot(family: str, store: str, base: str, elements: tuple[int, ...]) -> Family:
    """Candidates made from the compositions of a snapshot."""
    numbers, amounts = compositions_of(Store(store).open(base, "snapshots"))
    if family == LIST:
        usable = fits_row(numbers, amounts)
        if not usable.any():
            raise ScreenError(
                f"none of the {len(usable)} compositions can be screened: {_SCREENED}; correct the "
                "list"
            )
        return Listed(numbers[usable], amounts[usable], int((~usable).sum()))
    return Substitutions(numbers, amounts, similar_elements(), elements)


def compositions_of(known: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Distinct compositions of a snapshot: atomic numbers and whole amounts, both (n, k)."""
    formulas = known.read_table(DATA, [COMPOSITION.name]).column(COMPOSITION.name)
    parsed = parse_formulas(formulas.unique().to_pylist())
    return parsed.numbers, parsed.amounts.astype(np.int64)  # canonical amounts are whole
