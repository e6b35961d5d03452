"""Facets of the convex hulls of many chemical systems, as arrays and as Arrow tables.

The lower hull of a system is a convex function of composition, linear on each facet. A facet is a
simplex of as many phases as the system has elements; the plane through it is given by its heights
at the pure elements, the chemical potentials. Whoever evaluates a hull needs no geometry any more:
the hull is the highest of all planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import DataError
from irnet_core.schema import (
    ATOMIC_NUMBERS,
    CHEMICAL_POTENTIALS,
    FORMATION_ENERGY,
    FRACTIONS,
    PHASE_ROW,
    VERTICES,
    arrow_schema,
)
from irnet_core.screening.phases import Phases, system_keys


@dataclass(frozen=True, eq=False)
class Facets:
    """Lower hulls of some chemical systems; k is the largest number of elements in one.

    Attributes
    ----------
    systems : numpy.ndarray of uint8, shape (s, k)
        Atomic numbers, ascending in each row, 0 in the empty slots at the end.
    keys : numpy.ndarray of int64, shape (s,)
        The systems by :func:`irnet_core.screening.phases.system_keys`, strictly ascending.
    offsets : numpy.ndarray of int64, shape (s + 1,)
        Facets of system i are those from ``offsets[i]`` to ``offsets[i + 1] - 1``.
    vertices : numpy.ndarray of int32, shape (f, k)
        Phases at the corners of each facet, as positions in `phases`; -1 in empty slots.
    potentials : numpy.ndarray of float64, shape (f, k)
        Chemical potentials of the system's elements in eV/atom; 0 in empty slots.
    phases : Phases
        The phases that the vertices stand for.
    """

    systems: NDArray[np.uint8]
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    vertices: NDArray[np.int32]
    potentials: NDArray[np.float64]
    phases: Phases

    def __len__(self) -> int:
        return len(self.systems)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes, without the phases."""
        arrays = (self.systems, self.keys, self.offsets, self.vertices, self.potentials)
        return sum(array.nbytes for array in arrays)

    def to_tables(self, metadata: dict[str, str] | None = None) -> tuple[pa.Table, pa.Table]:
        """Two Arrow tables: one row per chemical system with its facets, one row per phase.

        Phases that are no vertex are left out, so that the tables hold what the hulls need.

        Parameters
        ----------
        metadata : dict of str to str, optional
            Written into the facets' schema, e.g. what they were made from.

        Returns
        -------
        facets, phases : pyarrow.Table
        """
        used, vertices = np.unique(self.vertices, return_inverse=True)
        vertices = vertices.reshape(self.vertices.shape)
        if len(used) and used[0] < 0:
            used, vertices = used[1:], vertices - 1
        filled = self.systems > 0  # (s, k)
        corners = np.repeat(filled, np.diff(self.offsets), axis=0)  # (f, k)
        sizes = np.diff(self.offsets) * filled.sum(1)
        facets = pa.table(
            [
                _lists(self.systems[filled], filled.sum(1), ATOMIC_NUMBERS.type),
                _lists(vertices[corners].astype(np.int32), sizes, VERTICES.type),
                _lists(self.potentials[corners], sizes, CHEMICAL_POTENTIALS.type),
            ],
            schema=arrow_schema((ATOMIC_NUMBERS, VERTICES, CHEMICAL_POTENTIALS), metadata),
        )
        number = self.phases.numbers[used]
        present = number > 0
        phases = pa.table(
            [
                _lists(number[present], present.sum(1), ATOMIC_NUMBERS.type),
                _lists(self.phases.fractions[used][present], present.sum(1), FRACTIONS.type),
                pa.array(self.phases.energies[used]),
                pa.array(self.phases.rows[used]),
            ],
            schema=arrow_schema((ATOMIC_NUMBERS, FRACTIONS, FORMATION_ENERGY, PHASE_ROW)),
        )
        return facets, phases

    @classmethod
    def from_tables(cls, facets: pa.Table, phases: pa.Table) -> Facets:
        """Facets from the tables that :meth:`to_tables` makes, or some rows of the first.

        Raises
        ------
        DataError
            If a column is missing, or the rows do not fit together.
        """
        number, count = _padded(facets, ATOMIC_NUMBERS.name, np.uint8)
        width = number.shape[1]
        flat, sizes = _flat(facets, VERTICES.name)
        values, value_sizes = _flat(facets, CHEMICAL_POTENTIALS.name)
        n_facets = sizes // np.maximum(count, 1)
        phase_number, phase_count = _padded(phases, ATOMIC_NUMBERS.name, np.uint8)
        fraction, fraction_count = _padded(phases, FRACTIONS.name, np.float64)
        keys = system_keys(number)
        unfit = (
            (n_facets * count != sizes).any()
            or (sizes != value_sizes).any()
            or (n_facets < 1).any()
            or (phase_count != fraction_count).any()
            or (np.diff(keys) <= 0).any()
            or (len(flat) > 0 and not 0 <= flat.min() <= flat.max() < len(phases))
        )
        if unfit:
            raise DataError("the tables of a hull's facets and phases do not fit; build them anew")
        corners = np.repeat(np.arange(width) < count[:, None], n_facets, axis=0)
        vertices = np.full(corners.shape, -1, np.int32)
        vertices[corners] = flat
        potentials = np.zeros(corners.shape)
        potentials[corners] = values
        return cls(
            systems=number,
            keys=keys,
            offsets=np.concatenate([[0], np.cumsum(n_facets)]),
            vertices=vertices,
            potentials=potentials,
            phases=Phases(
                phase_number,
                fraction,
                _column(phases, FORMATION_ENERGY.name).to_numpy(),
                _column(phases, PHASE_ROW.name).to_numpy(),
                system_keys(phase_number),
            ),
        )


def _lists(values: NDArray[Any], lengths: ArrayLike, type_: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pa.LargeListArray.from_arrays(offsets, pa.array(values)).cast(type_)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        raise DataError("the column is missing from a hull's table; build it anew", column=name)
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _flat(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Items of a list column one after the other, and how many each row has."""
    column = _column(table, name)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return column.flatten().to_numpy(zero_copy_only=False), lengths


def _padded(table: pa.Table, name: str, dtype: type) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A list column as a table with zeros at the end of short rows, and the rows' lengths."""
    values, lengths = _flat(table, name)
    slots = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    padded: NDArray[Any] = np.zeros(slots.shape, dtype)
    padded[slots] = values
    return padded, lengths
