"""Attributes of OPTIMADE entries, to columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.pull.notes import Notes
from infra.pull.optimade_fields import MP_FUNCTIONALS, MP_STABILITY, Field
from infra.pull.space_groups import space_groups
from infra.pull.structures import Structures, structures
from infra.pull.values import numbers, texts
from irnet_core import schema
from irnet_core.schema import Column

_NO_STRUCTURE = ("assemblies", "site_attachments", "implicit_atoms")  # features of no plain crystal


def converted(column: Column, field: Field, values: list[Any], notes: Notes) -> pa.Array:
    """Values of a property in the unit of its column.

    Parameters
    ----------
    column : Column
    field : Field
        The property that is taken for it.
    values : list
        As the provider sent them.
    notes : Notes
        Takes what is no value of such a column, which is null then.

    Returns
    -------
    pyarrow.Array
        Of the column's type.
    """
    if column == schema.SPACE_GROUP:
        return space_groups(values, field.property, notes)
    if column.type == pa.string():
        return texts(values, field.property, notes)
    array = numbers(values, field.property, notes)
    return array if field.factor == 1.0 else pc.multiply(array, field.factor)


def mp_stability(values: list[Any], notes: Notes) -> dict[Column, pa.Array]:
    """Energies from the Materials Project's values by functional."""
    functionals = [
        next((key for key in MP_FUNCTIONALS if isinstance(value, dict) and value.get(key)), None)
        for value in values
    ]
    chosen = [
        value[key] if key is not None and isinstance(value[key], dict) else {}
        for value, key in zip(values, functionals, strict=True)
    ]
    return {
        schema.FORMATION_ENERGY: numbers(
            [c.get("formation_energy_per_atom") for c in chosen], MP_STABILITY, notes
        ),
        schema.ENERGY_ABOVE_HULL: numbers(
            [c.get("energy_above_hull") for c in chosen], MP_STABILITY, notes
        ),
        schema.FUNCTIONAL: pa.array(functionals, pa.string()),
    }


def crystals(attributes: list[dict[str, Any]], notes: Notes) -> Structures:
    """Structures of plain crystals; others have a reason."""
    species: list[Any] = []
    reasons: dict[int, str] = {}
    for row, entry in enumerate(attributes):
        sites, kinds = entry.get("species_at_sites"), entry.get("species")
        if kinds and sites:
            try:
                symbols = {
                    kind["name"]: kind["chemical_symbols"][0]
                    for kind in kinds
                    if len(kind["chemical_symbols"]) == 1 and kind["concentration"][0] == 1
                }
                sites = [symbols[site] for site in sites]
            except KeyError as error:
                reasons[row] = f"species {error.args[0]!r:.40} is disordered or not described"
            except (TypeError, IndexError):
                reasons[row] = "its species are not described as the specification asks"
        features = entry.get("structure_features")
        if features is not None and not isinstance(features, list):
            reasons[row] = f"its structure_features are {features!r:.40}"
        elif features and (odd := [f for f in _NO_STRUCTURE if f in features]):
            reasons[row] = f"it has {odd[0].replace('_', ' ')}"
        species.append(sites)
    return structures(
        [a.get("lattice_vectors") for a in attributes],
        species,
        [a.get("cartesian_site_positions") for a in attributes],
        True,
        notes,
        reasons,
    )
