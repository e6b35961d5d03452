"""Rows of matminer's data sets, to a table.

A column becomes one of the schema only if its name and its description leave no doubt; the others
keep their names and what the list says of them. What a column holds is known when all rows have
been seen, so rows are taken in before they become tables: structures at once as arrays, the rest as
it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa

from featurizers.elements import SYMBOLS
from infra.pull.pymatgen_dicts import Crystal, parts, structure_columns
from infra.pull.records import Rejected
from infra.pull.space_groups import space_groups
from infra.pull.structures import Structures
from infra.pull.values import Notes, numbers, table, texts
from infra.sources.base import KNOWN_COLUMNS
from irnet_core import schema
from irnet_core.errors import SourceError
from irnet_core.schema import Column, unit_of

_FORMULA_NAMES = ("formula", "pretty_formula", "composition")
_STRUCTURE_NAMES = ("structure", "final_structure")
_OTHER_STRUCTURES = ("structure initial", "initial structure", "initial_structure")
_PER_ATOM = r"eV/atom|per atom"
#: Columns of the schema, by names and by what a description must say.
_CERTAIN: tuple[tuple[Column, set[str], str], ...] = (
    (schema.BAND_GAP, {"gap expt", "expt_gap", "gap pbe", "gap opt"}, r"\beV\b"),
    (schema.BAND_GAP_MBJ, {"gap tbmbj"}, r"\beV\b"),
    (schema.FORMATION_ENERGY, {"e_form", "e_form expt", "expt_form_e"}, _PER_ATOM),
    (schema.FORMATION_ENERGY_UNCERTAINTY, {"uncertainty"}, "eV/atom"),
    (schema.ENERGY_ABOVE_HULL, {"e_hull", "e_above_hull"}, _PER_ATOM),
    (schema.ENERGY, {"E_vasp_per_atom"}, "eV/atom"),
    (schema.BULK_MODULUS, {"bulk modulus"}, "GPa"),
    (schema.SHEAR_MODULUS, {"shear modulus"}, "GPa"),
    (schema.VOLUME, {"vpa"}, r"A\^3/atom"),
    (schema.MAGNETIZATION_CELL, {"mu_b"}, "unit cell"),
    (schema.SPACE_GROUP, {"space_group"}, "Integer"),
)
#: Per atom by Table 1 of https://doi.org/10.1038/s41524-020-00406-3, though the list says eV only.
_STATED = {("matbench_mp_e_form", "e_form"): schema.FORMATION_ENERGY}
_TYPES = {"number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}


@dataclass
class Block:
    """Some rows of a file, taken in.

    Attributes
    ----------
    number, size : int
        Place of the first in the file, and how many they are.
    values : dict of str to list
        Values by column, without structures.
    reasons : dict of int to str
        Why rows cannot be used.
    notes : Notes
        What is wrong with their structures.
    shapes : Structures, optional
        If there is a column of them.
    counted : list, optional
        Formulas of the structures, if no column may have formulas.
    """

    number: int
    size: int
    values: dict[str, list[Any]]
    reasons: dict[int, str]
    notes: Notes
    shapes: Structures | None = None
    counted: list[str | None] | None = None


def types_of(names: Collection[str]) -> dict[str, Any]:
    """Types for :meth:`infra.pull.split_frames.SplitFrame.rows`: of structures what is kept."""
    structure = structure_among(names)
    wanted: dict[str, Any] = dict.fromkeys(_OTHER_STRUCTURES, msgspec.Raw)
    return wanted if structure is None else {**wanted, structure: Crystal | None}


def taken_in(
    rows: Sequence[list[Any] | tuple[Any, ...] | Rejected], names: list[str], number: int
) -> Block:
    """Take in some rows of a file.

    Parameters
    ----------
    rows : sequence of list, tuple or Rejected
        Values of each in the order of the columns, or why it cannot be read.
    names : list of str
        Columns of the file.
    number : int
        Place of the first row in the file.

    Returns
    -------
    Block
    """
    reasons = {
        at: row.reason if isinstance(row, Rejected) else f"{len(row)} values, not {len(names)}"
        for at, row in enumerate(rows)
        if isinstance(row, Rejected) or len(row) != len(names)
    }
    empty = [None] * len(names)
    whole = [empty if at in reasons else row for at, row in enumerate(rows)]
    of = dict(zip(names, zip(*whole, strict=True), strict=True)) if whole else {}
    structure = structure_among(names)
    gone = (structure, *_OTHER_STRUCTURES)
    values = {name: list(of.get(name, ())) for name in names if name not in gone}
    block = Block(number, len(rows), values, reasons, Notes())
    if structure is not None:
        found = [parts(given) for given in of.get(structure, ())]
        block.shapes = structure_columns(found, block.notes)
        if not any(name in names for name in _FORMULA_NAMES):
            block.counted = [_counted(species) for _, species, _, _ in found]
    return block


class Plan:
    """Which columns a data set becomes."""

    def __init__(self, dataset: str, described: dict[str, str], kept: dict[str, Any]) -> None:
        self.dataset, self.rows = dataset, int(kept["rows"])
        kinds: dict[str, str] = kept["kinds"]
        self.structure = structure_among(kinds)
        names = (name for name in _FORMULA_NAMES if kinds.get(name) in ("text", "objects"))
        self.formula = next(names, None)
        if self.formula is None and self.structure is None:
            raise SourceError(
                f"matminer's data set {dataset} has neither formulas nor structures: take another"
            )
        self.known: dict[str, Column] = {}
        self.own: dict[str, Column] = {}
        gone = {self.formula, self.structure, *_OTHER_STRUCTURES}
        for name, kind in kinds.items():
            if name in gone:
                continue
            meaning = " ".join(described.get(name, "not described").split())
            column = certain_column(dataset, name, meaning)
            if column is not None and kind == "number":
                self.known[name] = replace(column, meaning=f"{meaning} ({name} of {dataset})")
            else:
                unit = unit_of(name) if kind == "number" else ""
                free = name if name not in KNOWN_COLUMNS else f"{name}_as_given"
                self.own[name] = Column(free, _TYPES.get(kind, pa.string()), unit, meaning)
        shape = () if self.structure is None else (schema.N_SITES, *schema.STRUCTURE)
        volume = (schema.VOLUME,) if shape and not self._has(schema.VOLUME) else ()
        self.columns = (
            schema.SOURCE_ID,
            schema.FORMULA,
            *self.known.values(),
            *volume,
            *self.own.values(),
            *shape,
            schema.NOTE,
        )

    def table(self, block: Block) -> pa.Table:
        """Rows as a table."""
        given, notes, shapes = block.values, block.notes, block.shapes
        arrays: dict[Column, pa.Array] = {}
        if shapes is not None:
            arrays |= shapes.columns()
            if schema.VOLUME in self.columns:
                arrays[schema.VOLUME] = shapes.volume
        if self.formula is not None:
            formulas = [_formula(value) for value in given[self.formula]]
        else:
            formulas = block.counted or _of_shapes(shapes)
        arrays[schema.FORMULA] = texts(formulas, self.formula or "structure", notes)
        for name, column in self.known.items():
            if pa.types.is_integer(column.type):
                arrays[column] = space_groups(_whole(given[name]), name, notes)
            else:
                arrays[column] = numbers(given[name], name, notes)
        for name, column in self.own.items():
            arrays[column] = _own(given[name], column, name, notes)
        ids = [f"{self.dataset}-{block.number + at:07d}" for at in range(block.size)]
        arrays[schema.SOURCE_ID] = pa.array(ids, schema.SOURCE_ID.type)
        return table(self.columns, arrays, notes, block.reasons)

    def _has(self, wanted: Column) -> bool:
        return any(column.name == wanted.name for column in self.known.values())


def structure_among(names: Collection[str]) -> str | None:
    """The column of structures, if there is one."""
    return next((name for name in _STRUCTURE_NAMES if name in names), None)


def certain_column(dataset: str, name: str, description: str) -> Column | None:
    """Column of the schema that a column surely is, None if that is not certain.

    Parameters
    ----------
    dataset, name : str
        Names of the data set and of its column.
    description : str
        What matminer's list says about the column; it has to name the unit.
    """
    if (dataset, name) in _STATED:
        return _STATED[dataset, name]
    for column, names, said in _CERTAIN:
        if name in names and re.search(said, description):
            return column
    return None


def kind_of(types: set[type]) -> str:
    """What a column holds, by the types of its values."""
    types = types - {type(None)}
    if types <= {int, float}:
        return "number"
    if types == {bool}:
        return "flag"
    return "text" if types == {str} else "objects"


def _own(values: list[Any], column: Column, name: str, notes: Notes) -> pa.Array:
    """Values of a column that keeps its name; objects as JSON."""
    if column.type == pa.float64():
        return numbers(values, name, notes)
    if column.type == pa.bool_():
        return pa.array(values, pa.bool_())
    kept = [v if v is None or isinstance(v, str) else json.dumps(v, sort_keys=True) for v in values]
    return pa.array(kept, pa.string())


def _whole(values: list[Any]) -> list[Any]:
    """Whole floats as integers."""
    return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]


def _formula(value: Any) -> Any:
    """A formula, also of a composition as pymatgen writes it."""
    if not isinstance(value, dict):
        return value
    try:
        return "".join(
            [f"{key}{amount:g}" for key, amount in sorted(value.items()) if key[:1] != "@"]
        )
    except (TypeError, ValueError):  # no amounts
        return value


def _of_shapes(shapes: Structures | None) -> list[str | None]:
    """Formulas of structures that are arrays."""
    return [
        None if sites is None else _counted([SYMBOLS[z] for z in sites])
        for sites in (shapes.numbers.to_pylist() if shapes is not None else ())
    ]


def _counted(species: list[Any] | None) -> str | None:
    """Formula of the sites of a structure."""
    if not species or not all(isinstance(symbol, str) for symbol in species):
        return None
    return "".join(f"{symbol}{species.count(symbol)}" for symbol in sorted(set(species)))
