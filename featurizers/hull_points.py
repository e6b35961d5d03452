"""Which known phases each chemical system's hull is made of, as points for its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featurizers.elements import SYMBOLS
from irnet_core.errors import ScreenError
from irnet_core.screening.phases import Phases, system_keys

ON_PLANE = 1e-10  # eV/atom; phases less stable than this lie on the elements' plane or above it


@dataclass(frozen=True, eq=False)
class Points:
    """Points of s hulls of c elements each, one system after the other.

    Attributes
    ----------
    offsets : numpy.ndarray of int64, shape (s + 1,)
        Points of system i are those from ``offsets[i]`` to ``offsets[i + 1] - 1``, the first c
        of them its elements in order.
    phases : numpy.ndarray of int64, shape (n,)
        Positions in the phases.
    fractions : numpy.ndarray of float64, shape (n, c)
        Atomic fractions of the system's elements.
    energies : numpy.ndarray of float64, shape (n,)
        Relative to the elements', divided by `scales`: 0 for the elements, from -1 to 0 for others.
    elements : numpy.ndarray of float64, shape (s, c)
        Energies of the elements in eV/atom.
    scales : numpy.ndarray of float64, shape (s,)
        In eV/atom.
    """

    offsets: NDArray[np.int64]
    phases: NDArray[np.int64]
    fractions: NDArray[np.float64]
    energies: NDArray[np.float64]
    elements: NDArray[np.float64]
    scales: NDArray[np.float64]


def hull_points(
    phases: Phases, systems: NDArray[np.uint8], without: NDArray[np.int64] | None = None
) -> Points:
    """The phases of all subsets of each system's elements that can be vertices of its hull.

    Phases on or above the plane through the elements are left out.

    Parameters
    ----------
    phases : Phases
    systems : numpy.ndarray of uint8, shape (s, c)
        Atomic numbers, ascending in each row, without empty slots.
    without : numpy.ndarray of int64, shape (s,), optional
        A phase to leave out of each system, -1 for none.

    Returns
    -------
    Points

    Raises
    ------
    ScreenError
        If an element has no phase.
    """
    n_systems, arity = systems.shape
    system, member = _members(phases, systems)
    if without is not None:
        kept = member != without[system]
        system, member = system[kept], member[kept]
    single = np.searchsorted(phases.keys, systems.astype(np.int64))  # (s, c)
    single = np.minimum(single, len(phases) - 1)
    missing = phases.keys[single] != systems if len(phases) else np.ones(systems.shape, bool)
    if without is not None:
        missing |= single == without[:, None]
    if missing.any():
        symbols = [SYMBOLS[z] for z in np.unique(systems[missing])]
        raise ScreenError(
            f"no phase of the elements {', '.join(symbols)} is known; add them, or let missing"
            " elements count as references at 0 eV/atom"
        )
    elements = phases.energies[single]
    fractions = np.zeros((len(member), arity))
    for number, fraction in zip(phases.numbers.T, phases.fractions.T, strict=True):
        for j in range(arity):
            match = number[member] == systems[system, j]
            fractions[match, j] = fraction[member[match]]
    energies = phases.energies[member] - (fractions * elements[system]).sum(1)
    alone = phases.keys[member] <= 127  # a single atomic number
    kept = alone | (energies < -ON_PLANE)
    system, member, fractions = system[kept], member[kept], fractions[kept]
    energies = np.where(alone, 0.0, energies)[kept]
    counts = np.bincount(system, minlength=n_systems)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    scales = -np.minimum.reduceat(energies, offsets[:-1]) if n_systems else np.zeros(0)
    scales = np.where(scales > 0, scales, 1.0)
    return Points(offsets, member, fractions, energies / scales[system], elements, scales)


def _members(
    phases: Phases, systems: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a system and a phase of some subset of its elements, by system, elements first."""
    n_systems, arity = systems.shape
    subsets = [c for size in range(1, arity + 1) for c in combinations(range(arity), size)]
    keys = np.stack([system_keys(systems[:, list(subset)]) for subset in subsets], axis=1)
    first = np.searchsorted(phases.keys, keys)  # (s, subsets)
    count = (np.searchsorted(phases.keys, keys, side="right") - first).ravel()
    system = np.repeat(np.arange(n_systems), count.reshape(keys.shape).sum(1))
    begin = np.cumsum(count) - count
    member = np.arange(count.sum()) + np.repeat(first.ravel() - begin, count)
    return system, member


def system_name(system: NDArray[np.uint8]) -> str:
    """Chemical system of a row of atomic numbers, as messages write it: ``Fe-Li-O``."""
    return "-".join(sorted(SYMBOLS[z] for z in system))
