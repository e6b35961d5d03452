"""OPTIMADE: the reference server itself behind a forwarder that disturbs it, and a plain server.

The reference server runs in a process of its own, once per test run, with its database in memory.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache, reduce
from importlib.util import find_spec
from math import gcd
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from infra.settings import Settings
from infra.sources.base import Database
from infra.sources.optimade import Optimade
from standins.base import Reply, Request, StandIn
from standins.case import Case
from standins.crystals import made_crystals
from standins.oqmd_filter import FilterError, predicate

Entry = dict[str, Any]

ROWS = 240
MOST = 100  # rows of a page
PROPERTIES = {
    "_exmpl_formation_energy_per_atom": "eV/atom",
    "_exmpl_hull_distance": "meV/atom",
    "_exmpl_band_gap": "eV",
}


def made_entries(n: int) -> list[Entry]:
    """Entries as the specification has them, the same ones for the same number.

    Among them are: ids with slashes, null properties, a disordered species, a vacancy, an entry of
    implicit atoms, one without a structure, and one with a formula that is none.
    """
    return [_entry(number, crystal) for number, crystal in enumerate(made_crystals(n, seed=5))]


def _entry(number: int, crystal: Any) -> Entry:
    elements = sorted(set(crystal.symbols))
    counts = {element: crystal.symbols.count(element) for element in elements}
    divisor = reduce(gcd, counts.values())
    reduced = {element: count // divisor for element, count in counts.items()}
    ordered = sorted(reduced.values(), reverse=True)
    cartesian = [
        [sum(x * crystal.lattice[i][j] for i, x in enumerate(xyz)) for j in range(3)]
        for xyz in crystal.frac_coords
    ]
    attributes: dict[str, Any] = {
        "last_modified": "2026-01-02T03:04:05Z",
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [counts[e] / len(crystal.symbols) for e in elements],
        "chemical_formula_descriptive": crystal.formula,
        "chemical_formula_reduced": _formula(reduced),
        "chemical_formula_anonymous": _formula(dict(zip("ABCDEFGH", ordered, strict=False))),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": crystal.lattice,
        "cartesian_site_positions": cartesian,
        "nsites": len(crystal.symbols),
        "species": [{"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements],
        "species_at_sites": crystal.symbols,
        "structure_features": [],
        "_exmpl_formation_energy_per_atom": crystal.known["formation"],
        "_exmpl_hull_distance": 1000 * crystal.known["hull"],
        "_exmpl_band_gap": crystal.known["gap"] if number % 4 else None,
    }
    first = crystal.symbols[0]
    if number == 3:
        other = "Fe" if first != "Fe" else "Co"
        attributes["species"][elements.index(first)] |= {
            "chemical_symbols": [first, other],
            "concentration": [0.5, 0.5],
        }
        attributes["structure_features"] = ["disorder"]
    if number == 4:
        attributes["species"][elements.index(first)] |= {
            "chemical_symbols": ["vacancy"],
            "concentration": [1.0],
        }
        attributes["structure_features"] = ["disorder"]
    if number == 5:
        attributes["structure_features"] = ["implicit_atoms"]
    if number == 6:
        for key in ("lattice_vectors", "cartesian_site_positions", "species_at_sites", "species"):
            attributes[key] = None
    if number == 7:  # the reference server checks formulas only if it is told to
        attributes |= {"chemical_formula_reduced": None, "chemical_formula_descriptive": "Xx2"}
    id_ = f"db/{number}" if number % 10 == 0 else f"{1000 + number}"
    return {"id": id_, "type": "structures", "attributes": attributes}


def _formula(amounts: dict[str, int]) -> str:
    return "".join(f"{name}{count if count > 1 else ''}" for name, count in amounts.items())


# the reference server --------------------------------------------------------------------------
@cache
def reference_server(rows: int = ROWS) -> str:
    """Address of a running reference server with so many of :func:`made_entries`."""
    folder = Path(tempfile.mkdtemp(prefix="optimade-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    lines = [{"x-optimade": {"meta": {"api_version": "1.1.0"}}}, *made_entries(rows)]
    (folder / "structures.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = {
        "database_backend": "mongomock",
        "insert_test_data": False,
        "page_limit_max": MOST,
        "provider": {"prefix": "exmpl", "name": "example", "description": "for tests"},
        "provider_fields": {
            "structures": [
                {"name": name, "type": "float", "unit": unit, "description": name}
                for name, unit in PROPERTIES.items()
            ]
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "OPTIMADE_CONFIG_FILE": str(folder / "config.json"),
        "OPTIMADE_INSERT_FROM_JSONL": str(folder / "structures.jsonl"),
        "OPTIMADE_LOG_DIR": str(folder),
        "OPTIMADE_BASE_URL": url,
        "OPTIMADE_VALIDATE_API_RESPONSE": "false",
    }
    command = [sys.executable, "-m", "uvicorn", "optimade.server.main:app", "--port", str(port)]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [*command, "--no-access-log"], env=environment, stdout=output, stderr=output
        )
    atexit.register(process.kill)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/v1/info", timeout=5).status_code == 200:
                return url
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"no reference server: {(folder / 'output.txt').read_text()[-2000:]}")


class Disturbed(StandIn):
    """The reference server, with what may go wrong on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.target = reference_server()
        self.client = httpx.Client(timeout=30)
        self.shuffled = self.shifted = self.short = self.no_count = 0  # requests to come; -1: all
        self.more_for = 0  # requests to come that count one row more
        self.growing = False  # whether the count grows with every eighth request
        self.endless = False
        self.draw = random.Random(3)

    def respond(self, request: Request) -> Reply:
        """What the server answers, changed by the switches."""
        params = request.params
        listed = request.path == "/v1/structures"
        limit, offset = int(params.get("page_limit", 20)), int(params.get("page_offset", 0))
        if listed and self.spend("shuffled"):
            params["sort"] = self.draw.choice(["id", "-id", "nsites", "-nsites"])
        if listed and offset and self.spend("shifted"):
            params["page_offset"] = str(max(offset - limit // 3, 0))
        answer = self.client.get(f"{self.target}{request.path}", params=params)
        if not listed or answer.status_code != 200:
            return Reply(answer.content, answer.status_code)
        value = orjson.loads(answer.content)
        meta, data = value["meta"], value["data"]
        if self.spend("no_count"):
            meta["data_returned"] = -5
        if self.more_for:
            self.more_for -= 1
            meta["data_returned"] += 1
        if self.growing:
            meta["data_returned"] += len(self.requests) // 8
        if len(data) > 4 and self.spend("short"):
            del data[-4:]
        if self.endless:
            further = urlencode(params | {"page_offset": str(offset + limit)})
            value["links"]["next"] = f"{self.target}{request.path}?{further}"
        return Reply(orjson.dumps(value))

    def spend(self, switch: str) -> bool:
        """Whether a switch is on for this request."""
        with self._lock:
            left: int = getattr(self, switch)
            if left > 0:
                setattr(self, switch, left - 1)
        return left != 0


# a plain server --------------------------------------------------------------------------------
class PlainOptimade(StandIn):
    """A small server that counts pages in one of several ways, and may do so badly.

    Parameters
    ----------
    entries : list of dict
        What it has.
    properties : mapping
        ``properties`` of ``/info/structures``.
    """

    def __init__(self, entries: list[Entry], properties: dict[str, Any]) -> None:
        super().__init__()
        self.entries, self.properties = entries, properties
        self.way = "page_offset"  # or page_number, page_cursor
        self.most = 500  # rows of a page, more are refused
        self.object_links = False
        self.forgetful = False  # whether `next` lacks fields and filter
        self.circle = False  # whether `next` always leads to the second page
        self.counts: Any = lambda count, filter_: count  # what it says of its counts
        self.understands_not = True
        self.root = "/v1"

    def respond(self, request: Request) -> Reply:
        """A page, or the list of properties."""
        if request.path == f"{self.root}/info/structures":
            value: Any = {"data": {"properties": self.properties}, "meta": {}}
            return Reply(orjson.dumps(value))
        if request.path != f"{self.root}/structures":
            return _error(404, "there is no such page")
        params = request.params
        limit = int(params.get("page_limit", 20))
        if limit > self.most:
            return _error(403, f"Max allowed page_limit is {self.most}, you requested {limit}")
        filter_ = params.get("filter", "")
        if "NOT" in filter_ and not self.understands_not:
            return _error(501, "NOT is not implemented")
        try:
            test = predicate(filter_, {"nelements": "nelements", "nsites": "nsites"})
        except FilterError:
            if filter_:
                return _error(400, "the filter cannot be read")
            test = lambda row: True  # noqa: E731
        found = [e for e in self.entries if test(_flat(e))]
        start = {
            "page_offset": lambda: int(params.get("page_offset", 0)),
            "page_number": lambda: (int(params.get("page_number", 1)) - 1) * limit,
            "page_cursor": lambda: int(params.get("page_cursor", "c0").removeprefix("c")),
        }[self.way]()
        return Reply(orjson.dumps(self.answer(params, found, start, limit)))

    def answer(self, params: dict[str, str], found: list[Entry], start: int, limit: int) -> Entry:
        """The page from a row on, with its links."""
        asked = params.get("response_fields")
        kept = None if asked is None else set(asked.split(","))
        after = start + limit
        value = {
            "page_offset": str(after),
            "page_number": str(after // limit + 1),
            "page_cursor": f"c{limit if self.circle else after}",
        }[self.way]
        query = {} if self.forgetful else params
        link: Any = f"http://inside.example{self.root}/structures?" + urlencode(
            query | {"page_limit": str(limit), self.way: value}
        )
        if self.object_links:
            link = {"href": link, "meta": {}}
        return {
            "links": {"next": link if after < len(found) or self.circle else None},
            "data": [
                {
                    **entry,
                    "attributes": {
                        name: value
                        for name, value in entry["attributes"].items()
                        if kept is None or name in kept
                    },
                }
                for entry in found[start:after]
            ],
            "meta": {
                "data_returned": self.counts(len(found), params.get("filter", "")),
                "more_data_available": after < len(found),
            },
        }


def _flat(entry: Entry) -> dict[str, Any]:
    attributes = entry["attributes"]
    return {**attributes, "element_list": "".join(f"{e}_" for e in attributes["elements"])}


def _error(status: int, detail: str) -> Reply:
    return Reply(orjson.dumps({"errors": [{"status": str(status), "detail": detail}]}), status)


# the fault matrix ------------------------------------------------------------------------------
def _database(url: str, folder: Path, settings: Settings) -> Database:
    public = "https://example.org/optimade/v1"  # links to entries must not hold the port
    return Optimade(
        url=url, public_url=public, unit_rows=ROWS // 2, page_size=40, settings=settings
    )


def _switch(name: str) -> Any:
    return lambda stand_in, lasting: setattr(stand_in, name, -1 if lasting else 1)


def _endless(stand_in: Disturbed, lasting: bool) -> None:
    stand_in.endless = True


def _change(stand_in: Disturbed, lasting: bool) -> None:
    """One row more for the first requests, or more and more."""
    stand_in.more_for, stand_in.growing = (0, True) if lasting else (7, False)


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
    (Case("optimade", Disturbed, _database, _QUIRKS, _CANNOT),)
    if find_spec("optimade") and find_spec("mongomock")
    else ()
)
