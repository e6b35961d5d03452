"""Published screens: the ranked table as files, written as a stream and opened for Arrow and SQL.

``ranked.parquet`` holds the best :data:`HEAD` rows, best first. Further rows, if any, are in
``rest.parquet``, sorted by chemical system and then by rank. The best rows of all are thus read
off the front, and those of one system off the few row groups whose statistics span it; together
the files hold each row once. ``docs/screens.md`` has the measurements behind this.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra import duck
from infra.content import plain
from infra.staging import Staging
from irnet_core.errors import ScreenError
from irnet_core.schema import CHEMICAL_SYSTEM, FORMULA, RANK

RANKED = "ranked.parquet"
"""The best rows, best first."""
REST = "rest.parquet"
"""The other rows, by chemical system; only there if the table is longer than :data:`HEAD`."""
FILES = (RANKED, REST)
QUESTION = "screen.json"
"""What was asked and counted: the same rows under another question are another screen."""

HEAD = 100_000  # rows
HEAD_GROUP = 10_000  # rows a group, so that the first page of hits is one small read
REST_GROUP = 50_000


def write_screen(
    staging: Staging,
    blocks: Iterable[pa.Table],
    metadata: Mapping[str, Any] | None = None,
    head: int = HEAD,
) -> list[str]:
    """Write a ranked table into a staging folder, in memory of some blocks and a bounded sort.

    The same rows and metadata give the same bytes, however the rows are cut into blocks.

    Parameters
    ----------
    staging : Staging
        Of the kind ``screens``.
    blocks : iterable of pyarrow.Table
        From :func:`infra.ranked.ranked_table`, all of one schema, ranks counting on from 1.
    metadata : mapping, optional
        What the files are to say of their origin: digests of model, snapshots and rules,
        parameters, funnel counts. Anything JSON can hold; no dates, which would change the bytes.
    head : int
        Rows of the best-first file.

    Returns
    -------
    list of str
        Names of the files, for :meth:`infra.store.Store.publish`.

    Raises
    ------
    ScreenError
        If there is no row, or blocks do not follow one another.
    StoreError
        If memory, disk or store do not suffice.
    """
    rows = _checked(iter(blocks))
    first = next(rows, None)
    if first is None:
        raise ScreenError("the ranked table has no row: allow more elements, atoms or rules")
    question = json.dumps(plain(metadata or {}), sort_keys=True, separators=(",", ":")).encode()
    schema = first.schema.with_metadata({**(first.schema.metadata or {}), b"screen": question})
    staging.write_bytes(QUESTION, question)
    stream = _Stream(first, rows)
    staging.write(
        RANKED, lambda file: _write(file, schema, HEAD_GROUP, stream.take(head, HEAD_GROUP))
    )
    if not stream.more():
        return [RANKED, QUESTION]
    with (
        tempfile.TemporaryDirectory(prefix="irnet-") as folder,
        duck.bounded("sort the ranked table") as database,
    ):
        unsorted = f"{folder}/{REST}"
        with pq.ParquetWriter(unsorted, schema, compression="lz4", use_dictionary=False) as writer:
            for table in stream.take(None, REST_GROUP):
                writer.write_table(table)
        order = f"ORDER BY {duck.name(CHEMICAL_SYSTEM.name)}, {duck.name(RANK.name)}"
        scan = f"SELECT * FROM read_parquet({duck.file_name(unsorted)})"
        reader = database.sql(f"{scan} {order}").to_arrow_reader(REST_GROUP)
        tables = (pa.Table.from_batches([b]).cast(schema) for b in reader if b.num_rows)
        found = _Stream(next(tables), tables)
        staging.write(
            REST, lambda file: _write(file, schema, REST_GROUP, found.take(None, REST_GROUP))
        )
    return [RANKED, REST, QUESTION]


def origin(schema: pa.Schema) -> dict[str, Any]:
    """What :func:`write_screen` was told of a table's origin, from the schema of a file."""
    text = (schema.metadata or {}).get(b"screen")
    return {} if text is None else dict(json.loads(text))


class _Stream:
    """Rows of a stream of tables, in pieces of a size that the tables have no part in."""

    def __init__(self, first: pa.Table, others: Iterator[pa.Table]) -> None:
        self._left, self._others = first, others

    def more(self) -> bool:
        """Whether any row is left."""
        while self._left.num_rows == 0:
            following = next(self._others, None)
            if following is None:
                return False
            self._left = following
        return True

    def take(self, most: int | None, size: int) -> Iterator[pa.Table]:
        """The next rows in tables of ``size``, the last one shorter; all of them if None."""
        taken = 0
        while self.more() and (most is None or taken < most):
            wanted = size if most is None else min(size, most - taken)
            parts, count = [], 0
            while count < wanted and self.more():
                part = self._left.slice(0, wanted - count)
                self._left = self._left.slice(part.num_rows)
                parts.append(part)
                count += part.num_rows
            taken += count
            yield pa.concat_tables(parts).combine_chunks()


def _checked(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Blocks without empty ones, as long as their ranks count on from 1."""
    rank = 0
    schema: pa.Schema | None = None
    for block in blocks:
        if schema is not None and not block.schema.equals(schema):
            raise ScreenError(
                f"a block of the ranked table has the columns {block.column_names} and the first"
                f" {schema.names}: make them alike"
            )
        schema = block.schema
        if not block.num_rows:
            continue
        ranks = block.column(RANK.name).to_numpy()
        if ranks[0] != rank + 1 or (ranks[1:] - ranks[:-1] != 1).any():
            raise ScreenError(f"the ranks do not count on after {rank}: write the best rows first")
        rank = int(ranks[-1])
        yield block


def _write(file: IO[bytes], schema: pa.Schema, group: int, tables: Iterator[pa.Table]) -> None:
    # Dictionaries of values that hardly repeat cost twice the time and a quarter more space.
    numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=_repetitive(schema),
        use_byte_stream_split=numbers,
    ) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=group)


def _repetitive(schema: pa.Schema) -> list[str]:
    """Paths of the columns whose values repeat: texts but for the formula, lists, small numbers."""
    lists = [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
    small = (pa.string(), pa.int8(), pa.int16(), pa.int32())
    return lists + [f.name for f in schema if f.type in small and f.name != FORMULA.name]
