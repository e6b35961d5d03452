"""The cells of a study on one table: rows loaded once, then learner by learner."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from featurizers.blocks import schemas
from featurizers.structure import structure_schema
from flows.dataset import load_features, matching, numbers, split_rows
from flows.progress import Update
from flows.snapshot import source_of
from infra.artifact import Artifact
from infra.settings import settings
from infra.study.classical import CLASSICAL, fit_classical
from infra.study.grid import Cell, DataSet
from infra.study.results import Result
from irnet_core.batches import forward
from irnet_core.checkpoint import Folder, Prefixed
from irnet_core.device import pick_device
from irnet_core.ensemble import fit_members
from irnet_core.errors import DataError, IRNetError
from irnet_core.feature_schema import FeatureSchema
from irnet_core.metrics import metrics
from irnet_core.notation import FRACTIONS, check_blocks, notation_of
from irnet_core.recipes import Recipe
from irnet_core.recipes import recipe as recipe_of
from irnet_core.schema import COMPOSITION
from irnet_core.split_rules import Given
from irnet_core.split_texts import parse_split
from irnet_core.splits import TRAIN, VALIDATION, among
from irnet_core.training import Fitted, Status, TrainingData

PAPER_BLOCKS = ("magpie",)
"""What classical learners see of a composition: the paper's 145 attributes."""


@dataclass(frozen=True)
class Table:
    """Rows of one data set with one kind of inputs, and how they are split.

    Attributes
    ----------
    x : numpy.ndarray, float32, (n, n_inputs)
        All columns of all blocks.
    y : numpy.ndarray, float64, (n,)
    groups : numpy.ndarray of object, (n,)
        Compositions.
    pairs : list of tuple of numpy.ndarray
        Training rows, shuffled by the seed so that a smaller size is the head, and validation rows.
    columns : dict
        Columns of each block, as a slice.
    """

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    pairs: list[tuple[np.ndarray, np.ndarray]]
    columns: dict[str, slice]


def blocks_of(cell: Cell) -> list[FeatureSchema]:
    """Feature definitions that a cell's learner sees."""
    names = PAPER_BLOCKS if cell.recipe is None else recipe_of(cell.recipe).inputs
    found = [] if cell.inputs == "structure" else schemas(names)
    # element fractions stay last: networks with a set of elements look for them there
    return found if cell.inputs == "composition" else [structure_schema(), *found]


def load_table(
    snapshot: Artifact, features: Artifact, data: DataSet, inputs: str, seed: int
) -> Table:
    """Load, select and split; a rule of several pairs keeps them all.

    Parameters
    ----------
    snapshot, features : Artifact
    data : DataSet
        Target, split and rows that are selected.
    inputs : {"composition", "structure", "both"}
        Features to take.
    seed : int
        Of the split.

    Returns
    -------
    Table

    Raises
    ------
    DataError
        If a column is missing, no row is left, or the split cannot be used.
    """
    blocks = [] if inputs == "composition" else [structure_schema()]
    if inputs != "structure":
        blocks += schemas(("magpie", "fractions"))
    rule = parse_split(data.split, seed)
    x, row = load_features(features, blocks)
    source = source_of(snapshot)
    table = matching(snapshot, features, row, (data.target, *data.where, *rule.columns))
    values = numbers(table, data.target, source)  # NaN where there is none
    y = values.to_numpy(zero_copy_only=False).astype(np.float64)
    keep = np.isfinite(y)
    if data.below is not None:
        keep &= np.abs(y) <= data.below
    for column, values in data.where.items():
        texts = pc.cast(table.column(column), pa.string())
        found = pc.fill_null(pc.is_in(texts, pa.array(values)), False)
        keep &= found.to_numpy(zero_copy_only=False)
    if data.drop_shared and isinstance(rule, Given):
        keep &= ~_shared(table, rule)
    if not keep.any():
        raise DataError("no row is left to learn from", source=source, column=data.target)
    x, y, table = x[keep], y[keep], table.filter(pa.array(keep))
    pairs = []
    for _, split in rule.pairs(split_rows(table, x, source)):
        draw = np.random.default_rng(seed)
        train = draw.permutation(split.train)
        pairs.append((train, np.sort(draw.permutation(split.validation)[: data.validation_rows])))
    groups = np.asarray(table.column(COMPOSITION.name).to_pylist(), dtype=object)
    bounds = np.cumsum([0, *(len(block.columns) for block in blocks)]).tolist()
    columns = {b.name: slice(*bounds[i : i + 2]) for i, b in enumerate(blocks)}
    return Table(x, y, groups, pairs, columns)


def _shared(table: pa.Table, rule: Given) -> np.ndarray:
    """Training rows whose composition validates too."""
    role = np.asarray(table.column(rule.column).to_pylist(), dtype=object)
    compositions = np.asarray(table.column(COMPOSITION.name).to_pylist(), dtype=object)
    return (role == TRAIN) & among(compositions, compositions[role == VALIDATION])


def run_cell(cell: Cell, table: Table, folder: Folder, update: Update) -> Result:
    """Fit and judge one learner, on all pairs together; what cannot be done is a result too.

    Parameters
    ----------
    cell : Cell
        What is asked for.
    table : Table
        Of the cell's data set and kind of inputs.
    folder : Folder
        For checkpoints of networks.
    update : callable
        Called with the share that is done, and a few words.
    """
    begun = time.monotonic()
    blocks = [block.name for block in blocks_of(cell)]
    columns = np.r_[tuple(table.columns[name] for name in blocks)]
    fractions = blocks[-1] == FRACTIONS
    truths, predictions, rows, found_all = [], [], [], []
    for i, (train, validation) in enumerate(table.pairs):
        train = train[: cell.size]
        data = TrainingData(
            np.ascontiguousarray(table.x[train][:, columns]),
            table.y[train],
            np.ascontiguousarray(table.x[validation][:, columns]),
            table.y[validation],
            fractions,
        )
        run = _classical
        if cell.learner not in CLASSICAL:
            # where folds judge, none of their rows chooses an epoch
            choose = len(table.pairs) == 1
            run = partial(_network, folder=Prefixed(folder, f"pair-{i}-"), choose=choose)
        try:
            predicted, more = run(cell, data, table.groups[train], _part(update, i, table))
        except (IRNetError, ValueError, MemoryError, RuntimeError, ArithmeticError) as error:
            return Result(status="failed", reason=f"{type(error).__name__}: {error}"[:500])
        if not np.isfinite(predicted).all():
            return Result(status="failed", reason="some predictions are not finite numbers")
        truths.append(data.validation_y)
        predictions.append(predicted)  # (members, rows)
        rows.append(len(train))
        found_all.append(more)
    truth, members = np.concatenate(truths), np.concatenate(predictions, axis=1)
    found = metrics(truth, members.mean(axis=0))
    return Result(
        status="done",
        mae=found.mae,
        single_mae=metrics(truth, members[0]).mae if len(members) > 1 else None,
        rmse=found.rmse,
        r2=found.r2,
        mae_of_median=found.mae_of_median,
        folds=len(table.pairs),
        rows_at_hand=round(float(np.mean(rows))),
        validation_rows=found.rows,
        n_inputs=len(columns),
        seconds=time.monotonic() - begun,
        # of several folds the curve and the chosen parameters are those of the first
        **found_all[0]
        | {"train_rows": round(float(np.mean([f["train_rows"] for f in found_all])))},
    )


def _part(update: Update, pair: int, table: Table) -> Update:
    """Progress of one pair as a share of that of all."""
    return lambda share, note: update((pair + share) / len(table.pairs), note)


def _classical(
    cell: Cell, data: TrainingData, groups: np.ndarray, update: Update
) -> tuple[np.ndarray, dict[str, Any]]:
    found = fit_classical(
        cell.learner,
        data.train_x,
        data.train_y,
        groups,
        tuning_rows=cell.tuning_rows or len(groups),
        seed=cell.seed,
    )
    predicted = np.asarray(found.estimator.predict(data.validation_x), np.float64)
    return predicted[None], {"train_rows": found.rows, "chosen": json.dumps(found.parameters)}


def _network(
    cell: Cell,
    data: TrainingData,
    groups: np.ndarray,
    update: Update,
    folder: Folder,
    choose: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
    check_blocks(notation_of(cell.network), [block.name for block in blocks_of(cell)])
    recipe: Recipe = recipe_of(str(cell.recipe))
    if cell.epochs is not None:
        recipe = recipe.with_epochs(cell.epochs)

    shares, speaking = [0.0] * cell.members, Lock()

    def report(member: int, status: Status) -> None:
        with speaking:  # members train in threads
            shares[member] = status.rows_done / status.rows_total
            best = f", best MAE {status.best_mae:.4f}" if status.best_epoch else ""
            update(sum(shares) / cell.members, f"epoch {status.epoch}/{status.epochs}{best}")

    fits = fit_members(
        data,
        notation_of(cell.network),
        recipe,
        seed=cell.seed,
        members=cell.members,
        device=pick_device(settings().device),
        folder=folder,
        keep=True,  # a fold that is done is not done again
        choose=choose,
        report=report,
    )
    chosen = {name: asdict(recipe)[name] for name in ("learning_rate", "batch_size")}
    progress = fits[0].progress
    predicted = [_predict(fitted, data.validation_x, recipe.precision) for fitted in fits]
    return np.stack(predicted), {
        "train_rows": len(data.train_y),
        "best_epoch": progress.best_epoch,
        "chosen": json.dumps(chosen),
        "history": [(e.epoch, e.train_loss, e.validation_mae) for e in progress.history],
    }


def _predict(fitted: Fitted, x: np.ndarray, precision: str) -> np.ndarray:
    raw = torch.from_numpy(x)
    scaled = forward(fitted.network, fitted.inputs.forward(raw), precision)
    return fitted.target.value(scaled[:, 0], raw).numpy()
