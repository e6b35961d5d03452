"""Rows of AFLOW, to a table.

Numbers come as numbers or, from older servers, as text; lists as lists or as text with commas. A
structure is put together from ``geometry`` (a, b, c and the angles), ``positions_fractional`` and
the numbers of atoms in ``composition`` of the elements in ``species``, by which the sites are
sorted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.pull.notes import Notes
from infra.pull.space_groups import space_groups
from infra.pull.structures import Structures, structures
from infra.pull.values import numbers, table, texts
from irnet_core import schema
from irnet_core.schema import Column

FORMATION_ENERGY = replace(
    schema.FORMATION_ENERGY, meaning="formation enthalpy per atom by PBE(+U), of AFLOW"
)
ENERGY = replace(schema.ENERGY, meaning="total energy per atom by PBE(+U), of AFLOW")
BAND_GAP = replace(schema.BAND_GAP, meaning="band gap by PBE(+U), of AFLOW")
VOLUME = replace(schema.VOLUME, meaning="volume per atom by PBE(+U), of AFLOW")
MAGNETIZATION_ATOM = replace(schema.MAGNETIZATION_ATOM, meaning="spin per atom, of AFLOW")
MAGNETIZATION_CELL = replace(
    schema.MAGNETIZATION_CELL, meaning="spin of the calculated cell, of AFLOW"
)
BULK_MODULUS = replace(
    schema.BULK_MODULUS, meaning="bulk modulus by AEL, Voigt-Reuss-Hill average, of AFLOW"
)
SHEAR_MODULUS = replace(
    schema.SHEAR_MODULUS, meaning="shear modulus by AEL, Voigt-Reuss-Hill average, of AFLOW"
)
_NUMBERS: dict[Column, str] = {
    FORMATION_ENERGY: "enthalpy_formation_atom",
    ENERGY: "energy_atom",
    BAND_GAP: "Egap",
    VOLUME: "volume_atom",
    schema.DENSITY: "density",
    MAGNETIZATION_ATOM: "spin_atom",
    MAGNETIZATION_CELL: "spin_cell",
    BULK_MODULUS: "ael_bulk_modulus_vrh",
    SHEAR_MODULUS: "ael_shear_modulus_vrh",
}
COLUMNS = (
    schema.SOURCE_ID,
    schema.FORMULA,
    *_NUMBERS,
    schema.SPACE_GROUP,
    schema.PROTOTYPE,
    schema.FUNCTIONAL,
    schema.N_SITES,
    *schema.STRUCTURE,
    schema.SOURCE_URL,
    schema.NOTE,
)
#: Keywords that come unasked, and do not where a filter mutes them.
DEFAULTS = ("auid", "compound", "aurl", "spacegroup_relax", "Pearson_symbol_relax")
#: Keywords to ask for.
FIELDS = (
    *_NUMBERS.values(),
    "prototype",
    "dft_type",
    "species",
    "composition",
    "geometry",
    "positions_fractional",
)
_URL = r"^[A-Za-z0-9.-]+:AFLOWDATA/"


def parse(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as the server sends them, to a table in :data:`COLUMNS`, in their order.

    Examples
    --------
    >>> row = {"auid": "aflow:00", "compound": "Cl1Cs1", "Egap": "5.5", "species": ["Cl", "Cs"],
    ...        "composition": [1, 1], "geometry": [4, 4, 4, 90, 90, 90],
    ...        "positions_fractional": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    >>> made = parse([row]).to_pylist()[0]
    >>> made["source_id"], made["band_gap_ev"], made["numbers"]
    ('aflow:00', 5.5, [17, 55])
    """
    notes = Notes()
    aurl = texts(_field(rows, "aurl"), "aurl", notes)
    path = pc.replace_substring(aurl, ":", "/", max_replacements=1)
    functional = [
        ", ".join(map(str, value)) if isinstance(value, list) else value
        for value in _field(rows, "dft_type")
    ]
    return table(
        COLUMNS,
        {
            schema.SOURCE_ID: texts(_field(rows, "auid"), "auid", notes),
            schema.FORMULA: texts(_field(rows, "compound"), "compound", notes),
            **{column: numbers(_field(rows, key), key, notes) for column, key in _NUMBERS.items()},
            schema.SPACE_GROUP: space_groups(
                _field(rows, "spacegroup_relax"), "spacegroup_relax", notes
            ),
            schema.PROTOTYPE: texts(_field(rows, "prototype"), "prototype", notes),
            schema.FUNCTIONAL: texts(functional, "dft_type", notes),
            **_structures(rows, notes).columns(),
            schema.SOURCE_URL: pc.if_else(
                pc.match_substring_regex(aurl, _URL),
                pc.binary_join_element_wise(pa.scalar("http://"), path, ""),
                None,
            ),
        },
        notes,
    )


def _field(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [row.get(name) for row in rows]


def _structures(rows: Sequence[dict[str, Any]], notes: Notes) -> Structures:
    cells: list[Any] = []
    symbols: list[Any] = []
    sites: list[Any] = []
    reasons: dict[int, str] = {}
    for number, row in enumerate(rows):
        cell = elements = xyz = None
        try:
            if row.get("geometry") is not None or row.get("positions_fractional") is not None:
                cell = _cell(_listed(row.get("geometry")))
                xyz = _sites(row.get("positions_fractional"))
                elements = _symbols(_listed(row.get("species")), _listed(row.get("composition")))
                if len(xyz) != len(elements):
                    reasons[number] = f"{len(xyz)} positions of {len(elements)} atoms"
        except (TypeError, ValueError, OverflowError) as error:
            reasons[number] = str(error)[:100]
        cells.append(cell)
        symbols.append(elements)
        sites.append(xyz)
    return structures(cells, symbols, sites, False, notes, reasons)


def _listed(value: Any) -> list[Any]:
    """A list that may come as text."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, list):
        return value
    raise ValueError("geometry, species or composition is no list")


def _sites(value: Any) -> list[Any]:
    """Positions, which may come as text, ``0,0,0;0.5,0.5,0.5``."""
    if isinstance(value, str):
        return [[float(x) for x in site.split(",")] for site in value.strip(";").split(";")]
    if isinstance(value, list):
        return value
    raise ValueError("positions_fractional is no list")


def _symbols(species: list[Any], composition: list[Any]) -> list[Any]:
    """Element of each site."""
    counts = [int(count) for count in composition]
    if len(counts) != len(species) or sum(counts) > 10_000 or min(counts, default=0) < 0:
        raise ValueError(f"composition {composition!r:.40} of species {species!r:.40}")
    return list(chain.from_iterable(map(repeat, species, counts)))


def _cell(geometry: list[Any]) -> list[list[float]]:
    """Lattice vectors from lengths and angles: a along x, b in the plane of x and y."""
    if len(geometry) != 6:
        raise ValueError(f"geometry has {len(geometry)} numbers, not 6")
    a, b, c, *angles = map(float, geometry)
    cos_a, cos_b, cos_c = (
        0.0 if angle == 90 else math.cos(math.radians(angle)) for angle in angles
    )
    sin_c = math.sqrt(1 - cos_c * cos_c)
    if not sin_c:
        raise ValueError(f"no cell has the angles {angles}")
    x, y = c * cos_b, c * (cos_a - cos_b * cos_c) / sin_c
    square = c * c - x * x - y * y
    if not square > 0:
        raise ValueError(f"no cell has the angles {angles}")
    return [[a, 0.0, 0.0], [b * cos_c, b * sin_c, 0.0], [x, y, math.sqrt(square)]]
