"""What has changed from one snapshot to another: rows added, removed, changed, and by how much.

Rows are matched by a key, ``source_id`` where every row of both snapshots has one, else the
composition. Rows that are equal in all columns are set aside first, as often as they occur on both
sides; what is left of a key on either side is paired in the order of its values, so neither the
order of rows nor a key that occurs more than once makes a change of what is none. Every row of
both snapshots is counted once, and the counts are held against each other.

The joins run in DuckDB on hashes of the rows, in bounded memory. Structures are compared and
counted as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from infra import duck
from infra.artifact import DATA
from infra.folder import Folder
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import COMPOSITION, ROW, SCHEMA_VERSION, SOURCE_ID, STRUCTURE

CHANGE, ADDED, REMOVED, CHANGED = "change", "added", "removed", "changed"
OLD, NEW = "_old", "_new"
EXAMPLES = 5
_STRUCTURE = {column.name for column in STRUCTURE}


@dataclass(frozen=True)
class ColumnChange:
    """What happened to one column in the rows that both snapshots have.

    Attributes
    ----------
    rows : int
        Rows whose value is another one now.
    emptied, filled : int
        Those among them that had a value and have none now, and the reverse.
    median, largest : float, optional
        Median and largest size of the change of numbers, in ``unit``.
    unit : str
    """

    rows: int
    emptied: int
    filled: int
    median: float | None
    largest: float | None
    unit: str


@dataclass(frozen=True)
class Difference:
    """Rows and columns that two snapshots do not share.

    Attributes
    ----------
    key : str
        Column that rows were matched by.
    rows_old, rows_new : int
    added, removed, changed, unchanged : int
        ``added + changed + unchanged == rows_new``, ``removed + changed + unchanged == rows_old``.
    columns : dict of ColumnChange
        Columns of both that have changed in some row, by name.
    columns_added, columns_removed : list of str
    redefined : dict
        Type and unit, before and after, of columns that changed either.
    examples : dict of list of str
        The first keys that were added, removed and changed.
    """

    key: str
    rows_old: int
    rows_new: int
    added: int
    removed: int
    changed: int
    unchanged: int
    columns: dict[str, ColumnChange] = field(default_factory=dict)
    columns_added: list[str] = field(default_factory=list)
    columns_removed: list[str] = field(default_factory=list)
    redefined: dict[str, tuple[str, str]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """In JSON's own types."""
        return asdict(self)


class Comparison:
    """Two snapshots side by side, while the database that holds them is open; see `compare`."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, old: Folder, new: Folder, by: str | None
    ) -> None:
        self._db = database
        self._fields = {side: duck.schema_of(f, DATA) for side, f in (("old", old), ("new", new))}
        for side, folder in (("old", old), ("new", new)):
            database.execute(
                f"CREATE VIEW {side}_file AS SELECT * FROM {duck.scan(database, folder, DATA)}"
            )
        self.key = self._key(by)
        names = {side: _compared(schema, self.key) for side, schema in self._fields.items()}
        self._both = [name for name in names["old"] if name in names["new"]]
        self._pair()
        self.summary = self._summary(names)

    def changes(self) -> pa.RecordBatchReader:
        """Rows that are not the same on both sides, sorted by key.

        Returns
        -------
        pyarrow.RecordBatchReader
            ``change`` (added, removed or changed), the key, and each column of both snapshots but
            for structures twice, ending in ``_old`` and ``_new``.
        """
        key = self._outcome("new", self.key)
        fields = [pa.field(CHANGE, pa.string()), key]
        columns = [f"{_word()} AS change", "k" if pa.types.is_string(key.type) else "nullif(k, '')"]
        for i, name in self._scalars():
            for side, suffix in (("old", OLD), ("new", NEW)):
                fields.append(self._outcome(side, name).with_name(name + suffix))
                columns.append(f"{side}_{i}")
        schema = pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})
        sql = f"SELECT {', '.join(columns)} FROM pairs ORDER BY k, n"
        batches = self._db.sql(sql).to_arrow_reader(duck.BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(
            schema, (part for batch in batches for part in _cast(batch, schema))
        )

    # -------------------------------------------------------------------------------------
    def _key(self, by: str | None) -> str:
        """The column to match by; one that was named must be in both snapshots."""
        for side, schema in self._fields.items():
            if by is not None and by not in schema.names:
                raise DataError(
                    f"there is no such column to match rows by, take one of "
                    f"{', '.join(schema.names)}",
                    source=f"the {side} snapshot",
                    column=by,
                )
        if by is not None:
            return by
        if all(SOURCE_ID.name in schema.names for schema in self._fields.values()):
            id_ = duck.name(SOURCE_ID.name)
            empty = [f"SELECT {id_} FROM {side}_file WHERE {id_} IS NULL" for side in self._fields]
            if not duck.one(self._db, f"SELECT count(*) FROM ({' UNION ALL '.join(empty)})")[0]:
                return SOURCE_ID.name
        return COMPOSITION.name

    def _scalars(self) -> list[tuple[int, str]]:
        """Places and names of the columns of both sides that are single values."""
        kept = [(i, n) for i, n in enumerate(self._both) if not self._nested(n)]
        return [(i, name) for i, name in kept if name != self.key]

    def _nested(self, name: str) -> bool:
        return any(pa.types.is_nested(schema.field(name).type) for schema in self._fields.values())

    def _value(self, name: str) -> str:
        """A column as both sides can be compared: structures by hash, other types as text."""
        types = [schema.field(name).type for schema in self._fields.values()]
        column = duck.name(name)
        if self._nested(name):
            # the hash of a list is that of what is in it; ours are of one form, a user's may not be
            content = column if name in _STRUCTURE else f"CAST({column} AS VARCHAR)"
            return f"CASE WHEN {column} IS NOT NULL THEN hash({content}) END"
        if types[0] == types[1]:
            return column
        if all(duck.is_number(type_) for type_ in types):
            return f"CAST({column} AS DOUBLE)"
        return f"CAST({column} AS VARCHAR)"

    def _outcome(self, side: str, name: str) -> pa.Field:
        """A column's field as `_value` gives it."""
        types = [schema.field(name).type for schema in self._fields.values()]
        field = self._fields[side].field(name)
        if types[0] == types[1]:
            return field
        return field.with_type(pa.float64() if all(map(duck.is_number, types)) else pa.string())

    def _pair(self) -> None:
        """Make the table ``pairs`` of all rows that differ, with both sides where both are."""
        run = self._db.execute
        values = [self._value(name) for name in self._both]
        key = f"coalesce(CAST({self._value(self.key)} AS VARCHAR), '')"
        for side in self._fields:
            content = f"hash({', '.join(values)})" if values else "0"
            run(
                f"CREATE TABLE {side}_hashes AS SELECT k, h, place, row_number() OVER "
                f"(PARTITION BY k, h ORDER BY place) AS n FROM "
                f"(SELECT {key} AS k, {content} AS h, file_row_number AS place FROM {side}_file)"
            )
        cells = "".join(f", {value} AS c{i}" for i, value in enumerate(values))
        order = "".join(f"c{i}, " for i in range(len(values)))
        for side, other in (("old", "new"), ("new", "old")):
            run(
                f"CREATE TABLE {side}_rest AS SELECT place FROM {side}_hashes "
                f"ANTI JOIN {other}_hashes USING (k, h, n)"
            )
            run(
                f"CREATE TABLE {side}_rows AS SELECT *, row_number() OVER "
                f"(PARTITION BY k ORDER BY {order}place) AS n FROM "
                f"(SELECT {key} AS k, file_row_number AS place{cells} FROM {side}_file) "
                f"SEMI JOIN {side}_rest USING (place)"
            )
        sides = "".join(f", o.c{i} AS old_{i}, e.c{i} AS new_{i}" for i in range(len(values)))
        run(
            "CREATE TABLE pairs AS "
            f"SELECT k, n, o.place IS NOT NULL AS was, e.place IS NOT NULL AS is_{sides} "
            "FROM old_rows o FULL JOIN new_rows e USING (k, n)"
        )

    def _summary(self, names: dict[str, list[str]]) -> Difference:
        """Count, and hold the counts against each other."""
        db = self._db
        count = {
            what: duck.one(db, f"SELECT count(*) FROM {table}")[0]
            for what, table in (
                ("old", "old_file"),
                ("new", "new_file"),
                ("old_rest", "old_rest"),
                ("new_rest", "new_rest"),
                (ADDED, "pairs WHERE NOT was"),
                (REMOVED, "pairs WHERE NOT is_"),
                (CHANGED, "pairs WHERE was AND is_"),
            )
        }
        unchanged = count["old"] - count["old_rest"]
        if (
            unchanged != count["new"] - count["new_rest"]
            or count[ADDED] + count[CHANGED] != count["new_rest"]
            or count[REMOVED] + count[CHANGED] != count["old_rest"]
        ):
            raise StoreError(
                f"the comparison lost rows ({count}): verify both snapshots and run it again"
            )
        examples = {
            what: [
                str(k)
                for (k,) in db.execute(
                    f"SELECT k FROM pairs WHERE {_word()} = '{what}' ORDER BY k LIMIT {EXAMPLES}"
                ).fetchall()
            ]
            for what in (ADDED, REMOVED, CHANGED)
        }
        return Difference(
            key=self.key,
            rows_old=count["old"],
            rows_new=count["new"],
            added=count[ADDED],
            removed=count[REMOVED],
            changed=count[CHANGED],
            unchanged=unchanged,
            columns=self._columns(),
            columns_added=[n for n in names["new"] if n not in names["old"]],
            columns_removed=[n for n in names["old"] if n not in names["new"]],
            redefined={
                name: (before, after)
                for name in self._both
                if (before := _definition(self._fields["old"].field(name)))
                != (after := _definition(self._fields["new"].field(name)))
            },
            examples={what: keys for what, keys in examples.items() if keys},
        )

    def _columns(self) -> dict[str, ColumnChange]:
        found = {}
        for i, name in enumerate(self._both):
            fields = [schema.field(name) for schema in self._fields.values()]
            size = "NULL"
            if all(duck.is_number(field.type) for field in fields):
                size = f"abs(CAST(new_{i} AS DOUBLE) - CAST(old_{i} AS DOUBLE))"
            ((rows, emptied, filled, median, largest),) = self._db.execute(
                f"SELECT count(*), count(*) FILTER (new_{i} IS NULL), "
                f"count(*) FILTER (old_{i} IS NULL), "
                "median(size) FILTER (isfinite(size)), max(size) FILTER (isfinite(size)) "
                f"FROM (SELECT old_{i}, new_{i}, CAST({size} AS DOUBLE) AS size FROM pairs "
                f"WHERE was AND is_ AND old_{i} IS DISTINCT FROM new_{i})"
            ).fetchall()
            if rows:
                found[name] = ColumnChange(
                    rows, emptied, filled, median, largest, duck.unit(fields[1])
                )
        return found


@contextmanager
def compare(old: Folder, new: Folder, by: str | None = None) -> Iterator[Comparison]:
    """Compare the rows of two snapshots.

    Parameters
    ----------
    old, new : Folder
        Folders of snapshots, or of one that is about to be published.
    by : str, optional
        Column to match rows by, instead of ``source_id`` or else the composition.

    Yields
    ------
    Comparison
        With the ``summary``, and the rows as long as the block runs.

    Raises
    ------
    DataError
        If a snapshot lacks the column to match by.
    StoreError
        If a file cannot be read, or the counts do not add up.
    """
    with duck.bounded("compare the snapshots") as database:
        yield Comparison(database, old, new, by)


def _compared(schema: pa.Schema, key: str) -> list[str]:
    """Columns that say something of the row itself; its place in the source does not."""
    return [name for name in schema.names if name not in (ROW.name, key)]


def _word() -> str:
    """SQL for what happened to a row of ``pairs``."""
    return f"CASE WHEN NOT was THEN '{ADDED}' WHEN NOT is_ THEN '{REMOVED}' ELSE '{CHANGED}' END"


def _definition(field: pa.Field) -> str:
    unit = duck.unit(field)
    return f"{field.type} in {unit}" if unit and duck.is_number(field.type) else str(field.type)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    yield from pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema).to_batches()
