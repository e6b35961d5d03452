"""Snapshots: the rows of a source at one time, with canonical compositions, never changed again.

Databases are pulled into the staging folder unit by unit, and the snapshot is put together from
these, one unit in memory at a time. A file is a single table, and goes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import IO, Any

import pyarrow as pa

from infra.artifact import DATA, REJECTED_ROWS
from infra.content import plain
from infra.folder import Folder
from infra.manifest import Manifest, request_digest, utc_now
from infra.pull.engine import Update, pull
from infra.pull.http import Http
from infra.pull.unit_rows import unit_schema
from infra.settings import settings
from infra.snapshots.quality import previous, write_report
from infra.snapshots.row_groups import RowGroups
from infra.snapshots.split import Splitter
from infra.sources.base import Caching, Database, Keyed, Source
from infra.sources.file import TableFile
from infra.staging import Staging
from infra.store import Store
from irnet_core.errors import DataError
from irnet_core.schema import COMPOSITION

ROW_GROUP = 50_000  # rows that are featurized together: one Dask task

#: Called with the folder that ``data.parquet`` lies in, before names point to it; raises to refuse.
Check = Callable[[Folder], object]


def build_snapshot(
    source: Source | Database,
    store: Store,
    names: Iterable[str] = (),
    *,
    limit: int | None = None,
    update: Update | None = None,
    check: Check | None = None,
) -> Manifest:
    """Take a snapshot of a source, or return the one that was taken of the same data before.

    ``data.parquet`` has the row in the source, the formula, its canonical composition and the
    source's other columns; ``rejected.parquet`` has the rows that cannot be used, with the reason.

    Parameters
    ----------
    source : Source or Database
        Where the rows come from.
    store : Store
        Where the snapshot goes.
    names : iterable of str
        Names for the snapshot besides that of the source.
    limit : int, optional
        Pull so many rows of a database at most.
    update : callable, optional
        Told of the progress of a pull.
    check : callable, optional
        Looks at the data before it is published, and before names point to it.

    Returns
    -------
    Manifest
        Its ``counts`` are rows in, out and rejected, distinct compositions, reasons, and what
        was counted during a pull.

    Raises
    ------
    SourceError
        If the source cannot be read completely; what was pulled is kept for the next run.
    DataError
        If no row has a formula that can be read, or a column's name is taken.
    StoreError
        If the store cannot be written, or another process takes a snapshot of this source.
    """
    names = (source.name, *names)
    if isinstance(source, Database):
        with store.lock("snapshots", source.name):
            return _of_database(source, store, names, limit, update, check)
    return _of_table(source, store, names, check)


def _of_table(
    source: Source, store: Store, names: tuple[str, ...], check: Check | None
) -> Manifest:
    """Snapshot of a source that is read in one go."""
    started = utc_now()
    parameters = source.fingerprint()
    request = request_digest("snapshots", {}, parameters)
    if found := store.find("snapshots", request):
        return _again(found, store, names, check)
    table = source.read()
    splitter = Splitter(table.schema, _label(source))
    with store.staging("snapshots", request) as staging:
        try:
            counts = _write(staging, splitter, [table])
            return _publish(source, store, staging, names, parameters, counts, started, check)
        except DataError:  # nothing that another run could go on with
            staging.discard()
            raise


def _of_database(
    database: Database,
    store: Store,
    names: tuple[str, ...],
    limit: int | None,
    update: Update | None,
    check: Check | None,
) -> Manifest:
    """Snapshot of a database; an earlier one only if the version says that it is equal."""
    started = utc_now()
    asked = {"source": database.name, "query": plain(database.query()), "limit": limit}
    secrets = database.secrets if isinstance(database, Keyed) else ()
    with Http(database.name, settings(), secrets=secrets) as http:
        if database.versioned:
            pinned = _pinned(asked, database.version(http))
            if found := store.find("snapshots", pinned):
                return _again(found, store, names, check)
        request = request_digest("snapshots", {}, asked)
        cached = database.cached() if isinstance(database, Caching) else nullcontext()
        with cached, store.staging("snapshots", request) as staging:
            pulled = pull(database, staging, http, limit=limit, update=update)
            splitter = Splitter(unit_schema(database.columns), database.name, database=True)
            units = (staging.read_table(file) for file in pulled.files)
            counts = {**pulled.counts, **_write(staging, splitter, units)}
            counts["duplicates"] += splitter.duplicates
            parameters = {**asked, "version": pulled.version}
            manifest = _publish(database, store, staging, names, parameters, counts, started, check)
        if database.versioned:
            store.answer(manifest, _pinned(asked, pulled.version))
        return manifest


def _write(staging: Staging, splitter: Splitter, tables: Iterable[pa.Table]) -> dict[str, Any]:
    """Write usable and rejected rows; both files are open at once, so that one pass will do."""

    def fill_data(data_file: IO[bytes]) -> None:
        def fill_rejected(rejected_file: IO[bytes]) -> None:
            with (
                RowGroups(data_file, splitter.data, ROW_GROUP) as data,
                RowGroups(rejected_file, splitter.rejected, ROW_GROUP) as rejected,
            ):
                for usable, refused in map(splitter.split, tables):
                    data.add(usable)
                    rejected.add(refused)

        staging.write(REJECTED_ROWS, fill_rejected)

    staging.write(DATA, fill_data)
    compositions = staging.read_table(DATA, [COMPOSITION.name])[COMPOSITION.name]
    return {**splitter.counts(), "distinct_compositions": len(compositions.unique())}


def _publish(
    source: Source | Database,
    store: Store,
    staging: Staging,
    names: tuple[str, ...],
    parameters: dict[str, Any],
    counts: dict[str, Any],
    started: str,
    check: Check | None,
) -> Manifest:
    if check is not None:
        check(staging.folder)
    label = _label(source)
    report = write_report(
        staging,
        source=label,
        counts=counts,
        parameters=parameters,
        previous=previous(store, source.name),
    )
    return store.publish(
        staging,
        [DATA, REJECTED_ROWS, *report],
        what=source.what,
        parameters={**parameters, "label": label},
        rows=counts["rows"],
        counts=counts,
        licence=source.licence,
        citation=source.citation,
        started=started,
        names=names,
        content=report,
    )


def _again(found: Manifest, store: Store, names: tuple[str, ...], check: Check | None) -> Manifest:
    """An earlier snapshot, named anew."""
    if check is not None:
        check(store.open(found.id, "snapshots").folder)
    store.name(found, names)
    return found


def _pinned(asked: dict[str, Any], version: dict[str, Any]) -> str:
    """Request for one version of a database."""
    return request_digest("snapshots", {}, {**asked, "version": plain(version)})


def _label(source: Source | Database) -> str:
    """The file's path where the source is a user's file, else the source's name."""
    return str(source.path) if isinstance(source, TableFile) else source.name
