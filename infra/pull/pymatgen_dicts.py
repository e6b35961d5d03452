"""Structures as pymatgen writes them into JSON, cut down to what a snapshot keeps.

Nothing of pymatgen is needed: a structure is a lattice matrix and sites, each with its species and
its fractional coordinates. Sites that are shared by several species or partly empty have no place
in a snapshot, so such a structure is given a reason instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from infra.pull.values import Notes, Structures, structures

#: Lattice matrix, element of each site, fractional coordinates of each site; reason if unusable.
Parts = tuple[Any, list[Any] | None, list[Any] | None, str | None]

NOT_GIVEN: Parts = (None, None, None, None)
DISORDERED = "it is disordered"


class _Species(msgspec.Struct, gc=False):
    element: Any
    occu: Any


class _Site(msgspec.Struct, gc=False):
    species: list[_Species]
    abc: Any


class _Lattice(msgspec.Struct, gc=False):
    matrix: Any


class Crystal(msgspec.Struct, gc=False):
    """What is kept of ``Structure.as_dict()``, for msgspec to decode nothing else."""

    lattice: _Lattice
    sites: list[_Site]


def parts(structure: Any) -> Parts:
    """Lattice, species and coordinates of ``Structure.as_dict()``, or why there are none.

    It may be a dict or a :class:`Crystal`.

    Examples
    --------
    >>> site = {"species": [{"element": "Po", "occu": 1}], "abc": [0, 0, 0], "xyz": [0, 0, 0]}
    >>> cell = {"matrix": [[3.3, 0, 0], [0, 3.3, 0], [0, 0, 3.3]], "volume": 35.9}
    >>> parts({"@class": "Structure", "lattice": cell, "sites": [site]})
    ([[3.3, 0, 0], [0, 3.3, 0], [0, 0, 3.3]], ['Po'], [[0, 0, 0]], None)
    >>> site["species"][0]["occu"] = 0.5
    >>> parts({"lattice": cell, "sites": [site]})
    (None, None, None, 'it is disordered')
    """
    if structure is None:
        return NOT_GIVEN
    if isinstance(structure, Crystal):
        of_sites = [site.species for site in structure.sites]
        if any(len(s) != 1 or s[0].occu != 1 for s in of_sites):
            return None, None, None, DISORDERED
        elements = [s[0].element for s in of_sites]
        return structure.lattice.matrix, elements, [site.abc for site in structure.sites], None
    try:
        sites = structure["sites"]
        species = [site["species"] for site in sites]
        if any(len(s) != 1 or s[0]["occu"] != 1 for s in species):
            return None, None, None, DISORDERED
        elements = [s[0]["element"] for s in species]
        return structure["lattice"]["matrix"], elements, [site["abc"] for site in sites], None
    except (KeyError, IndexError, TypeError, AttributeError):
        return None, None, None, "it is not what pymatgen writes"


def structure_columns(found: Iterable[Parts], notes: Notes) -> Structures:
    """Columns of many structures; see :func:`infra.pull.values.structures`."""
    found = list(found)
    return structures(
        [lattice for lattice, _, _, _ in found],
        [species for _, species, _, _ in found],
        [coords for _, _, coords, _ in found],
        False,
        notes,
        {row: reason for row, (_, _, _, reason) in enumerate(found) if reason is not None},
    )
