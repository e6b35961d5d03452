"""What a snapshot needs to know of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from irnet_core import schema
from irnet_core.schema import Column, unit_of

if TYPE_CHECKING:
    from infra.pull.http import Http

KNOWN_COLUMNS = {c.name: c for c in vars(schema).values() if isinstance(c, Column)}


class Source(Protocol):
    """A database or file of formulas with properties.

    Attributes
    ----------
    name : str
        Short name, also that of the newest snapshot.
    what : str
        One sentence for people.
    licence, citation : str
        Terms of the data; whom to cite, with DOI.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def citation(self) -> str: ...  # noqa: D102

    def fingerprint(self) -> dict[str, str]:
        """What identifies the data without reading it all: versions and hashes of its files.

        Raises
        ------
        SourceError
            If the source cannot be reached.
        """
        ...

    def read(self) -> pa.Table:
        """All rows, in the source's order.

        Returns
        -------
        pyarrow.Table
            With a text column ``formula``; each field has ``unit`` and ``meaning`` as metadata.

        Raises
        ------
        SourceError
            If it cannot be read completely.
        DataError
            If it holds no such table.
        """
        ...


class Transient(Exception):
    """What a server answered cannot be used now, but may be fine when asked again."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s = reason, retry_after_s


@dataclass(frozen=True)
class Unit:
    """Part of a database that is pulled, checked, kept and resumed as one.

    Attributes
    ----------
    name : str
        Plain file-name characters; units are kept in the order of their names.
    query : dict
        What selects its rows, as JSON types.
    """

    name: str
    query: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What a server gave for one request.

    Attributes
    ----------
    rows : list of dict
        Records as the server sent them.
    total : int, optional
        The server's own count of the unit's rows, none if it gave none that makes sense.
    """

    rows: list[dict[str, Any]]
    total: int | None


@dataclass
class UnitCounts:
    """What happened while a unit was pulled, for the manifest.

    Attributes
    ----------
    total : int, optional
        The server's own count.
    duplicates : int
        Rows that came more than once.
    skipped : list of dict
        Ranges of rows that the server could not give: offset, count, reason.
    passes : int
        Times that the pages were gone through.
    """

    total: int | None = None
    duplicates: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    passes: int = 0


class Database(Protocol):
    """A database that is pulled over the network, unit by unit.

    Attributes
    ----------
    name, what, licence, citation : str
        As for :class:`Source`.
    columns : tuple of Column
        Columns of its rows; the first two are ``source_id``, the unique key, and ``formula``.
    versioned : bool
        Whether equal versions mean equal data, so that nothing need be pulled again.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def citation(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[Column, ...]: ...  # noqa: D102
    @property
    def versioned(self) -> bool: ...  # noqa: D102

    def query(self) -> dict[str, Any]:
        """What is asked for: base URL, fields, filter; recorded, and part of the request."""
        ...

    def version(self, http: Http) -> dict[str, Any]:
        """The server's version of the data, or what comes nearest to one, such as its count."""
        ...

    def units(self, http: Http) -> list[Unit]:
        """Units that together are the database, or what the filter leaves of it."""
        ...

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows of a unit, each once, in ``columns`` and a column ``reason``.

        Parameters
        ----------
        unit : Unit
        http : Http
            Client to ask with.
        most_rows : int, optional
            Stop after so many.
        counts : UnitCounts
            Filled in on the way.

        Raises
        ------
        SourceError
            If the unit cannot be had completely.
        """
        ...


def described(field_: pa.Field, meaning: str) -> pa.Field:
    """Field of a source's own column: known columns keep unit and meaning.

    Examples
    --------
    >>> described(pa.field("gap_ev", pa.float64()), "column of gaps.csv").metadata[b"unit"]
    b'eV'
    """
    known = KNOWN_COLUMNS.get(field_.name)
    if known is not None and known.type == field_.type:
        return known.field()
    number = pa.types.is_floating(field_.type) or pa.types.is_integer(field_.type)
    unit = unit_of(field_.name) if number else "as given"
    metadata = {"unit": unit, "meaning": meaning}
    return pa.field(field_.name, field_.type, metadata=metadata)
