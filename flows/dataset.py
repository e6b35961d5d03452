"""From published features and their snapshot to the arrays that training takes.

Wherever a split is asked for, it is the name of a column of roles or a rule of
:mod:`irnet_core.split_texts`, such as ``element:Fe``; none is a random tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurizers.blocks import schemas
from featurizers.clusters import cluster_labels
from flows.snapshot import source_of
from infra.artifact import DATA, FAILED_ROWS
from infra.folder import Folder
from infra.store import Artifact
from irnet_core.card import is_harmless
from irnet_core.errors import DataError, FeatureSchemaError
from irnet_core.feature_schema import FeatureSchema
from irnet_core.hold_out import BY_ROW, split_without
from irnet_core.notation import FRACTIONS
from irnet_core.schema import AS_GIVEN, COMPOSITION, FORMULA, ROW
from irnet_core.split_rules import Given, Rule, SplitRows, Time
from irnet_core.split_texts import only_pair, parse_split
from irnet_core.splits import TEST, Split
from irnet_core.training import TrainingData

#: Column in which published tables say what a row is for.
ROLES = "split"


@dataclass(frozen=True)
class Dataset:
    """Rows ready for training, with the unit of the target and how they were split.

    `validated` and `held_out` are the compositions of the rows that validate, and of those that a
    rule holds out; `repeated` counts compositions that train or validate in more than one row,
    `marked_test` the rows that do so although a column ``split`` says ``test`` of them.
    """

    data: TrainingData
    split: Split
    unit: str
    validated: np.ndarray
    held_out: np.ndarray
    repeated: int
    marked_test: int

    @property
    def counts(self) -> dict[str, int]:
        """Rows that train and rows that validate."""
        return {"train": len(self.data.train_y), "validation": len(self.data.validation_y)}


def check_columns(
    folder: Folder, source: str, target: str, split_column: str | None, hold_out: str | None = None
) -> pa.Field:
    """Make sure, before any work, that a snapshot can train on a target; returns its field.

    Parameters
    ----------
    folder : Folder
        Where the snapshot's table lies, published or not yet.
    source : str
        How messages name the table.
    target : str
        Column to train on.
    split_column, hold_out : str, optional
        The split, and the rule whose validation side is left out.

    Raises
    ------
    DataError
        Naming the column, and the first row whose target is empty, not a number or not finite, or
        whose role is none. Targets of test rows may be missing, and those of rows held out by a
        rule that goes row by row.
    """
    schema = _schema(folder)
    own = [n for n in schema.names if n not in (ROW.name, FORMULA.name, COMPOSITION.name)]
    rule = parse_split(split_column)
    outer = None if hold_out is None else parse_split(hold_out)
    columns = (target, *rule.columns, *(() if outer is None else outer.columns))
    for column in columns:
        if column not in own:
            raise DataError(
                "there is no such column: beside its formulas the table has "
                + (", ".join(own) or "no other column"),
                source=source,
                column=column,
            )
    field = schema.field(target)
    if not (is_harmless(target) and is_harmless(stated_unit(field))):
        raise DataError(
            "a model of it could not be read: give the column a short name and unit, without line "
            "breaks or other control codes",
            source=source,
            column=target,
        )
    names = (ROW.name, FORMULA.name, COMPOSITION.name, *columns)
    table = folder.read_table(DATA, list(dict.fromkeys(names)))
    if isinstance(outer, BY_ROW):  # others need the rows that have features
        table = table.take(pa.array(only_pair(outer, split_rows(table, None, source)).train))
    if isinstance(rule, Given | Time):  # others need features, or leave no row out
        split = only_pair(rule, split_rows(table, None, source))
        table = table.take(pa.array(np.sort(np.concatenate([split.train, split.validation]))))
    values, rows = numbers(table, target, source), table.column(ROW.name)
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
    least, most = pc.min_max(values).as_py().values()
    if len(values) > 1 and least == most:
        raise DataError(
            f"all {len(values):,} values are {least}, so that there is nothing to learn: choose "
            "another column",
            source=source,
            column=target,
        )
    return field


def stated_unit(field: pa.Field) -> str:
    """Unit that a column states."""
    return bytes((field.metadata or {}).get(b"unit", AS_GIVEN.encode())).decode()


def numbers(table: pa.Table, target: str, source: str) -> pa.ChunkedArray:
    """Values of a target.

    Parameters
    ----------
    table : pyarrow.Table
        With the target and the column of rows.
    target : str
    source : str
        The table's name in messages.

    Returns
    -------
    pyarrow.ChunkedArray
        As they stand in the table, missing ones included.

    Raises
    ------
    DataError
        If they are no numbers, naming the first row that shows it.
    """
    values = table.column(target)
    if not _is_number(values.type):
        first = next((i for i, value in enumerate(values.to_pylist()) if _is_text(value)), 0)
        raise DataError(
            f"a target must be numbers, this column holds {values.type} such as "
            f"{values[first].as_py()!r}: correct the table or choose another column",
            source=source,
            column=target,
            row=table.column(ROW.name)[first].as_py(),
        )
    return values


def load(
    snapshot: Artifact,
    features: Artifact,
    blocks: Sequence[str],
    target: str,
    split_column: str | None,
    seed: int,
    hold_out: str | None = None,
) -> Dataset:
    """Join features with the target by row and split them, without what is held out.

    Rows without features are left out; :data:`infra.artifact.FAILED_ROWS` of the features says
    why.

    Parameters
    ----------
    snapshot, features : Artifact
        The features are those of the snapshot's rows.
    blocks : sequence of str
        Blocks of features that are wanted, in order.
    target : str
        Column to learn.
    split_column : str, optional
        Who trains and who validates.
    seed : int
        Of what the split draws.
    hold_out : str, optional
        Rule whose validation rows are left out altogether.

    Returns
    -------
    Dataset

    Raises
    ------
    FeatureSchemaError
        If the features were made by another definition than today's.
    DataError
        If the split cannot be used, or a composition sits on both sides of it.
    """
    check_columns(snapshot.folder, source_of(snapshot), target, split_column, hold_out)
    rule = parse_split(split_column, seed)
    outer = None if hold_out is None else parse_split(hold_out, seed)
    return dataset(snapshot, features, blocks, target, rule, outer)


def dataset(
    snapshot: Artifact,
    features: Artifact,
    blocks: Sequence[str],
    target: str,
    rule: Rule,
    outer: Rule | None,
) -> Dataset:
    """Join and split as :func:`load` does, by rules that were read already.

    Parameters
    ----------
    snapshot, features, blocks, target
        As for :func:`load`.
    rule : Rule
        Who trains and who validates; perhaps off a stranger's card, so that every row is checked.
    outer : Rule or None
        Whose validation rows are left out altogether.

    Raises
    ------
    FeatureSchemaError, DataError
        As :func:`load`.
    """
    x, row = load_features(features, schemas(blocks))
    columns = (target, *rule.columns, *(() if outer is None else outer.columns))
    if ROLES in _schema(snapshot.folder).names:
        columns = (*columns, ROLES)
    table = matching(snapshot, features, row, columns)
    source = source_of(snapshot)
    y = numbers(table, target, source).to_numpy().astype(np.float64)
    rows = split_rows(table, x, source)
    split = split_without(rule, outer, rows)
    train, validation = split.train, split.validation
    used = np.concatenate([train, validation])
    if not (usable := np.isfinite(y[used])).all():
        raise DataError(
            "a target must be a finite number: remove this row from the table",
            source=source,
            column=target,
            row=int(row[used[~usable].min()]),
        )
    data = TrainingData(x[train], y[train], x[validation], y[validation], blocks[-1] == FRACTIONS)
    unit = stated_unit(table.schema.field(target))
    validated = rows.compositions[split.validation]
    held = np.array([], object)
    if outer is not None:
        held = rows.compositions[only_pair(outer, rows).validation]
    _, times = np.unique(rows.compositions[used], return_counts=True)
    marked = 0
    if ROLES in columns:
        marked = int((_objects(table, ROLES)[used] == TEST).sum())
    return Dataset(data, split, unit, validated, held, int((times > 1).sum()), marked)


def load_features(
    features: Artifact, schemas: Sequence[FeatureSchema]
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 (n, k) of some blocks side by side, and the rows (n,) they belong to.

    Raises
    ------
    FeatureSchemaError
        If the features were made by another definition than today's.
    """
    recorded = features.manifest.parameters["blocks"]
    for schema in schemas:
        if recorded.get(schema.name) != schema.hash:
            raise FeatureSchemaError(
                f"features {features.id} hold {schema.name} of schema "
                f"{recorded.get(schema.name, '(none)')}, not {schema.hash}: run irnet featurize"
            )
    columns = [name for schema in schemas for name in schema.columns]
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
    return x[:done], np.concatenate(rows)


def matching(
    snapshot: Artifact, features: Artifact, row: np.ndarray, columns: Sequence[str]
) -> pa.Table:
    """Rows of a snapshot that features were computed of, in the features' order.

    Parameters
    ----------
    snapshot, features : Artifact
    row : numpy.ndarray of int64, shape (n,)
        Rows of the snapshot, as the features name them.
    columns : sequence of str
        Columns of the snapshot to read beside row and composition.

    Returns
    -------
    pyarrow.Table
        n rows: row, composition and the columns.

    Raises
    ------
    DataError
        If the snapshot lacks rows or a column.
    """
    table = snapshot.read_table(DATA, list(dict.fromkeys((ROW.name, COMPOSITION.name, *columns))))
    position = np.searchsorted(table.column(ROW.name).to_numpy(), row)
    whole = len(row) == features.manifest.rows and (position < table.num_rows).all()
    if not whole or not np.array_equal(table.column(ROW.name).to_numpy()[position], row):
        raise DataError(
            f"features {features.id} and snapshot {snapshot.id} do not fit together: run "
            "irnet verify on both"
        )
    return table.take(pa.array(position))


def split_rows(table: pa.Table, x: np.ndarray | None, source: str) -> SplitRows:
    """What rules of splitting see of a table.

    Parameters
    ----------
    table : pyarrow.Table
        n rows, as :func:`matching` returns them.
    x : numpy.ndarray, shape (n, k), or None
        Their features, which only a split by clusters needs.
    source : str
        The table's name in messages.

    Returns
    -------
    SplitRows
    """

    def column(name: str) -> np.ndarray:
        values = table.column(name)
        if _is_number(values.type):
            return values.to_numpy()
        return _objects(table, name)

    def clusters(count: int, seed: int) -> np.ndarray:
        if x is None:
            raise DataError("a split by clusters needs features", source=source)
        return cluster_labels(x, count, seed)

    rows = table.column(ROW.name).to_numpy()
    return SplitRows(_objects(table, COMPOSITION.name), column, clusters, source, rows)


def _schema(folder: Folder) -> pa.Schema:
    with folder.open(DATA) as file:
        return pq.read_schema(file)


def _objects(table: pa.Table, column: str) -> np.ndarray:
    return np.asarray(table.column(column).to_pylist(), dtype=object)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(value: object) -> bool:
    """Whether a value is there and is no number, not even one written as text."""
    if value is None:
        return False
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    return False
