"""Flow ``snapshot``: the rows of a source, with canonical compositions, as one artifact."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import stage
from infra.settings import settings
from infra.snapshot import build_snapshot
from infra.sources import SOURCES
from infra.store import Artifact, Store
from irnet_core.errors import SourceError


@stage("snapshot")
def snapshot_stage(source: str, path: str | None, formula_column: str) -> str:
    """Publish a snapshot of a source; returns its id."""
    if source not in SOURCES:
        raise SourceError(
            f"there is no file and no source {source!r}: check the path, or choose among "
            f"{', '.join(SOURCES)}"
        )
    if source == "file" and path is None:
        raise SourceError("the source 'file' needs --path FILE, a CSV or Parquet table")
    made = SOURCES[source](path, formula_column) if source == "file" else SOURCES[source]()
    return build_snapshot(made, Store(settings().store)).id


@flow(name="snapshot")
def snapshot(
    source: str = "pymatgen-expt", path: str | None = None, formula_column: str = "formula"
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

    Returns
    -------
    str
        Id of the snapshot; that of the earlier one if nothing has changed.
    """
    return snapshot_stage(source, path, formula_column)


def open_snapshot(ref: str, store: Store) -> Artifact:
    """A snapshot by name or id, with or without ``snapshots/`` in front, as messages write it."""
    return store.open(ref.removeprefix("snapshots/"), "snapshots")


def snapshot_of(data: str, formula_column: str) -> str:
    """Id of the snapshot that ``data`` names, or of one taken of the file at that path."""
    path = Path(data)
    named = data.startswith("snapshots/") or (path.name == data and not path.suffix)
    if path.exists() or not named:
        return snapshot_stage("file", data, formula_column)
    return open_snapshot(data, Store(settings().store)).id


def source_of(snapshot: Artifact) -> str:
    """The file or database that a snapshot was taken of, as messages name it."""
    return str(snapshot.manifest.parameters["label"])
