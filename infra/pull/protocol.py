"""What the engine needs to know of a database, and what both tell each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from irnet_core.schema import Column

if TYPE_CHECKING:
    from infra.pull.http import Http


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
    repeated : int
        Entries that the server counts again, and that ``total`` leaves out.
    """

    total: int | None = None
    duplicates: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    passes: int = 0
    repeated: int = 0


@runtime_checkable
class Database(Protocol):
    """A database that is pulled over the network, unit by unit.

    Attributes
    ----------
    name, what, licence, citation : str
        As for :class:`infra.sources.base.Source`.
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
        """The server's version of the data, or what comes nearest to one, such as its count.

        ``rows``, if it is there, is the server's count of what is asked for.
        """
        ...

    def units(self, http: Http) -> list[Unit]:
        """Units that together are the database, or what the filter leaves of it."""
        ...

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows of a unit in ``columns`` and a column ``reason``, why a row cannot be used.

        Rows of equal ``source_id`` and ``reason`` are taken for the same. With skipped ones they
        are as many as ``counts.total``, if that is known.

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


@runtime_checkable
class Keyed(Protocol):
    """A database that wants a key.

    Attributes
    ----------
    secrets : tuple of str
        Texts that no message may hold.
    """

    @property
    def secrets(self) -> tuple[str, ...]: ...  # noqa: D102


@runtime_checkable
class Caching(Protocol):
    """A database that keeps files of its own, beside the staging folder, while it is pulled."""

    def cached(self) -> AbstractContextManager[None]:
        """Keep other pulls from these files; they go if the block ends well, and else stay."""
        ...


@runtime_checkable
class Undivided(Protocol):
    """A database that can be asked for its first rows without being divided into units.

    Attributes
    ----------
    whole_rows : int
        Rows that can be had that way, at most.
    """

    @property
    def whole_rows(self) -> int: ...  # noqa: D102

    def whole(self, http: Http) -> Unit:
        """Everything that is asked for, as one unit; used where there is a small limit."""
        ...
