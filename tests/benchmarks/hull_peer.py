"""pymatgen's phase diagrams as a user would have them: one for each chemical system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, combinations

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from featurizers.elements import SYMBOLS

System = tuple[int, ...]


class Peer:
    """Known phases as pymatgen's entries, by chemical system; elements without one are at 0."""

    def __init__(
        self,
        numbers: np.ndarray,
        amounts: np.ndarray,
        energies: np.ndarray,
        systems: Iterable[System] | None = None,
    ) -> None:
        wanted = None if systems is None else {s for one in systems for s in subsets(one)}
        self.entries: dict[System, list[PDEntry]] = defaultdict(list)
        for number, amount, energy in zip(
            numbers.tolist(), amounts.tolist(), energies.tolist(), strict=True
        ):
            system = tuple(sorted(z for z in number if z))
            if wanted is None or system in wanted:
                self.entries[system].append(entry(number, amount, energy))

    def diagram(self, system: System, without: PDEntry | None = None) -> PhaseDiagram:
        """Phase diagram of a chemical system, all its subsystems included."""
        known = chain.from_iterable(self.entries.get(s, ()) for s in subsets(system))
        entries = [e for e in known if e is not without]
        missing = [PDEntry(SYMBOLS[z], 0.0) for z in system if (z,) not in self.entries]
        return PhaseDiagram(entries + missing)


def entry(number: Iterable[int], amount: Iterable[float], energy: float) -> PDEntry:
    """One phase with its energy per atom."""
    composition = Composition(
        {SYMBOLS[z]: a for z, a in zip(number, amount, strict=True) if z and a}
    )
    return PDEntry(composition, energy * composition.num_atoms)


def distance(diagram: PhaseDiagram, candidate: PDEntry) -> float:
    """Distance of a candidate from the hull in eV/atom, negative below it."""
    _, above = diagram.get_decomp_and_e_above_hull(
        candidate, allow_negative=True, check_stable=False
    )
    return float(above)


def system_of(number: np.ndarray) -> System:
    """Ascending atomic numbers without the empty slots."""
    return tuple(sorted(z for z in number.tolist() if z))


def subsets(system: System) -> list[System]:
    """All chemical systems of some of the elements, in pymatgen's users' way."""
    sizes = range(1, len(system) + 1)
    return list(chain.from_iterable(combinations(system, size) for size in sizes))
