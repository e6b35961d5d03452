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
from infra.artifact import REJECTED_ROWS
from infra.snapshot import DATA
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


def check_columns(snapshot: Artifact, target: str, split_column: str | None) -> pa.Field:
    """Make sure, before any work, that a snapshot can train on a target; returns its field.

    Raises
    ------
    DataError
        Naming the column, and the first row that is empty, not a number or not finite.
    """
    source = source_of(snapshot)
    with snapshot.folder.open(DATA) as file:
        schema = pq.read_schema(file)
    for column in filter(None, (target, split_column)):
        if column not in schema.names:
            own = [n for n in schema.names if n not in (ROW.name, FORMULA.name, COMPOSITION.name)]
            raise DataError(
                f"there is no such column: the table has {', '.join(own) or 'no other column'}",
                source=source,
                column=column,
            )
    field = schema.field(target)
    table = snapshot.read_table(DATA, [ROW.name, FORMULA.name, target])
    values, rows = table.column(target), table.column(ROW.name)
    if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
        raise DataError(
            f"a target must be numbers, this column holds {field.type} such as "
            f"{values[0].as_py()!r}: choose a numeric column",
            source=source,
            column=target,
            row=rows[0].as_py(),
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

    Rows without features are left out; :data:`infra.artifact.REJECTED_ROWS` of the features says
    why.

    Raises
    ------
    FeatureSchemaError
        If the features were made by another definition than today's.
    DataError
        If the split column cannot be used, or a composition sits on both sides of it.
    """
    field = check_columns(snapshot, target, split_column)
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
        if name == REJECTED_ROWS:
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
    compositions = np.asarray(table.column(COMPOSITION.name).to_pylist(), dtype=object)
    if split_column:
        labels = np.asarray(table.column(split_column).to_pylist(), dtype=object)
        split = given_split(labels, column=split_column, source=source_of(snapshot))
        shared = shared_compositions(split, compositions)
        if len(shared):
            raise DataError(
                f"{len(shared)} compositions, such as {shared[0]}, are in train and in val, which "
                "makes the validation error too good: give each composition one role",
                source=source_of(snapshot),
                column=split_column,
            )
    else:
        split = random_split(compositions, seed=seed)
    data = TrainingData(x[split.train], y[split.train], x[split.validation], y[split.validation])
    unit = (field.metadata or {}).get(b"unit", b"as given").decode()
    return Dataset(data, split, unit)
