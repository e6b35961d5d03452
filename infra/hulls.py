"""Hulls of a snapshot's phases, built once and kept in the store under a digest of what they are.

They lie in ``hulls/<digest>/`` as two Parquet files, one row per chemical system with its facets
and one row per phase. It is a cache and no artifact: it can be removed at any time, and a screen
that wants to publish its hulls stages the same two tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from featurizers.formula import parse_formulas
from featurizers.hulls import build_facets
from infra import duck
from infra.artifact import DATA, Artifact
from infra.content import short_digest
from infra.folder import Folder
from infra.store import Store
from irnet_core.errors import DataError
from irnet_core.schema import COMPOSITION, FORMATION_ENERGY, SCHEMA_VERSION, SPLIT
from irnet_core.screening.facets import Facets
from irnet_core.screening.phases import (
    MAX_ELEMENTS,
    MissingElements,
    Phases,
    sorted_compositions,
    system_keys,
)

HULLS = "hulls"
FACETS = "facets.parquet"
PHASES = "phases.parquet"
VERSION = 1  # raised whenever the same phases give other facets
ROW_GROUP = 10_000  # systems


@dataclass(frozen=True)
class KnownPhases:
    """Which rows of a snapshot are the known phases.

    Attributes
    ----------
    column : str
        Formation energies in eV/atom.
    roles : tuple of str
        Roles in the column ``split`` that count as known; all rows if empty.
    missing_elements : {"reference", "refuse"}
        See :data:`irnet_core.screening.phases.MissingElements`.
    """

    column: str = FORMATION_ENERGY.name
    roles: tuple[str, ...] = ()
    missing_elements: MissingElements = "reference"

    def read(self, snapshot: Artifact) -> Phases:
        """Phases of a snapshot, their ``rows`` those of its table.

        Rows without an energy and those of more than 9 elements are left out.

        Raises
        ------
        DataError
            If a column is missing, or no row is left.
        """
        columns = [COMPOSITION.name, self.column, *([SPLIT.name] if self.roles else [])]
        table = snapshot.read_table(DATA, columns)
        type_ = table.schema.field(self.column).type
        if not (duck.is_number(type_) or pa.types.is_null(type_)):
            raise DataError(
                f"it holds {type_}, but formation energies are numbers; choose another column",
                source=f"{snapshot.manifest.kind}/{snapshot.id}",
                column=self.column,
            )
        energies = table.column(self.column).cast(pa.float64()).to_numpy()
        used = np.isfinite(energies)
        if self.roles:
            roles = pc.is_in(table.column(SPLIT.name), pa.array(self.roles))
            used &= roles.to_numpy()
        rows = np.flatnonzero(used)
        parsed = parse_formulas(table.column(COMPOSITION.name).take(rows).to_pylist())
        count = (parsed.numbers > 0).sum(1)
        kept = np.flatnonzero((count > 0) & (count <= MAX_ELEMENTS))
        if not len(kept):
            raise DataError(
                "no row has an energy and can be a known phase; choose another column or other"
                " roles",
                source=f"{snapshot.manifest.kind}/{snapshot.id}",
                column=self.column,
            )
        found = Phases.lowest(
            parsed.numbers[kept], parsed.amounts[kept], energies[rows[kept]], self.missing_elements
        )
        origin = np.where(found.rows < 0, found.rows, rows[kept][found.rows])
        return Phases(found.numbers, found.fractions, found.energies, origin, found.keys)


def snapshot_facets(
    store: Store,
    snapshot: Artifact,
    systems: ArrayLike,
    known: KnownPhases | None = None,
    phases: Callable[[], Phases] | None = None,
    filled: str = "",
) -> Facets:
    """Hulls of some chemical systems from a snapshot's phases, read if they were built before.

    Parameters
    ----------
    store : Store
        Where they are kept.
    snapshot : Artifact
        Whose rows are the known phases.
    systems : array_like of int, shape (s, k)
        Atomic numbers of 1 to 6 elements, 0 in empty slots; order and duplicates do not matter.
    known : KnownPhases, optional
        Which rows count; by default all, with their formation energies.
    phases : callable, optional
        Gives these phases, from somebody who keeps them; by default they are read, which takes
        longer than to build the hulls of some thousand systems.
    filled : str
        Digest of what else than the snapshot's rows is among these phases.

    Returns
    -------
    Facets

    Raises
    ------
    DataError
        If the snapshot has no such phases, or a system cannot be read.
    ScreenError
        If a hull cannot be built.
    StoreError
        If the store cannot be read or written.
    """
    known = known or KnownPhases()
    given = np.asarray(systems)
    number, _ = sorted_compositions(given, given != 0)
    keys = np.unique(system_keys(number))
    request = {
        "snapshot": snapshot.id,
        "column": known.column,
        "roles": sorted(set(known.roles)),
        "missing_elements": known.missing_elements,
        "systems": hashlib.sha256(keys.astype("<i8").tobytes()).hexdigest(),
        "version": f"{VERSION}/{SCHEMA_VERSION}",
    }
    if filled:
        request["filled"] = filled
    folder = store.folder.child(HULLS, short_digest(request))
    if folder.has(FACETS):  # written last
        return Facets.from_tables(folder.read_table(FACETS), folder.read_table(PHASES))
    facets = build_facets(known.read(snapshot) if phases is None else phases(), number)
    _keep(folder, facets, {name: str(value) for name, value in request.items()})
    return facets


def _keep(folder: Folder, facets: Facets, metadata: dict[str, str]) -> None:
    systems, phases = facets.to_tables(metadata)
    folder.make()
    folder.write_table(PHASES, phases)
    folder.write_table(FACETS, systems, ROW_GROUP)
