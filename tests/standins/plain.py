"""A database as simple as can be, with every fault there is: what the engine is tried on.

``/version`` says ``{"version": ..., "rows": ...}``, ``/units`` lists units and ``/rows`` gives
``{"total": ..., "rows": [...]}`` for ``unit``, ``offset`` and ``limit``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from infra.pull.http import Http, shown_url
from infra.pull.paging import collect
from infra.pull.unit_rows import unit_schema
from infra.settings import Settings
from infra.sources.base import Page, Unit, UnitCounts
from irnet_core.schema import BAND_GAP, FORMULA, SOURCE_ID
from standins.base import Reply, Request, StandIn
from standins.case import Case

FORMULAS = ("NaCl", "SiO2", "Fe2O3", "GaAs", "TiO2", "Li3PO4", "MgAl2O4", "CsPbI3", "Xx2", "")
KEY = "the-key-of-the-plain-database-00"


def made(rows: int, units: int) -> dict[str, list[dict[str, Any]]]:
    """Rows by unit; some have no formula, some a formula that is none, some an odd number."""
    all_rows = [
        {
            "id": f"p-{number}",
            "formula": FORMULAS[number % len(FORMULAS)],
            "gap": "broken" if number % 37 == 36 else number % 17 / 4,
        }
        for number in range(rows)
    ]
    return {f"{unit:02d}": all_rows[unit::units] for unit in range(units)}


class PlainStandIn(StandIn):
    """Serves rows; its attributes say what is wrong."""

    def __init__(self, rows: int = 230, units: int = 3, key: str | None = None) -> None:
        super().__init__()
        self.units = made(rows, units)
        self.key = key
        self.random = random.Random(0)
        self.fail_200 = 0  # times, -1 is for ever
        self.doubled = 0
        self.restless = 0
        self.negative = 0
        self.endless = False
        self.short = 0
        self.versions = [1]  # given one after another, the last for ever
        self.poisoned: set[str] = set()
        self.closed = False  # whether the key is not taken any more
        self.delay_s = 0.0

    def respond(self, request: Request) -> Reply:
        if self.closed or (self.key and request.headers.get("x-api-key") != self.key):
            return Reply(b'{"message": "No API key found in request"}', 401)
        if request.path == "/version":
            version = self.versions[0] if len(self.versions) == 1 else self.versions.pop(0)
            rows = sum(map(len, self.units.values()))
            return Reply(orjson.dumps({"version": version, "rows": rows}))
        if request.path == "/units":
            return Reply(orjson.dumps(list(self.units)))
        if self.often("fail_200"):
            return Reply(b"DB Fail!null")
        return self.page(request.params)

    def page(self, params: dict[str, str]) -> Reply:
        """One page, as good or bad as it is to be."""
        rows = self.units[params["unit"]]
        offset, limit = int(params["offset"]), int(params["limit"])
        total = -7 if self.often("negative") else len(rows)
        if self.often("restless"):
            rows = self.random.sample(rows, len(rows))
        page = rows[offset : offset + limit]
        if any(row["id"] in self.poisoned for row in page):
            return Reply(b"Internal server error", 500)
        if offset and page and self.often("doubled"):
            page = [rows[offset - 1], *page]
        if self.endless and not page:
            page = rows[:limit]
        if len(page) > 1 and self.often("short"):
            page = page[: len(page) // 2]
        return Reply(orjson.dumps({"total": total, "rows": page}))

    def often(self, fault: str) -> bool:
        """Whether a fault is due; counts it down."""
        left: int = getattr(self, fault)
        setattr(self, fault, left - (left > 0))
        return left != 0


class PlainDatabase:
    """What :class:`PlainStandIn` serves."""

    name = "plain"
    what = "Rows of a plain database."
    licence, citation = "CC0-1.0", "nobody"
    columns = (SOURCE_ID, FORMULA, BAND_GAP)

    def __init__(
        self,
        url: str,
        *,
        settings: Settings | None = None,
        versioned: bool = False,
        page_size: int = 20,
        most_page_size: int = 160,
    ) -> None:
        self.url, self.versioned = url, versioned
        self.page_size, self.most_page_size = page_size, most_page_size
        self.most_skipped = settings.most_skipped_rows if settings else 100

    def query(self) -> dict[str, Any]:
        return {"url": shown_url(self.url)}

    def version(self, http: Http) -> dict[str, Any]:
        return dict(http.json(f"{self.url}/version", check=_object))

    def units(self, http: Http) -> list[Unit]:
        return [Unit(name, {"unit": name}) for name in http.json(f"{self.url}/units", check=_list)]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        def fetch(offset: int, limit: int) -> Page:
            params = {**unit.query, "offset": str(offset), "limit": str(limit)}
            found = http.json(f"{self.url}/rows", params, _object)
            return Page(found["rows"], found["total"])

        rows = collect(
            fetch,
            lambda row: str(row["id"]),
            where=f"plain, unit {unit.name}",
            page_size=self.page_size,
            most_page_size=self.most_page_size,
            counts=counts,
            most_skipped=self.most_skipped,
            most_rows=most_rows,
        )
        for start in range(0, len(rows), 32):
            yield self.table(rows[start : start + 32])

    def table(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Rows as a table of the unit's schema."""
        odd = [isinstance(row["gap"], str) for row in rows]
        return pa.table(
            [
                pa.array([row["id"] for row in rows]),
                pa.array([row["formula"] for row in rows]),
                pa.array([None if bad else row["gap"] for row, bad in zip(rows, odd, strict=True)]),
                pa.array(["the gap is no number" if bad else None for bad in odd], pa.string()),
            ],
            schema=unit_schema(self.columns),
        )


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "no object"


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else "no list"


def _times(name: str) -> Any:
    return lambda stand_in, lasting: setattr(stand_in, name, -1 if lasting else 1)


def _change_version(stand_in: PlainStandIn, lasting: bool) -> None:
    stand_in.versions = list(range(1000)) if lasting else [1, 2]


def _close(stand_in: PlainStandIn, lasting: bool) -> None:
    stand_in.closed = True


CASES = (
    Case(
        name="plain",
        stand_in=PlainStandIn,
        database=lambda url, folder, settings: PlainDatabase(url, settings=settings),
        quirks={
            "db fail 200": _times("fail_200"),
            "duplicate rows": _times("doubled"),
            "changing order": _times("restless"),
            "negative counts": _times("negative"),
            "endless next": lambda stand_in, lasting: setattr(stand_in, "endless", True),
            "short page": _times("short"),
            "version change": _change_version,
            "bad key": _close,
        },
        cannot={"truncated zip": "no archive"},
    ),
)
