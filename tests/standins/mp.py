"""The Materials Project's REST interface: heartbeat and summaries, with its rules and its moods."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from featurizers.elements import SYMBOLS
from infra.settings import Settings
from infra.sources.mp import MaterialsProject
from infra.sources.mp_delta import MaterialsProjectDelta
from standins.base import Reply, Request, StandIn
from standins.case import Case
from standins.crystals import SHARED
from standins.s3 import Buckets

KEY = "k3yOfTheMaterialsProject12345678"  # 32 characters, as it must be
GNOME = "gnome_r2scan_statics"
MOST = 1000
ALWAYS = 1_000_000_000
SORTABLE = ("material_id", "nsites", "volume", "density", "energy_above_hull", "band_gap")
RANGES = {
    *("nsites", "nelements", "volume", "density", "band_gap", "energy_above_hull"),
    *("energy_per_atom", "formation_energy_per_atom", "total_magnetization", "k_vrh", "g_vrh"),
}
FLAGS = ("deprecated", "is_stable", "theoretical", "is_metal")
TEXTS = ("formula", "chemsys", "elements", "exclude_elements", "material_ids", "has_props")
EXACT = ("spacegroup_number", "crystal_system", "license", "batch_id", "batch_id_not_eq")
PAGING = ("_limit", "_skip", "_page", "_per_page", "_fields", "_all_fields", "_sort_fields")
PARAMETERS = {
    *(f"{name}_{end}" for name in RANGES for end in ("min", "max")),
    *FLAGS,
    *TEXTS,
    *EXACT,
    *PAGING,
}


class MaterialsProjectStandIn(StandIn):
    """Serves rows as ``materials/summary/``; what is out of order is switched on by attributes.

    Attributes
    ----------
    accepted_terms : bool
        Whether the key's owner has accepted the terms of the GNoME batch.
    expired, blocked : bool, int
        Answer 403 from now on; answer so many summaries with 429 and the text for blocked machines.
    short : int
        Pages that lack their last row.
    repeats : int
        Pages from the second on that begin with the last row of the one before.
    restless : bool
        Whether the order changes with each request that asks for none.
    count : callable, optional
        Makes another total of the true one; what it returns is sent, an Ellipsis not at all.
    counts : int
        Pages to which it is applied.
    versions : list of str
        Database versions that heartbeats give one after another, the last for ever.
    poisoned : set of str
        Ids of rows that the server breaks on.
    """

    def __init__(self, rows: Iterable[dict[str, Any]], key: str = KEY) -> None:
        super().__init__()
        self.rows = list(rows)
        self.key = key
        self.accepted_terms = False
        self.expired, self.blocked = False, 0
        self.short = self.repeats = 0
        self.restless = False
        self.count: Callable[[int], Any] | None = None
        self.counts = ALWAYS
        self.versions = ["2026.04.13"]
        self.poisoned: set[str] = set()
        self._random = random.Random(0)
        self._text = lru_cache(maxsize=None)(self._row_text)
        self._selected = lru_cache(maxsize=None)(self._selection)

    def faulty(self, request: Request) -> bool:
        return request.path.endswith("/summary/")

    def respond(self, request: Request) -> Reply:
        if request.path == "/heartbeat":
            version = self.versions[0] if len(self.versions) == 1 else self.versions.pop(0)
            return _json(
                {
                    "status": "OK",
                    "time": "2026-08-01T00:00:00",
                    "version": "0.86.4",
                    "db_version": version,
                    "suffix": "blue",
                    "access_controlled_batch_ids": [GNOME],
                }
            )
        if request.path != "/materials/summary/":
            return _json({"detail": "Not Found"}, 404)
        key = request.headers.get("x-api-key")
        if not key:
            return _json({"message": "No API key found in request"}, 401)
        if key != self.key:
            return _json({"message": f"Invalid authentication credentials {key}"}, 401)
        if self.expired:
            return _json({"message": "You cannot consume this service"}, 403)
        if self.blocked:
            self.blocked -= 1
            error = "Your IP has been (temporarily) blocked due to rate limits. Slow down."
            return _json({"error": error, "version": "blocked"}, 429)
        return self._summaries(request.params)

    # -------------------------------------------------------------------------------------
    def _summaries(self, asked: dict[str, str]) -> Reply:
        if unknown := [name for name in asked if name not in PARAMETERS]:
            detail = "Request contains query parameters which cannot be used: "
            return _json({"detail": detail + ", ".join(unknown)}, 400)
        limit = int(asked.get("_limit", 100))
        page = int(asked["_page"]) if "_page" in asked else None
        if page is not None and "_per_page" in asked:
            limit = int(asked["_per_page"])
        if limit > MOST:
            detail = "Requested more data per query than allowed by this endpoint. The max limit is"
            return _json({"detail": f"{detail} {MOST} entries"}, 400)
        sort = asked.get("_sort_fields", "")
        if sort and sort.lstrip("-") not in SORTABLE:
            return _json({"detail": f"Sort fields are {', '.join(SORTABLE)}"}, 400)
        selection = tuple(sorted((k, v) for k, v in asked.items() if not k.startswith("_")))
        rows = self._selected(selection, sort, self.accepted_terms)
        if not sort and self.restless:
            rows = tuple(self._random.sample(rows, len(rows)))
        skip = (page - 1) * limit if page is not None else int(asked.get("_skip", 0))
        sent = list(rows[skip : skip + limit])
        if self.poisoned & {self.rows[row]["material_id"] for row in sent}:
            return _json({"detail": "Server error: document cannot be serialised"}, 500)
        if self.short and len(sent) > 1:
            self.short -= 1
            del sent[-1]
        if self.repeats and skip and sent:
            self.repeats -= 1
            sent = [rows[skip - 1], *sent][: len(sent)]
        fields = "*" if "_all_fields" in asked else asked.get("_fields", "material_id")
        data = b",".join([self._text(row, fields) for row in sent])
        meta = {"api_version": "0.86.4", "total_doc": len(rows), "facet": None, "max_limit": MOST}
        if self.count is not None and self.counts:
            self.counts -= 1
            meta["total_doc"] = self.count(len(rows))
            if meta["total_doc"] is Ellipsis:
                del meta["total_doc"]
        return Reply(b'{"data":[' + data + b'],"meta":' + orjson.dumps(meta) + b"}")

    def _row_text(self, row: int, fields: str) -> bytes:
        if fields == "*":
            return orjson.dumps(self.rows[row])
        names = [name.split(".")[0] for name in fields.split(",")]
        return orjson.dumps({n: self.rows[row][n] for n in names if n in self.rows[row]})

    def _selection(
        self, asked: tuple[tuple[str, str], ...], sort: str, gnome: bool
    ) -> tuple[int, ...]:
        """Rows that a request is for, in its order."""
        wanted = {"deprecated": "False", **dict(asked)}
        rows = [
            number
            for number, row in enumerate(self.rows)
            if (gnome or row["builder_meta"]["license"] != "BY-NC")
            and all(_fits(row, name, value) for name, value in wanted.items())
        ]
        if sort:
            by = sort.lstrip("-")
            rows.sort(key=lambda n: self.rows[n][by], reverse=sort.startswith("-"))
        return tuple(rows)


def _fits(row: dict[str, Any], name: str, value: str) -> bool:
    meta = row["builder_meta"]
    if name.endswith(("_min", "_max")):
        of = {"k_vrh": ("bulk_modulus", "vrh"), "g_vrh": ("shear_modulus", "vrh")}
        path = of.get(name[:-4], (name[:-4],))
        found: Any = row
        for part in path:
            found = None if found is None else found.get(part)
        if found is None:
            return False
        return found >= float(value) if name.endswith("_min") else found <= float(value)
    if name in FLAGS:
        return row[name] is (value.lower() == "true")
    values = set(value.split(","))
    elements = set(row["elements"])
    return {
        "formula": lambda: row["formula_pretty"] in values,
        "chemsys": lambda: row["chemsys"] in values,
        "elements": lambda: values <= elements,
        "exclude_elements": lambda: not values & elements,
        "material_ids": lambda: row["material_id"] in values,
        "has_props": lambda: all(row["has_props"].get(v) for v in values),
        "spacegroup_number": lambda: str(row["symmetry"]["number"]) in values,
        "crystal_system": lambda: row["symmetry"]["crystal_system"] in values,
        "license": lambda: meta["license"] == value,
        "batch_id": lambda: meta["batch_id"] == value,
        "batch_id_not_eq": lambda: meta["batch_id"] != value,
    }[name]()


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status)


class DeltaStandIn(MaterialsProjectStandIn):
    """The same with the collection as a Delta table in a bucket; transport faults hit its files."""

    def __init__(self, rows: Iterable[dict[str, Any]], key: str = KEY) -> None:
        super().__init__(rows, key)
        self._folder = tempfile.TemporaryDirectory(prefix="delta-")
        self.buckets = Buckets(Path(self._folder.name))
        self.write(self.rows)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Let the table have other rows than the REST interface."""
        write_delta(rows, Path(self._folder.name))

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self._folder.cleanup()

    def faulty(self, request: Request) -> bool:
        return request.path.endswith(".parquet")

    def respond(self, request: Request) -> Reply:
        if request.path.startswith("/materialsproject-"):
            return self.buckets.respond(request)
        return super().respond(request)


def write_delta(rows: list[dict[str, Any]], folder: Path, version: str = "2026-04-13") -> None:
    """The collection as the client expects it in S3, in the schema of emmet's own model."""
    import deltalake
    from emmet.core.arrow import arrowize
    from emmet.core.summary import SummaryDoc

    schema = pa.schema(arrowize(SummaryDoc))
    docs = [
        {
            name: list(value.items())
            if value and pa.types.is_map(schema.field(name).type)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]
    columns = [pa.array([doc.get(field.name) for doc in docs], field.type) for field in schema]
    table = pa.table(columns, schema=schema)
    table = table.append_column("version", pa.array([version] * len(rows), pa.string()))
    path = folder / "materialsproject-build" / "collections" / "summary"
    path.mkdir(parents=True, exist_ok=True)
    deltalake.write_deltalake(str(path), table, partition_by=["version"], mode="overwrite")


# rows -----------------------------------------------------------------------------------------
def summary_rows(shared: Path | None, n: int, gnome_every: int = 10) -> list[dict[str, Any]]:
    """Documents as the server sends them: real ones where the shared data are, else made ones.

    Energies per atom, flags and licences, which the shared data lack, are made; every
    ``gnome_every``-th belongs to the GNoME batch.
    """
    cells = _real_cells(shared, n) if shared is not None else _made_cells(n)
    return [_summary(i, cell, i % gnome_every == gnome_every - 1) for i, cell in enumerate(cells)]


def _real_cells(shared: Path, n: int) -> list[dict[str, Any]]:
    cells = pq.read_table(shared / "structures" / "mp20.parquet").slice(0, n).to_pylist()
    names = ["mp_id", "magnetization_mu_b_cell", "k_vrh_gpa", "g_vrh_gpa"]
    properties = pq.read_table(shared / "mp" / "properties_by_mp_id.parquet", columns=names)
    wanted = {cell["mp_id"] for cell in cells}
    known = {row["mp_id"]: row for row in properties.to_pylist() if row["mp_id"] in wanted}
    return [{**cell, **known.get(cell["mp_id"], {})} for cell in cells]


def _made_cells(n: int) -> list[dict[str, Any]]:
    made = np.random.default_rng(4)
    cells = []
    for i in range(n):
        z = [int(x) for x in made.integers(1, 84, made.integers(1, 6))]
        edge = float(made.uniform(3, 7))
        cells.append(
            {
                "mp_id": f"mp-{7 * i + 1}",
                "formation_energy_ev_atom": None if i % 9 == 8 else float(made.normal(-1, 1)),
                "e_above_hull_ev_atom": max(0.0, float(made.normal())),
                "band_gap_ev": max(0.0, float(made.normal(0, 2))),
                "space_group": int(made.integers(1, 231)),
                "formula": "".join(f"{SYMBOLS[x]}{z.count(x)}" for x in sorted(set(z))),
                "nsites": len(z),
                "volume_a3_cell": edge**3,
                "density_g_cm3": float(made.uniform(1, 20)),
                "lattice": [edge, 0, 0, 0, edge, 0, 0, 0, edge],
                "numbers": z,
                "frac_coords": [float(x) for x in made.random(3 * len(z))],
                "magnetization_mu_b_cell": float(made.normal()),
                "k_vrh_gpa": float(made.uniform(10, 300)) if i % 3 == 0 else None,
                "g_vrh_gpa": float(made.uniform(10, 200)) if i % 3 == 0 else None,
            }
        )
    return cells


def _summary(i: int, cell: dict[str, Any], gnome: bool) -> dict[str, Any]:
    symbols = [SYMBOLS[z] for z in cell["numbers"]]
    elements = sorted(set(symbols))
    hull = cell["e_above_hull_ev_atom"]
    bulk, shear = cell.get("k_vrh_gpa"), cell.get("g_vrh_gpa")
    return {
        "material_id": cell["mp_id"],
        "formula_pretty": cell["formula"],
        "elements": elements,
        "nelements": len(elements),
        "chemsys": "-".join(elements),
        "composition": {s: float(symbols.count(s)) for s in elements},
        "nsites": cell["nsites"],
        "volume": cell["volume_a3_cell"],
        "density": cell["density_g_cm3"],
        "symmetry": {
            "crystal_system": "Cubic",
            "symbol": "P1",
            "number": cell["space_group"],
            "point_group": "1",
            "symprec": 0.1,
            "version": "2.5.0",
        },
        "formation_energy_per_atom": cell["formation_energy_ev_atom"],
        "energy_per_atom": -0.125 * (i % 64) - 1,
        "energy_above_hull": hull,
        "is_stable": hull == 0,
        "band_gap": cell["band_gap_ev"],
        "is_metal": cell["band_gap_ev"] == 0,
        "bulk_modulus": None if bulk is None else {"voigt": bulk, "reuss": bulk, "vrh": bulk},
        "shear_modulus": None if shear is None else {"voigt": shear, "reuss": shear, "vrh": shear},
        "total_magnetization": cell.get("magnetization_mu_b_cell"),
        "theoretical": i % 2 == 0,
        "deprecated": False,
        "has_props": {"elasticity": bulk is not None, "magnetism": True},
        "builder_meta": {
            "license": "BY-NC" if gnome else "BY-C",
            "batch_id": GNOME if gnome else None,
            "database_version": "2026.04.13",
        },
        "structure": _structure(cell, symbols),
    }


def _structure(cell: dict[str, Any], symbols: list[str]) -> dict[str, Any]:
    rows = np.array(cell["lattice"], float).reshape(3, 3)
    frac = np.array(cell["frac_coords"], float).reshape(-1, 3)
    a, b, c = np.linalg.norm(rows, axis=1).tolist()
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {
            "matrix": rows.tolist(),
            "pbc": [True, True, True],
            **{"a": a, "b": b, "c": c, "alpha": 90.0, "beta": 90.0, "gamma": 90.0},
            "volume": abs(float(np.linalg.det(rows))),
        },
        "properties": {},
        "sites": [
            {
                "species": [{"element": symbol, "occu": 1}],
                "abc": abc,
                "xyz": xyz,
                "properties": {"magmom": 0.0},
                "label": symbol,
            }
            for symbol, abc, xyz in zip(symbols, frac.tolist(), (frac @ rows).tolist(), strict=True)
        ],
    }


# for the fault matrix -------------------------------------------------------------------------
def mp_settings(settings: Settings, url: str, key: str | None = KEY) -> Settings:
    """Settings with endpoint and key of a stand-in."""
    secret = None if key is None else SecretStr(key)
    return settings.model_copy(update={"mp_api_endpoint": url, "mp_api_key": secret})


def case_rows() -> list[dict[str, Any]]:
    """Rows of which one has no formula and one a formula of no element."""
    rows = summary_rows(SHARED if SHARED.is_dir() else None, 300)
    rows[7]["formula_pretty"], rows[11]["formula_pretty"] = None, "Xx2O3"
    return rows


def _times(lasting: bool) -> int:
    return ALWAYS if lasting else 1


def _repeat(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    stand_in.repeats = _times(lasting)


def _shuffle(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    stand_in.restless = True


def _negative(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    stand_in.count, stand_in.counts = (lambda total: total - 1000), _times(lasting)


def _shorten(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    stand_in.short = _times(lasting)


def _new_version(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    first, *others = (f"2026.04.{day:02d}" for day in range(1, 29))
    stand_in.versions = [first, first, *(others if lasting else others[:1])]


def _expire(stand_in: MaterialsProjectStandIn, lasting: bool) -> None:
    stand_in.expired = True


def _repeat_in_table(stand_in: DeltaStandIn, lasting: bool) -> None:
    stand_in.write([*stand_in.rows, *stand_in.rows[:20]])


def _shuffle_table(stand_in: DeltaStandIn, lasting: bool) -> None:
    stand_in.write(random.Random(1).sample(stand_in.rows, len(stand_in.rows)))


def _spoil(stand_in: DeltaStandIn, lasting: bool) -> None:
    stand_in.buckets.spoilt = _times(lasting)


CASES = (
    Case(
        "mp",
        lambda: MaterialsProjectStandIn(case_rows()),
        lambda url, folder, settings: MaterialsProject(
            settings=mp_settings(settings, url), unit_rows=100, page_rows=50
        ),
        {
            "duplicate rows": _repeat,
            "changing order": _shuffle,
            "negative counts": _negative,
            "short page": _shorten,
            "version change": _new_version,
            "bad key": _expire,
        },
        {
            "db fail 200": "a text of AFLOW's",
            "truncated zip": "there is no archive",
            "endless next": "pages are numbered, there are no links",
        },
    ),
    Case(
        "mp-delta",
        lambda: DeltaStandIn(case_rows()),
        lambda url, folder, settings: MaterialsProjectDelta(
            settings=mp_settings(settings, url), unit_rows=100, folder=folder
        ),
        {
            "duplicate rows": _repeat_in_table,
            "changing order": _shuffle_table,
            "negative counts": _negative,
            "truncated zip": _spoil,
            "version change": _new_version,
            "bad key": _expire,
        },
        {
            "db fail 200": "a text of AFLOW's",
            "endless next": "files are listed in the table's log",
            "short page": "there are no pages",
        },
        lambda url: {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"},
        slow_s=3.6,  # the client waits three times as long as it is told to
    ),
)
