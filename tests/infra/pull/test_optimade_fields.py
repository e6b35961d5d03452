from __future__ import annotations

from typing import Any

import pytest

from infra.pull.optimade_fields import choose
from irnet_core import schema
from irnet_core.schema import Column


def taken(**properties: Any) -> dict[Column, tuple[str, float]]:
    chosen = choose({name: {"unit": unit} for name, unit in properties.items()})
    return {column: (field.property, field.factor) for column, field in chosen.items()}


def test_names_and_units_of_oqmd_are_known() -> None:
    assert taken(
        _oqmd_delta_e="eV/atom",
        _oqmd_stability="eV/atom",
        _oqmd_band_gap="eV",
        _oqmd_volume="Ao^3",
        _oqmd_prototype=None,
        _oqmd_spacegroup=None,
    ) == {
        schema.FORMATION_ENERGY: ("_oqmd_delta_e", 1.0),
        schema.ENERGY_ABOVE_HULL: ("_oqmd_stability", 1.0),
        schema.BAND_GAP: ("_oqmd_band_gap", 1.0),
        schema.SPACE_GROUP: ("_oqmd_spacegroup", 1.0),
        schema.PROTOTYPE: ("_oqmd_prototype", 1.0),
    }


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("_x_hull_distance", "eV/atom", 1.0),
        ("_x_hull_distance", "meV/atom", 1e-3),
        ("_x_hull_distance", "eV per atom", 1.0),
        ("_x_hull_distance", " EV / Atom ", 1.0),
        ("_x_hull_distance", "eV", None),  # of the cell?
        ("_x_hull_distance", None, None),
        ("_x_hull_distance", "kJ/mol", None),
    ],
)
def test_a_unit_is_converted_or_the_property_left(
    name: str, unit: str | None, factor: float | None
) -> None:
    wanted = {} if factor is None else {schema.ENERGY_ABOVE_HULL: (name, factor)}
    assert taken(**{name: unit}) == wanted


@pytest.mark.parametrize("unit", ["eV", "eV/atom", None, "", "inapplicable"])
def test_a_name_that_says_per_atom_needs_no_unit(unit: str | None) -> None:
    name = "_alexandria_formation_energy_per_atom"
    assert taken(**{name: unit}) == {schema.FORMATION_ENERGY: (name, 1.0)}
    assert taken(**{name: "Ha"}) == {}


def test_an_energy_of_unknown_size_is_not_taken() -> None:
    assert taken(_x_formation_energy="eV", _x_energy="eV", _x_density="kg/m^3") == {}
    assert taken(_x_formation_energy="eV/atom", _x_density="g/cm^3") == {
        schema.FORMATION_ENERGY: ("_x_formation_energy", 1.0),
        schema.DENSITY: ("_x_density", 1.0),
    }


def test_capital_letters_and_new_unit_keys_are_understood() -> None:
    chosen = choose({"_aflow_Egap": {"x-optimade-unit": "eV"}})
    assert chosen[schema.BAND_GAP].property == "_aflow_Egap"


def test_the_dictionary_of_the_materials_project_is_no_number() -> None:
    assert taken(_mp_stability="eV/atom") == {}


def test_a_property_that_is_described_oddly_harms_nothing() -> None:
    assert choose({"_x_band_gap": None, "_x_hull_distance": "eV/atom"}).keys() == {schema.BAND_GAP}
