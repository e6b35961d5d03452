import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.study import columns
from irnet_core import schema
from irnet_core.feature_schema import FeatureSchema
from irnet_core.schema import Column, arrow_schema, unit_of

EVERYWHERE = {**vars(columns), **vars(schema)}.values()
COLUMNS = [value for value in EVERYWHERE if isinstance(value, Column)]
FEATURES = FeatureSchema("magpie", ("a", "b"), 1, "00", "mean")


def test_every_column_has_a_name_of_its_own_and_a_meaning():
    assert len({column.name for column in COLUMNS}) == len(COLUMNS) >= 12
    for column in COLUMNS:
        assert column.meaning, column.name
        is_text = column.type in (pa.string(), pa.list_(pa.string()))
        assert (column.unit == "") == is_text, column.name


def test_units_are_those_the_names_state():
    for column in COLUMNS:
        if (unit := unit_of(column.name)) != "as given":
            assert column.unit == unit


def test_metadata_survives_parquet(tmp_path):
    wanted = arrow_schema(COLUMNS, {"made": "here"})
    pq.write_table(wanted.empty_table(), tmp_path / "a.parquet")
    found = pq.read_schema(tmp_path / "a.parquet")
    assert found.metadata[b"schema_version"] == str(schema.SCHEMA_VERSION).encode()
    assert found.metadata[b"made"] == b"here"
    for column in COLUMNS:
        field = found.field(column.name)
        assert field.type == column.type
        assert field.metadata[b"unit"] == column.unit.encode()
        assert field.metadata[b"meaning"] == column.meaning.encode()


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("delta_e_ev_atom", "eV/atom"),
        ("hull_mev_atom", "meV/atom"),
        ("band_gap_ev", "eV"),
        ("bulk_modulus_gpa", "GPa"),
        ("tc_k", "K"),
        ("risk", "as given"),
        ("ev", "as given"),
        ("", "as given"),
    ],
)
def test_unit_of(name, unit):
    assert unit_of(name) == unit


def test_hash_is_known():
    # changes only with a definition; features and models of older hashes are refused then
    assert FEATURES.hash == FeatureSchema("magpie", ("a", "b"), 1, "00", "mean").hash
    assert len(FEATURES.hash) == 16
    assert int(FEATURES.hash, 16)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"columns": ("b", "a")},
        {"columns": ("a", "b", "c")},
        {"version": 2},
        {"table_sha256": "01"},
        {"missing": "nan"},
    ],
)
def test_any_change_changes_the_hash(change):
    assert dataclasses.replace(FEATURES, **change).hash != FEATURES.hash


def test_feature_fields_name_their_schema():
    fields = FEATURES.arrow_fields()
    assert [field.name for field in fields] == ["a", "b"]
    assert {field.type for field in fields} == {pa.float32()}
    assert {field.metadata[b"feature_schema"] for field in fields} == {FEATURES.hash.encode()}
