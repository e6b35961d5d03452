"""Partitions of a snapshot: how rows are packed by cost, and what a Dask worker does with one."""

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

from featurizers.blocks import blocks, encode, without_data
from featurizers.elements import Missing
from featurizers.formula import parse_formulas
from featurizers.passthrough import kind_of, passthrough_fields, passthrough_rows
from featurizers.rows import Failure, structure_rows
from featurizers.structure import FEATURE_NAMES_STRUCTURE, structure_schema
from infra.folder import Folder
from infra.isolation import Isolated
from infra.snapshots.snapshot import DATA
from irnet_core.errors import DataError
from irnet_core.schema import (
    COMPOSITION,
    FAILED,
    FORMULA,
    ID,
    NUMBERS,
    REASON,
    ROW,
    SCHEMA_VERSION,
    SOURCE_ID,
    STAGE,
    STRUCTURE,
    arrow_schema,
)

#: Cost of a partition and of what an isolated process gets at once, in sites: about ten seconds
#: and one second of work. Any row costs something besides its sites.
STRUCTURE_SITES, SITES_OF_A_ROW = (40_000, 4_000), 10
#: The same for matminer's featurizers, hundreds of times slower.
MATMINER_SITES = (6_000, 200)


@dataclass(frozen=True)
class Work:
    """What is computed of every row.

    Attributes
    ----------
    blocks : tuple of str
        Composition blocks, of :data:`featurizers.blocks.BLOCKS`.
    structures : bool
        Whether the 126 structure attributes are.
    matminer : tuple of str
        Names of matminer's featurizers.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties.
    row_limit_s : float
        Seconds for a structure, or a row of matminer's.
    memory : int
        Bytes for the process that works on them.
    """

    blocks: tuple[str, ...] = ()
    structures: bool = False
    matminer: tuple[str, ...] = ()
    missing: Missing = "matminer"
    row_limit_s: float = 60.0
    memory: int = 2**31

    @property
    def needs_structures(self) -> bool:
        """Whether rows must have structures."""
        return self.structures or any(kind_of(name) == "structure" for name in self.matminer)

    @property
    def sites(self) -> tuple[int, int]:
        """Most sites of a partition and of a chunk; (0, 0) if whole row groups are cheap."""
        if self.matminer:
            return MATMINER_SITES
        return STRUCTURE_SITES if self.structures else (0, 0)

    def fields(self) -> list[pa.Field]:
        """Arrow fields of the columns."""
        schemas = [blocks(self.missing)[name].schema for name in self.blocks]
        found = [f for schema in schemas for f in schema.arrow_fields()]
        if self.structures:
            found += structure_schema(self.missing).arrow_fields()
        return found + [f for name in self.matminer for f in passthrough_fields(name)]


@dataclass(frozen=True)
class Part:
    """Some rows of one row group of the snapshot, and the names of what becomes of them."""

    group: int
    start: int  # first row, counted in the row group
    stop: int
    first: int  # the same row, counted in the snapshot

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.first:010d}-{self.first + self.stop - self.start:010d}.parquet"

    @property
    def features(self) -> str:
        """File of the rows with features."""
        return f"part-{self.name}"

    @property
    def failed(self) -> str:
        """File of the rows without."""
        return f"failed-{self.name}"


def plan(snapshot: Folder, source: str, work: Work) -> list[Part]:
    """Partitions of a snapshot, packed by what their rows cost; messages name its source.

    Raises
    ------
    DataError
        If structures are needed and there are none, or not as lists of numbers.
    """
    parts, first = [], 0
    with snapshot.open(DATA) as file, pq.ParquetFile(file) as parquet:
        there = parquet.schema_arrow.names
        lacking = [column.name for column in STRUCTURE if column.name not in there]
        if work.needs_structures and lacking:
            raise DataError(
                "there are no structures (columns "
                f"{', '.join(column.name for column in STRUCTURE)}): take composition features",
                source=source,
                column=lacking[0],
            )
        if work.needs_structures:
            _check_columns(parquet.schema_arrow, source)
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            bounds = [0, rows]
            if any(work.sites):
                costs = np.full(rows, SITES_OF_A_ROW)
                if work.needs_structures:
                    column = parquet.read_row_group(group, columns=[NUMBERS.name]).column(0)
                    costs += pc.list_value_length(column).fill_null(0).to_numpy()
                bounds = _packed(costs, work.sites[0])
            parts += [Part(group, start, stop, first + start) for start, stop in pairwise(bounds)]
            first += rows
    return parts


def _check_columns(schema: pa.Schema, source: str) -> None:
    for column in STRUCTURE:
        found = schema.field(column.name).type
        inner, depth = found, 0
        while isinstance(inner, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
            inner, depth = inner.value_type, depth + 1
        if depth == 0 or not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
            raise DataError(
                f"it holds {found}, not a list of numbers in each row: convert it (a Parquet file "
                "has lists, a CSV file has none)",
                source=source,
                column=column.name,
            )


def featurize_part(part: Part, snapshot: str, staging: str, work: Work) -> tuple[int, int]:
    """Compute one partition on a Dask worker; returns its numbers of rows and of failures."""
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
            for start, stop in pairwise(_packed(rows.costs[left], work.sites[1])):
                chunk = left[start:stop].tolist()
                results = isolated.run([rows.items[row] for row in chunk])
                for row, result in zip(chunk, results, strict=True):
                    if isinstance(result, Failure):
                        failures[row] = result
                    else:
                        values[row] = result
    return list(values.T)


@dataclass(frozen=True)
class Rows:
    """What an isolated process gets of each row, and what that costs, in sites."""

    items: list[Any]
    costs: NDArray[np.int64]


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


def _packed(costs: NDArray[np.int64], most: int) -> list[int]:
    """Bounds of packs of consecutive rows, each within `most` or a single row."""
    bounds, spent = [0], 0
    for row, cost in enumerate(costs.tolist()):
        if spent and spent + cost > most:
            bounds.append(row)
            spent = 0
        spent += cost
    return [*bounds, len(costs)]


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
