"""SQL over the store: DuckDB views of snapshots and screens."""

from __future__ import annotations

import warnings
from typing import Any

import duckdb
import pyarrow as pa

from infra import duck
from infra.artifact import DATA, Artifact
from infra.screen_files import FILES, RANKED
from infra.store import Store
from irnet_core.errors import StoreError

__all__ = ["RANKED", "connect", "query", "query_table", "scan_of", "select"]

_FILES = {"screens": FILES, "snapshots": (DATA,)}


def scan_of(artifact: Artifact, *files: str) -> str:
    """SQL for the rows of a screen or snapshot, in the order of its files.

    Parameters
    ----------
    artifact : Artifact
    *files : str
        By default all that hold its rows. Screens of earlier versions have ``ranked.parquet``
        alone and are read alike.
    """
    there = [f for f in files or _FILES[artifact.manifest.kind] if f in artifact.manifest.files]
    paths = [duck.file_name(artifact.path(file)) for file in there or _FILES["screens"][:1]]
    return f"read_parquet([{', '.join(paths)}])"


def connect(store: Store, screen: Artifact | None = None) -> duckdb.DuckDBPyConnection:
    """In-memory database with one view per table of the store.

    ``ranked`` is the latest screen, or the one that is given, and ``snapshot`` the latest
    snapshot; every other one is there as ``screen_ID`` and ``snapshot_ID``.
    """
    connection = duck.reading()
    if not store.folder.local:
        connection.register_filesystem(store.folder.fs)
    for kind, prefix, latest in (
        ("screens", "screen", "ranked"),
        ("snapshots", "snapshot", "snapshot"),
    ):
        views = {f"{prefix}_{manifest.id}": manifest.id for manifest in store.list(kind)}
        latest_id = store.names(kind).get("latest")
        if screen is not None and kind == "screens":
            latest_id = screen.id
        if latest_id in views.values():  # else its folder was removed
            views[latest] = str(latest_id)
        for view, id_ in views.items():
            artifact = store.open(id_, kind)
            try:
                connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {scan_of(artifact)}")
            except duckdb.Error as error:
                why = str(error).splitlines()[0]
                warnings.warn(f"{artifact.url} is damaged and has no view ({why})", stacklevel=2)
    return connection


def select(
    connection: duckdb.DuckDBPyConnection, sql: str, choice: str = ""
) -> duckdb.DuckDBPyRelation:
    """The relation of one SELECT.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    sql : str
    choice : str
        What there is to choose from, for the message; by default the views.

    Raises
    ------
    StoreError
        If the statement cannot be run, or does anything but read.
    """
    try:
        kinds = [statement.type for statement in connection.extract_statements(sql)]
        if set(kinds) != {duckdb.StatementType.SELECT} or len(kinds) != 1:
            raise StoreError("a query only reads: write one SELECT")
        return connection.sql(sql)
    except duckdb.Error as error:
        raise failed(connection, error, choice) from error


def failed(
    connection: duckdb.DuckDBPyConnection, error: duckdb.Error, choice: str = ""
) -> StoreError:
    """What to tell of a statement that failed."""
    views = [row[0] for row in connection.sql("SHOW TABLES").fetchall()]
    there = choice or f"the views are {', '.join(views) or '(none yet, run a screen first)'}"
    return StoreError(f"the query failed ({str(error).splitlines()[0]}): {there}")


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
    relation = select(connection, sql)
    try:
        return list(relation.columns), relation.limit(most).fetchall()
    except duckdb.Error as error:
        raise failed(connection, error) from error


def query_table(store: Store, sql: str) -> pa.Table:
    """All rows that a SQL statement returns.

    Parameters
    ----------
    store : Store
    sql : str

    Returns
    -------
    pyarrow.Table
        Decimals, such as sums of integers, are float64.

    Raises
    ------
    StoreError
        If the statement cannot be run, returns no table, or names two columns alike.
    """
    connection = connect(store)
    relation = select(connection, sql)
    names = list(relation.columns)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StoreError(f"two columns are called {twice[0]!r}: name one anew, with AS")
    try:
        found = relation.to_arrow_table()
        fields = [
            f.with_type(pa.float64()) if pa.types.is_decimal(f.type) else f for f in found.schema
        ]
        return found.cast(pa.schema(fields))
    except duckdb.Error as error:
        raise failed(connection, error) from error
