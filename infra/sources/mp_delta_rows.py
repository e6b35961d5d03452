"""Rows of the Materials Project's Delta table, from the client's files to columns of a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.pull.pymatgen_dicts import parts, structure_columns
from infra.pull.values import Notes, Structures, structures_of_sites
from infra.sources.mp_table import PLACES, summary_table

_BATCH_ROWS = 2000
_VERSION = re.compile(r"version=([^/]+)/")


def newest(files: list[str]) -> tuple[list[str], list[str]]:
    """Files of the newest version of the collection, and all versions; the client takes all."""
    versions = sorted({found[1] for file in files if (found := _VERSION.search(file))})
    kept = [file for file in files if not versions or f"version={versions[-1]}/" in file]
    return kept, versions


def date_of(version: str) -> list[int]:
    """Year, month and day of a version, which REST interface and tables write differently.

    Examples
    --------
    >>> date_of("2026.04.13.post1") == date_of("2026-04-13")
    True
    """
    return [int(digits) for digits in re.findall(r"\d+", version)[:3]]


def batches(files: list[str], fields: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns of files, some thousand rows at a time."""
    for file in files:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            yield from parquet.iter_batches(_BATCH_ROWS, columns=fields)


def wanted(batch: pa.RecordBatch, gnome: bool) -> pa.RecordBatch:
    """Rows that are not deprecated and whose licence is wanted; a row without either is."""
    keep = pc.invert(pc.fill_null(batch["deprecated"], False))
    if not gnome:
        licence = pc.struct_field(batch["builder_meta"], "license")
        keep = pc.and_(keep, pc.fill_null(pc.not_equal(licence, "BY-NC"), True))
    return batch.filter(keep)


def documents_table(batch: pa.RecordBatch) -> pa.Table:
    """Documents in Arrow's form as a table of a snapshot."""
    values = {}
    for place in PLACES:
        name, _, below = place.partition(".")
        column = batch[name]
        if pa.types.is_map(column.type):
            column = pc.map_lookup(column, below, "first")
        elif below:
            column = pc.struct_field(column, below)
        values[place] = column.to_pylist()
    return summary_table(values, partial(structures, batch["structure"]))


def structures(given: pa.StructArray, notes: Notes) -> Structures:
    """Structures, column by column if all of them are there and ordered, else one by one."""
    sites = pc.struct_field(given, "sites")
    flat = sites.flatten()
    species = pc.struct_field(flat, "species")
    xyz = pc.struct_field(flat, "abc")
    cells = pc.struct_field(pc.struct_field(given, "lattice"), "matrix")
    one = pc.struct_field(species.flatten(), "occu")
    threes = (xyz, cells, cells.flatten())
    if (
        sites.null_count
        or not pc.all(pc.fill_null(pc.equal(pc.list_value_length(species), 1), False)).as_py()
        or not pc.all(pc.fill_null(pc.equal(one, 1), False)).as_py()
        or not all(
            pc.all(pc.fill_null(pc.equal(pc.list_value_length(part), 3), False)).as_py()
            for part in threes
        )
    ):
        return structure_columns([parts(s) for s in given.to_pylist()], notes)
    return structures_of_sites(
        _numbers(cells.flatten().flatten()).reshape(-1, 3, 3),
        pc.struct_field(species.flatten(), "element").to_pylist(),
        _numbers(xyz.flatten()).reshape(-1, 3),
        pc.list_value_length(sites).to_pylist(),
        False,
        notes,
    )


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    """Numbers as float64, NaN where they are null."""
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
