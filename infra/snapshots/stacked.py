"""Rows of one database, of one snapshot or of several that agree, as a view of DuckDB."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from infra import duck
from infra.artifact import DATA, Artifact
from irnet_core.errors import DataError
from irnet_core.schema import COMPOSITION, FORMULA, ROW, SOURCE_ID

ID, SNAPSHOT_NUMBER = "irnet__id", "irnet__snapshot"
"""Columns that the view has beside those of the snapshots."""


class Stacked:
    """Snapshots of one source, one below the other.

    Parameters
    ----------
    database : duckdb.DuckDBPyConnection
    name : str
        Of the source, as in names of columns.
    snapshots : sequence of Artifact
    target, energy : str
        Columns of numbers that are wanted; there may be no energy.

    Raises
    ------
    DataError
        If a column is missing or no number, or the snapshots contradict each other in a unit or a
        type, or hold the same entry twice.

    Attributes
    ----------
    label : str
        What messages call the source.
    fields : dict of pyarrow.Field
        Columns of the rows, by name.
    view : str
        SQL name of the rows.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        name: str,
        snapshots: Sequence[Artifact],
        target: str,
        energy: str | None,
    ) -> None:
        self.name, self.target, self.energy, self.snapshots = name, target, energy, snapshots
        self.label = " and ".join(str(s.manifest.parameters["label"]) for s in snapshots)
        self.fields = self._common_fields()
        self._check_columns()
        self.view = duck.name(f"{name}_rows")
        self._stack(database)

    @property
    def wanted(self) -> list[str]:
        """Columns that must hold numbers."""
        return [name for name in (self.target, self.energy) if name is not None]

    @property
    def order(self) -> str:
        """SQL for the order of rows: by composition, energy, id, then whatever else there is.

        It does not depend on the order in which the rows came.
        """
        first = [COMPOSITION.name, self.energy, SOURCE_ID.name, FORMULA.name, self.target]
        rest = [n for n in sorted(self.fields) if n not in first and n != ROW.name]
        names = [n for n in first if n in self.fields] + rest
        return ", ".join(self._sortable(n) for n in dict.fromkeys(names))

    # -------------------------------------------------------------------------------------
    def _common_fields(self) -> dict[str, pa.Field]:
        """Columns of all snapshots, which must agree on types and units."""
        fields: dict[str, pa.Field] = {}
        for snapshot in self.snapshots:
            for field in duck.schema_of(snapshot.folder, DATA):
                known = fields.setdefault(field.name, field)
                if (known.type, duck.unit(known)) != (field.type, duck.unit(field)):
                    raise DataError(
                        f"it is {_definition(known)} in one snapshot and {_definition(field)} in "
                        "another: convert one of them",
                        source=self.label,
                        column=field.name,
                    )
                if field.name in self.wanted and known.metadata != field.metadata:
                    raise DataError(
                        "the snapshots hold values of different definition, "
                        f"{_meaning(known)!r} and {_meaning(field)!r}: prepare them apart",
                        source=self.label,
                        column=field.name,
                    )
        return fields

    def _check_columns(self) -> None:
        for column in self.wanted:
            if column not in self.fields or column in (ROW.name, FORMULA.name, COMPOSITION.name):
                there = [n for n, f in self.fields.items() if duck.is_number(f.type)]
                own = [n for n in there if n != ROW.name]
                raise DataError(
                    f"there is no such column of numbers: the snapshot has "
                    f"{', '.join(own) or 'none'}",
                    source=self.label,
                    column=column,
                )
            if not duck.is_number(self.fields[column].type):
                raise DataError(
                    f"it holds {self.fields[column].type}, but must hold numbers",
                    source=self.label,
                    column=column,
                )

    def _stack(self, database: duckdb.DuckDBPyConnection) -> None:
        """Rows of all snapshots, each entry once, in a view."""
        parts = [
            f"SELECT * EXCLUDE (file_row_number), {i} AS {SNAPSHOT_NUMBER}, "
            f"file_row_number + {i << 40} AS {ID} FROM {duck.scan(database, snapshot.folder, DATA)}"
            for i, snapshot in enumerate(self.snapshots)
        ]
        stacked = " UNION ALL BY NAME ".join(parts)
        database.execute(f"CREATE VIEW {self.view} AS {stacked}")
        if len(parts) > 1 and SOURCE_ID.name in self.fields:
            id_ = duck.name(SOURCE_ID.name)
            twice = database.execute(
                f"SELECT {id_} FROM {self.view} WHERE {id_} IS NOT NULL GROUP BY {id_} "
                f"HAVING count(DISTINCT {SNAPSHOT_NUMBER}) > 1 ORDER BY {id_}"
            ).fetchall()
            if twice:
                raise DataError(
                    f"{len(twice)} entries, such as {twice[0][0]}, are in more than one of the "
                    "snapshots: give only the newest of them",
                    source=self.label,
                    column=SOURCE_ID.name,
                )

    def _sortable(self, column: str) -> str:
        """Structures sort by their hash, which no row's place enters."""
        quoted = duck.name(column)
        return f"hash({quoted})" if pa.types.is_nested(self.fields[column].type) else quoted


def _definition(field: pa.Field) -> str:
    return f"{field.type}, unit {duck.unit(field) or 'none'}"


def _meaning(field: pa.Field) -> str:
    return bytes((field.metadata or {}).get(b"meaning", b"")).decode()
