"""The data sets that matminer lists, by name.

* matminer's list, which is read without importing matminer, gives each file's address, SHA-256,
  columns and references. The file is verified against the SHA-256 every time before it is read,
  and replaced if it is damaged. It lies where matminer's own
  ``load_dataset(name, data_home=...)`` finds it.
* Columns whose name and description leave no doubt about quantity and unit become those of the
  schema; others keep their names. What kind of values they hold is found by reading the file once.
* Structures become lattice, numbers and coordinates; a second structure of a row is left out. A
  data set without formulas gets them from its structures.
* Rows are named by their number in the file, since few data sets have identifiers that are unique.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from infra.pull.download import Digests, Expected, fetch_file
from infra.pull.http import Http, shown_url
from infra.pull.protocol import Unit, UnitCounts
from infra.pull.pymatgen_dicts import Crystal, parts, structure_columns
from infra.pull.records import Rejected
from infra.pull.space_groups import space_groups
from infra.pull.split_frames import SplitFrame
from infra.pull.values import Notes, numbers, table, texts
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.base import KNOWN_COLUMNS
from irnet_core import schema
from irnet_core.errors import SourceError
from irnet_core.schema import Column, unit_of

_LIST = "dataset_metadata.json"
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


class Matminer:
    """A data set of matminer's list.

    Parameters
    ----------
    dataset : str
        Such as ``expt_gap`` or ``jarvis_dft_3d``.
    folder : path, optional
        Where the file is kept; by default ``MATMINER_DATA``, else in the settings' ``cache``.
    listing : path, optional
        Another list than that of the installed matminer.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such data set, or no matminer.
    """

    versioned = True

    def __init__(
        self,
        dataset: str,
        *,
        folder: str | Path | None = None,
        listing: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or current_settings()
        self.dataset, self._about = dataset, _listed(dataset, listing)
        self.name = f"matminer-{dataset}"
        home = folder or os.environ.get("MATMINER_DATA") or Path(self._settings.cache) / "matminer"
        self.data_home = Path(home).expanduser()
        file = f"{dataset}.{self._about['file_type']}"
        self._file = self.data_home / file
        if (mirror := self._settings.matminer_url) is not None:
            self.url = f"{mirror.rstrip('/')}/{file}"
        else:  # figshare.com is guarded by challenges to browsers, its file server is not
            self.url = self._about["url"].replace(
                "https://figshare.com/ndownloader/", "https://ndownloader.figshare.com/"
            )
        self._plan: _Plan | None = None

    @property
    def what(self) -> str:
        """One sentence for people."""
        return f"{' '.join(self._about['description'].split()).partition('. ')[0].rstrip('.')}."

    @property
    def licence(self) -> str:
        """Terms, as far as they are known."""
        return "not stated by matminer; see the reference of the data set"

    @property
    def citation(self) -> str:
        """Reference as matminer states it, and its BibTeX entries."""
        given = [self._about["reference"], *self._about["bibtex_refs"]]
        return "\n".join(" ".join(text.split()) for text in dict.fromkeys(given))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns; until the version has been asked, those that every data set has."""
        if self._plan is None:
            return (schema.SOURCE_ID, schema.FORMULA, schema.NOTE)
        return self._plan.columns

    def query(self) -> dict[str, Any]:
        """Address of the file."""
        return {"url": shown_url(self.url), "dataset": self.dataset}

    def version(self, http: Http) -> dict[str, Any]:
        """SHA-256 of the file, which is downloaded if it is not there.

        Raises
        ------
        SourceError
            If it cannot be had as matminer lists it.
        """
        sha256 = self._about["hash"]
        found = fetch_file(http, self.url, self._file, Expected(sha256=sha256), lambda _: None)
        if self._plan is None:
            self._plan = _Plan(self.dataset, self._about["columns"], self._kinds(found))
        return {"dataset": self.dataset, "sha256": found.sha256, "rows": self._plan.rows}

    def units(self, http: Http) -> list[Unit]:
        """One unit: the file."""
        return [Unit("rows", {"dataset": self.dataset})]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows in the order of the file.

        Raises
        ------
        SourceError
            If the file is not what it should be.
        """
        if self._plan is None:
            self.version(http)
        plan, number = self._plan, 0
        if plan is None:
            raise SourceError(f"{self.name} has no file")
        counts.total, counts.passes = plan.rows, 1
        frame = SplitFrame(self._file, self._settings)
        for rows in frame.rows(plan.types):
            most = len(rows) if most_rows is None else most_rows - number
            yield plan.table(rows[:most], frame.columns, number)
            number += len(rows)
            if most_rows is not None and number >= most_rows:
                return

    # -------------------------------------------------------------------------------------
    def _kinds(self, found: Digests) -> dict[str, Any]:
        """Kinds of the columns and number of rows, from a note beside the file or from the file."""
        note = self._file.with_name(f"{self._file.name}.kinds.json")
        try:
            kept: dict[str, Any] = json.loads(note.read_text())
            if kept["sha256"] == found.sha256:
                return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none yet, or it is of another file
        frame = SplitFrame(self._file, self._settings)
        types: list[set[type]] = [set() for _ in frame.columns]
        n = 0
        large = [*_OTHER_STRUCTURES, _structure_among(frame.columns) or ""]
        for rows in frame.rows(dict.fromkeys(large, msgspec.Raw)):
            n += len(rows)
            good = [r for r in rows if not isinstance(r, Rejected) and len(r) == len(types)]
            for column, values in zip(types, zip(*good, strict=True), strict=False):
                column.update(map(type, values))
        if not n:
            raise SourceError(f"{self._file} has no rows: tell those who keep it")
        kinds = {name: _kind(found) for name, found in zip(frame.columns, types, strict=True)}
        kept = {"sha256": found.sha256, "rows": n, "kinds": kinds}
        part = note.with_name(f"{note.name}.part")
        try:
            part.write_text(json.dumps(kept))
            os.replace(part, note)
        except OSError as error:
            raise SourceError(f"cannot write {note}: {error.strerror}; make room") from error
        return kept


class _Plan:
    """Which columns a data set becomes."""

    def __init__(self, dataset: str, described: dict[str, str], kept: dict[str, Any]) -> None:
        self.dataset, self.rows = dataset, int(kept["rows"])
        kinds: dict[str, str] = kept["kinds"]
        self.structure = _structure_among(kinds)
        names = (name for name in _FORMULA_NAMES if kinds.get(name) in ("text", "objects"))
        self.formula = next(names, None)
        if self.formula is None and self.structure is None:
            raise SourceError(
                f"matminer's data set {dataset} has neither formulas nor structures: take another"
            )
        #: Types for :meth:`infra.pull.split_frames.SplitFrame.rows`
        self.types: dict[str, Any] = dict.fromkeys(_OTHER_STRUCTURES, msgspec.Raw)
        if self.structure is not None:
            self.types[self.structure] = Crystal | None
        self.known: dict[str, Column] = {}
        self.own: dict[str, Column] = {}
        gone = {self.formula, self.structure, *_OTHER_STRUCTURES}
        for name, kind in kinds.items():
            if name in gone:
                continue
            meaning = " ".join(described.get(name, "not described").split())
            column = _certain(dataset, name, meaning)
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

    def table(
        self, rows: Sequence[list[Any] | tuple[Any, ...] | Rejected], names: list[str], number: int
    ) -> pa.Table:
        """Rows as a table; ``number`` is that of the first in the file."""
        reasons = {
            at: row.reason if isinstance(row, Rejected) else f"{len(row)} values, not {len(names)}"
            for at, row in enumerate(rows)
            if isinstance(row, Rejected) or len(row) != len(names)
        }
        empty = [None] * len(names)
        whole = [empty if at in reasons else row for at, row in enumerate(rows)]
        of = dict(zip(names, zip(*whole, strict=True), strict=True)) if whole else {}
        given = {name: list(of.get(name, ())) for name in names}
        notes = Notes()
        arrays: dict[Column, pa.Array] = {}
        found = None
        if self.structure is not None:
            found = [parts(structure) for structure in given[self.structure]]
            shapes = structure_columns(found, notes)
            arrays |= shapes.columns()
            if schema.VOLUME in self.columns:
                arrays[schema.VOLUME] = shapes.volume
        if self.formula is not None:
            formulas = [_formula(value) for value in given[self.formula]]
        else:
            formulas = [_counted(species) for _, species, _, _ in found or ()]
        arrays[schema.FORMULA] = texts(formulas, self.formula or "structure", notes)
        for name, column in self.known.items():
            if pa.types.is_integer(column.type):
                arrays[column] = space_groups(_whole(given[name]), name, notes)
            else:
                arrays[column] = numbers(given[name], name, notes)
        for name, column in self.own.items():
            arrays[column] = _own(given[name], column, name, notes)
        ids = [f"{self.dataset}-{number + at:07d}" for at in range(len(rows))]
        arrays[schema.SOURCE_ID] = pa.array(ids, schema.SOURCE_ID.type)
        return table(self.columns, arrays, notes, reasons)

    def _has(self, wanted: Column) -> bool:
        return any(column.name == wanted.name for column in self.known.values())


def _structure_among(names: Collection[str]) -> str | None:
    """The column of structures, if there is one."""
    return next((name for name in _STRUCTURE_NAMES if name in names), None)


def _listed(dataset: str, listing: str | Path | None) -> dict[str, Any]:
    """What matminer's list says of a data set."""
    text = Path(listing).read_text(encoding="utf-8") if listing is not None else _installed_list()
    known: dict[str, dict[str, Any]] = json.loads(text)
    if dataset not in known:
        raise SourceError(
            f"matminer lists no data set {dataset!r}: choose --dataset among "
            f"{', '.join(sorted(known))}"
        )
    return known[dataset]


def _installed_list() -> str:
    """The list of the installed matminer, without importing it, which takes seconds."""
    try:
        files = metadata.files("matminer") or []
    except metadata.PackageNotFoundError as error:
        raise SourceError(
            "the data sets are listed in matminer, which is not installed: pip install matminer"
        ) from error
    for file in files:
        if file.name == _LIST:
            return file.read_text(encoding="utf-8")
    raise SourceError(f"the installed matminer has no {_LIST}: install it anew")


def _certain(dataset: str, name: str, description: str) -> Column | None:
    """Column of the schema that a column surely is."""
    if (dataset, name) in _STATED:
        return _STATED[dataset, name]
    for column, names, said in _CERTAIN:
        if name in names and re.search(said, description):
            return column
    return None


def _kind(types: set[type]) -> str:
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


def _counted(species: list[Any] | None) -> str | None:
    """Formula of the sites of a structure."""
    if not species or not all(isinstance(symbol, str) for symbol in species):
        return None
    return "".join(f"{symbol}{species.count(symbol)}" for symbol in sorted(set(species)))
