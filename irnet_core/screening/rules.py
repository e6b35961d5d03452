"""Named sets of rules that tell which compositions could be compounds, and their verdicts.

The charge rules are SMACT's (Davies et al., Chem 2016, doi:10.1016/j.chempr.2016.09.010; SMACT,
doi:10.21105/joss.01361): give each element one oxidation state so that the charges cancel and,
if electronegativities count, every cation is less electronegative than every anion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import ScreenError
from irnet_core.screening.candidates import MAX_ATOMIC_NUMBER
from irnet_core.screening.charges import find_mixed, find_neutral
from irnet_core.screening.element_limits import ElementFacts, ElementLimits
from irnet_core.screening.ions import MAX_STATE, ElementRules
from irnet_core.screening.listed import MAX_ELEMENTS
from irnet_core.screening.sites import Mixed, Sites, element_sites, mixed_sites

__all__ = [
    "MAX_STATE",
    "RULES",
    "SETS",
    "ElementRules",
    "Rules",
    "Verdicts",
]

RULES = {
    "charge_neutrality": (
        "One oxidation state per element can be chosen so that the charges of all atoms cancel."
    ),
    "electronegativity": (
        "In the same choice every cation has a lower Pauling electronegativity than every anion."
    ),
    "mixed_valence": (
        "Or the same holds if each atom of the elements on SMACT's list of mixed valence chooses a"
        " state of its own."
    ),
    "intermetallic": "Or all elements are metals, whatever their charges.",
}
"""Names of the rules, as manifests record them, and what each demands."""

SETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "neutral": ("charge_neutrality",),
    "strict": ("charge_neutrality", "electronegativity"),
    "smact": ("charge_neutrality", "electronegativity", "intermetallic"),
    "permissive": ("charge_neutrality", "electronegativity", "mixed_valence", "intermetallic"),
    "intermetallic": ("intermetallic",),
}
"""Rule sets by name; ``"smact"`` is ``smact_validity`` as it is by default."""

NONE, NEUTRAL, MIXED_VALENCE, INTERMETALLIC = range(4)
"""Codes of the branches: by which of its alternatives a candidate passed, named by
:data:`irnet_core.schema.RULE_BRANCHES`."""


class Verdicts(NamedTuple):
    """What the rules say of each candidate.

    Attributes
    ----------
    passes : numpy.ndarray of bool, shape (n,)
    states : numpy.ndarray of int8, shape (n, k)
        Oxidation states of the branches neutral and mixed valence, else zeros.
    second_states : numpy.ndarray of int8, shape (n, k)
        Equal to `states`, but for elements of mixed valence: of the states of their atoms `states`
        has the lowest and this the highest.
    branch : numpy.ndarray of uint8, shape (n,)
        Places in :data:`irnet_core.schema.RULE_BRANCHES`; 0 where the candidate fails, or where
        there are no charge rules.
    survivors : dict of str to int
        Candidates left after each rule, in the order of the rules; the last is their set's name.
    """

    passes: NDArray[np.bool_]
    states: NDArray[np.int8]
    second_states: NDArray[np.int8]
    branch: NDArray[np.uint8]
    survivors: dict[str, int]


@dataclass(frozen=True)
class Rules:
    """A rule set together with limits on elements and price.

    Parameters
    ----------
    name : str
        One of :data:`SETS`.
    data : ElementRules
        Oxidation states, electronegativities, metals and elements of mixed valence.
    facts : ElementFacts, optional
        Needed if limits are set on price, abundance or toxicity.
    limits : ElementLimits
        None by default.

    Raises
    ------
    ScreenError
        If there is no set of that name, or the limits contradict each other.

    Examples
    --------
    >>> data = ElementRules.from_lists({3: [1], 8: [-2]}, {3: 0.98, 8: 3.44})
    >>> rules = Rules("strict", data)
    >>> oxides = np.array([[3, 8], [3, 8]], np.uint8), np.array([[2, 1], [1, 1]], np.uint8)
    >>> verdicts = rules.apply(*oxides)
    >>> verdicts.passes.tolist(), verdicts.states.tolist(), verdicts.survivors
    ([True, False], [[1, -2], [0, 0]], {'strict': 1})
    """

    name: str
    data: ElementRules
    facts: ElementFacts | None = None
    limits: ElementLimits = field(default_factory=ElementLimits)

    def __post_init__(self) -> None:
        if self.name not in SETS:
            raise ScreenError(f"there are no rules {self.name!r}: choose among {', '.join(SETS)}")
        limited = self.limits.describe()
        if self.facts is None and {"max_price", "min_abundance", "no_toxic"} & limited.keys():
            raise ScreenError("limits on price, abundance or toxicity need a table of the elements")
        self.limits.allowed(self._facts)

    def apply(
        self,
        numbers: NDArray[np.uint8],
        amounts: NDArray[np.uint8],
        with_states: bool = True,
    ) -> Verdicts:
        """Verdicts on candidates.

        An element alone is neutral and passes every set of charge rules, as in SMACT.

        Parameters
        ----------
        numbers, amounts : numpy.ndarray of uint8, shape (n, k)
            Atomic numbers, ascending, zeros at the end for padding, ``k <= 8``; atoms of each.
        with_states : bool
            Whether states are wanted; zeros otherwise, which is faster: ask for them again for the
            few candidates that are kept.

        Returns
        -------
        Verdicts

        Raises
        ------
        ScreenError
            If the arrays are not two uint8 tables of one shape.
        """
        _check(numbers, amounts)
        passes = np.ones(len(numbers), np.bool_)
        survivors: dict[str, int] = {}
        for name, mask in self.limits.masks(numbers, amounts, self._facts).items():
            passes &= mask
            survivors[name] = int(passes.sum())
        branch = np.zeros(len(numbers), np.uint8)
        states, second = np.zeros((2, *numbers.shape), np.int8)
        if rules := SETS[self.name]:
            rows = slice(None) if passes.all() else np.flatnonzero(passes)
            branch[rows], states[rows], second[rows] = self._charges(
                numbers[rows], amounts[rows], rules, with_states
            )
            passes = branch > 0
        survivors[self.name] = int(passes.sum())
        return Verdicts(passes, states, second, branch, survivors)

    @property
    def charged(self) -> bool:
        """Whether verdicts come with oxidation states."""
        return bool(SETS[self.name]) and SETS[self.name] != ("intermetallic",)

    def describe(self) -> dict[str, Any]:
        """What manifests record: name, meaning of each rule, limits, digest of the tables."""
        return {
            "rules": self.name,
            "meaning": {rule: RULES[rule] for rule in SETS[self.name]},
            "limits": self.limits.describe(),
            "elements_sha256": self.data.digest(),
        } | ({} if self.facts is None else {"facts_sha256": self.facts.digest()})

    @cached_property
    def _sites(self) -> Sites:
        return element_sites(self.data)

    @cached_property
    def _mixed(self) -> Mixed:
        return mixed_sites(self.data)

    @property
    def _facts(self) -> ElementFacts:
        return self.facts if self.facts is not None else ElementFacts.unknown()

    def _charges(
        self,
        numbers: NDArray[np.uint8],
        amounts: NDArray[np.uint8],
        rules: tuple[str, ...],
        with_states: bool,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int8]]:
        """Branch, states and second states of candidates within the limits."""
        branch = np.zeros(len(numbers), np.uint8)
        states, second = np.zeros((2, *numbers.shape), np.int8)
        order = "electronegativity" in rules
        if "charge_neutrality" in rules:
            found = find_neutral(numbers, amounts, self._sites, order, with_states)
            branch[found.passes] = NEUTRAL
            states, second = found.states, found.second
        if numbers.shape[1]:  # an element alone
            branch[(numbers[:, 0] > 0) & ~numbers[:, 1:].any(axis=1)] = NEUTRAL
        if "mixed_valence" in rules:
            rows = np.flatnonzero(branch == NONE)
            found = find_mixed(numbers[rows], amounts[rows], self._mixed, with_states)
            branch[rows[found.passes]] = MIXED_VALENCE
            states, second = states.copy(), states.copy()
            states[rows], second[rows] = found.states, found.second
        if "intermetallic" in rules:
            metal = self.data.metal.copy()
            metal[0] = True
            branch[metal[numbers].all(axis=1) & (branch == NONE)] = INTERMETALLIC
        return branch, states, second


def _check(numbers: NDArray[np.uint8], amounts: NDArray[np.uint8]) -> None:
    if numbers.dtype != np.uint8 or amounts.dtype != np.uint8:
        raise ScreenError(
            f"numbers and amounts are {numbers.dtype} and {amounts.dtype}; give uint8 arrays"
        )
    fits = numbers.ndim == 2 and 1 <= numbers.shape[1] <= MAX_ELEMENTS
    if numbers.shape != amounts.shape or not fits:
        raise ScreenError(
            f"numbers {numbers.shape} and amounts {amounts.shape} should have one shape with"
            f" 1 to {MAX_ELEMENTS} columns"
        )
    if numbers.size and numbers.max() > MAX_ATOMIC_NUMBER:
        raise ScreenError(f"atomic number {numbers.max()} exceeds {MAX_ATOMIC_NUMBER}")
