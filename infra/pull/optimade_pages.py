"""Pages of a list of OPTIMADE entries, by whatever way the server counts them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from infra.pull.http import Http
from infra.pull.protocol import Page
from irnet_core.errors import SourceError

CAPS = (10_000, 100_000)
"""Numbers at which servers stop counting; a count that is one of them tells nothing."""


class Pages:
    """Pages of the entries that meet one filter.

    The first page's ``links.next`` shows whether pages are told apart by ``page_offset``, by
    ``page_number`` or otherwise. Only in the last case is it followed: from there on pages can be
    had one after another only.

    Parameters
    ----------
    http : Http
        Client to ask with.
    url : str
        Address of the list, such as ``https://example.org/v1/structures``.
    params : dict of str to str
        Filter and fields, sent with every request, whatever ``next`` says.
    """

    def __init__(self, http: Http, url: str, params: dict[str, str]) -> None:
        self._http, self._url, self._params = http, url, params
        self._way = "page_offset"
        self._next: dict[int, dict[str, str]] = {}  # parameters by the offset they lead to

    def fetch(self, offset: int, limit: int) -> Page:
        """Rows from an offset, a multiple of the limit, on.

        Raises
        ------
        Unanswered, SourceError
            As for :meth:`infra.pull.http.Http.get`, and if the server leads in a circle or cannot
            be asked for this page.
        """
        params = {**self._params, "page_limit": str(limit)}
        if offset and self._way == "next":
            if offset not in self._next:
                raise SourceError(
                    f"{self._http.name}: the server gives pages only one after another, and does "
                    f"not say how to go on at row {offset:,}; run the same command again later"
                )
            params = {**self._next[offset], **params}
        elif offset:
            page = offset // limit + 1
            params[self._way] = str(page if self._way == "page_number" else offset)
        value = self._http.json(self._url, params, unusable)
        rows = value["data"]
        self._learn(offset, next_of(value), len(rows))
        return Page(rows, total_of(value))

    def _learn(self, offset: int, next_: dict[str, str] | None, rows: int) -> None:
        """Note how the server counts pages, and where ``next`` leads."""
        if offset == 0:
            self._next = {}
            if next_ is not None:
                known = (way for way in ("page_offset", "page_number") if way in next_)
                self._way = next(known, "next")
        if self._way != "next" or next_ is None or not rows:  # a next page of no rows is none
            return
        if any(known == next_ and at != offset + rows for at, known in self._next.items()):
            raise SourceError(
                f"{self._http.name}: the server names the same next page for different pages, so "
                "that the pull would go round in a circle; report it to the provider"
            )
        self._next[offset + rows] = next_


def next_of(value: dict[str, Any]) -> dict[str, str] | None:
    """Parameters of the next page's address, none if there is none.

    Examples
    --------
    >>> next_of({"links": {"next": {"href": "http://elsewhere/structures?page_offset=20"}}})
    {'page_offset': '20'}
    """
    links = value.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    link = link.get("href") if isinstance(link, dict) else link
    return dict(parse_qsl(urlsplit(link).query)) if link and isinstance(link, str) else None


def total_of(value: dict[str, Any]) -> int | None:
    """The server's count of the entries that meet the filter, none if it gives none.

    Examples
    --------
    >>> total_of({"meta": {"data_returned": 9999}})
    9999
    >>> total_of({"meta": {"data_returned": 10000}})
    """
    total = value["meta"].get("data_returned")
    return total if is_count(total) and total not in CAPS else None


def is_count(total: Any) -> bool:
    """Whether what stands in the place of a count is one, if only where the server stops."""
    return isinstance(total, int) and total >= 0


def unusable(value: Any) -> str | None:
    """Why an answer is no list of entries, none if it is one."""
    if not isinstance(value, dict):
        return "JSON of another shape"
    if value.get("errors"):
        return f"errors: {value['errors']!r:.150}"
    if not isinstance(value.get("data"), list) or not isinstance(value.get("meta"), dict):
        return "JSON of another shape"
    if not all(isinstance(row, dict) and row.get("id") not in (None, "") for row in value["data"]):
        return "entries without an id"
    return None
