"""Documents of the Materials Project's collection ``summary`` as columns of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.pull.pymatgen_dicts import Parts, structure_columns
from infra.pull.space_groups import space_groups
from infra.pull.values import Notes, Structures, integers, numbers, table, texts
from irnet_core import schema
from irnet_core.schema import Column

_PAGE = "https://next-gen.materialsproject.org/materials/"
_LEVEL = "PBE, PBE+U and r2SCAN, corrected and mixed by the Materials Project"

IS_STABLE = Column("is_stable", pa.bool_(), "", "whether it is on the source's convex hull")
THEORETICAL = Column("theoretical", pa.bool_(), "", "whether the source knows of no experiment")
LICENCE = Column("licence", pa.string(), "", "terms of the row: BY-C is CC BY 4.0, BY-NC CC BY-NC")

#: Numbers as the documents have them, by their place in a document.
NUMBERS = {
    replace(schema.FORMATION_ENERGY, meaning=f"formation energy per atom ({_LEVEL})"): (
        "formation_energy_per_atom"
    ),
    replace(schema.ENERGY, meaning=f"total energy per atom ({_LEVEL})"): "energy_per_atom",
    replace(
        schema.ENERGY_ABOVE_HULL, meaning=f"energy above the convex hull per atom ({_LEVEL})"
    ): "energy_above_hull",
    replace(
        schema.BAND_GAP, meaning="band gap by PBE, PBE+U or r2SCAN, of the Materials Project"
    ): "band_gap",
    schema.DENSITY: "density",
    replace(
        schema.BULK_MODULUS, meaning="bulk modulus by PBE, Voigt-Reuss-Hill average"
    ): "bulk_modulus.vrh",
    replace(
        schema.SHEAR_MODULUS, meaning="shear modulus by PBE, Voigt-Reuss-Hill average"
    ): "shear_modulus.vrh",
    schema.MAGNETIZATION_CELL: "total_magnetization",
}
COLUMNS = (
    schema.SOURCE_ID,
    schema.FORMULA,
    *NUMBERS,
    schema.MAGNETIZATION_ATOM,
    schema.VOLUME,
    schema.SPACE_GROUP,
    IS_STABLE,
    THEORETICAL,
    LICENCE,
    schema.N_SITES,
    *schema.STRUCTURE,
    schema.SOURCE_URL,
    schema.NOTE,
)
#: Places in a document that are read besides the structure.
PLACES = (
    "material_id",
    "formula_pretty",
    *NUMBERS.values(),
    "volume",
    "nsites",
    "symmetry.number",
    "is_stable",
    "theoretical",
    "builder_meta.license",
)
#: Fields to ask for; ``deprecated`` is asked for by a filter.
FIELDS = (*dict.fromkeys(place.partition(".")[0] for place in PLACES), "structure")


def summary_table(
    values: Mapping[str, Sequence[Any]],
    structures: Sequence[Parts] | Callable[[Notes], Structures],
) -> pa.Table:
    """Table of documents in :data:`COLUMNS` and ``reason``.

    Parameters
    ----------
    values : mapping of str to sequence, length n
        Values by their :data:`PLACES`. Volumes and magnetizations are per cell, and divided by
        ``nsites`` for columns per atom.
    structures : sequence of Parts, length n, or callable
        Or what makes their columns, and notes what is wrong with them.
    """
    notes = Notes()
    sites = integers(values["nsites"], schema.N_SITES.type, "nsites", notes)
    shapes = structures(notes) if callable(structures) else structure_columns(structures, notes)
    found = shapes.columns()
    sites = pc.coalesce(sites, found[schema.N_SITES])
    per_cell = {column: numbers(values[place], place, notes) for column, place in NUMBERS.items()}
    volume = numbers(values["volume"], "volume", notes)
    ids = texts(values["material_id"], "material_id", notes)
    return table(
        COLUMNS,
        {
            schema.SOURCE_ID: ids,
            schema.FORMULA: texts(values["formula_pretty"], "formula_pretty", notes),
            **per_cell,
            schema.MAGNETIZATION_ATOM: _per_site(per_cell[schema.MAGNETIZATION_CELL], sites),
            schema.VOLUME: _per_site(volume, sites),
            schema.SPACE_GROUP: space_groups(values["symmetry.number"], "symmetry.number", notes),
            IS_STABLE: _flags(values["is_stable"], "is_stable", notes),
            THEORETICAL: _flags(values["theoretical"], "theoretical", notes),
            LICENCE: texts(values["builder_meta.license"], "license", notes),
            **found,
            schema.N_SITES: sites,
            schema.SOURCE_URL: pc.binary_join_element_wise(pa.scalar(_PAGE), ids, ""),
        },
        notes,
    )


def values_of(documents: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values of documents by their :data:`PLACES`, None where a document has none."""
    values = {}
    for place in PLACES:
        name, _, below = place.partition(".")
        column = [document.get(name) for document in documents]
        if below:
            column = [v.get(below) if isinstance(v, dict) else v for v in column]
        values[place] = column
    return values


def _per_site(values: pa.Array, sites: pa.Array) -> pa.Array:
    """Values per cell as values per site, null where there are no sites."""
    counts = sites.to_numpy(zero_copy_only=False).astype(np.float64)  # NaN where null
    known = np.isfinite(counts) & (counts > 0)
    return pc.divide(values, pa.array(np.where(known, counts, 1.0), mask=~known))


def _flags(values: Sequence[Any], what: str, notes: Notes) -> pa.Array:
    """Truth values; all else but None is noted."""
    if {value.__class__ for value in values} <= {bool, type(None)}:
        return pa.array(values, pa.bool_())
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, bool):
            notes.add(row, f"{what}: {repr(value)[:40]} is neither true nor false")
    return pa.array([v if isinstance(v, bool) else None for v in values], pa.bool_())
