"""Rows of a unit as one table: in order, each once, known by their content."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.content import table_digest
from irnet_core.schema import REASON, SOURCE_ID, Column, arrow_schema


def unit_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of a unit's rows: the database's columns and ``reason``."""
    return arrow_schema([*columns, REASON])


def row_keys(table: pa.Table) -> pa.Array:
    """What tells the rows of a unit apart: ``source_id``, and ``reason`` where there is one.

    An entry may come once as a usable row and again as rows that are rejected. Rows without an
    identifier have no key and are never taken for the same.
    """
    reasons = pc.fill_null(table[REASON.name], "")
    keys = pc.binary_join_element_wise(table[SOURCE_ID.name], reasons, "\0")
    return pa.concat_arrays(keys.chunks) if keys.num_chunks else pa.array([], keys.type)


def sorted_rows(
    tables: Iterable[pa.Table], schema: pa.Schema, most: int | None
) -> tuple[pa.Table, int]:
    """Rows of a unit in order of ``source_id``, each once.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        As they came, with the schema's columns and perhaps others.
    schema : pyarrow.Schema
    most : int or None
        Rows to take of those that came; None for all.

    Returns
    -------
    rows : pyarrow.Table
    duplicates : int
        Rows that came again.
    """
    table = pa.concat_tables(
        [schema.empty_table(), *(table.select(schema.names).cast(schema) for table in tables)]
    )
    if most is not None:
        table = table.slice(0, most)
    keys = row_keys(table)
    order = pc.sort_indices(keys)  # stable; rows without a key come last
    keys = keys.take(order)
    if len(keys) > 1:
        again = pc.fill_null(pc.equal(keys[1:], keys[:-1]), False)
        order = order.filter(pa.concat_arrays([pa.array([True]), pc.invert(again)]))
    in_order = np.array_equal(order.to_numpy(), np.arange(len(table)))
    return (table if in_order else table.take(order)), len(keys) - len(order)


def content(table: pa.Table) -> str:
    """Digest of a unit's rows, whatever its file says beside them."""
    return table_digest(table.schema, table.to_batches())
