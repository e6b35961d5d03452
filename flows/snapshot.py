"""Flow ``snapshot``: the rows of a source, with canonical compositions, as one artifact."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Protocol

from prefect import flow
from prefect.context import FlowRunContext

from flows.progress import pulling
from flows.stage import stage
from infra.artifact import Artifact
from infra.folder import Folder
from infra.settings import settings
from infra.snapshots.quality import REPORT_TEXT
from infra.snapshots.snapshot import build_snapshot
from infra.sources import SOURCES
from infra.sources.base import Database, Source
from infra.sources.file import is_table
from infra.store import Store
from irnet_core.errors import SourceError
from irnet_core.schema import FORMULA

if TYPE_CHECKING:  # imports torch, which snapshots do without
    from irnet_core.card import Card

OPTIONS = ("path", "formula_column", "filter", "via", "catalog", "dataset", "url")
"""What a source may be asked for; which of them it knows is a matter of its constructor."""

_READ_WHOLE = ("file", "pymatgen-expt")
_NEEDED = {"path": "FILE, a CSV or Parquet table", "dataset": "NAME, such as expt_gap"}


class Check(Protocol):
    """Looks at the table of a snapshot and raises to refuse it."""

    def __call__(self, folder: Folder, *, source: str) -> object:
        """Look at the table in a folder, which messages call ``source``."""
        ...


def make_source(source: str, limit: int | None = None, **options: str | None) -> Source | Database:
    """A source as the user asked for it.

    Parameters
    ----------
    source : str
        One of :data:`infra.sources.SOURCES`.
    limit : int, optional
        Rows that are wanted at most.
    **options : str
        Some of :data:`OPTIONS`; none is as good as not given.

    Raises
    ------
    SourceError
        If there is no such source, or it has no such option.
    """
    if source not in SOURCES:
        raise SourceError(
            f"there is no file and no source {source!r}: check the path, or choose among "
            f"{', '.join(SOURCES)}"
        )
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("formula_column") == FORMULA.name:
        del given["formula_column"]
    parameters = inspect.signature(SOURCES[source]).parameters
    known = [name for name in OPTIONS if name in parameters]
    if source not in _READ_WHOLE:
        known.append("limit")
    asked = [*given, *(["limit"] if limit is not None else [])]
    if unknown := [name for name in asked if name not in known]:
        options_ = ", ".join(f"--{name.replace('_', '-')}" for name in known) or "none"
        raise SourceError(
            f"{source} has no option --{unknown[0].replace('_', '-')}: its options are {options_}"
        )
    if needed := [n for n in known if n != "limit" and _is_needed(parameters[n], given)]:
        raise SourceError(f"the source {source!r} needs --{needed[0]} {_NEEDED[needed[0]]}")
    if limit is not None and limit < 1:
        raise SourceError(f"--limit is {limit}: ask for at least 1 row")
    return SOURCES[source](**given)


def _is_needed(parameter: inspect.Parameter, given: Collection[str]) -> bool:
    return parameter.default is parameter.empty and parameter.name not in given


@stage("snapshot", makes="snapshots")
def snapshot_stage(
    source: str,
    path: str | None = None,
    formula_column: str = FORMULA.name,
    limit: int | None = None,
    filter: str | None = None,
    via: str | None = None,
    catalog: str | None = None,
    dataset: str | None = None,
    url: str | None = None,
    check: Check | None = None,
) -> str:
    """Publish a snapshot of a source; returns its id.

    Requests are repeated, and pulls resumed, below; so the task itself is not tried again.

    Parameters
    ----------
    source, path, formula_column, limit, filter, via, catalog, dataset, url
        As those of :func:`snapshot`.
    check : callable, optional
        Called with the snapshot's folder and name before it is published; what it refuses, by an
        error, is not.
    """
    made = make_source(
        source,
        limit,
        path=path,
        formula_column=formula_column,
        filter=filter,
        via=via,
        catalog=catalog,
        dataset=dataset,
        url=url,
    )
    store = Store(settings().store)
    checked = partial(check, source=path or source) if check else None
    if isinstance(made, Database):
        with pulling(source) as update:
            manifest = build_snapshot(made, store, limit=limit, update=update, check=checked)
    else:
        manifest = build_snapshot(made, store, check=checked)
    artifact = store.open(manifest.id, "snapshots")
    show_report(artifact, f"quality-{source}")
    return artifact.id


def show_report(snapshot: Artifact, key: str) -> None:
    """Show the data-quality report of a snapshot on the page of the Prefect run, if there is one.

    Parameters
    ----------
    snapshot : Artifact
    key : str
        Reports under one key are versions of each other.
    """
    if FlowRunContext.get() is None or REPORT_TEXT not in snapshot.manifest.files:
        return
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        snapshot.read_bytes(REPORT_TEXT).decode(),
        key=re.sub("[^a-z0-9]+", "-", key.lower()).strip("-"),
        description=f"Data quality of snapshots/{snapshot.id}",
    )


@flow(name="snapshot")
def snapshot(
    source: str = "pymatgen-expt",
    path: str | None = None,
    formula_column: str = FORMULA.name,
    limit: int | None = None,
    filter: str | None = None,
    via: str | None = None,
    catalog: str | None = None,
    dataset: str | None = None,
    url: str | None = None,
) -> str:
    """Take a snapshot of a source.

    Parameters
    ----------
    source : str
        One of :data:`infra.sources.SOURCES`.
    path : str, optional
        Table for the source ``file``.
    formula_column : str
        Column of that table that holds the formulas.
    limit : int, optional
        Rows of a database to pull at most, to try it out.
    filter, via, catalog, dataset, url : str, optional
        What is asked of a database, how, which part or data set of it, and where;
        docs/snapshots.md says which source knows which.

    Returns
    -------
    str
        Id of the snapshot; that of the earlier one if nothing has changed.
    """
    return snapshot_stage(source, path, formula_column, limit, filter, via, catalog, dataset, url)


def open_snapshot(ref: str, store: Store) -> Artifact:
    """A snapshot by name or id, with or without ``snapshots/`` in front, as messages write it."""
    return store.open(ref.removeprefix("snapshots/"), "snapshots")


def is_snapshot(data: str) -> bool:
    """Whether a text names a snapshot rather than a file."""
    path = Path(data)
    named = data.startswith("snapshots/") or (path.name == data and not is_table(data))
    return named and not path.exists()


def snapshot_of(data: str, formula_column: str = FORMULA.name, check: Check | None = None) -> str:
    """Id of the snapshot that ``data`` names, or of one taken of the file at that path.

    Parameters
    ----------
    data : str
        Id or name of a snapshot, or path of a table.
    formula_column : str
        Column of that table that holds the formulas.
    check : callable, optional
        See :func:`snapshot_stage`; of a snapshot there already, it is called just so.
    """
    if not is_snapshot(data):
        return snapshot_stage("file", data, formula_column, check=check)
    snapshot = open_snapshot(data, Store(settings().store))
    if check is not None:
        check(snapshot.folder, source=source_of(snapshot))
    return snapshot.id


def source_of(snapshot: Artifact) -> str:
    """The file or database that a snapshot was taken of, as messages name it."""
    return str(snapshot.manifest.parameters["label"])


def same_database(card: Card, snapshot: Artifact) -> bool:
    """Whether a model's energies and those of a snapshot are on one scale, as far as is known."""
    if card.data.get("snapshot") == snapshot.id:
        return True
    if card.data.get("database") == source_of(snapshot).removesuffix(", prepared"):
        return True
    trained, known = (
        PurePath(label.removesuffix(", prepared")).name
        for label in (str(card.data.get("source", "")), source_of(snapshot))
    )
    return trained == known
