"""Formation energies of candidates against the hulls of known phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irnet_core.screening.estimates import Estimate
from irnet_core.screening.hull import NO_PRODUCT, Hull
from irnet_core.screening.phases import FIRST_CANDIDATE, REFERENCE

PRODUCTS, SHARES = "products", "product_shares"
NOTHING = np.iinfo(np.int64).min  # code of an empty slot
CANDIDATE_CODE = 1 << 48  # codes of candidates start here, those of known rows lie below

#: Hulls of the chemical systems of some compositions, given their numbers (n, k), amounts (n, k)
#: and, where the candidates are to be part of the hulls, formation energies (n,) in eV/atom. There,
#: beside the hulls, heights (n,) of those that a candidate at a corner is not part of, else NaN.
HullsOf = Callable[
    [NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]],
    tuple[Hull, NDArray[np.float64] | None],
]


def has_hull(hull: Hull, numbers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which candidates (n, k) have no more elements than the largest system with a hull."""
    return (numbers > 0).sum(1) <= hull.width


@dataclass(frozen=True, eq=False)
class Held:
    """A batch of candidates held against the hulls.

    Attributes
    ----------
    above : Estimate
        Energy above the hull in eV/atom, negative below it.
    hull : Hull
        What they are held against.
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Atomic numbers, zeros for padding, and atoms of each.
    index : numpy.ndarray of int64, shape (n,)
        Places of the candidates in their family.
    threshold : float
        Energy above the hull in eV/atom at or below which a phase counts as stable.
    """

    above: Estimate
    hull: Hull
    numbers: NDArray[np.uint8]
    amounts: NDArray[np.uint8]
    index: NDArray[np.int64]
    threshold: float

    @property
    def p_stable(self) -> Tensor | None:
        """Probability (n,) of counting as stable; None where the model was not calibrated."""
        return None if self.above.below is None else self.above.within(-torch.inf, self.threshold)

    def columns(self, rows: NDArray[np.intp]) -> dict[str, NDArray[np.generic]]:
        """What some candidates decompose into.

        Returns
        -------
        dict
            Codes (r, k) of type int64, and shares of the atoms (r, k) of type float32. A code is a
            row of the known phases; the negative atomic number of an element that counts as one of
            0 eV/atom; :data:`CANDIDATE_CODE` plus the index of a candidate; or :data:`NOTHING`.
        """
        # as many columns for all batches, however many elements their hulls have
        width = self.numbers.shape[1]
        wide = np.full((len(rows), width), NOTHING)
        shares = np.zeros((len(rows), width), np.float32)
        at = np.flatnonzero(has_hull(self.hull, self.numbers[rows]))
        rows = rows[at]
        if not len(rows):
            return {PRODUCTS: wide, SHARES: shares}
        found = self.hull.products(self.numbers[rows], self.amounts[rows])
        positions = found.phases.cpu().numpy()
        phases = self.hull.facets.phases
        origin = phases.rows[positions]
        codes = np.where(
            origin == REFERENCE, -phases.numbers[positions, 0].astype(np.int64), origin
        )
        candidate = origin <= FIRST_CANDIDATE
        place = np.where(candidate, FIRST_CANDIDATE - origin, 0)
        codes = np.where(candidate, CANDIDATE_CODE + self.index[place], codes)
        codes = np.where(positions == NO_PRODUCT, NOTHING, codes)
        filled = min(width, codes.shape[1])
        wide[at, :filled] = codes[:, :filled]
        shares[at, :filled] = found.fractions.cpu().numpy()[:, :filled]
        return {PRODUCTS: wide, SHARES: shares}


@dataclass(frozen=True, eq=False)
class Stability:
    """How a screen holds candidates against hulls.

    Attributes
    ----------
    energy : str
        The property that is the formation energy, in eV/atom.
    hulls : callable
        See :data:`HullsOf`.
    threshold : float
        Energy above the hull in eV/atom at or below which a phase counts as stable.
    """

    energy: str
    hulls: HullsOf
    threshold: float = 0.0

    def of(
        self,
        numbers: NDArray[np.uint8],
        amounts: NDArray[np.uint8],
        index: NDArray[np.int64],
        energy: Estimate,
    ) -> Held:
        """Hold candidates (n, k) with predicted energies (n,) against the hulls.

        Those of more elements than any hull has are at NaN. Where candidates are part of the hulls,
        one at a corner is held against the hull without it, below which it lies.

        Parameters
        ----------
        numbers, amounts : numpy.ndarray of uint8, shape (n, k)
            Atomic numbers, zeros for padding, and atoms of each.
        index : numpy.ndarray of int64, shape (n,)
            Places of the candidates in their family.
        energy : Estimate
            Formation energies in eV/atom.
        """
        hull, others = self.hulls(numbers, amounts, energy.mean.cpu().numpy())
        rows = np.flatnonzero(has_hull(hull, numbers))
        heights = torch.full_like(energy.mean, torch.nan)
        if len(rows):
            at = torch.from_numpy(rows).to(heights.device)
            heights[at] = hull.energies(numbers[rows], amounts[rows])
        if others is not None:
            own = torch.from_numpy(others).to(heights.device)
            heights = torch.where(own.isnan(), heights, own)
        above = energy.minus(heights)
        return Held(above, hull, numbers, amounts, index, self.threshold)
