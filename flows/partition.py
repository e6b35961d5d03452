"""Partitions of a snapshot: what is to be computed, and how rows are packed by what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from featurizers.blocks import blocks
from featurizers.elements import Missing
from featurizers.passthrough import kind_of, passthrough_fields
from featurizers.structure import structure_schema
from infra.artifact import DATA
from infra.folder import Folder
from irnet_core.errors import DataError
from irnet_core.schema import NUMBERS, STRUCTURE

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
    """Partitions of a snapshot, packed by what their rows cost.

    Parameters
    ----------
    snapshot : Folder
    source : str
        The snapshot's name in messages.
    work : Work
        What is computed of each row.

    Returns
    -------
    list of Part

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
                bounds = packed(costs, work.sites[0])
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


def packed(costs: NDArray[np.int64], most: int) -> list[int]:
    """Bounds of packs of consecutive rows, each within a cost or a single row.

    Parameters
    ----------
    costs : numpy.ndarray of int, (n,)
        Of each row.
    most : int
        Cost of a pack, unless a single row costs more.

    Returns
    -------
    list of int
        Where each pack begins, and n.

    Examples
    --------
    >>> packed(np.array([3, 3, 9, 1]), 6)
    [0, 2, 3, 4]
    """
    bounds, spent = [0], 0
    for row, cost in enumerate(costs.tolist()):
        if spent and spent + cost > most:
            bounds.append(row)
            spent = 0
        spent += cost
    return [*bounds, len(costs)]
