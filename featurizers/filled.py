"""Binaries that a model predicts, in the place of phases that a snapshot lacks.

Where a table has no YF3, all ternaries of yttrium and fluorine seem stable by electronvolts. Hulls
of ternaries and larger systems can therefore be filled: predicted binaries join the known phases
where the upper end of their 90 % interval lies below the hull of the known ones. So a hull is
lowered where the model is sure of it, and by no more than it is sure of.
"""

from __future__ import annotations

import numpy as np
import torch

from featurizers.hulls import build_facets
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.engine import Model
from irnet_core.screening.hull import Hull
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.phases import Phases

CHUNK = 16_384
MARK = "*"
"""After the formula of a predicted binary among the products of a decomposition."""


def binaries(elements: tuple[int, ...], max_atoms: int) -> Enumeration:
    """The binaries that hulls may be filled with."""
    return Enumeration(elements, 2, max_atoms)


def filled_phases(
    phases: Phases, known: KnownCompositions, first_row: int, family: Enumeration, model: Model
) -> Phases:
    """Known phases, and the predicted binaries that surely lie below their hull.

    Parameters
    ----------
    phases : Phases
    known : KnownCompositions
        What needs no prediction, whatever its energy.
    first_row : int
        Rows of the binaries: this plus their index in the family.
    family : Enumeration
        Of :func:`binaries`.
    model : Model
        Predicts formation energies in eV/atom; without intervals its mean stands for their end.

    Returns
    -------
    Phases
    """
    numbers, amounts, energies, index = [], [], [], []
    for start in range(0, len(family), CHUNK):
        stop = min(start + CHUNK, len(family))
        number, amount = family.take(start, stop)
        new = np.flatnonzero(~known.contains(number, amount))
        number, amount = number[new], amount[new]
        estimate = model(torch.from_numpy(number), torch.from_numpy(amount), {}).estimate
        energy = (estimate.mean if estimate.upper is None else estimate.upper).cpu().numpy()
        below = np.isfinite(energy)
        if below.any():
            hull = Hull(build_facets(phases, np.unique(number, axis=0)))
            below &= energy < hull.energies(number, amount).numpy()
        numbers.append(number[below])
        amounts.append(amount[below])
        energies.append(energy[below])
        index.append(start + new[below])
    width = max(phases.numbers.shape[1], 2)

    def padded(table: np.ndarray) -> np.ndarray:
        return np.pad(table, ((0, 0), (0, width - table.shape[1])))

    joined = Phases.lowest(
        np.concatenate([padded(phases.numbers), padded(np.concatenate(numbers))]),
        np.concatenate([padded(phases.fractions), padded(np.concatenate(amounts).astype(float))]),
        np.concatenate([phases.energies, np.concatenate(energies)]),
    )
    origin = np.concatenate([phases.rows, first_row + np.concatenate(index)])
    rows = np.where(joined.rows < 0, joined.rows, origin[joined.rows])
    return Phases(joined.numbers, joined.fractions, joined.energies, rows, joined.keys)
