"""What a Dask worker does with one partition: compute its features and leave them in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from featurizers.blocks import encode, without_data
from featurizers.formula import parse_formulas
from featurizers.passthrough import kind_of, passthrough_fields, passthrough_rows
from featurizers.rows import Failure, structure_rows
from featurizers.structure import FEATURE_NAMES_STRUCTURE
from flows.partition import SITES_OF_A_ROW, Part, Work, packed
from infra.artifact import DATA
from infra.folder import Folder
from infra.isolation import Isolated
from irnet_core.schema import (
    COMPOSITION,
    FAILED,
    FORMULA,
    ID,
    REASON,
    ROW,
    SCHEMA_VERSION,
    SOURCE_ID,
    STAGE,
    STRUCTURE,
    arrow_schema,
)


@dataclass(frozen=True)
class Rows:
    """What an isolated process gets of each row, and what that costs, in sites."""

    items: list[Any]
    costs: NDArray[np.int64]


def featurize_part(part: Part, snapshot: str, staging: str, work: Work) -> tuple[int, int]:
    """Compute one partition and write its files.

    Parameters
    ----------
    part : Part
    snapshot, staging : str
        Paths or URLs of the folders of the snapshot, and for the files.
    work : Work

    Returns
    -------
    rows, failed : int
        Rows of the partition, and those among them without features.
    """
    table = _read(part, snapshot, work)
    failures: dict[int, Failure] = {}
    columns: list[Any] = []
    run: Callable[[list[Any]], list[Any]]
    if work.blocks:
        columns += _compositions(table, work, failures)
    if work.structures:
        run = partial(structure_rows, missing=work.missing)
        columns += _isolated(run, len(FEATURE_NAMES_STRUCTURE), _structures(table), work, failures)
    for name in work.matminer:
        rows = _structures(table) if kind_of(name) == "structure" else _formulas(table)
        run = partial(passthrough_rows, name)
        columns += _isolated(run, len(passthrough_fields(name)), rows, work, failures)
    folder = Folder(staging)
    folder.write_table(part.failed, _failed(table, failures))
    # the partition is done when these are there
    folder.write_table(part.features, _features(table, columns, failures, work))
    return table.num_rows, len(failures)


def _read(part: Part, snapshot: str, work: Work) -> pa.Table:
    wanted = [ROW, FORMULA, COMPOSITION, SOURCE_ID, *(STRUCTURE if work.needs_structures else ())]
    with Folder(snapshot).open(DATA) as file, pq.ParquetFile(file) as parquet:
        names = [c.name for c in wanted if c.name in parquet.schema_arrow.names]
        table = parquet.read_row_group(part.group, columns=names)
    return table.slice(part.start, part.stop - part.start)


def _compositions(
    table: pa.Table, work: Work, failures: dict[int, Failure]
) -> list[NDArray[np.float32]]:
    """Columns of the composition blocks; adds to the failures."""
    parsed = parse_formulas(table.column(FORMULA.name).to_pylist())
    reasons = parsed.reasons | without_data(parsed.numbers, work.missing)
    failures |= {row: Failure("composition", reason) for row, reason in reasons.items()}
    left = _left(table.num_rows, failures)
    found = encode(parsed.numbers[left], parsed.amounts[left], work.blocks, work.missing)
    values = np.full((table.num_rows, found.shape[1]), np.nan, np.float32)
    values[left] = found
    return list(np.ascontiguousarray(values.T))


def _isolated(
    function: Callable[[list[Any]], list[Any]],
    width: int,
    rows: Rows,
    work: Work,
    failures: dict[int, Failure],
) -> list[Any]:
    """Columns that a process of its own computes of the rows left; adds to the failures."""
    values = np.full((len(rows.items), width), None, object)  # text and blanks may be among them
    left = _left(len(rows.items), failures)
    if len(left):
        with Isolated(function, work.row_limit_s, work.memory) as isolated:
            for start, stop in pairwise(packed(rows.costs[left], work.sites[1])):
                chunk = left[start:stop].tolist()
                results = isolated.run([rows.items[row] for row in chunk])
                for row, result in zip(chunk, results, strict=True):
                    if isinstance(result, Failure):
                        failures[row] = result
                    else:
                        values[row] = result
    return list(values.T)


def _formulas(table: pa.Table) -> Rows:
    items = table.column(COMPOSITION.name).to_pylist()
    return Rows(items, np.full(len(items), SITES_OF_A_ROW))


def _structures(table: pa.Table) -> Rows:
    """Structures as (lattice, numbers, fractional coordinates)."""
    lattices, numbers, coords = (_arrays(table.column(column.name)) for column in STRUCTURE)
    items = [
        (_in_rows(a, 3), z, _in_rows(x, len(z)))
        for a, z, x in zip(lattices, numbers, coords, strict=True)
    ]
    return Rows(items, np.array([len(z) + SITES_OF_A_ROW for z in numbers], np.int64))


def _arrays(column: pa.ChunkedArray) -> list[NDArray[np.float64]]:
    """The list in each row as an array, empty where there is none or its lines differ in length."""
    return [_array(value or ()) for value in column.to_pylist()]


def _array(value: Sequence[Any]) -> NDArray[np.float64]:
    try:
        return np.array(value, np.float64).ravel()
    except (TypeError, ValueError):
        return np.empty(0)


def _in_rows(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Vectors (count, 3); what does not fit stays flat, for the reader to refuse."""
    return values.reshape(count, 3) if len(values) == 3 * count else values


def _left(count: int, failures: dict[int, Failure]) -> NDArray[np.int64]:
    """Rows that have not failed."""
    return np.setdiff1d(np.arange(count), np.fromiter(failures, np.int64, len(failures)))


def _failed(table: pa.Table, failures: dict[int, Failure]) -> pa.Table:
    rows = sorted(failures)
    table = table.take(pa.array(rows, pa.int64()))
    ids = table.column(ROW.name).cast(ID.type)
    if SOURCE_ID.name in table.column_names:
        ids = pc.coalesce(table.column(SOURCE_ID.name).cast(ID.type), ids)
    return pa.table(
        [
            ids,
            table.column(ROW.name),
            table.column(FORMULA.name),
            pa.array([failures[row].stage for row in rows], STAGE.type),
            pa.array([failures[row].reason for row in rows], REASON.type),
        ],
        schema=arrow_schema(FAILED),
    )


def _features(
    table: pa.Table, columns: list[Any], failures: dict[int, Failure], work: Work
) -> pa.Table:
    left = _left(table.num_rows, failures)
    kept, fields = table.take(pa.array(left)), work.fields()
    made = [pa.array(c[left], f.type) for c, f in zip(columns, fields, strict=True)]
    return pa.table(
        [kept.column(ROW.name), kept.column(COMPOSITION.name), *made],
        schema=pa.schema(
            [ROW.field(), COMPOSITION.field(), *fields],
            metadata={"schema_version": str(SCHEMA_VERSION)},
        ),
    )
