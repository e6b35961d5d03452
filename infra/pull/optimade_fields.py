"""Which properties of an OPTIMADE provider mean which columns.

Only names whose meaning is known are taken, and only in units that are known: a provider states
the units in ``/info/structures``. Where it states none, a name is taken only if it says itself
what it is, as ``formation_energy_per_atom`` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irnet_core import schema
from irnet_core.schema import Column

STANDARD = (
    "chemical_formula_reduced",
    "chemical_formula_descriptive",
    "nsites",
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "species",
    "structure_features",
)
"""Properties of the specification that are asked for."""

MP_STABILITY = "_mp_stability"
MP_FUNCTIONALS = ("gga_gga+u_r2scan", "r2scan", "gga_gga+u")
"""Keys of ``_mp_stability``; the first that a row has is taken."""

_PER_ATOM = {"ev/atom": 1.0, "mev/atom": 1e-3}
_GAP = {"ev": 1.0, "mev": 1e-3}
_MODULUS = {"gpa": 1.0}


@dataclass(frozen=True)
class Meaning:
    """What a column is called by providers.

    Attributes
    ----------
    names : tuple of str
        Names without the provider's prefix, in small letters; those that say what they are without
        a unit come with a ``!``.
    units : mapping
        Factors to the column's unit, by unit in small letters without spaces; empty if none.
    """

    names: tuple[str, ...]
    units: Mapping[str, float]


MEANINGS: dict[Column, Meaning] = {
    schema.FORMATION_ENERGY: Meaning(
        (
            "delta_e!",  # OQMD
            "formation_energy_per_atom!",  # Alexandria and others
            "formation_energy_peratom!",  # JARVIS
            "enthalpy_formation_atom!",  # AFLOW
            "formation_energy",
        ),
        _PER_ATOM,
    ),
    schema.ENERGY_ABOVE_HULL: Meaning(
        (
            "stability",  # OQMD
            "energy_above_hull_per_atom!",
            "energy_above_hull",
            "e_above_hull",
            "hull_distance",  # Alexandria
            "ehull",  # JARVIS
        ),
        _PER_ATOM,
    ),
    schema.ENERGY: Meaning(("energy_per_atom!", "energy_atom!"), _PER_ATOM),
    schema.BAND_GAP: Meaning(("band_gap!", "bandgap!", "egap!", "optb88vdw_bandgap!"), _GAP),
    schema.DENSITY: Meaning(("density",), {"g/cm^3": 1.0, "g/cm3": 1.0}),
    schema.BULK_MODULUS: Meaning(("bulk_modulus_vrh", "ael_bulk_modulus_vrh"), _MODULUS),
    schema.SHEAR_MODULUS: Meaning(("shear_modulus_vrh", "ael_shear_modulus_vrh"), _MODULUS),
    schema.SPACE_GROUP: Meaning(
        ("space_group_it_number", "spacegroup", "space_group", "spacegroup_relax", "spg_number"), {}
    ),
    schema.PROTOTYPE: Meaning(("prototype",), {}),
}


@dataclass(frozen=True)
class Field:
    """A property that is taken for a column: its full name, and the factor to the column's unit."""

    property: str
    factor: float


def choose(properties: Mapping[str, Any]) -> dict[Column, Field]:
    """Properties to take, by column.

    Parameters
    ----------
    properties : mapping
        ``properties`` of ``/info/structures``, by full name.

    Examples
    --------
    >>> chosen = choose({"_x_delta_e": {"unit": "meV/atom"}, "_x_density": {"unit": "kg/m^3"}})
    >>> [(column.name, field.property, field.factor) for column, field in chosen.items()]
    [('formation_energy_ev_atom', '_x_delta_e', 0.001)]
    """
    short: dict[str, str] = {}
    for name in sorted(properties):
        short.setdefault(re.sub(r"^_[a-z0-9]+_", "", name.lower()), name)
    chosen = {}
    for column, meaning in MEANINGS.items():
        for name in meaning.names:
            full = short.get(name.rstrip("!"))
            if full is None or full == MP_STABILITY:
                continue
            factor = _factor(properties[full], meaning, name)
            if factor is not None:
                chosen[column] = Field(full, factor)
                break
    return chosen


def _factor(property_: Any, meaning: Meaning, name: str) -> float | None:
    """Factor from the stated unit, none if the property cannot be taken."""
    if not meaning.units:
        return 1.0
    stated = property_ if isinstance(property_, dict) else {}
    unit = stated.get("unit") or stated.get("x-optimade-unit")
    if unit in (None, "", "inapplicable", "dimensionless"):
        return 1.0 if name.endswith("!") else None
    text = str(unit).lower().replace(" per ", "/").replace(" ", "")
    if text in ("ev", "mev") and "atom" in name:  # the name says per atom
        text += "/atom"
    return meaning.units.get(text)
