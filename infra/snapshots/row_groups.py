"""Tables that are written as they come, in row groups of one size."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Self

import pyarrow as pa
import pyarrow.parquet as pq


class RowGroups:
    """Parquet file (zstd) of tables added one by one; use it in a ``with`` statement.

    The file is the same, byte for byte, however the rows are divided among the tables.

    Parameters
    ----------
    file : binary file
        Open for writing; it is left open.
    schema : pyarrow.Schema
        Of every table.
    rows : int
        Rows of each group, and about as many are held in memory.
    """

    def __init__(self, file: IO[bytes], schema: pa.Schema, rows: int) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._schema, self._rows = schema, rows
        self._waiting = schema.empty_table()

    def add(self, table: pa.Table) -> None:
        """Append the rows of a table."""
        waiting = pa.concat_tables([self._waiting, table.cast(self._schema)])
        while len(waiting) >= self._rows:
            self._write(waiting.slice(0, self._rows))
            waiting = waiting.slice(self._rows)
        # a copy, or the whole of the tables would stay in memory for a few rows
        self._waiting = waiting.combine_chunks() if waiting.num_rows else self._schema.empty_table()

    def _write(self, table: pa.Table) -> None:
        self._writer.write_table(table.combine_chunks(), row_group_size=self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if type_ is None and self._waiting.num_rows:
            self._write(self._waiting)
        self._writer.close()
