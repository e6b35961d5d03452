"""From published features and their snapshot to the arrays that training takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurizers.blocks import schemas
from flows.snapshot import source_of
from infra.artifact import FAILED_ROWS
from infra.folder import Folder
from infra.snapshots.snapshot import DATA
from infra.store import Artifact
from irnet_core.errors import DataError, FeatureSchemaError
from irnet_core.schema import COMPOSITION, FORMULA, ROW
from irnet_core.splits import Split, given_split, random_split, shared_compositions
from irnet_core.training import TrainingData


@dataclass(frozen=True)
class Dataset:
    """Rows ready for training, with the unit of the target and how they were split."""

    data: TrainingData
    split: Split
    unit: str


def check_columns(folder: Folder, source: str, target: str, split_column: str | None) -> pa.Field:
    """Make sure, before any work, that a snapshot can train on a target; returns its field.

    Parameters
    ----------
    folder : Folder
        Where the snapshot's table lies, published or not yet.
    source : str
        How messages name the table.
    target, split_column : str
        Columns to train on.

    Raises
    ------
    DataError
        Naming the column, and the first row whose target is empty, not a number or not finite, or
        whose role is none. Targets of test rows may be missing.
    """
    with folder.open(DATA) as file:
        schema = pq.read_schema(file)
    own = [n for n in schema.names if n not in (ROW.name, FORMULA.name, COMPOSITION.name)]
    for column in filter(None, (target, split_column)):
        if column not in own:
            raise DataError(
                f"there is no such column: the table has {', '.join(own) or 'no other column'}",
                source=source,
                column=column,
            )
    field = schema.field(target)
    names = (ROW.name, FORMULA.name, COMPOSITION.name, target, split_column)
    table = folder.read_table(DATA, list(filter(None, names)))
    if split_column:
        split = _given_split(table, split_column, source)
        table = table.take(pa.array(np.sort(np.concatenate([split.train, split.validation]))))
    values, rows = table.column(target), table.column(ROW.name)
    if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
        first = next((i for i, value in enumerate(values.to_pylist()) if _is_text(value)), 0)
        raise DataError(
            f"a target must be numbers, this column holds {field.type} such as "
            f"{values[first].as_py()!r}: correct the table or choose another column",
            source=source,
            column=target,
            row=rows[first].as_py(),
        )
    usable = pc.fill_null(pc.is_finite(values), False)
    if not pc.all(usable).as_py():
        first = pc.index(usable, False).as_py()
        count = len(values) - pc.sum(usable).as_py()
        raise DataError(
            f"{count} of {len(values)} values are not finite numbers, the first is "
            f"{values[first].as_py()} for {table.column(FORMULA.name)[first].as_py()}: remove "
            "these rows from the table",
            source=source,
            column=target,
            row=rows[first].as_py(),
        )
    return field


def load(
    snapshot: Artifact,
    features: Artifact,
    blocks: Sequence[str],
    target: str,
    split_column: str | None,
    seed: int,
) -> Dataset:
    """Join features with the target by row and split them.

    Rows without features are left out; :data:`infra.artifact.FAILED_ROWS` of the features says
    why.

    Raises
    ------
    FeatureSchemaError
        If the features were made by another definition than today's.
    DataError
        If the split column cannot be used, or a composition sits on both sides of it.
    """
    field = check_columns(snapshot.folder, source_of(snapshot), target, split_column)
    recorded = features.manifest.parameters["blocks"]
    for schema in schemas(blocks):
        if recorded.get(schema.name) != schema.hash:
            raise FeatureSchemaError(
                f"features {features.id} hold {schema.name} of schema "
                f"{recorded.get(schema.name, '(none)')}, not {schema.hash}: run irnet featurize"
            )
    columns = [name for schema in schemas(blocks) for name in schema.columns]
    x = np.empty((features.manifest.rows or 0, len(columns)), np.float32)
    rows, done = [], 0
    for name in sorted(features.manifest.files):
        if name == FAILED_ROWS:
            continue
        part = features.read_table(name, [ROW.name, *columns])
        rows.append(part.column(ROW.name).to_numpy())
        block = x[done : done + part.num_rows]
        for j, column in enumerate(columns):
            block[:, j] = part.column(column).to_numpy()
        done += part.num_rows
    row = np.concatenate(rows)
    wanted = list(filter(None, (ROW.name, COMPOSITION.name, target, split_column)))
    table = snapshot.read_table(DATA, wanted)
    position = np.searchsorted(table.column(ROW.name).to_numpy(), row)
    if done != len(x) or not np.array_equal(table.column(ROW.name).to_numpy()[position], row):
        raise DataError(
            f"features {features.id} and snapshot {snapshot.id} do not fit together: run "
            "irnet verify on both"
        )
    table = table.take(pa.array(position))
    y = table.column(target).to_numpy().astype(np.float64)
    if split_column:
        split = _given_split(table, split_column, source_of(snapshot))
    else:
        groups = _objects(table, COMPOSITION.name)
        split = random_split(groups, seed=seed, source=source_of(snapshot))
    data = TrainingData(x[split.train], y[split.train], x[split.validation], y[split.validation])
    unit = (field.metadata or {}).get(b"unit", b"as given").decode()
    return Dataset(data, split, unit)


def _given_split(table: pa.Table, column: str, source: str) -> Split:
    """Split by a column, in which no composition may have two roles."""
    rows, compositions = table.column(ROW.name).to_numpy(), _objects(table, COMPOSITION.name)
    split = given_split(_objects(table, column), column=column, source=source, rows=rows)
    shared = shared_compositions(split, compositions)
    if len(shared):
        first = split.validation[compositions[split.validation] == shared[0]][0]
        raise DataError(
            f"{len(shared)} compositions, such as {shared[0]}, are in train and in val, which "
            "makes the validation error too good: give each composition one role",
            source=source,
            column=column,
            row=int(rows[first]),
        )
    return split


def _objects(table: pa.Table, column: str) -> np.ndarray:
    return np.asarray(table.column(column).to_pylist(), dtype=object)


def _is_text(value: object) -> bool:
    """Whether a value is there and is no number, not even one written as text."""
    if value is None:
        return False
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    return False
