"""Flow ``prepare``: from snapshots to a training table."""

from __future__ import annotations

from prefect import flow

from flows.snapshot import open_snapshot, show_report, snapshot_of
from flows.stage import stage
from infra.refs import user_name
from infra.settings import settings
from infra.snapshots.funnel import Steps
from infra.snapshots.prepare import Preparation, steps_named
from infra.snapshots.prepare import prepare as prepare_table
from infra.store import Store
from irnet_core.schema import FORMATION_ENERGY


@stage("prepare", makes="snapshots")
def prepare_stage(snapshots: list[str], wanted: Preparation, name: str) -> str:
    """Publish a training table made of snapshots; returns its id."""
    store = Store(settings().store)
    opened = [open_snapshot(ref, store) for ref in snapshots]
    manifest = prepare_table(opened, store, wanted, [name])
    show_report(store.open(manifest.id, "snapshots"), f"quality-{name}")
    return manifest.id


@flow(name="prepare")
def prepare(
    snapshots: list[str] | None = None,
    target: str = FORMATION_ENERGY.name,
    energy: str | None = None,
    steps: str = "paper",
    low: float = -20.0,
    high: float = 5.0,
    functional: str | None = None,
    source: str | None = None,
    columns: dict[str, str] | None = None,
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    name: str = "prepared",
) -> str:
    """Make a training table: one row per composition, filtered in counted steps.

    Parameters
    ----------
    snapshots : list of str
        Ids or names of snapshots, or paths of tables with a column ``formula``.
    target, energy, source, columns, validation, test, seed
        See :class:`infra.snapshots.prepare.Preparation`.
    steps : str
        Of :data:`infra.snapshots.funnel.STEPS`, separated by commas; ``paper`` and ``none`` stand
        for many.
    low, high : float
        Of the step ``range``.
    functional : str, optional
        Level of theory to keep, where rows state theirs.
    name : str
        Name under which the table is found.

    Returns
    -------
    str
        Id of the table, a snapshot.
    """
    user_name(name)
    wanted = Preparation(
        target=target,
        energy=energy,
        steps=Steps(steps_named(steps), (low, high), functional),
        source=source,
        columns=columns or {},
        validation=validation,
        test=test,
        seed=seed,
    )
    taken = [snapshot_of(ref) for ref in snapshots or ["latest"]]
    return prepare_stage(taken, wanted, name)
