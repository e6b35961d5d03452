"""AFLUX as a stand-in: its grammar, both shapes of its answers, and its ways to fail."""

from __future__ import annotations

import hashlib
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from infra.settings import Settings
from infra.sources.aflow import Aflow
from infra.sources.base import Database
from standins.base import Reply, Request, StandIn
from standins.case import Case
from standins.crystals import Crystal, aflow_crystals

DEFAULTS = ("compound", "auid", "aurl", "spacegroup_relax", "Pearson_symbol_relax")


def row(crystal: Crystal, number: int) -> dict[str, Any]:
    """An entry; every seventh has text instead of numbers and lists, as servers once sent it."""
    known, formula = crystal.known, crystal.formula
    cell = np.array(crystal.lattice)
    lengths = np.linalg.norm(cell, axis=1)
    angles = [
        math.degrees(math.acos(np.dot(cell[i], cell[j]) / lengths[i] / lengths[j]))
        for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    species = sorted(set(crystal.symbols))
    volume = float(abs(np.linalg.det(cell))) / len(crystal.symbols)
    made: dict[str, Any] = {
        "compound": formula,
        "auid": f"aflow:{hashlib.sha256(f'{formula} {number}'.encode()).hexdigest()[:16]}",
        "aurl": f"aflowlib.duke.edu:AFLOWDATA/ICSD_WEB/FCC/{formula}_ICSD_{number}",
        "spacegroup_relax": 1 + number % 230,
        "Pearson_symbol_relax": f"cF{len(crystal.symbols)}",
        "catalog": "icsd",
        "aflowlib_date": [f"2016{1 + number % 12:02d}25_11:18:01_GMT-5"],
        "nspecies": len(species),
        "natoms": len(crystal.symbols),
        "species": species,
        "composition": [crystal.symbols.count(symbol) for symbol in species],
        "enthalpy_formation_atom": known.get("formation"),
        "energy_atom": known.get("energy"),
        "Egap": int(gap) if (gap := known.get("gap", 0)) == int(gap) else gap,
        "volume_atom": volume,
        "density": 5.5,
        "spin_atom": known.get("moment", 0),
        "spin_cell": known.get("moment", 0) * len(crystal.symbols),
        "ael_bulk_modulus_vrh": known.get("bulk"),
        "ael_shear_modulus_vrh": known.get("shear"),
        "prototype": f"{formula}_ICSD_{number}",
        "dft_type": ["PAW_PBE"],
        "geometry": [*map(float, lengths), *angles],
        "positions_fractional": crystal.frac_coords,
    }
    if number % 7 == 3:
        for key, value in made.items():
            if key == "positions_fractional":
                made[key] = ";".join(",".join(map(repr, xyz)) for xyz in value)
            elif isinstance(value, list):
                made[key] = ",".join(map(str, value))
            elif value is not None:
                made[key] = str(value)
    return made


def rows(n: int = 200) -> list[dict[str, Any]]:
    """Entries, two of which have no formula that can be read."""
    made = [row(crystal, number) for number, crystal in enumerate(aflow_crystals(n))]
    made[5]["compound"], made[15]["compound"] = "Xx2", None
    return made


class AflowStandIn(StandIn):
    """Serves entries of the catalog icsd; its attributes say what is wrong.

    Attributes
    ----------
    fails : str
        Text of a failure with status 200.
    fail_200, doubled, restless, negative, short : int
        How often still (-1 is for ever): a failure; a row of the page before, or of the first page
        itself, in place of the last; any order; a negative count; half a page.
    bare : bool
        Whether the index is left out in all pages, not only in muted ones.
    empty : bytes
        What a page without rows looks like.
    endless : bool
        Whether pages behind the last one have the rows of the first.
    poisoned : set of str
        Ids whose pages fail for ever.
    dates : list of str
        Newest dates to be told one after another, the last for ever.
    """

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.rows = rows() if entries is None else entries
        self.random = random.Random(0)
        self.fails = "DB Fail!null"
        self.fail_200 = self.doubled = self.restless = self.negative = self.short = 0
        self.bare = self.endless = False
        self.empty = b"{}"
        self.poisoned: set[str] = set()
        self.dates: list[str] = []
        self.gained_after: dict[int, dict[str, Any]] = {}  # by number of requests: another entry

    def respond(self, request: Request) -> Reply:
        if request.path not in ("/API/aflux/", "/API/aflux/v1.0/"):
            return Reply(b"<html>404</html>", 404, {"Content-Type": "text/html"})
        if entry := self.gained_after.pop(len(self.requests), None):
            self.rows = [*self.rows, entry]
        if self.often("fail_200"):
            return Reply(self.fails.encode())
        summons = request.query[0][0] if request.query else ""
        words = split(summons)
        if not words or any(not re.fullmatch(r"\$?\w+(\(.*\))?", word) for word in words):
            return Reply(b"Lux Fail: cannot parse")
        return self.answer([(w.lstrip("$").partition("(")[0], w) for w in words])

    def answer(self, words: list[tuple[str, str]]) -> Reply:
        """Rows for the words of a summons."""
        found, keys = list(self.rows), list(DEFAULTS)
        paging, indexed = (1, 64), False
        for keyword, word in words:
            given = word.partition("(")[2][:-1]
            if keyword == "paging":
                numbers = [*map(int, given.split(",")), 64][:2]
                paging, indexed = (numbers[0], numbers[1]), not word.startswith("$")
            elif keyword == "catalog":
                if "icsd" not in given.lower():
                    found = []
            else:
                if given:
                    found = [r for r in found if meets(r.get(keyword), given)]
                if word.startswith("$"):
                    keys = [key for key in keys if key != keyword]
                else:
                    keys.append(keyword)
        first = words[0][0]
        self.random.shuffle(found)  # ties come in any order
        if not self.often("restless"):
            found.sort(key=lambda r: ((v := r.get(first)) is not None, _plain(v)))
        return self.page(found, keys, paging, indexed and not self.bare)

    def page(
        self, found: list[dict[str, Any]], keys: list[str], paging: tuple[int, int], indexed: bool
    ) -> Reply:
        """A page of what was found."""
        number, size = paging
        total = len(found)
        if number < 0:
            found, number = found[::-1], -number
            if self.dates:
                date = self.dates[0] if len(self.dates) == 1 else self.dates.pop(0)
                found = [{**found[0], "aflowlib_date": [date]}, *found[1:]]
        start = (number - 1) * size if number else 0
        page = found[start : start + size] if number else found
        if self.endless and not page:
            start, page = 0, found[:size]
        if any(r["auid"] in self.poisoned for r in page) and "geometry" in keys:
            return Reply(self.fails.encode())
        if page and (start or ("geometry" in keys and len(page) > 1)) and self.often("doubled"):
            page = [found[start - 1] if start else page[0], *page[:-1]]
        if len(page) > 1 and self.often("short"):
            page = page[: len(page) // 2]
        made = [{key: r.get(key) for key in keys} for r in page]
        if not made:
            return Reply(self.empty)
        if not indexed:
            return Reply(orjson.dumps(made))
        count = -total if self.often("negative") else total
        return Reply(orjson.dumps({f"{start + i} of {count}": r for i, r in enumerate(made, 1)}))

    def often(self, fault: str) -> bool:
        """Whether a fault is due; counts it down."""
        left: int = getattr(self, fault)
        setattr(self, fault, left - (left > 0))
        return left != 0


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def split(text: str) -> list[str]:
    """Words between the commas that stand outside of parentheses and quotes."""
    words, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == "'"
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == "," and not depth and not quoted:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


def meets(value: Any, given: str) -> bool:
    """Whether a value meets all conditions: ``*``, ranges, ``!``, and texts in quotes."""
    if value is None or given == "*":
        return value is not None
    if isinstance(value, list):  # elements
        return all((part.lstrip("!") in value) != part.startswith("!") for part in given.split(","))
    for part in given.split(","):
        if "'" in part:
            before, text, after = part.split("'")
            pattern = before.replace("*", ".*") + re.escape(text) + after.replace("*", ".*")
            if not re.fullmatch(pattern, str(value)):
                return False
        elif part == "*":
            continue
        elif part.endswith("*"):
            if not float(value) >= float(part[:-1]):
                return False
        elif part.startswith("!*"):
            if not float(value) > float(part[2:]):
                return False
        elif part.startswith("*"):
            if not float(value) <= float(part[1:]):
                return False
        elif str(value) != part:
            return False
    return True


# for the fault matrix --------------------------------------------------------------------
def _database(url: str, folder: Path, settings: Settings) -> Database:
    return Aflow(page_size=5, settings=settings.model_copy(update={"aflow_url": url}))


def _times(name: str) -> Any:
    return lambda stand_in, lasting: setattr(stand_in, name, -1 if lasting else 1)


def _dates(stand_in: AflowStandIn, lasting: bool) -> None:
    stand_in.dates = [f"2026{n:04d}" for n in range(100 if lasting else 2)]


CASES = (
    Case(
        "aflow",
        AflowStandIn,
        _database,
        quirks={
            "db fail 200": _times("fail_200"),
            "duplicate rows": _times("doubled"),
            "changing order": _times("restless"),
            "negative counts": _times("negative"),
            "endless next": lambda stand_in, lasting: setattr(stand_in, "endless", True),
            "short page": _times("short"),
            "version change": _dates,
        },
        cannot={"truncated zip": "no archive", "bad key": "there is no key"},
    ),
)
