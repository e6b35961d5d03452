"""AFLOW, through AFLUX.

What the server does and what is done about it:

* ``auid`` is unique and the first keyword, by which the server sorts: no ties between pages. The
  database is divided by the first hexadecimal digits of it, and the parts must add up to the whole.
* Failures come with status 200 and a text, ``DB Fail!null``; see :mod:`infra.pull.aflux`.
* The count is in the keys of an answer, ``"1 of 862"``. Where the server sends a bare list or an
  empty page, the count that the unit was made with holds. An empty answer to a count is asked for
  twice.
* Entries reached by several library paths come several times and are counted so; the one of the
  first path is kept. Rows may also be the same in all. Where a page has as many rows as are
  counted, but fewer different ones, the server is asked how often it has those that came again:
  the page may as well have repeated one in place of another.
* There is no version: the number of entries and the newest ``aflowlib_date``, if the server can
  tell it, stand for one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import pyarrow as pa

from infra.pull.aflux import filter_terms, read_page
from infra.pull.http import Http, attempts_at_most, shown_url
from infra.pull.paging import collect
from infra.pull.protocol import Page, Transient, Unit, UnitCounts
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.aflow_rows import COLUMNS, DEFAULTS, FIELDS, parse
from irnet_core.errors import SourceError

_CATALOGS = re.compile(r"(icsd|lib[1-9])(:(icsd|lib[1-9]))*")
_AUID = re.compile("aflow:[0-9a-f]+")
_DIGITS = "0123456789abcdef"
_PAGE_SIZE, _MOST_PAGE_SIZE = 1000, 16_000
_ROUNDS = 2  # of counting
_MOST_AGAIN = 1000  # entries of a unit that are asked for one by one
_ROWS = 5000  # of a table handed on
_LAST_PAGE = "paging(-1,64)"  # enough rows to see whether they are sorted
_DATE_ATTEMPTS = 3
UNIT_ROWS = 10_000


class Aflow:
    """AFLOW by catalog.

    Parameters
    ----------
    filter : str, optional
        Conditions of the matchbook, such as ``Egap(1*,*3),species(Cr,!O)``.
    catalog : str
        ``icsd`` (some 60,000 entries), ``lib1`` to ``lib9`` (hypothetical ones, up to millions), or
        several, ``lib1:lib2``.
    unit_rows : int
        About how many rows are pulled in one part; it is one of 16 or 256.
    page_size : int
        Rows to ask for at once, at first; more in later passes.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such catalog, or the filter is more than a filter.
    """

    name = "aflow"
    what = "Properties by PBE(+U) of the AFLOW repository, through AFLUX."
    licence = (
        "The data included within the aflow.org repository is free for scientific, academic and "
        "non-commercial purposes. Any other use is prohibited."
    )
    citation = (
        "S. Curtarolo et al., AFLOWLIB.ORG, Comput. Mater. Sci. 58, 227 (2012), "
        "https://doi.org/10.1016/j.commatsci.2012.02.002; F. Rose et al., AFLUX, Comput. Mater. "
        "Sci. 137, 362 (2017), https://doi.org/10.1016/j.commatsci.2017.04.036"
    )
    columns = COLUMNS
    versioned = False
    whole_rows = 20_000

    def __init__(
        self,
        filter: str | None = None,
        *,
        catalog: str = "icsd",
        unit_rows: int = UNIT_ROWS,
        page_size: int = _PAGE_SIZE,
        settings: Settings | None = None,
    ) -> None:
        self.catalog = catalog.lower()
        if not _CATALOGS.fullmatch(self.catalog):
            raise SourceError(
                f"aflow: no catalog {catalog!r}, give icsd, lib1 to lib9 or several, lib1:lib2"
            )
        self.filter = (filter or "").strip()
        self.unit_rows, self.page_size = unit_rows, page_size
        self._settings = settings or current_settings()
        self.url = f"{self._settings.aflow_url.rstrip('/')}/API/aflux/"
        terms = filter_terms(self.filter) if self.filter else []
        wanted = {keyword for keyword, _ in terms}
        # a keyword is asked for and filtered by at once; what is only filtered by is muted
        kept = {*FIELDS, *DEFAULTS}
        self._fields = [field for field in FIELDS if field not in wanted]
        self._fields += [f"{k}{given}" for k, given in terms if k in kept]
        self._filters = [f"${k}{given}" for k, given in terms if k not in kept]
        self._muted = [f"${k}{given}" for k, given in terms]

    def query(self) -> dict[str, Any]:
        """Address, catalog, keywords and filter."""
        return {
            "url": shown_url(self.url),
            "catalog": self.catalog,
            "fields": list(FIELDS),
            "filter": self.filter,
        }

    def version(self, http: Http) -> dict[str, Any]:
        """The server's count of entries, and the newest date if it can tell."""
        return {"rows": self._count(http, ""), "newest": self._newest(http)}

    def whole(self, http: Http) -> Unit:
        """All entries as one unit."""
        return Unit("all", {"prefix": "", "rows": None})

    def units(self, http: Http) -> list[Unit]:
        """Entries by the first one or two digits of their ids.

        Raises
        ------
        SourceError
            If there are none, or the parts are not the whole.
        """
        for _ in range(_ROUNDS):
            rows = self._count(http, "")
            digits = 2 if rows > len(_DIGITS) * self.unit_rows else 1
            prefixes = map("".join, product(_DIGITS, repeat=digits))
            parts = {prefix: self._count(http, prefix) for prefix in prefixes}
            if rows and sum(parts.values()) == rows:
                units = [(prefix, {"prefix": prefix, "rows": n}) for prefix, n in parts.items()]
                return [Unit(prefix, query) for prefix, query in units if query["rows"]]
        if not rows:
            raise SourceError(
                f"aflow: the server has no entries of catalog {self.catalog} that meet the filter "
                f"{self.filter!r}; check both"
            )
        raise SourceError(
            f"aflow: the {len(parts)} parts of the database have {sum(parts.values()):,} entries "
            f"together, but it has {rows:,}; it may be changing, run the same command again later"
        )

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Entries of a unit, sorted by their ids.

        Raises
        ------
        SourceError
            If they cannot be had completely.
        """
        prefix, known = unit.query["prefix"], unit.query["rows"]

        def fetch(offset: int, limit: int) -> Page:
            paging = f"paging({offset // limit + 1},{limit})"
            summons = self._summons(prefix, self._fields, self._filters, paging)
            page = http.get(self.url, read_page, summons)
            total = known if page.total is None else page.total
            if offset == 0:
                n, counts.repeated = len(set(map(_key, page.rows))), 0
                if len(page.rows) == total != n and self._has_again(http, page.rows):
                    counts.repeated, total = total - n, n
            return Page(page.rows, total)

        rows = collect(
            fetch,
            _key,
            where=f"aflow, unit {unit.name}",
            page_size=self.page_size,
            most_page_size=max(_MOST_PAGE_SIZE, self.page_size),
            counts=counts,
            most_skipped=self._settings.most_skipped_rows,
            most_rows=most_rows,
        )
        entries = list({row["auid"]: row for row in reversed(rows)}.values())[::-1]
        again = len(rows) - len(entries)
        counts.duplicates += again
        counts.repeated += again
        if again and counts.total is not None:  # under a limit, how many more come again is unknown
            counts.total = counts.total - again if most_rows is None else None
        for start in range(0, len(entries), _ROWS):
            yield parse(entries[start : start + _ROWS])

    # -------------------------------------------------------------------------------------
    def _summons(self, prefix: str, *parts: list[str] | str) -> str:
        """A query: ids by prefix, further keywords, filters and directives, in that order."""
        words = [f"auid('aflow:{prefix}'*)"]
        for part in parts:
            words += [part] if isinstance(part, str) else part
        return ",".join([*words[:-1], f"$catalog({self.catalog})", words[-1]])

    def _count(self, http: Http, prefix: str) -> int:
        def read(answer: Any) -> int:
            page = read_page(answer)
            if page.rows and page.total is None:
                raise Transient("no count of rows")
            return page.total or 0

        summons = self._summons(prefix, self._muted, "paging(1,1)")
        # nothing at all may also be a failure, so that only what comes twice is no entries
        return http.get(self.url, read, summons) or http.get(self.url, read, summons)

    def _has_again(self, http: Http, rows: list[dict[str, Any]]) -> bool:
        """Whether the server counts the rows that came again on a page as often as they came."""
        times = Counter(str(row["auid"]) for row in rows)
        again = {key.split()[0] for key, n in Counter(map(_key, rows)).items() if n > 1}
        return len(again) <= _MOST_AGAIN and all(
            _AUID.fullmatch(id_) and self._count(http, id_.removeprefix("aflow:")) == times[id_]
            for id_ in sorted(again)
        )

    def _newest(self, http: Http) -> str | None:
        """The newest date of an entry, None if the server does not sort by dates or not answer."""
        words = ["aflowlib_date(*)", *self._muted, f"$catalog({self.catalog})", _LAST_PAGE]
        try:
            with attempts_at_most(_DATE_ATTEMPTS):
                rows = http.get(self.url, read_page, ",".join(words)).rows
        except SourceError:
            return None
        dates = [_date(row.get("aflowlib_date")) for row in rows]
        in_order = dates in (sorted(dates), sorted(dates, reverse=True))
        return max(dates, default="") or None if in_order else None


def _date(value: Any) -> str:
    """The last of an entry's dates."""
    return max(map(str, value), default="") if isinstance(value, list) else str(value or "")


def _key(row: dict[str, Any]) -> str:
    """What the server tells rows apart by: an entry comes once for each of its library paths."""
    return f"{row['auid']} {row.get('aurl')}"
