"""From snapshots to a training table: one row per composition, filtered in counted steps.

The table is itself a snapshot, so everything that takes one takes it. Values of different databases
have different references and functionals and never stand in one column: from several snapshots,
either the rows of one source are taken and the values of the others stand beside them, or each
source has a column of its own over the compositions that all of them have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

import duckdb

from infra import duck
from infra.artifact import DATA, REJECTED_ROWS, Artifact
from infra.content import plain
from infra.manifest import Manifest, request_digest, utc_now
from infra.snapshots.funnel import LOWEST, PAPER, RANGE, STEPS, Funnel, Steps
from infra.snapshots.quality import previous, write_report
from infra.snapshots.stacked import Stacked
from infra.snapshots.training_table import ROLES, TrainingTable
from infra.store import Store
from irnet_core.errors import DataError
from irnet_core.schema import FORMATION_ENERGY

RECORD = "preparation.json"
"""What was chosen and counted: the same rows, prepared in another way, are another table."""
NO_ENERGY = "none"
_ENDING = r"(?i)\.(csv|tsv|parquet)(\.gz)?$"


@dataclass(frozen=True)
class Preparation:
    """What is prepared, as the manifest records it.

    Attributes
    ----------
    target : str
        Column to be learned.
    energy : str, optional
        Column by which the most stable of several entries of a composition is told; by default
        the formation energy, else the target if it is in eV/atom; ``none`` for none.
    steps : Steps
    source : str, optional
        Of several sources, the one whose rows and target are taken.
    columns : dict of str
        Instead, a target of its own for each source.
    validation, test : float
        Shares of the compositions with these roles in the column ``split``; no such column if
        both are 0.
    seed : int
        Of the split.
    """

    target: str = FORMATION_ENERGY.name
    energy: str | None = None
    steps: Steps = field(default_factory=Steps)
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0


def steps_named(names: str) -> tuple[str, ...]:
    """Steps from a list such as ``"range,lowest"``, ``"paper,magpie"`` or ``"none"``.

    Raises
    ------
    DataError
        If there is no such step.

    Examples
    --------
    >>> steps_named("magpie,paper")
    ('range', 'lowest', 'sigma', 'compounds', 'usual', 'magpie')
    """
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "paper":
            chosen |= set(PAPER)
        elif name in STEPS:
            chosen.add(name)
        elif name != "none":
            raise DataError(
                f"there is no step {name!r}: choose among paper, none, {', '.join(STEPS)}"
            )
    return tuple(step for step in STEPS if step in chosen)


def source_name(snapshot: Artifact) -> str:
    """Name of the source of a snapshot, fit for names of columns.

    A file's is that of the file, a prepared table's those of the sources it was made of.
    """
    parameters = snapshot.manifest.parameters
    name = str(parameters.get("source", "file"))
    if "steps" in parameters:
        # the second of several snapshots of one source is called NAME-1
        name = "_".join(sorted({name.partition("-")[0] for name in snapshot.manifest.inputs}))
    elif _is_file(snapshot):
        name = re.sub(_ENDING, "", PurePath(str(parameters["label"])).name)
    return "".join(c if c.isalnum() else "_" for c in name).lower()


def _is_file(snapshot: Artifact) -> bool:
    return str(snapshot.manifest.parameters.get("source", "file")) == "file"


def prepare(
    snapshots: Sequence[Artifact], store: Store, wanted: Preparation, names: Sequence[str] = ()
) -> Manifest:
    """Publish a training table made of snapshots, or return the one made of them before.

    Parameters
    ----------
    snapshots : sequence of Artifact
    store : Store
    wanted : Preparation
    names : sequence of str
        Names for the table.

    Returns
    -------
    Manifest
        ``counts["funnel"]`` has, for each source, the rows that came in, the rows that each step
        dropped (negative), and the rows that were left: what stands before the last adds up to it.
        ``rejected.parquet`` has the dropped rows.

    Raises
    ------
    DataError
        If a column is missing, no row is left, or values of different sources would be mixed.
    StoreError
        If the store cannot be read or written.
    """
    started = utc_now()
    sources = _by_source(snapshots)
    _check(sources, wanted)
    inputs = {
        f"{name}-{i}" if i else name: snapshot.id
        for name, several in sources.items()
        for i, snapshot in enumerate(several)
    }
    parameters = asdict(wanted)
    request = request_digest("snapshots", inputs, {"prepare": parameters})
    if found := store.find("snapshots", request):
        store.name(found, names)
        return found
    before = next(filter(None, (previous(store, name) for name in names)), None)
    with (
        store.staging("snapshots", request) as staging,
        duck.bounded("prepare the snapshots") as database,
    ):
        funnels = _funnels(database, sources, wanted)
        shares = (wanted.validation, wanted.test, wanted.seed)
        table = TrainingTable(database, funnels, bool(wanted.columns), *shares)
        staging.write(DATA, table.write)
        staging.write(REJECTED_ROWS, table.write_dropped)
        label = " and ".join(f.rows.label for f in funnels)
        targets = dict.fromkeys(f.rows.target for f in funnels)
        counts: dict[str, Any] = {
            "rows": table.rows,
            "funnel": {f.rows.name: f.lines() for f in funnels},
        }
        if table.roles is not None:
            counts["split"] = {role: int((table.roles == role).sum()) for role in ROLES}
        record = plain({"inputs": inputs, "parameters": parameters, "counts": counts})
        staging.write_bytes(RECORD, (json.dumps(record, indent=2, ensure_ascii=False)).encode())
        content = write_report(
            staging, source=f"{label}, prepared", counts=counts, parameters={}, previous=before
        )
        return store.publish(
            staging,
            [DATA, REJECTED_ROWS, RECORD, *content],
            what=f"Training table for {', '.join(targets)} of {label}.",
            inputs=inputs,
            parameters={**parameters, "label": f"{label}, prepared"},
            rows=table.rows,
            counts=counts,
            licence=_each(snapshots, "licence"),
            citation=_each(snapshots, "citation"),
            started=started,
            names=names,
            content=content,
        )


# sources -------------------------------------------------------------------------------------


def _by_source(snapshots: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    sources: dict[str, list[Artifact]] = {}
    for snapshot in snapshots:
        several = sources.setdefault(source_name(snapshot), [])
        if any(snapshot.id == other.id for other in several):
            raise DataError(f"snapshot {snapshot.id} is named twice: name it once")
        if several and _is_file(snapshot) and _is_file(several[0]):
            both = [str(one.manifest.parameters["label"]) for one in (several[0], snapshot)]
            raise DataError(
                f"files {both[0]} and {both[1]} would be one source: put their rows into one "
                "file, or give one another name"
            )
        several.append(snapshot)
    return sources


def _check(sources: Mapping[str, Sequence[Artifact]], wanted: Preparation) -> None:
    """Make sure that no values are mixed and that the choices fit together."""
    named = ", ".join(sources)
    if wanted.source is not None and wanted.columns:
        raise DataError("name --source or --column, not both")
    if wanted.source is not None and wanted.source not in sources:
        raise DataError(f"no snapshot is of source {wanted.source!r}: there are {named}")
    if wanted.columns and set(wanted.columns) != set(sources):
        raise DataError(
            f"--column must name a column for each source and no other: the sources are {named}"
        )
    several = sum(map(len, sources.values())) > 1
    if several and wanted.source is None and not wanted.columns:
        raise DataError(
            f"values of several snapshots (sources: {named}) have their own references and "
            "functionals and are never mixed: name --source SOURCE for the one to learn from, or "
            "--column SOURCE=COLUMN for each"
        )
    if len(sources) > 1 and LOWEST not in wanted.steps.names:
        raise DataError("sources are joined by composition: keep the step 'lowest'")
    low, high = wanted.steps.range
    if not low < high:
        raise DataError(f"the range from {low:g} to {high:g} is empty: give the smaller one first")
    shares = (wanted.validation, wanted.test)
    if not min(shares) >= 0 or not sum(shares) < 1 or (wanted.test and not wanted.validation):
        raise DataError(
            f"shares of {wanted.validation:g} to validate and {wanted.test:g} to test leave "
            "nothing to train or to validate: give small positive shares"
        )


def _funnels(
    database: duckdb.DuckDBPyConnection,
    sources: Mapping[str, Sequence[Artifact]],
    wanted: Preparation,
) -> list[Funnel]:
    """Rows of each source, the one whose rows are taken first."""
    order = sorted(sources, key=lambda name: name != wanted.source)
    funnels = []
    for name in order:
        target = wanted.columns.get(name, wanted.target)
        energy = _energy(sources[name], target, wanted)
        rows = Stacked(database, name, sources[name], target, energy)
        funnels.append(Funnel(database, rows, wanted.steps))
    return funnels


def _energy(snapshots: Sequence[Artifact], target: str, wanted: Preparation) -> str | None:
    """Column by which the most stable entry is told."""
    needs = [step for step in (RANGE, LOWEST) if step in wanted.steps.names]
    if wanted.energy not in (None, NO_ENERGY):
        return wanted.energy
    if wanted.energy is None and needs:
        schema = duck.schema_of(snapshots[0].folder, DATA)
        if FORMATION_ENERGY.name in schema.names:
            return FORMATION_ENERGY.name
        if target in schema.names and duck.unit(schema.field(target)) == FORMATION_ENERGY.unit:
            return target
    if needs:
        raise DataError(
            f"the steps {' and '.join(needs)} need an energy and none is known: name its column "
            "with --energy, or choose other --steps",
            source=str(snapshots[0].manifest.parameters["label"]),
        )
    return None


def _each(snapshots: Sequence[Artifact], attribute: str) -> str:
    """What the snapshots say of it, each text once."""
    return "; ".join(dict.fromkeys(getattr(s.manifest, attribute) for s in snapshots))
