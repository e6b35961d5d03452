"""The training table that rows of one or several sources make, written in row groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra import duck
from infra.snapshots.funnel import LOWEST, NOT_IN_ALL, ROWS, Funnel
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import (
    COMPOSITION,
    FORMULA,
    REASON,
    ROW,
    SCHEMA_VERSION,
    SNAPSHOT,
    SOURCE_ID,
    SPLIT,
    arrow_schema,
)
from irnet_core.splits import TEST, TRAIN, VALIDATION, random_split

ROW_GROUP = 50_000
ROLES = (TRAIN, VALIDATION, TEST)
_OWN = (ROW.name, FORMULA.name, COMPOSITION.name)


class TrainingTable:
    """Rows left by the funnels, joined by composition.

    Parameters
    ----------
    database : duckdb.DuckDBPyConnection
        That the funnels are in.
    funnels : sequence of Funnel
        One for each source.
    side_by_side : bool
        Whether each source gives a column of its own over the compositions that all of them have;
        else the rows are those of the first, and the others lend it what they have.
    validation, test, seed
        See :class:`infra.snapshots.prepare.Preparation`.

    Raises
    ------
    DataError
        If two columns would have one name, or no composition is in all sources.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        funnels: Sequence[Funnel],
        side_by_side: bool,
        validation: float,
        test: float,
        seed: int,
    ) -> None:
        self._db, self._funnels, self._side_by_side = database, funnels, side_by_side
        self._drawn = validation > 0
        self.schema, self._sql = self._select()
        self.rows = self._count()
        self.roles = self._draw(validation, test, seed) if self._drawn else None

    def write(self, file: IO[bytes]) -> None:
        """Write the rows, numbered and with their roles."""
        schema = self.schema
        done = 0
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in self._db.sql(self._sql).to_arrow_reader(ROW_GROUP):
                end = done + batch.num_rows
                columns = [pa.array(np.arange(done, end), ROW.type), *batch.columns]
                if self.roles is not None:
                    columns.append(pa.array(self.roles[done:end], SPLIT.type))
                table = pa.table(columns, names=schema.names).cast(schema)
                writer.write_table(table, row_group_size=ROW_GROUP)
                done = end
        if done != self.rows:
            raise StoreError(
                f"the join gave {done} rows instead of {self.rows}: verify the snapshots, run again"
            )

    def write_dropped(self, file: IO[bytes]) -> None:
        """Write the rows that the steps dropped, each with the step."""
        schema = arrow_schema((SNAPSHOT, ROW, FORMULA, REASON))
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for funnel in self._funnels:
                for batch in self._db.sql(funnel.dropped).to_arrow_reader(ROW_GROUP):
                    writer.write_table(pa.table(batch.columns, names=schema.names).cast(schema))

    # -------------------------------------------------------------------------------------
    def _select(self) -> tuple[pa.Schema, str]:
        """Fields of the table, and SQL for its rows in order."""
        first, *others = self._funnels
        fields = [ROW.field(), FORMULA.field(), COMPOSITION.field()]
        columns = [_of(first, FORMULA.name), _of(first, COMPOSITION.name)]

        def add(funnel: Funnel, column: str, name: str) -> None:
            field = funnel.rows.fields[column]
            metadata = dict(field.metadata or {})
            if name != column:
                meaning = metadata.get(b"meaning", b"").decode()
                metadata[b"meaning"] = f"{meaning}, from {funnel.rows.label}".encode()
            fields.append(field.with_name(name).with_metadata(metadata))
            columns.append(_of(funnel, column))

        if not self._side_by_side:
            replaced = (*_OWN, SPLIT.name) if self._drawn else _OWN
            for column in first.rows.fields:
                if column not in replaced:
                    add(first, column, column)
        for funnel in self._funnels if self._side_by_side else others:
            for lent in dict.fromkeys((SOURCE_ID.name, funnel.rows.target, funnel.rows.energy)):
                if lent is not None and lent in funnel.rows.fields:
                    add(funnel, lent, f"{funnel.rows.name}_{lent}")
        if self._drawn:
            fields.append(SPLIT.field())
        names = [field.name for field in fields]
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError(
                "a snapshot has a column of its own with this name, rename it",
                source=first.rows.label,
                column=twice[0],
            )
        key = _of(first, COMPOSITION.name)
        joins = "".join(
            f" {'JOIN' if self._side_by_side else 'LEFT JOIN'} {f.kept} "
            f"AS {duck.name(f.rows.name)} ON {_of(f, COMPOSITION.name)} = {key}"
            for f in others
        )
        return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)}), (
            f"SELECT {', '.join(columns)} FROM {first.kept} AS {duck.name(first.rows.name)}{joins} "
            f"ORDER BY {key if LOWEST in first.counts else first.rows.order}"
        )

    def _count(self) -> int:
        """Rows that the join must give, by counting compositions; the funnels are told."""
        first, *others = self._funnels
        if not self._side_by_side or not others:
            return first.counts[ROWS]
        key = duck.name(COMPOSITION.name)
        shared = " INTERSECT ".join(f"SELECT {key} FROM {f.kept}" for f in self._funnels)
        (rows,) = duck.one(self._db, f"SELECT count(*) FROM ({shared})")
        if not rows:
            labels = ", ".join(f.rows.label for f in self._funnels)
            raise DataError(f"no composition is in all of {labels}: prepare them apart")
        for funnel in self._funnels:
            left = funnel.counts.pop(ROWS)
            funnel.counts |= {NOT_IN_ALL: left - rows, ROWS: rows}
        return rows

    def _draw(self, validation: float, test: float, seed: int) -> np.ndarray[Any, Any]:
        """Role of each row, drawn by composition."""
        key = duck.name(COMPOSITION.name)
        table = self._db.sql(f"SELECT {key} FROM ({self._sql})").to_arrow_table()
        groups = np.asarray(table.column(0).to_pylist(), dtype=object)
        roles = np.full(len(groups), TRAIN, dtype=object)
        rest = np.arange(len(groups))
        source = self._funnels[0].rows.label
        if test:
            split = random_split(groups, share=test, seed=seed, source=source)
            roles[split.validation], rest = TEST, split.train
        share = validation / (1 - test)
        split = random_split(groups[rest], share=share, seed=seed, source=source)
        roles[rest[split.validation]] = VALIDATION
        return roles


def _of(funnel: Funnel, column: str) -> str:
    return f"{duck.name(funnel.rows.name)}.{duck.name(column)}"
