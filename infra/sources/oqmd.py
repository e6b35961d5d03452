"""The Open Quantum Materials Database, by its own REST interface.

What the server does and what is done about it:

* It sends rows unsorted, anew for each page, so pages are gone through again until the rows are as
  many as it counts; ``links.next`` and ``more_data_available`` are not used, ``data_returned``
  neither, which is negative behind the last row.
* One row is one formation energy, and ``formationenergy_id`` tells rows apart. An entry may have
  several; the lowest is kept and the others become rejected rows with that reason. Entries that
  duplicate others stay, and ``duplicate_of`` names the preferred one.
* The database is divided by numbers of elements and atoms, then by elements. All formation energies
  of an entry agree in these, so that they come in one unit. Only where the server refuses that, or
  it does not suffice, the database is divided by formation energy.
* The server does not say which release it runs, so the version is its count of rows and what the
  setting ``IRNET_OQMD_RELEASE`` says.
* Fractional coordinates come with three digits; ``via="optimade"`` has six, but rounds energies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from infra.pull.http import Http, shown_url
from infra.pull.paging import collect
from infra.pull.slices import Member, Number, Slice, divide
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.base import Page, Unit, UnitCounts
from infra.sources.oqmd_optimade import OqmdOptimade
from infra.sources.oqmd_rows import CITATION, COLUMNS, FIELDS, LICENCE, parse
from irnet_core.errors import SourceError

UNIT_ROWS = 20_000
_MOST_UNIT_ROWS = 200_000
_PAGE_SIZE, _MOST_PAGE_SIZE = 500, 8000
_CUTS = (
    Number("ntypes", 1, 17),
    Number("natoms", 1, 513),
    Member("element_set={}"),
    Number("delta_e", -8, 8, 0.001),
)


class Oqmd:
    """OQMD by ``/oqmdapi/formationenergy``.

    Parameters
    ----------
    filter : str, optional
        In OQMD's own syntax, such as ``element_set=(Fe-Mn),O AND stability<0.1``.
    unit_rows : int
        Rows that are pulled in one part, at most.
    page_size : int
        Rows to ask for at once, at first; more in later passes.
    settings : Settings, optional
        Address and release; from the environment by default.
    """

    name = "oqmd"
    what = "Formation energies of the Open Quantum Materials Database, by its REST interface."
    licence, citation = LICENCE, CITATION
    columns = COLUMNS
    versioned = False

    def __init__(
        self,
        filter: str | None = None,
        *,
        unit_rows: int = UNIT_ROWS,
        page_size: int = _PAGE_SIZE,
        settings: Settings | None = None,
    ) -> None:
        self.filter, self.unit_rows = (filter or "").strip(), unit_rows
        self.page_size = page_size
        self._settings = settings or current_settings()
        self.url = f"{self._settings.oqmd_url.rstrip('/')}/oqmdapi/formationenergy"

    def query(self) -> dict[str, Any]:
        """Address, fields and filter."""
        return {"url": shown_url(self.url), "fields": list(FIELDS), "filter": self.filter}

    def version(self, http: Http) -> dict[str, Any]:
        """The server's count of rows, and the release that the settings name."""
        return {"rows": self._count(http, self._whole()), "release": self._settings.oqmd_release}

    @property
    def whole_rows(self) -> int:
        """Rows that are asked for without dividing the database, at most."""
        return self.unit_rows

    def whole(self, http: Http) -> Unit:
        """Everything as one unit."""
        return Unit("all", {"filter": _filter(self._whole()), "rows": None})

    def units(self, http: Http) -> list[Unit]:
        """Slices of at most some 20,000 rows.

        Raises
        ------
        SourceError
            If the database cannot be divided, or the slices are not all of it.
        """
        whole = self._whole()
        rows = self._count(http, whole)
        slices = divide(
            replace(whole, rows=rows),
            _CUTS,
            lambda slice_: self._count(http, slice_),
            self.unit_rows,
        )
        if sum(slice_.rows or 0 for slice_ in slices) != rows:
            raise SourceError(
                f"oqmd: the parts of the database do not add up to its {rows:,} rows; it may be "
                "changing, run the same command again later"
            )
        if any((slice_.rows or 0) > _MOST_UNIT_ROWS for slice_ in slices):
            raise SourceError(
                "oqmd: the server does not let itself be divided into parts of less than "
                f"{_MOST_UNIT_ROWS:,} rows; run the same command again later, or give a filter"
            )
        return [
            Unit(f"{place:04d}", {"filter": _filter(slice_), "rows": slice_.rows})
            for place, slice_ in enumerate(slices)
        ]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows of a slice, sorted by their ids, as one table.

        Raises
        ------
        SourceError
            If they cannot be had completely.
        """
        filter_ = unit.query["filter"]
        rows = collect(
            lambda offset, limit: self._page(http, filter_, FIELDS, offset, limit),
            lambda row: str(row["formationenergy_id"]),
            where=f"oqmd, unit {unit.name}",
            page_size=self.page_size,
            most_page_size=_MOST_PAGE_SIZE,
            counts=counts,
            most_skipped=self._settings.most_skipped_rows,
            most_rows=most_rows,
        )
        yield parse(rows)

    def _whole(self) -> Slice:
        return Slice((f"({self.filter})",) if self.filter else (), None)

    def _count(self, http: Http, slice_: Slice) -> int:
        page = self._page(http, _filter(slice_), ("formationenergy_id",), 0, 1, counted=True)
        return int(page.total or 0)

    def _page(
        self,
        http: Http,
        filter_: str,
        fields: tuple[str, ...],
        offset: int,
        limit: int,
        counted: bool = False,
    ) -> Page:
        params = {"fields": ",".join(fields), "limit": str(limit), "offset": str(offset)}
        if filter_:
            params["filter"] = filter_
        value = http.json(self.url, params, _uncountable if counted else _unusable)
        return Page(value["data"], _total(value))


def _filter(slice_: Slice) -> str:
    """The filter, long names of elements first.

    The server expands ``element_set`` by replacing text, and ``element_set=C`` in front would be
    replaced within ``element_set=Cs``.
    """
    return " AND ".join(
        sorted(slice_.conditions, key=lambda c: -len(c.partition("element_set=")[2]))
    )


def _total(value: dict[str, Any]) -> int | None:
    total = value["meta"].get("data_available")
    return total if isinstance(total, int) and total >= 0 else None


def _unusable(value: Any) -> str | None:
    """Why an answer is none."""
    if not isinstance(value, dict) or not isinstance(value.get("meta"), dict):
        return "JSON of another shape"
    data = value.get("data")
    if not isinstance(data, list) or not all(
        isinstance(row, dict) and isinstance(row.get("formationenergy_id"), int) for row in data
    ):
        return "rows of another shape"
    return None


def _uncountable(value: Any) -> str | None:
    return _unusable(value) or ("no count of rows" if _total(value) is None else None)


def oqmd_database(
    filter: str | None = None,
    via: str = "rest",
    *,
    unit_rows: int = UNIT_ROWS,
    settings: Settings | None = None,
) -> Oqmd | OqmdOptimade:
    """OQMD by one of its two interfaces.

    Parameters
    ----------
    filter : str, optional
        In the syntax of the interface.
    via : {"rest", "optimade"}
        Which one.
    unit_rows : int
        Rows that are pulled in one part, at most.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such interface.
    """
    if via == "rest":
        return Oqmd(filter, unit_rows=unit_rows, settings=settings)
    if via == "optimade":
        return OqmdOptimade(filter, unit_rows=unit_rows, settings=settings)
    raise SourceError(f"oqmd can be had via rest or optimade, not {via!r}: name one of them")
