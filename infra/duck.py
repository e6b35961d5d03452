"""DuckDB over Parquet files of the store, in bounded memory: what does not fit goes to disk."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from infra.content import short_digest
from infra.folder import Folder
from infra.guards import store_errors
from infra.settings import settings
from irnet_core.errors import DataError, StoreError

MEMORY = "1GB"
"""Memory that one connection may take; sorts and joins beyond it spill to temporary files."""
BATCH_ROWS = 50_000
NUMBER = "file_row_number"
"""Column that :func:`scan` adds."""


@contextmanager
def bounded(what: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """In-memory database for one task, with a folder for what does not fit.

    Parameters
    ----------
    what : str
        The task, for messages: ``"compare the snapshots"``.

    Raises
    ------
    StoreError
        If a file cannot be read, or memory or disk do not suffice.
    """
    with tempfile.TemporaryDirectory(prefix="irnet-") as spill:
        connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill})
        try:
            if threads := settings().threads:
                connection.execute(f"SET threads = {threads}")
            yield connection
        except duckdb.ProgrammingError:  # ours, not the user's
            raise
        except duckdb.Error as error:
            reason = " ".join(str(error).split())[:200]
            raise StoreError(
                f"cannot {what} ({reason}): check the store and the room in {spill}, run again"
            ) from error
        finally:
            connection.close()


def reading() -> duckdb.DuckDBPyConnection:
    """In-memory database for SELECTs of users, who name views and files, never our variables."""
    connection = duckdb.connect()
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET autoinstall_known_extensions = false")  # no downloads by the way
    return connection


def scan(database: duckdb.DuckDBPyConnection, folder: Folder, file: str) -> str:
    """SQL for the rows of a Parquet file, with their places in it as ``file_row_number``.

    A remote file is copied first: DuckDB would fetch it again for every query.

    Raises
    ------
    DataError
        If DuckDB could not tell two columns apart.
    """
    if pair := clash([*schema_of(folder, file).names, NUMBER]):
        raise DataError(
            f"it is one name with {pair[0]!r} here, where case makes no difference: rename it in "
            "the source and take the snapshot anew",
            source=f"{folder.url}/{file}",
            column=pair[1],
        )
    path = f"{folder.path}/{file}"
    if not folder.local:
        ((spill,),) = database.execute("SELECT current_setting('temp_directory')").fetchall()
        path = f"{spill}/{short_digest([folder.url, file])}.parquet"
        if not os.path.exists(path):
            with store_errors("read", f"{folder.url}/{file}"):
                folder.fs.get_file(f"{folder.path}/{file}", path)
    return f"read_parquet({file_name(path)}, {NUMBER} = true)"


def schema_of(folder: Folder, file: str) -> pa.Schema:
    """Arrow schema of a Parquet file, with units and meanings."""
    with folder.open(file) as opened:
        return pq.read_schema(opened)


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that are one name in SQL, where case makes no difference.

    Examples
    --------
    >>> clash(["formula", "E", "gap", "e"])
    ('E', 'e')
    """
    known: dict[str, str] = {}
    for one in names:
        if one.casefold() in known:
            return known[one.casefold()], one
        known[one.casefold()] = one
    return None


def name(column: str) -> str:
    """A column's name in SQL.

    Examples
    --------
    >>> name('gap "PBE" in eV')
    '"gap ""PBE"" in eV"'
    """
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in SQL.

    Examples
    --------
    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def file_name(path: str) -> str:
    """A file's path in SQL, with nothing in it read as a pattern.

    Examples
    --------
    >>> file_name("/data/[draft]/data.parquet")
    "'/data/[[]draft]/data.parquet'"
    """
    return text(re.sub(r"[*?\[]", r"[\g<0>]", path))


def one(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[int]:
    """The only row of a query of counts."""
    (row,) = connection.execute(sql).fetchall()
    return row


def is_number(type_: pa.DataType) -> bool:
    """Whether a column holds numbers."""
    kind = pa.types
    return bool(kind.is_floating(type_) or kind.is_integer(type_) or kind.is_decimal(type_))


def unit(field: pa.Field) -> str:
    """Unit in a field's metadata, empty if none is stated."""
    return bytes((field.metadata or {}).get(b"unit", b"")).decode()
