"""The Materials Project, page by page through its own client.

* Pages are windows of the rows sorted by ``material_id``, which is unique; the API allows 1000
  rows each. Units are 20 pages. The first id of each unit is asked for beforehand: a row that comes
  with a page of another unit than its own is not taken for one of that.
* The version is ``db_version`` of the heartbeat, and the count of the documents that are asked for.
* Deprecated documents are left out, and so is the GNoME batch, whose licence forbids commercial
  use, unless the filter says ``include_gnome=true``; each row tells its licence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from infra.pull.http import Http, Unanswered, shown_url
from infra.pull.paging import collect
from infra.pull.protocol import Page, Unit, UnitCounts
from infra.pull.pymatgen_dicts import parts
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.mp_client import Client, checked_key
from infra.sources.mp_filter import search_arguments
from infra.sources.mp_table import COLUMNS, FIELDS, summary_table, values_of
from irnet_core.errors import SourceError

PAGE_ROWS = 1000  # the most that the API gives
UNIT_ROWS = 20 * PAGE_ROWS
_SAID = 5  # times that a row's id is asked for until it is the same twice running


class MaterialsProject:
    """Summaries of the Materials Project.

    Parameters
    ----------
    filter : str, optional
        Parameters of ``SummaryRester.search``; see
        :func:`infra.sources.mp_filter.search_arguments`.
    unit_rows, page_rows : int
        Rows of a unit, a multiple of those of a page; the latter at most 1000.
    settings : Settings, optional
        With key and endpoint; from the environment by default.

    Raises
    ------
    SourceError
        If there is no key, or the filter is none.
    """

    name = "mp"
    what = "Density functional theory of inorganic crystals, Materials Project."
    citation = (
        "A. Jain, S. P. Ong, G. Hautier, W. Chen, W. D. Richards, S. Dacek, S. Cholia, D. Gunter, "
        "D. Skinner, G. Ceder, K. A. Persson, Commentary: The Materials Project, APL Mater. 1, "
        "011002 (2013), https://doi.org/10.1063/1.4812323"
    )
    columns = COLUMNS
    versioned = True
    via = "rest"

    def __init__(
        self,
        filter: str | None = None,
        *,
        unit_rows: int = UNIT_ROWS,
        page_rows: int = PAGE_ROWS,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or current_settings()
        secret = self._settings.mp_api_key
        self._key = checked_key(secret.get_secret_value() if secret is not None else None)
        self.secrets = (self._key,)
        self.endpoint = self._settings.mp_api_endpoint.rstrip("/") + "/"
        self.filter = (filter or "").strip()
        self.unit_rows, self.page_rows = unit_rows, page_rows
        given = search_arguments(self.filter) if self.filter else {}
        self.arguments = {"include_gnome": False, **given}
        self._client: Client | None = None

    @property
    def licence(self) -> str:
        """Terms of what is asked for."""
        if not self.arguments["include_gnome"]:
            return "CC BY 4.0; the GNoME batch, which is CC BY-NC 4.0, is left out"
        return (
            "CC BY 4.0; rows whose licence is BY-NC (GNoME batch) CC BY-NC 4.0, if the owner of "
            "the key has accepted its terms"
        )

    def query(self) -> dict[str, Any]:
        """Endpoint, fields and filter."""
        return {
            "url": shown_url(self.endpoint),
            "via": self.via,
            "fields": list(FIELDS),
            "filter": self.filter,
            "deprecated": False,
            "include_gnome": self.arguments["include_gnome"],
        }

    def version(self, http: Http) -> dict[str, Any]:
        """The database's version, and the count of what is asked for."""
        heartbeat = self._heartbeat(http)
        return {"db_version": heartbeat["db_version"], "rows": self._count(http)}

    def units(self, http: Http) -> list[Unit]:
        """Windows of the rows in order of their ids.

        Raises
        ------
        SourceError
            If nothing fits the filter.
        """
        total = self._count(http)
        if not total:
            raise SourceError(
                f"the Materials Project has no document that fits {self.filter!r}: loosen --filter"
            )
        firsts = {0: ""}
        for start in range(self.unit_rows, total, self.unit_rows):
            try:
                first = self._first_id(http, start, total)
            except Unanswered:  # a row that the server cannot give begins no unit
                continue
            if first is not None:
                firsts[start] = first
        if list(firsts.values()) != sorted(firsts.values()):
            raise SourceError(
                "the Materials Project does not sort documents by material_id any more: try "
                "--via delta, and report it"
            )
        ends = [*list(firsts)[1:], total]
        nexts = [*list(firsts.values())[1:], None]
        return [
            Unit(
                f"{start:08d}",
                {"start": start, "rows": end - start, "from": id_, "to": next_, "total": total},
            )
            for (start, id_), end, next_ in zip(firsts.items(), ends, nexts, strict=True)
        ]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows of a window, sorted by their ids.

        Raises
        ------
        SourceError
            If the window cannot be had completely.
        """
        start, most = int(unit.query["start"]), int(unit.query["rows"])
        first, next_, total = (unit.query[name] for name in ("from", "to", "total"))

        def after(row: dict[str, Any]) -> bool:
            return next_ is not None and row["material_id"] >= next_

        def fetch(offset: int, limit: int) -> Page:
            if offset >= most:  # rows of the next window, and none are looked for there
                return Page([], most)
            rows = self._rows(http, start + offset, min(limit, most - offset), total)
            own = [row for row in rows if first <= row["material_id"] and not after(row)]
            return Page(own, most)

        rows = collect(
            fetch,
            lambda row: str(row["material_id"]),
            where=f"mp, rows from {start:,}",
            page_size=self.page_rows,
            most_page_size=PAGE_ROWS,
            counts=counts,
            most_skipped=self._settings.most_skipped_rows,
            most_rows=most_rows,
        )
        yield summary_table(values_of(rows), [row["structure"] for row in rows])

    # -------------------------------------------------------------------------------------
    def _rows(self, http: Http, start: int, n: int, total: int) -> list[dict[str, Any]]:
        """Rows of a range, cut down to what is kept."""
        size = n if start % n == 0 else PAGE_ROWS
        first, last = start // size, (start + n - 1) // size
        rows: list[dict[str, Any]] = []
        for page in range(first, last + 1):
            rows += self._page(http, page, size, list(FIELDS), total)
        skip = start - first * size
        return [_compact(row) for row in rows[skip : skip + n]]

    def _page(
        self, http: Http, page: int, size: int, fields: list[str], total: int
    ) -> list[dict[str, Any]]:
        """A page of so many rows, counted from 0; ``total`` is the server's count of all."""
        rows, _ = self._client_for(http).search(
            f"rows {page * size:,} to {(page + 1) * size - 1:,}",
            total,
            **self.arguments,
            deprecated=False,
            fields=fields,
            chunk_size=size,
            _page=page + 1,
            _sort_fields="material_id",
        )
        return rows

    def _first_id(self, http: Http, row: int, total: int) -> str | None:
        """Id of a row, which must be the same twice running; none if there is no such row.

        A unit that begins with a wrong one, which a page repeated, would never be complete.
        """
        said: list[str | None] = []
        for _ in range(_SAID):
            rows = self._page(http, row, 1, ["material_id"], total)
            said.append(rows[0]["material_id"] if rows else None)
            if said[-2:] == [said[-1]] * 2:
                return said[-1]
        raise SourceError(
            f"the Materials Project gives another document for row {row:,} each time: run the same "
            "command again later, or with --via delta"
        )

    def _count(self, http: Http) -> int:
        """The server's count of what is asked for."""
        _, total = self._client_for(http).search(
            "count",
            **self.arguments,
            deprecated=False,
            fields=["material_id"],
            chunk_size=1,
            num_chunks=1,
        )
        return total

    def _client_for(self, http: Http) -> Client:
        if self._client is None or self._client.http is not http:
            self._client = Client(self._key, self.endpoint, self._heartbeat(http), http)
        return self._client

    def _heartbeat(self, http: Http) -> dict[str, Any]:
        found: dict[str, Any] = http.json(f"{self.endpoint}heartbeat", check=_no_heartbeat)
        return found


def _no_heartbeat(value: Any) -> str | None:
    """Why an answer is no heartbeat."""
    if not isinstance(value, dict):
        return "a heartbeat of another shape"
    if not isinstance(value.get("db_version"), str) or not value["db_version"]:
        return "a heartbeat without a version of the database"
    if not isinstance(value.get("access_controlled_batch_ids"), list):
        return "a heartbeat of another shape"
    return None


def _compact(document: dict[str, Any]) -> dict[str, Any]:
    """A document without what is not kept of its structure, a tenth of the memory."""
    document["structure"] = parts(document.get("structure"))
    return document
