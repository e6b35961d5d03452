"""Any database that speaks OPTIMADE, by the URL of its provider.

Rows come in parts by numbers of elements and sites, then by element, each complete by the
provider's own count, ``meta.data_returned``. What servers do beside the specification, and what is
done about it:

* ``links.next`` is a text or an object, names another host, lacks the fields, or is there for ever.
  It shows how the server counts pages, and is followed only where that is its own secret.
* Counts are missing for large lists, or stop at 10,000 or 100,000, of parts as of the whole. Such
  lists are divided without them, and a part without a count is refused.
* More rows per page than a server allows are an error, so the largest page is found by trying.
* Identifiers are integers and ``species`` is empty in OQMD: there, sites name their elements.

Which of a provider's own properties are taken for which columns, see
:mod:`infra.pull.optimade_fields`; what was taken is part of the version. Rows of the Materials
Project have values by functional: one is taken, and named in the column ``functional``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa

from infra.pull.http import Http, Unanswered, shown_url
from infra.pull.notes import Notes
from infra.pull.optimade_fields import MP_STABILITY, STANDARD, Field, choose
from infra.pull.optimade_pages import Pages, is_count, total_of, unusable
from infra.pull.paging import collect
from infra.pull.slices import Member, Number, Slice, divide
from infra.pull.values import table, texts
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.base import Unit, UnitCounts
from infra.sources.optimade_rows import converted, crystals, mp_stability
from irnet_core import schema
from irnet_core.errors import SourceError
from irnet_core.schema import Column

COLUMNS = (
    schema.SOURCE_ID,
    schema.FORMULA,
    schema.FORMATION_ENERGY,
    schema.ENERGY_ABOVE_HULL,
    schema.ENERGY,
    schema.FUNCTIONAL,
    schema.BAND_GAP,
    schema.VOLUME,
    schema.DENSITY,
    schema.BULK_MODULUS,
    schema.SHEAR_MODULUS,
    schema.SPACE_GROUP,
    schema.PROTOTYPE,
    schema.N_SITES,
    *schema.STRUCTURE,
    schema.SOURCE_URL,
    schema.NOTE,
)
UNIT_ROWS = 8000  # some servers count and give no rows beyond the first 10,000 of a list
_MOST_UNIT_ROWS = 100_000
_UNAMBIGUOUS = re.compile(r"[a-z0-9.-]+|[a-z0-9.]+(/[a-z0-9.]+)*")  # a host, or without hyphens
_NAME_LENGTH = 80
_PAGE_SIZES = (500, 100, 50, 20, 10)  # tried in this order
_CUTS = (
    Number("nelements", 1, 17),
    Number("nsites", 1, 1025),
    Member('elements HAS "{}"'),
)


class Optimade:
    """A provider of OPTIMADE.

    Parameters
    ----------
    filter : str, optional
        In OPTIMADE's syntax, such as ``elements HAS "O" AND nelements<4``.
    url : str, optional
        Base address, with or without version; from the settings by default.
    public_url : str, optional
        Base address for the links to entries, where ``url`` is that of a mirror.
    unit_rows : int
        Rows that are pulled in one part, at most.
    page_size : int
        Rows to ask for at once, at most; fewer if the server does not allow so many.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If the address has a query, which may be a key and would be told to everybody.
    """

    what = "Structures of a provider of OPTIMADE, with the properties whose meaning is known."
    licence = "as the provider states"
    citation = "Evans et al., Digital Discovery 3, 1509 (2024), https://doi.org/10.1039/D4DD00039K"
    columns: tuple[Column, ...] = COLUMNS
    versioned = False
    identity: str | None = None  # property that identifies rows, if not their id

    def __init__(
        self,
        filter: str | None = None,
        *,
        url: str | None = None,
        public_url: str | None = None,
        unit_rows: int = UNIT_ROWS,
        page_size: int = _PAGE_SIZES[0],
        settings: Settings | None = None,
    ) -> None:
        self.filter, self.unit_rows = (filter or "").strip(), unit_rows
        self.page_size = page_size
        self._settings = settings or current_settings()
        self.url = (url or self._settings.optimade_url).strip().rstrip("/")
        if {"?", "#"} & set(self.url):  # not shown: it may hold a key
            raise SourceError(
                "the address of the OPTIMADE provider has a query, which its pages have no room "
                "for: give --url, or IRNET_OPTIMADE_URL, only what is before the '?' or '#'"
            )
        self.public_url = (public_url or "").strip().rstrip("/")
        self._root: str | None = None
        self._properties: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """``optimade-`` and the provider's host and path.

        A digest follows where others could come to the same: behind a port, and where more than
        slashes had to be replaced.
        """
        parts = urlsplit(self.url)
        text = f"{parts.netloc.rpartition('@')[2].lower()}{parts.path}"
        plain = re.sub("[^a-z0-9.]+", "-", text.lower()).strip("-.")
        if _UNAMBIGUOUS.fullmatch(text) and len(plain) <= _NAME_LENGTH:
            return f"optimade-{plain}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"optimade-{plain[:_NAME_LENGTH]}-{digest}"

    def query(self) -> dict[str, Any]:
        """Address and filter; the fields depend on what the provider has."""
        return {"url": shown_url(self.url), "filter": self.filter}

    def version(self, http: Http) -> dict[str, Any]:
        """The provider's count, its own version if it states one, and the properties taken."""
        value = self._first(http, self._whole(), 1)
        database = value["meta"].get("database")
        return {
            "rows": total_of(value),
            "database": database.get("version") if isinstance(database, dict) else None,
            "fields": {column.name: field.property for column, field in self._fields().items()},
        }

    @property
    def whole_rows(self) -> int:
        """Rows that are asked for without dividing the database: as many as any server gives."""
        return min(self.unit_rows, UNIT_ROWS)

    def whole(self, http: Http) -> Unit:
        """Everything as one unit."""
        whole = self._whole()
        size = self._page_size(http, whole)
        return Unit("all", {"filter": whole.filter, "rows": None, "page_size": size})

    def units(self, http: Http) -> list[Unit]:
        """Slices of at most some 8,000 rows.

        Raises
        ------
        SourceError
            If the database cannot be divided, the slices are not all of it, or nobody knows whether
            they are.
        """
        whole = self._whole()
        rows = total_of(self._first(http, whole, 1))
        if rows is None and total_of(self._first(http, Slice(("nelements<1",), None), 1)) is None:
            raise SourceError(
                f"{self.name}: the server does not say how many rows there are, not even where "
                "there are none, so nobody could tell whether all have come; try another way"
            )
        slices = divide(
            replace(whole, rows=rows),
            _CUTS,
            lambda slice_: total_of(self._first(http, slice_, 1)),
            self.unit_rows,
        )
        if unknown := [slice_ for slice_ in slices if slice_.rows is None]:
            raise SourceError(
                f"{self.name}: the server does not say how many rows meet {unknown[0].filter!r}, "
                "and they cannot be divided further, so nobody could tell whether all have come; "
                "give a filter, or try another way"
            )
        if rows is not None and sum(slice_.rows or 0 for slice_ in slices) != rows:
            raise SourceError(
                f"{self.name}: the parts of the database do not add up to its {rows:,} rows; it "
                "may be changing, run the same command again later"
            )
        if any((slice_.rows or 0) > _MOST_UNIT_ROWS for slice_ in slices):
            raise SourceError(
                f"{self.name}: the server does not let itself be divided into parts of less than "
                f"{_MOST_UNIT_ROWS:,} rows; run the same command again later, or give a filter"
            )
        size = self._page_size(http, whole)
        return [
            Unit(
                f"{place:04d}",
                {"filter": slice_.filter, "rows": slice_.rows, "page_size": size},
            )
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
        root = self._find_root(http)
        params = self._params(unit.query["filter"])
        size = unit.query["page_size"]
        rows = collect(
            Pages(http, f"{root}/structures", params).fetch,
            lambda row: str(row["id"]),
            where=f"{self.name}, unit {unit.name}",
            page_size=size,
            most_page_size=size,
            counts=counts,
            most_skipped=self._settings.most_skipped_rows,
            most_rows=most_rows,
        )
        yield self.parse(rows)

    # what the server has -----------------------------------------------------------------
    def _find_root(self, http: Http) -> str:
        """Address with the version that the server knows; its properties are read on the way."""
        if self._root is not None:
            return self._root
        versioned = re.search(r"/v\d+(\.\d+)*$", self.url)
        roots = [self.url] if versioned else [f"{self.url}/v1", self.url]
        for root in roots:
            try:
                value = http.json(f"{root}/info/structures", check=_no_info)
            except Unanswered:
                raise
            except SourceError:  # not there
                if root is roots[-1]:
                    raise
                continue
            self._properties = value["data"]["properties"]
            self._root = root
            break
        return str(self._root)

    def _fields(self) -> dict[Column, Field]:
        return {
            column: field
            for column, field in choose(self._properties).items()
            if column.name in {c.name for c in self.columns}
        }

    def _params(self, filter_: str) -> dict[str, str]:
        asked = [name for name in STANDARD if name in self._properties]
        asked += [field.property for field in self._fields().values()]
        asked += [n for n in (MP_STABILITY, self.identity) if n in self._properties and n]
        params = {"response_fields": ",".join(asked)}
        return {**params, "filter": filter_} if filter_ else params

    def _whole(self) -> Slice:
        return Slice((f"({self.filter})",) if self.filter else (), None)

    def _first(self, http: Http, slice_: Slice, limit: int) -> dict[str, Any]:
        """The first page of a slice, as small as may be."""
        root = self._find_root(http)
        params = {"response_fields": "id", "page_limit": str(limit)}
        if slice_.filter:
            params["filter"] = slice_.filter
        value: dict[str, Any] = http.json(f"{root}/structures", params, _uncountable)
        return value

    def _page_size(self, http: Http, whole: Slice) -> int:
        """The most rows per page that the server takes."""
        sizes = [self.page_size, *(size for size in _PAGE_SIZES if size < self.page_size)]
        for size in sizes[:-1]:
            try:
                self._first(http, whole, size)
            except Unanswered:
                raise
            except SourceError:
                continue
            return size
        return sizes[-1]

    # rows to columns ---------------------------------------------------------------------
    def parse(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Entries as the server sends them, to a table in ``columns``, in their order."""
        notes = Notes()
        entries = [row.get("attributes") for row in rows]
        attributes = [entry if isinstance(entry, dict) else {} for entry in entries]
        ids = texts(self._ids(rows, attributes), "id", notes)
        shapes = crystals(attributes, notes)
        arrays: dict[Column, pa.Array] = {
            schema.SOURCE_ID: ids,
            schema.FORMULA: texts(
                [
                    a.get("chemical_formula_reduced") or a.get("chemical_formula_descriptive")
                    for a in attributes
                ],
                "chemical_formula_reduced",
                notes,
            ),
            schema.VOLUME: shapes.volume,
            **shapes.columns(),
            schema.SOURCE_URL: pa.array(self._pages(rows, ids), pa.string()),
        }
        for column, field in self._fields().items():
            values = [a.get(field.property) for a in attributes]
            arrays[column] = converted(column, field, values, notes)
        if MP_STABILITY in self._properties:
            arrays |= mp_stability([a.get(MP_STABILITY) for a in attributes], notes)
        own = {column.name: column for column in self.columns}
        return table(
            self.columns,
            {own[column.name]: array for column, array in arrays.items()},
            notes,
            self._reasons(rows, ids),
        )

    def _ids(self, rows: list[dict[str, Any]], attributes: list[dict[str, Any]]) -> list[Any]:
        return [row["id"] for row in rows]

    def _pages(self, rows: list[dict[str, Any]], ids: pa.Array) -> list[str | None]:
        base = self.public_url or shown_url(str(self._root))
        return [f"{base}/structures/{quote(str(row['id']), safe='')}" for row in rows]

    def _reasons(self, rows: list[dict[str, Any]], ids: pa.Array) -> dict[int, str]:
        return {
            place: "the entry has no attributes"
            for place, row in enumerate(rows)
            if not isinstance(row.get("attributes"), dict)
        }


def _no_info(value: Any) -> str | None:
    data = value.get("data") if isinstance(value, dict) else None
    fine = isinstance(data, dict) and isinstance(data.get("properties"), dict)
    return None if fine else "no list of properties"


def _uncountable(value: Any) -> str | None:
    """As :func:`unusable`; a count that is there must be one."""
    if reason := unusable(value):
        return reason
    given = value["meta"].get("data_returned")
    return None if given is None or is_count(given) else "no count of rows"
