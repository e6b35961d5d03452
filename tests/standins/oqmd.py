"""OQMD as its server's source code has it, with both interfaces and all their faults."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pyarrow.parquet as pq

from featurizers.elements import SYMBOLS
from infra.pull.space_groups import NUMBERS
from infra.settings import Settings
from infra.sources.base import Database
from infra.sources.oqmd import Oqmd
from infra.sources.oqmd_optimade import OqmdOptimade
from standins.base import HTML, Reply, Request, StandIn
from standins.case import Case
from standins.crystals import SHARED, Crystal, made_crystals
from standins.oqmd_filter import FilterError, Row, predicate

_FIELDS = (
    "name entry_id calculation_id icsd_id formationenergy_id duplicate_entry_id composition "
    "composition_generic prototype spacegroup volume ntypes natoms unit_cell sites band_gap "
    "delta_e stability fit calculation_label"
)
FIELDS = _FIELDS.split()
_OPTIMADE_FIELDS = (
    "id type last_modified chemical_formula_reduced chemical_formula_anonymous nelements elements "
    "nsites lattice_vectors _oqmd_direct_site_positions species_at_sites dimension_types "
    "elements_ratios structure_features chemical_formula_descriptive species "
    "cartesian_site_positions _oqmd_entry_id _oqmd_calculation_id _oqmd_icsd_id _oqmd_band_gap "
    "_oqmd_delta_e _oqmd_volume _oqmd_stability _oqmd_prototype _oqmd_spacegroup"
)
OPTIMADE_FIELDS = _OPTIMADE_FIELDS.split()
_DROPPED = {"elements_ratios", "dimension_types", "species", "_oqmd_direct_site_positions"}
_UNITS = {
    "_oqmd_band_gap": "eV",
    "_oqmd_delta_e": "eV/atom",
    "_oqmd_stability": "eV/atom",
    "_oqmd_volume": "Ao^3",
}
_KEYS = {name: name for name in ("ntypes", "natoms", "volume", "delta_e", "stability", "band_gap")}
_KEYS |= {name: name for name in ("prototype", "spacegroup")}
_OPTIMADE_KEYS = {"nelements": "ntypes", "nsites": "natoms", "id": "formationenergy_id"}
_OPTIMADE_KEYS |= {f"_oqmd_{name}": name for name in ("delta_e", "stability", "band_gap")}
_PARSE_ERROR = (
    "Error while parsing the filter with optimade grammar version: v1.0.0. "
    "Check for grammatical errors in the query"
)


def _crystals(n: int) -> list[Crystal]:
    path = SHARED / "structures" / "oqmd_ternary_oxides.parquet"
    if not path.exists():
        return made_crystals(n)
    real = [
        Crystal(
            lattice=[row["lattice"][i : i + 3] for i in (0, 3, 6)],
            symbols=[SYMBOLS[z] for z in row["numbers"]],
            frac_coords=[row["frac_coords"][i : i + 3] for i in range(0, 3 * row["nsites"], 3)],
            name=str(row["oqmd_entry_id"]),
            known={"gap": row["band_gap_ev"]},
        )
        for row in pq.read_table(path).slice(0, n // 2).to_pylist()
    ]
    return real + made_crystals(n - len(real))


def made_rows(n: int) -> list[Row]:
    """Rows of the database, all fields; the same ones for the same number.

    Among them are: nulls, an entry with two formation energies, a duplicate of another entry, a
    site with two elements, a row without a structure, one with a formula that is none.
    """
    draw = random.Random(7)
    symbols = sorted(NUMBERS)
    rows = []
    for number, crystal in enumerate(_crystals(n)):
        elements = sorted(set(crystal.symbols))
        counts = {element: crystal.symbols.count(element) for element in elements}
        a, b, c = crystal.lattice
        cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]]
        entry = int(crystal.name) if crystal.name.isdigit() else 900_000 + number
        rows.append(
            {
                "name": crystal.formula,
                "entry_id": entry,
                "calculation_id": 10 * number + 1,
                "icsd_id": 40_000 + number if number % 3 == 0 else None,
                "formationenergy_id": 4_000_000 + 3 * number,
                "duplicate_entry_id": entry,
                "composition": " ".join(f"{e}{k}" for e, k in counts.items()),
                "composition_generic": "ABCDEFGH"[: len(elements)],
                "prototype": "CsCl" if number % 5 == 0 else None,
                "spacegroup": draw.choice(symbols),
                "volume": abs(sum(x * y for x, y in zip(a, cross, strict=True))),
                "ntypes": len(elements),
                "natoms": len(crystal.symbols),
                "unit_cell": crystal.lattice,
                "sites": [
                    f"{s} @ {x:.3g} {y:.3g} {z:.3g}"
                    for s, (x, y, z) in zip(crystal.symbols, crystal.frac_coords, strict=True)
                ],
                "band_gap": crystal.known.get("gap"),
                "delta_e": round(draw.uniform(-4, 1), 11),
                "stability": round(max(draw.uniform(-1, 1), 0.0), 11),
                "fit": "standard",
                "calculation_label": "static",
                "element_list": "".join(f"{element}_" for element in elements),
                "frac_coords": crystal.frac_coords,
                "symbols": crystal.symbols,
            }
        )
    if n > 20:
        rows[1] |= {"stability": None, "band_gap": None}
        rows[2] |= {"delta_e": None, "stability": None}
        rows[3] |= {"entry_id": rows[4]["entry_id"], "duplicate_entry_id": rows[4]["entry_id"]}
        same = ("ntypes", "natoms", "element_list", "composition", "name")
        rows[3] |= {key: rows[4][key] for key in same}
        rows[5] |= {"duplicate_entry_id": rows[6]["entry_id"]}
        rows[7]["sites"] = ["(Fe,Co) @ 0 0 0", *rows[7]["sites"][1:]]
        rows[7]["symbols"] = ["Co0.5Fe0.5", *rows[7]["symbols"][1:]]
        rows[8] |= {"unit_cell": None, "sites": None}
        rows[9] |= {"composition": "Xx2 Zz3", "name": "Xx2Zz3"}
        rows[10] |= {"spacegroup": "Q99"}
    return rows


class OqmdStandIn(StandIn):
    """OQMD's server.

    Parameters
    ----------
    rows : list of dict
        Of :func:`made_rows`.
    """

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows
        self.cap: int | None = None  # most rows of a page
        self.shuffled = 0  # requests to come that get rows in an order of their own; -1: all
        self.shifted = 0  # requests to come whose pages begin with rows of the page before; -1: all
        self.short = 0  # requests to come that lack their last rows; -1: all
        self.no_count = 0  # requests to come whose counts are negative; -1: all
        self.endless = False  # whether there is always a next page
        self.poisoned: set[int] = set()  # formation energies that make every page fail
        self.late: list[Row] = []  # rows that are there only for `late_for` requests
        self.late_for = 0
        self.growing = False  # whether another of the late rows comes with every eighth request
        self.refuses: str | None = None  # filters with this text are answered with 400
        self.draw = random.Random(11)

    def respond(self, request: Request) -> Reply:
        """Answer as the server would."""
        if request.path.rstrip("/") == "/oqmdapi/formationenergy":
            return self.native(request)
        if request.path.rstrip("/") == "/optimade/structures":
            return self.optimade(request)
        if request.path.rstrip("/") == "/optimade/info/structures":
            return _json(_info())
        return Reply(b"<h1>Not Found</h1>", 404, {"Content-Type": "text/html"})

    def native(self, request: Request) -> Reply:
        """The REST interface."""
        params = request.params
        try:
            rows = self.found(params.get("filter"), _KEYS)
        except FilterError:
            return _json({"detail": _PARSE_ERROR}, 400)
        limit, offset = int(params.get("limit") or 50), int(params.get("offset") or 0)
        if sort := params.get("sort_by"):  # is cut before it is counted
            start = int(params.get("sort_offset") or 0)
            rows = sorted(rows, key=lambda row: (row[sort] is not None, row[sort]))
            rows = rows[start : start + limit]
        page, count = self.page(rows, offset, limit)
        if page is None:
            return Reply(HTML, 500, {"Content-Type": "text/html"})
        asked = params["fields"].split(",") if params.get("fields") else FIELDS
        data = [{name: row[name] for name in FIELDS if name in asked} for row in page]
        next_ = self.next_(request, offset, limit, count, "limit", "offset")
        value = {
            "links": {
                "next": next_,
                "previous": None if offset == 0 else "http://oqmd.org/oqmdapi/formationenergy",
                "base_url": {"href": "http://oqmd.org/oqmdapi", "meta": {"_oqmd_version": "1.0"}},
            },
            "resource": {},
            "data": data,
            "meta": {
                "query": {"representation": f"/formationenergy?{request.raw_query}"},
                "api_version": "1.0",
                "time_stamp": time.strftime("%Y-%m-%d %H:%M:%S"),
                "data_returned": min(limit, count - offset),
                "data_available": count,
                "comments": "",
                "query_tree": "",
                "more_data_available": next_ is not None or offset > 0,
            },
            "response_message": "OK",
        }
        return _json(value)

    def optimade(self, request: Request) -> Reply:
        """The OPTIMADE interface."""
        params = request.params
        try:
            rows = self.found(params.get("filter"), _OPTIMADE_KEYS)
        except FilterError:
            return _json({"errors": [{"status": "400", "detail": _PARSE_ERROR}]}, 400)
        limit, offset = int(params.get("page_limit") or 50), int(params.get("page_offset") or 0)
        page, count = self.page(rows, offset, limit)
        if page is None:
            return Reply(HTML, 500, {"Content-Type": "text/html"})
        asked = params["response_fields"].split(",") if params.get("response_fields") else None
        next_ = self.next_(request, offset, limit, count, "page_limit", "page_offset")
        value = {
            "links": {"next": next_, "previous": None},
            "data": [_entry(row, asked) for row in page],
            "meta": {
                "api_version": "1.0.0",
                "data_returned": count,
                "data_available": len(self.rows),
                "_oqmd_data_in_response": min(limit, count - offset),
                "_oqmd_final_query": params.get("filter"),
                "more_data_available": next_ is not None or offset > 0,
                "warnings": [
                    {"type": "warning", "detail": "_oqmd_NoFilterWarning: No filters were provided"}
                ],
            },
        }
        return _json(value)

    # -------------------------------------------------------------------------------------
    def found(self, filter_: str | None, keys: dict[str, str]) -> list[Row]:
        """Rows that meet a filter."""
        rows = list(self.rows)
        if self.late_for:
            self.late_for -= 1
            rows += self.late
        if self.growing:
            rows += self.late[: len(self.requests) // 8]
        if self.refuses and self.refuses in (filter_ or ""):
            raise FilterError(filter_)
        if not filter_:
            return rows
        test = predicate(filter_, keys)
        return [row for row in rows if test(row)]

    def page(self, rows: list[Row], offset: int, limit: int) -> tuple[list[Row] | None, int]:
        """Rows of a page, none if it fails, and their count."""
        count = len(rows)
        if self.spend("shuffled"):
            self.draw.shuffle(rows)
        start = max(offset - limit // 3, 0) if offset and self.spend("shifted") else offset
        page = rows[start : start + min(limit, self.cap or limit)]
        if any(row["formationenergy_id"] in self.poisoned for row in page):
            return None, count
        if len(page) > 4 and self.spend("short"):
            page = page[:-4]
        return page, -97_000 if self.spend("no_count") else count

    def spend(self, switch: str) -> bool:
        """Whether a switch is on for this request."""
        with self._lock:
            left: int = getattr(self, switch)
            if left > 0:
                setattr(self, switch, left - 1)
        return left != 0

    def next_(
        self, request: Request, offset: int, limit: int, count: int, limit_key: str, key: str
    ) -> str | None:
        """Address of the next page, at the host that the server believes to be."""
        if offset + limit >= count and not self.endless:
            return None
        query = request.params | {limit_key: str(limit), key: str(offset + limit)}
        return f"http://oqmd.org{request.path}?{urlencode(query)}"


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(orjson.dumps(value), status)


def _entry(row: Row, asked: list[str] | None) -> dict[str, Any]:
    cell = row["unit_cell"]
    cartesian = [
        [round(sum(x * cell[i][j] for i, x in enumerate(xyz)), 6) for j in range(3)]
        for xyz in (row["frac_coords"] if cell else [])
    ]
    delta_e, stability = row["delta_e"], row["stability"]
    everything = {
        "last_modified": None,
        "chemical_formula_reduced": "".join(
            part[:-1] if part[-1] == "1" and part[-2].isalpha() else part
            for part in row["composition"].split()
        ),
        "chemical_formula_anonymous": row["composition_generic"],
        "nelements": row["ntypes"],
        "elements": row["element_list"].split("_")[:-1],
        "nsites": row["natoms"],
        "lattice_vectors": cell or [],
        "_oqmd_direct_site_positions": row["frac_coords"],
        "species_at_sites": row["symbols"] if cell else [],
        "dimension_types": [1, 1, 1],
        "elements_ratios": [],
        "structure_features": [],
        "chemical_formula_descriptive": "",
        "species": [],
        "cartesian_site_positions": cartesian,
        "_oqmd_entry_id": row["entry_id"],
        "_oqmd_calculation_id": row["calculation_id"],
        "_oqmd_icsd_id": row["icsd_id"],
        "_oqmd_band_gap": row["band_gap"],
        "_oqmd_delta_e": None if delta_e is None else round(delta_e, 4),
        "_oqmd_volume": row["volume"],
        "_oqmd_stability": None if stability is None else max(round(stability, 3), 0.0),
        "_oqmd_prototype": row["prototype"],
        "_oqmd_spacegroup": row["spacegroup"],
    }
    kept = set(asked) if asked is not None else everything.keys() - _DROPPED
    attributes = {name: value for name, value in everything.items() if name in kept}
    return {"id": row["formationenergy_id"], "type": "structures", "attributes": attributes}


def _info() -> dict[str, Any]:
    properties = {
        name: {"description": name, "unit": _UNITS.get(name), "sortable": False}
        for name in OPTIMADE_FIELDS
    }
    return {"data": {"description": "a structures entry", "properties": properties}, "meta": {}}


# the fault matrix -----------------------------------------------------------------------------
ROWS = 240


def _made() -> OqmdStandIn:
    return OqmdStandIn(made_rows(ROWS))


def _native(url: str, folder: Path, settings: Settings) -> Database:
    settings = settings.model_copy(update={"oqmd_url": url})
    return Oqmd(unit_rows=ROWS // 2, page_size=30, settings=settings)


def _by_optimade(url: str, folder: Path, settings: Settings) -> Database:
    settings = settings.model_copy(update={"oqmd_url": url})
    return OqmdOptimade(unit_rows=ROWS // 2, page_size=30, settings=settings)


def _switch(name: str) -> Any:
    return lambda stand_in, lasting: setattr(stand_in, name, -1 if lasting else 1)


def _endless(stand_in: OqmdStandIn, lasting: bool) -> None:
    stand_in.endless = True


def _change(stand_in: OqmdStandIn, lasting: bool) -> None:
    """A row that is there for the first requests only, or new rows again and again."""
    stand_in.late = made_rows(ROWS + 50)[ROWS:] if lasting else [made_rows(ROWS + 1)[-1]]
    stand_in.late_for, stand_in.growing = (0, True) if lasting else (7, False)


_QUIRKS = {
    "duplicate rows": _switch("shifted"),
    "changing order": _switch("shuffled"),
    "negative counts": _switch("no_count"),
    "endless next": _endless,
    "short page": _switch("short"),
    "version change": _change,
}
_CANNOT = {
    "db fail 200": "only AFLOW says that",
    "truncated zip": "there is no archive",
    "bad key": "there is no key",
}
CASES = (
    Case("oqmd", _made, _native, _QUIRKS, _CANNOT),
    Case("oqmd-optimade", _made, _by_optimade, _QUIRKS, _CANNOT),
)
