"""SQL over the store: DuckDB views of snapshots and screens."""

from __future__ import annotations

from typing import Any

import duckdb

from infra import duck
from infra.artifact import DATA
from infra.store import Store
from irnet_core.errors import StoreError

RANKED = "ranked.parquet"


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """In-memory database with one view per table of the store.

    ``ranked`` is the latest screen and ``snapshot`` the latest snapshot; every other one is there
    as ``screen_ID`` and ``snapshot_ID``.
    """
    connection = duckdb.connect()
    if not store.folder.local:
        connection.register_filesystem(store.folder.fs)
    for kind, prefix, latest, file in (
        ("screens", "screen", "ranked", RANKED),
        ("snapshots", "snapshot", "snapshot", DATA),
    ):
        views = {f"{prefix}_{manifest.id}": manifest.id for manifest in store.list(kind)}
        latest_id = store.names(kind).get("latest")
        if latest_id in views.values():  # else its folder was removed
            views[latest] = str(latest_id)
        for view, id_ in views.items():
            path = duck.file_name(store.open(id_, kind).path(file))
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet({path})")
    return connection


def query(store: Store, sql: str, most: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a SQL statement that returns a table.

    Parameters
    ----------
    store : Store
    sql : str
    most : int
        Rows to return at most.

    Returns
    -------
    columns : list of str
    rows : list of tuple

    Raises
    ------
    StoreError
        If the statement cannot be run, or returns no table.
    """
    connection = connect(store)
    try:
        kinds = {statement.type for statement in connection.extract_statements(sql)}
        relation = connection.sql(sql) if kinds == {duckdb.StatementType.SELECT} else None
        if relation is None:
            raise StoreError("a query only reads: write one SELECT")
        return list(relation.columns), relation.limit(most).fetchall()
    except duckdb.Error as error:
        views = [row[0] for row in connection.sql("SHOW TABLES").fetchall()]
        raise StoreError(
            f"the query failed ({str(error).splitlines()[0]}): the views are "
            f"{', '.join(views) or '(none yet, run a screen first)'}"
        ) from error
