"""Facets survive Arrow and Parquet, and tables that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from standins.phases import phase_tables

from featurizers.hulls import build_facets
from irnet_core.errors import DataError
from irnet_core.schema import CHEMICAL_POTENTIALS, VERTICES
from irnet_core.screening.facets import Facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import Phases

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def same(one: Facets, other: Facets) -> None:
    for name in ("systems", "keys", "offsets", "potentials"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    filled = one.vertices >= 0
    np.testing.assert_array_equal(filled, other.vertices >= 0)
    for name in ("rows", "energies"):
        np.testing.assert_array_equal(
            getattr(one.phases, name)[one.vertices[filled]],
            getattr(other.phases, name)[other.vertices[filled]],
        )


@settings(max_examples=40)
@given(phase_tables())
def test_tables_hold_everything(table: Table) -> None:
    facets = build_facets(Phases.lowest(*table), table[0])
    again = Facets.from_tables(*facets.to_tables())
    same(facets, again)
    ours, theirs = Hull(facets).products(*table[:2]), Hull(again).products(*table[:2])
    np.testing.assert_array_equal(ours.fractions, theirs.fractions)
    used = again.phases.rows[theirs.phases[theirs.phases >= 0]]
    np.testing.assert_array_equal(used, facets.phases.rows[ours.phases[ours.phases >= 0]])


def test_parquet_holds_units_and_some_systems_can_be_read_alone(tmp_path: Path) -> None:
    known = Phases.lowest([[8, 12], [3, 8]], [[1, 1], [2, 1]], [-3.0, -2.0])
    facets = build_facets(known, [[8, 12, 0], [3, 8, 0], [3, 8, 12], [12, 0, 0]])
    for name, table in zip(("f", "p"), facets.to_tables({"snapshot": "00ff"}), strict=True):
        pq.write_table(table, tmp_path / name)
    table = pq.read_table(tmp_path / "f")
    assert table.schema.metadata[b"snapshot"] == b"00ff"
    assert table.schema.field(CHEMICAL_POTENTIALS.name).metadata[b"unit"] == b"eV/atom"
    phases = pq.read_table(tmp_path / "p")
    assert len(phases) == 5  # three elements and two compounds
    same(facets, Facets.from_tables(table, phases))
    some = Facets.from_tables(table.slice(1, 2), phases)
    energies = Hull(some).energies([[8, 12], [8, 3]], [[1, 1], [1, 2]])
    assert energies.tolist() == pytest.approx([-3.0, -2.0])


def test_no_systems_survive_too() -> None:
    facets = build_facets(Phases.lowest([[8, 12]], [[1, 1]], [-3.0]), np.empty((0, 2), int))
    assert len(Facets.from_tables(*facets.to_tables())) == 0


def test_tables_that_do_not_fit_are_refused() -> None:
    known = Phases.lowest([[8, 12], [3, 8]], [[1, 1], [2, 1]], [-3.0, -2.0])
    facets, phases = build_facets(known, [[8, 12], [3, 8]]).to_tables()
    with pytest.raises(DataError, match="'vertices': the column is missing"):
        Facets.from_tables(facets.drop_columns([VERTICES.name]), phases)
    with pytest.raises(DataError, match="do not fit"):
        Facets.from_tables(facets, phases.slice(0, 2))
    with pytest.raises(DataError, match="do not fit"):
        Facets.from_tables(pa.concat_tables([facets, facets]), phases)
    short = pa.array([[1.0]] * 2, CHEMICAL_POTENTIALS.type)
    place = facets.schema.get_field_index(CHEMICAL_POTENTIALS.name)
    with pytest.raises(DataError, match="do not fit"):
        Facets.from_tables(facets.set_column(place, CHEMICAL_POTENTIALS.name, short), phases)
