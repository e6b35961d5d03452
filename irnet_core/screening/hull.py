"""Energies of many candidates against the convex hulls of many chemical systems at once.

A phase is stable if no mixture of other phases with the same composition has a lower energy (Ong et
al., Chem. Mater. 2008, doi:10.1021/cm702327g). The lowest energy of a mixture is the convex hull's;
here it is the highest of all planes through the facets, so that an energy is a product with each
facet's chemical potentials and a maximum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.facets import Facets

NO_PRODUCT = -1
TIE = 1e-9  # eV/atom; planes this close to the highest may be the facet that holds the point
TRACE = 1e-8  # products of a smaller share are rounding

# candidates times planes looked at together: a core's cache, or enough to fill a GPU (2 GB)
BLOCK = {"cpu": 1 << 16, "cuda": 1 << 25}


class Products(NamedTuple):
    """What candidates decompose into; k is the largest number of elements in a hull.

    Attributes
    ----------
    phases : torch.Tensor of int64, shape (n, k)
        Positions in the facets' phases, the largest share first; -1 in empty slots.
    fractions : torch.Tensor of float64, shape (n, k)
        Share of the atoms that goes into each product; a row sums to 1.
    """

    phases: Tensor
    fractions: Tensor


class Hull:
    """Convex hulls on a device, to hold candidates against.

    Parameters
    ----------
    facets : Facets
        Of all chemical systems that candidates will come from.
    device : str or torch.device
        Where the work is done.

    Examples
    --------
    >>> from irnet_core.screening.phases import Phases, system_keys
    >>> known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0])  # MgO, after the 118 elements
    >>> system = np.array([[8, 12]], np.uint8)
    >>> hull = Hull(
    ...     Facets(
    ...         systems=system,
    ...         keys=system_keys(system),
    ...         offsets=np.array([0, 2]),
    ...         vertices=np.array([[7, 118], [118, 11]], np.int32),
    ...         potentials=np.array([[0.0, -6.0], [-6.0, 0.0]]),
    ...         phases=known,
    ...     )
    ... )
    >>> candidates = [[8, 12]], [[1, 2]]  # Mg2O
    >>> hull.energies(*candidates).tolist(), hull.above(*candidates, [-1.5]).tolist()
    ([-2.0], [0.5])
    >>> products = hull.products(*candidates)
    >>> known.numbers[products.phases[0]].tolist(), products.fractions.tolist()
    ([[8, 12], [12, 0]], [[0.6666666666666666, 0.3333333333333333]])
    """

    def __init__(self, facets: Facets, device: str | torch.device = "cpu") -> None:
        self.facets = facets
        self.device = torch.device(device)
        self.width = facets.systems.shape[1]
        self._keys = self._tensor(facets.keys)
        self._offsets = self._tensor(facets.offsets)
        self._potentials = self._tensor(facets.potentials)
        self._vertices = self._tensor(facets.vertices)
        self._systems = self._tensor(facets.systems)
        self._phase_numbers = self._tensor(facets.phases.numbers)
        self._phase_fractions = self._tensor(facets.phases.fractions)

    def energies(self, numbers: ArrayLike | Tensor, amounts: ArrayLike | Tensor) -> Tensor:
        """Energy of the hull at each composition.

        Parameters
        ----------
        numbers : array_like or torch.Tensor of int, shape (n, k)
            Atomic numbers, each once in a row, in any order; slots with amount 0 are ignored.
        amounts : array_like or torch.Tensor of float, shape (n, k)
            Amounts or atomic fractions.

        Returns
        -------
        torch.Tensor of float64, shape (n,)
            In eV/atom, on the device.

        Raises
        ------
        DataError
            If a row is empty, holds an element twice or a value that is out of range.
        ScreenError
            If there is no hull for a row's chemical system.
        """
        system, fractions = self._locate(numbers, amounts)
        result = torch.empty(len(system), dtype=torch.float64, device=self.device)
        for rows, _, values in self._planes(system, fractions):
            result[rows] = values.amax(1)
        return result

    def above(
        self,
        numbers: ArrayLike | Tensor,
        amounts: ArrayLike | Tensor,
        energies: ArrayLike | Tensor,
    ) -> Tensor:
        """Distance of each candidate's energy from the hull of the known phases.

        Above the hull this is what decomposition sets free. Below it the distance is negative: what
        it costs to decompose into the phases of the hull, to which the candidate does not belong.
        Known phases lie at 0 or above, up to rounding of about 1e-14 eV/atom.

        Parameters
        ----------
        numbers, amounts
            As for :meth:`energies`.
        energies : array_like or torch.Tensor of float, shape (n,)
            Formation energies in eV/atom; NaN gives NaN.

        Returns
        -------
        torch.Tensor of float64, shape (n,)
            In eV/atom.
        """
        energy = self._tensor(energies).to(torch.float64)
        hull = self.energies(numbers, amounts)
        if energy.shape != hull.shape:
            raise DataError(f"energies {tuple(energy.shape)} should have {len(hull)} rows")
        return energy - hull

    def products(self, numbers: ArrayLike | Tensor, amounts: ArrayLike | Tensor) -> Products:
        """Phases of the hull that each composition decomposes into.

        Where several facets share a plane the products are not unique, and one choice is given.

        Parameters
        ----------
        numbers, amounts
            As for :meth:`energies`; ask for the candidates that stay in a table, as this is
            several times slower.

        Returns
        -------
        Products
        """
        system, fractions = self._locate(numbers, amounts)
        phases = torch.full((len(system), self.width), NO_PRODUCT, device=self.device)
        shares = torch.zeros(len(system), self.width, dtype=torch.float64, device=self.device)
        for rows, facets, values in self._planes(system, fractions):
            near = (values >= values.amax(1, keepdim=True) - TIE).nonzero()  # (pairs, 2)
            row = rows[near[:, 0]]
            facet = facets[near[:, 0], near[:, 1]]
            share = self._shares(system[row], facet, fractions[row])  # (pairs, k)
            # of a row's facets take the one that the point lies deepest in; stable, so the first
            order = torch.argsort(share.amin(1), descending=True, stable=True)
            order = order[torch.argsort(near[order, 0], stable=True)]
            begins = torch.ones(len(order), dtype=torch.bool, device=self.device)
            begins[1:] = near[order[1:], 0] != near[order[:-1], 0]
            best = order[begins]
            phases[row[best]] = self._vertices[facet[best]].long()
            shares[row[best]] = share[best]
        shares = torch.where((shares < TRACE) | (phases < 0), 0.0, shares)
        shares, order = torch.sort(shares, dim=1, descending=True, stable=True)
        phases = torch.where(shares > 0, phases.gather(1, order), NO_PRODUCT)
        return Products(phases, shares / shares.sum(1, keepdim=True))

    # -------------------------------------------------------------------------------------
    def _tensor(self, values: ArrayLike | Tensor) -> Tensor:
        if not isinstance(values, Tensor):
            values = torch.from_numpy(np.ascontiguousarray(values))
        return values.to(self.device)

    def _locate(
        self, numbers: ArrayLike | Tensor, amounts: ArrayLike | Tensor
    ) -> tuple[Tensor, Tensor]:
        """System of each row (n,), and fractions of the system's elements in order (n, k)."""
        number, amount = self._tensor(numbers).long(), self._tensor(amounts).to(torch.float64)
        if number.shape != amount.shape or number.ndim != 2:
            raise DataError(
                f"numbers {tuple(number.shape)} and amounts {tuple(amount.shape)} should be tables"
                " of one shape"
            )
        present = amount != 0
        number = torch.where(present, number, 128)  # empty slots last
        total = amount.sum(1, keepdim=True)
        wrong = ~((amount >= 0).all(1) & (total[:, 0] > 0) & torch.isfinite(total[:, 0]))
        wrong |= (present & ((number < 1) | (number > 127))).any(1)
        if (number[:, 1:] < number[:, :-1]).any():
            number, order = torch.sort(number, dim=1)
            amount = amount.gather(1, order)
        wrong |= ((number[:, 1:] == number[:, :-1]) & (number[:, 1:] < 128)).any(1)
        if wrong.any():
            raise DataError(
                "a composition is empty, holds an element twice or a value out of range; leave the"
                " row out",
                row=int(wrong.nonzero()[0, 0]),
            )
        if len(self._keys) == 0 or bool((number[:, self.width :] < 128).any()):
            system, found = torch.zeros_like(number[:, 0]), torch.zeros(len(number)).bool()
            found = found.to(self.device)
        else:
            number, amount = number[:, : self.width], amount[:, : self.width]
            key = torch.zeros_like(number[:, 0])
            for column in number.T:
                key = torch.where(column < 128, key << 7 | column, key)
            system = torch.searchsorted(self._keys, key).clamp(max=len(self._keys) - 1)
            found = self._keys[system] == key
        if not found.all():
            row = int((~found).nonzero()[0, 0])
            elements = [int(z) for z in number[row] if z < 128]
            raise ScreenError(
                f"row {row} has the elements {elements} (atomic numbers), for which there is no"
                " hull; build its facets as well"
            )
        fractions = torch.zeros(len(number), self.width, dtype=torch.float64, device=self.device)
        fractions[:, : amount.shape[1]] = amount / total
        return system, fractions

    def _planes(self, system: Tensor, fractions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Heights of all planes of each row's system, rows with about as many planes together.

        Yields rows (m,), facets (m, planes), the last one repeated where there are fewer, and the
        heights of their planes (m, planes).
        """
        first = self._offsets[system]
        last = self._offsets[system + 1] - 1
        padded = torch.ceil(torch.log2((last - first + 1).to(torch.float64))).long()
        block = BLOCK.get(self.device.type, BLOCK["cpu"])
        for power in padded.unique().tolist():
            members = (padded == power).nonzero()[:, 0]
            slots = torch.arange(2**power, device=self.device)
            for rows in members.split(max(1, block >> power)):
                facets = torch.minimum(first[rows, None] + slots, last[rows, None])
                # gathering whole rows is far faster than element by element
                planes = self._potentials.index_select(0, facets.ravel())
                planes = planes.view(*facets.shape, self.width)  # (m, planes, k)
                share = fractions[rows].T[..., None]  # (k, m, 1)
                # not torch.bmm: its rounding depends on what else is in the block
                heights = planes[..., 0] * share[0]
                for j in range(1, self.width):
                    heights += planes[..., j] * share[j]
                yield rows, facets, heights

    def _shares(self, system: Tensor, facet: Tensor, fractions: Tensor) -> Tensor:
        """Barycentric coordinates (m, k) of compositions in facets, 0 in empty slots."""
        vertices = self._vertices[facet].long()  # (m, k)
        empty = vertices < 0
        matches = (
            self._phase_numbers[vertices][..., None] == self._systems[system][:, None, None, :]
        )
        matches &= self._phase_numbers[vertices][..., None] > 0
        # (m, vertices, elements): atomic fractions of the vertices
        corners = (self._phase_fractions[vertices][..., None] * matches).sum(2)
        corners = torch.where(empty[..., None], 0.0, corners) + torch.diag_embed(empty.double())
        shares: Tensor = torch.linalg.solve(corners.mT, fractions[..., None])[..., 0]
        return shares
