"""What a snapshot needs to know of a source."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from infra.pull.protocol import Caching, Database, Keyed, Page, Transient, Unit, UnitCounts
from irnet_core import schema
from irnet_core.schema import AS_GIVEN, Column, unit_of

__all__ = [
    "KNOWN_COLUMNS",
    "Caching",
    "Database",
    "Keyed",
    "Page",
    "Source",
    "Transient",
    "Unit",
    "UnitCounts",
    "described",
]

# notes are written where a database's rows are read; in anybody's table the word may mean all sorts
KNOWN_COLUMNS = {
    c.name: c for c in vars(schema).values() if isinstance(c, Column) and c != schema.NOTE
}


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
    unit = unit_of(field_.name) if number else AS_GIVEN
    metadata = {"unit": unit, "meaning": meaning}
    return pa.field(field_.name, field_.type, metadata=metadata)
