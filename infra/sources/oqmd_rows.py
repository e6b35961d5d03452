"""Rows of OQMD's REST interface, to a table."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.pull.notes import Notes
from infra.pull.space_groups import space_groups
from infra.pull.structures import Structures, structures, structures_of_sites
from infra.pull.values import numbers, table, texts
from irnet_core import schema

LICENCE = "CC-BY-4.0"
CITATION = (
    "Saal et al., JOM 65, 1501 (2013), https://doi.org/10.1007/s11837-013-0755-4; "
    "Kirklin et al., npj Comput. Mater. 1, 15010 (2015), https://doi.org/10.1038/npjcompumats.2015.10"
)
PAGE = "https://oqmd.org/materials/entry/"

FORMATION_ENERGY = replace(
    schema.FORMATION_ENERGY,
    meaning="formation energy per atom by PBE(+U), with OQMD's fitted elemental references",
)
ENERGY_ABOVE_HULL = replace(
    schema.ENERGY_ABOVE_HULL,
    meaning="energy above OQMD's convex hull per atom by PBE(+U), 0 for what lies below it",
)
BAND_GAP = replace(schema.BAND_GAP, meaning="band gap by PBE(+U), of OQMD")
VOLUME = replace(schema.VOLUME, meaning="volume per atom of the relaxed cell by PBE(+U), of OQMD")
COLUMNS = (
    schema.SOURCE_ID,
    schema.FORMULA,
    FORMATION_ENERGY,
    ENERGY_ABOVE_HULL,
    BAND_GAP,
    VOLUME,
    schema.SPACE_GROUP,
    schema.PROTOTYPE,
    schema.DUPLICATE_OF,
    schema.N_SITES,
    *schema.STRUCTURE,
    schema.SOURCE_URL,
    schema.NOTE,
)
FIELDS = (
    "name",
    "entry_id",
    "formationenergy_id",
    "duplicate_entry_id",
    "composition",
    "prototype",
    "spacegroup",
    "volume",
    "natoms",
    "unit_cell",
    "sites",
    "band_gap",
    "delta_e",
    "stability",
)
_TOKENS = 5  # of a site: He @ 0.333 0.667 0.25


def parse(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as the server sends them, to a table in :data:`COLUMNS`, sorted by id.

    Parameters
    ----------
    rows : list of dict
        Each with a ``formationenergy_id``.

    Examples
    --------
    >>> row = {"entry_id": 7, "formationenergy_id": 1, "composition": "Cl1 Na1", "delta_e": -2.1,
    ...        "unit_cell": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "natoms": 2, "volume": 64.0,
    ...        "sites": ["Na @ 0 0 0", "Cl @ 0.5 0.5 0.5"]}
    >>> made = parse([row]).to_pylist()[0]
    >>> made["source_id"], made["volume_a3_atom"], made["numbers"]
    ('7', 32.0, [11, 17])
    """
    rows = sorted(rows, key=_order)
    notes = Notes()
    ids = texts(_field(rows, "entry_id"), "entry_id", notes)
    formulas = _field(rows, "composition")
    if None in formulas or "" in formulas:
        formulas = [row.get("composition") or row.get("name") for row in rows]
    shapes = _structures(rows, notes)
    atoms = numbers(_field(rows, "natoms"), "natoms", notes)
    atoms = pc.coalesce(
        shapes.n_sites.cast(pa.float64()), pc.if_else(pc.greater(atoms, 0), atoms, None)
    )
    volume = numbers(_field(rows, "volume"), "volume", notes)
    return table(
        COLUMNS,
        {
            schema.SOURCE_ID: ids,
            schema.FORMULA: texts(formulas, "composition", notes),
            FORMATION_ENERGY: numbers(_field(rows, "delta_e"), "delta_e", notes),
            ENERGY_ABOVE_HULL: numbers(_field(rows, "stability"), "stability", notes),
            BAND_GAP: numbers(_field(rows, "band_gap"), "band_gap", notes),
            VOLUME: pc.divide(volume, atoms),
            schema.SPACE_GROUP: space_groups(_field(rows, "spacegroup"), "spacegroup", notes),
            schema.PROTOTYPE: texts(_field(rows, "prototype"), "prototype", notes),
            schema.DUPLICATE_OF: texts(
                _field(rows, "duplicate_entry_id"), "duplicate_entry_id", notes
            ),
            **shapes.columns(),
            schema.SOURCE_URL: pc.binary_join_element_wise(pa.scalar(PAGE), ids, ""),
        },
        notes,
        entry_reasons(ids.to_pylist(), _field(rows, "formationenergy_id")),
    )


def _field(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row.get(name) for row in rows]


def _order(row: dict[str, Any]) -> tuple[str, float, int]:
    """By id, then by energy, then by the id of the formation energy."""
    energy = row.get("delta_e")
    energy = float(energy) if isinstance(energy, (int, float)) else math.inf
    return str(row.get("entry_id")), energy, row["formationenergy_id"]


def entry_reasons(ids: list[str | None], energies: list[Any]) -> dict[int, str]:
    """Rows without an entry, and those of an entry with a lower formation energy.

    ``energies`` are the ids of the formation energies, of rows in order.
    """
    reasons = {}
    for row, (id_, before) in enumerate(zip(ids, [None, *ids], strict=False)):
        if id_ is None:
            reasons[row] = f"formation energy {energies[row]} has no entry_id"
        elif id_ == before:
            reasons[row] = f"formation energy {energies[row]} of the entry is not its lowest"
    return reasons


def _structures(rows: list[dict[str, Any]], notes: Notes) -> Structures:
    """Structures from ``unit_cell`` and ``sites``, texts such as ``He @ 0.333 0.667 0.25``."""
    sites = _field(rows, "sites")
    lattices = _field(rows, "unit_cell")
    try:
        tokens = " ".join(chain.from_iterable(sites)).split()
        counts = list(map(len, sites))
        if tokens[1::_TOKENS] != ["@"] * sum(counts) or len(tokens) != _TOKENS * sum(counts):
            raise ValueError("not what sites look like")
        xyz = np.array([list(map(float, tokens[at::_TOKENS])) for at in (2, 3, 4)]).T
    except (TypeError, ValueError):  # look at each row
        pairs = [_sites(row) for row in sites]
        species, coords = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return structures(lattices, species, coords, False, notes)
    return structures_of_sites(lattices, tokens[::_TOKENS], xyz, counts, False, notes)


def _sites(sites: Any) -> tuple[list[str] | None, list[list[str]] | None]:
    """Species and coordinates of one row, as far as they can be read."""
    if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
        return None, None
    parts = [site.partition("@") for site in sites]
    return [part[0].strip() for part in parts], [part[2].split() for part in parts]
