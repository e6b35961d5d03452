"""Results of cells: one small file each in the store, and the tables made of all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv
from pydantic import BaseModel, ConfigDict, ValidationError

from infra.folder import Folder
from infra.manifest import request_digest
from infra.staging import BusyError, exclusive
from infra.store import Store
from infra.study.columns import CURVES, RESULTS
from infra.study.grid import Cell, DataSet
from irnet_core.notation import notation_of
from irnet_core.recipes import recipe
from irnet_core.schema import arrow_schema, unit_of

VERSION = 6  # raised when the same cell would come out otherwise
Status = Literal["done", "not run", "failed"]


class Result(BaseModel):
    """What came out of a cell; errors and counts are missing unless it is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status
    reason: str = ""
    mae: float | None = None
    single_mae: float | None = None
    """Of an ensemble's first member alone."""
    rmse: float | None = None
    r2: float | None = None
    mae_of_median: float | None = None
    folds: int | None = None
    train_rows: int | None = None
    rows_at_hand: int | None = None
    validation_rows: int | None = None
    n_inputs: int | None = None
    seconds: float | None = None
    best_epoch: int | None = None
    chosen: str = ""
    history: list[tuple[int, float | None, float | None]] = []
    """Epoch, training loss, validation MAE; what is no finite number is none."""


class Results:
    """Results that are in a store, by the digest of what was asked for.

    A file appears when its cell is finished, whole or not at all; so a study that was killed goes
    on with the next cell, and studies share the cells they have in common, also side by side.
    """

    def __init__(self, store: Store) -> None:
        self.folder = store.folder.child(".staging", "studies", "cells")

    def get(self, key: str) -> Result | None:
        """The result of a cell that is finished; one that cannot be read is none."""
        name = f"{key}.json"
        if not self.folder.has(name):
            return None
        try:
            return Result.model_validate_json(self.folder.read_bytes(name))
        except ValidationError:
            return None

    def put(self, key: str, result: Result) -> None:
        """Keep a result."""
        self.folder.write_bytes(f"{key}.json", result.model_dump_json().encode())

    @contextmanager
    def at_work(self, key: str) -> Iterator[Folder | None]:
        """Folder for what a cell keeps while it is at work; None if another process is at it."""
        folder = self.folder.child(f"{key}-work")
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(folder, "same cell of a study"))
            except BusyError:
                yield None
                return
            yield folder


def cell_key(cell: Cell, data: DataSet, content: str, schemas: Sequence[str]) -> str:
    """Digest of all that a result depends on.

    Parameters
    ----------
    cell : Cell
    data : DataSet
    content : str
        Digest of the table.
    schemas : sequence of str
        Hashes of the feature definitions.
    """
    table = data.model_dump(exclude={"published"})  # what others reached changes nothing here
    asked = {"cell": asdict(cell), "data": table, "version": VERSION}
    if cell.recipe is not None:  # what these names mean may change
        asked |= {"network": notation_of(cell.network), "recipe": asdict(recipe(cell.recipe))}
    return request_digest("studies", {"table": content}, {**asked, "schemas": list(schemas)})


Row = tuple[str, Cell, DataSet, Result]


def results_table(rows: Sequence[Row]) -> pa.Table:
    """One row a cell, in the order of the grid."""
    return pa.Table.from_pylist([_flat(*row) for row in rows], arrow_schema(RESULTS))


def curves_table(rows: Sequence[Row]) -> pa.Table:
    """Validation curves of the networks, one row an evaluation."""
    flat = [
        {"cell": key, "epoch": epoch, "train_loss": loss, "mae": mae}
        for key, _, _, result in rows
        for epoch, loss, mae in result.history
    ]
    return pa.Table.from_pylist(flat, arrow_schema(CURVES))


def as_csv(table: pa.Table) -> bytes:
    """A table as CSV."""
    buffer = io.BytesIO()
    pacsv.write_csv(table, buffer)
    return buffer.getvalue()


def _flat(key: str, cell: Cell, data: DataSet, result: Result) -> dict[str, Any]:
    found = result.model_dump(exclude={"history"})
    peer = min(data.published, key=data.published.__getitem__, default=None)
    asked = {
        "cell": key,
        "data": cell.data,
        "target": data.target,
        "unit": unit_of(data.target),
        "inputs": cell.inputs,
        "learner": cell.learner,
        "depth": cell.depth,
        "recipe": cell.recipe,
        "members": cell.members,
        "budget_rows": cell.size,
        "budget_epochs": cell.epochs,
        "seed": cell.seed,
        "peer": peer,
        "peer_mae": None if peer is None else data.published[peer],
    }
    return asked | found
