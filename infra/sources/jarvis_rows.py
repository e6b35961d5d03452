"""Records of JARVIS-DFT, to a table.

"na" and "" are missing values; numbers may come as text; ``atoms["cartesian"]`` is minded. A record
has some 64 values, of which those in :class:`Entry` are kept; msgspec decodes no others, which
takes half the time that the whole records would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from infra.pull.notes import Notes
from infra.pull.records import Rejected
from infra.pull.space_groups import space_groups
from infra.pull.structures import Structures, structures
from infra.pull.values import numbers, table, texts
from irnet_core import schema

_PAGE = "https://www.ctcms.nist.gov/~knc6/static/JARVIS-DFT/"
_ID = r"^JVASP-[0-9]+$"
_MISSING = ("na", "", None)

FORMATION_ENERGY = replace(
    schema.FORMATION_ENERGY, meaning="formation energy per atom by OptB88vdW, of JARVIS"
)
ENERGY = replace(schema.ENERGY, meaning="total energy per atom by OptB88vdW, of JARVIS")
ENERGY_ABOVE_HULL = replace(
    schema.ENERGY_ABOVE_HULL, meaning="energy above JARVIS's convex hull per atom by OptB88vdW"
)
BAND_GAP = replace(schema.BAND_GAP, meaning="band gap by OptB88vdW, of JARVIS")
BULK_MODULUS = replace(
    schema.BULK_MODULUS, meaning="bulk modulus by OptB88vdW, Voigt average, of JARVIS"
)
SHEAR_MODULUS = replace(
    schema.SHEAR_MODULUS, meaning="shear modulus by OptB88vdW, Voigt average, of JARVIS"
)
MAGNETIZATION = replace(
    schema.MAGNETIZATION_CELL,
    meaning="magnetic moment of the calculated cell, from VASP's OSZICAR, of JARVIS",
)
_NUMBERS = {
    FORMATION_ENERGY: "formation_energy_peratom",
    ENERGY: "optb88vdw_total_energy",
    ENERGY_ABOVE_HULL: "ehull",
    BAND_GAP: "optb88vdw_bandgap",
    schema.BAND_GAP_MBJ: "mbj_bandgap",
    schema.BAND_GAP_HSE: "hse_gap",
    BULK_MODULUS: "bulk_modulus_kv",
    SHEAR_MODULUS: "shear_modulus_gv",
    MAGNETIZATION: "magmom_oszicar",
    schema.MAGNETIZATION_OUTCAR: "magmom_outcar",
    schema.DENSITY: "density",
}
COLUMNS = (
    schema.SOURCE_ID,
    schema.FORMULA,
    *_NUMBERS,
    schema.VOLUME,
    schema.SPACE_GROUP,
    schema.FUNCTIONAL,
    schema.N_SITES,
    *schema.STRUCTURE,
    schema.SOURCE_URL,
    schema.NOTE,
)


class Atoms(msgspec.Struct, gc=False):
    """What is kept of a record's structure, of whatever type it came as."""

    lattice_mat: Any = None
    elements: Any = None
    coords: Any = None
    cartesian: Any = None


class Entry(msgspec.Struct, gc=False):
    """What is kept of a record, by its own names, of whatever type it came as."""

    jid: Any = None
    formula: Any = None
    formation_energy_peratom: Any = None
    optb88vdw_total_energy: Any = None
    ehull: Any = None
    optb88vdw_bandgap: Any = None
    mbj_bandgap: Any = None
    hse_gap: Any = None
    bulk_modulus_kv: Any = None
    shear_modulus_gv: Any = None
    magmom_oszicar: Any = None
    magmom_outcar: Any = None
    density: Any = None
    spg_number: Any = None
    func: Any = None
    atoms: Atoms | None = None


_NO_ATOMS = Atoms()

decode = msgspec.json.Decoder(Entry).decode
"""A record's text to an :class:`Entry`; ValueError if its ``atoms`` are no object."""


def parse(records: Sequence[Entry | dict[str, Any] | Rejected], number: int = 0) -> pa.Table:
    """Records to a table in :data:`COLUMNS` and ``reason``, in their order.

    Parameters
    ----------
    records : sequence of Entry, dict or Rejected
        As :func:`infra.pull.records.map_records` gives them, with :data:`decode` or without.
    number : int
        Number of the first in its file, to name those without an id.

    Examples
    --------
    >>> atoms = {"lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "elements": ["Cs", "Cl"],
    ...          "coords": [[0, 0, 0], [2, 2, 2]], "cartesian": True}
    >>> record = {"jid": "JVASP-1", "formula": "CsCl", "ehull": "na", "spg_number": "221",
    ...           "mbj_bandgap": 8.1, "atoms": atoms}
    >>> row = parse([record]).to_pylist()[0]
    >>> row["source_id"], row["space_group"], row["band_gap_mbj_ev"], row["frac_coords"]
    ('JVASP-1', 221, 8.1, [0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    """
    reasons: dict[int, str] = {}
    rows: list[Entry] = []
    for row, record in enumerate(records):
        if isinstance(record, Rejected):
            reasons[row] = record.reason
            record = Entry(record.peek("jid"), record.peek("formula"))
        rows.append(record if isinstance(record, Entry) else _entry(record))
    notes = Notes()
    ids = _ids(rows, number, reasons)
    shapes = _structures(rows, notes)
    columns = {
        column: numbers(list(map(attrgetter(key), rows)), key, notes)
        for column, key in _NUMBERS.items()
    }
    return table(
        COLUMNS,
        {
            schema.SOURCE_ID: ids,
            schema.FORMULA: texts([row.formula for row in rows], "formula", notes),
            **columns,
            schema.VOLUME: shapes.volume,
            schema.SPACE_GROUP: space_groups(
                [None if (g := row.spg_number) == "na" else g for row in rows],
                "spg_number",
                notes,
            ),
            schema.FUNCTIONAL: texts([row.func for row in rows], "func", notes),
            **shapes.columns(),
            schema.SOURCE_URL: pc.if_else(
                pc.match_substring_regex(ids, _ID),
                pc.binary_join_element_wise(pa.scalar(_PAGE), ids, ".xml", ""),
                None,
            ),
        },
        notes,
        reasons,
    )


def _ids(rows: list[Entry], number: int, reasons: dict[int, str]) -> pa.Array:
    """Ids, and the record's number in the file for those without one."""
    ids = [row.jid for row in rows]
    if {id_.__class__ for id_ in ids} != {str} or "" in ids:
        for row, id_ in enumerate(ids):
            if not isinstance(id_, str) or not id_:
                ids[row] = f"record-{number + row}"
                reasons.setdefault(row, f"its jid is {id_!r:.40}, no identifier")
    return pa.array(ids, schema.SOURCE_ID.type)


def _structures(rows: list[Entry], notes: Notes) -> Structures:
    reasons = {}
    atoms: list[Atoms] = []
    found: list[Any] = [row.atoms for row in rows]  # of whatever type, if made from whole records
    for row, given in enumerate(found):
        if given.__class__ is not Atoms:
            if given not in _MISSING:
                reasons[row] = f"atoms is {given!r:.40}"
            given = _NO_ATOMS
        elif given.cartesian.__class__ is not bool:
            reasons[row] = "it does not say whether its coordinates are cartesian"
        atoms.append(given)
    return structures(
        [a.lattice_mat for a in atoms],
        [a.elements for a in atoms],
        [a.coords for a in atoms],
        [a.cartesian is True for a in atoms],
        notes,
        reasons,
    )


def _entry(record: dict[str, Any]) -> Entry:
    """What is kept of a whole record."""
    kept = {name: record[name] for name in Entry.__struct_fields__ if name in record}
    if isinstance(atoms := kept.get("atoms"), dict):
        fields = Atoms.__struct_fields__
        kept["atoms"] = Atoms(**{name: atoms[name] for name in fields if name in atoms})
    return Entry(**kept)
