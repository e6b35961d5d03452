"""Any featurizer of matminer by name, for what is not computed with array code here.

A name is ``composition:BandCenter``: the module of matminer, its class, and after another colon a
preset where the class has such, as in ``composition:ElementProperty:magpie``. Featurizers of
oxidation states take rows with guessed ones under ``composition_oxid`` and ``structure_oxid``, as
matminer calls such columns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any

import numpy as np
import pyarrow as pa

from featurizers.rows import Failure
from irnet_core.errors import DataError, IRNetError
from irnet_core.feature_schema import FeatureSchema

KINDS = ("composition", "structure")
_OXID = "_oxid"
_LIBRARIES = ("matminer", "pymatgen")  # whose versions values can depend on


def kind_of(name: str) -> str:
    """What a featurizer looks at, one of :data:`KINDS`.

    Raises
    ------
    DataError
        If the name does not begin with one.

    Examples
    --------
    >>> kind_of("composition:BandCenter")
    'composition'
    """
    prefix, _, rest = name.partition(":")
    kind = prefix.removesuffix(_OXID)
    if kind not in KINDS or not rest:
        raise DataError(
            f"{name!r} names no featurizer of matminer: write composition:CLASS or "
            "structure:CLASS, such as composition:BandCenter"
        )
    return kind


def passthrough_schema(name: str) -> FeatureSchema:
    """Columns of a featurizer; its hash follows the installed versions of matminer and pymatgen.

    Raises
    ------
    DataError
        If there is no such featurizer, it cannot be made without arguments, or it must be fitted.
    IRNetError
        If matminer is not installed.
    """
    featurizer = _featurizer(name)
    try:
        labels = tuple(map(str, featurizer.feature_labels()))
    # those that fit to data first raise what they like, PartialRadialDistributionFunction Exception
    except Exception as error:
        raise DataError(f"{name} has no columns before it is fitted: choose another") from error
    versions = " ".join(f"{library} {metadata.version(library)}" for library in _LIBRARIES)
    return FeatureSchema(name, labels, 1, versions, "matminer")


def passthrough_fields(name: str) -> list[pa.Field]:
    """Arrow fields of a featurizer's columns: text where it says a word of a probe, else float32.

    Raises
    ------
    DataError, IRNetError
        As :func:`passthrough_schema`.
    """
    fields = passthrough_schema(name).arrow_fields()
    return [
        field.with_type(pa.string()) if is_text else field
        for field, is_text in zip(fields, _texts(name), strict=True)
    ]


def passthrough_rows(name: str, rows: Sequence[Any]) -> list[list[Any] | Failure]:
    """Values of a featurizer, one for each column, or the failure, for each row.

    Parameters
    ----------
    name : str
        As for :func:`passthrough_schema`.
    rows : sequence
        Formulas for a composition featurizer; (lattice, numbers, frac_coords) for one of
        structures.
    """
    featurizer, read, text = _featurizer(name), _reader(name), _texts(name)
    results: list[list[Any] | Failure] = []
    for row in rows:
        try:
            values = featurizer.featurize(read(row))
            results.append(
                [
                    value if value is None or is_text else float(value)
                    for value, is_text in zip(values, text, strict=True)
                ]
            )
        # a featurizer may fail in any way; it is the row's failure, and the next one is tried
        except Exception as error:  # noqa: BLE001
            message = " ".join(str(error).split())[:200]
            results.append(Failure(name, f"{type(error).__name__}: {message}".rstrip(": ")))
    return results


def _composition(formula: str) -> Any:
    from pymatgen.core import Composition

    return Composition(formula)


def _structure(parts: tuple[Any, Any, Any]) -> Any:
    from pymatgen.core import Structure

    lattice, numbers, frac_coords = parts
    species: list[Any] = [int(z) for z in numbers]
    # pymatgen finds no Voronoi neighbours of sites outside the cell
    return Structure(lattice, species, frac_coords, to_unit_cell=True)


def _composition_oxid(formula: str) -> Any:
    return _composition(formula).add_charges_from_oxi_state_guesses()


def _structure_oxid(parts: tuple[Any, Any, Any]) -> Any:
    structure = _structure(parts)
    structure.add_oxidation_state_by_guess()
    return structure


def _reader(name: str) -> Callable[[Any], Any]:
    """What makes pymatgen's object of a row for a featurizer."""
    readers: dict[str, Callable[[Any], Any]] = {
        "composition": _composition,
        "structure": _structure,
        "composition_oxid": _composition_oxid,
        "structure_oxid": _structure_oxid,
    }
    return readers[name.partition(":")[0]]


_PROBES: dict[str, Any] = {
    "composition": "Fe2O3",
    "structure": (np.eye(3) * 4.2, [55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]),
}


@lru_cache(maxsize=32)
def _texts(name: str) -> tuple[bool, ...]:
    """Which columns of a featurizer hold text, as a probe shows."""
    try:
        values = _featurizer(name).featurize(_reader(name)(_PROBES[kind_of(name)]))
    # what the probe lacks says nothing of the rows to come
    except Exception:  # noqa: BLE001
        return (False,) * len(passthrough_schema(name).columns)
    return tuple(isinstance(value, str) for value in values)


@lru_cache(maxsize=32)
def _featurizer(name: str) -> Any:
    """The featurizer of a name."""
    kind = kind_of(name)
    class_name, _, preset = name.partition(":")[2].partition(":")
    try:
        module = import_module(f"matminer.featurizers.{kind}")
        base = import_module("matminer.featurizers.base").BaseFeaturizer
    except ImportError as error:
        raise IRNetError(
            f"{name} needs matminer, which is not installed: pip install 'irnet-screening[oracles]'"
        ) from error
    found = _classes(module, base)
    if class_name not in found:
        raise DataError(
            f"matminer has no {kind} featurizer {class_name!r}: choose among "
            f"{', '.join(sorted(found))}"
        )
    made = found[class_name]
    try:
        return made.from_preset(preset) if preset else made()
    except (AttributeError, TypeError, ValueError, KeyError, NotImplementedError) as error:
        what = f"has no preset {preset!r}" if preset else "needs arguments"
        raise DataError(
            f"matminer's {class_name} {what}: name a preset that it has, as in "
            "composition:ElementProperty:magpie or structure:SiteStatsFingerprint:OPSiteFingerprint"
        ) from error
    except (ImportError, RuntimeError) as error:  # of those that need another package
        reason = " ".join(str(error).split())
        raise DataError(f"matminer cannot make {name}: {reason}; choose another") from error


def _classes(package: Any, base: type) -> dict[str, Any]:
    """Featurizers that a package of matminer offers, by name."""
    return {
        name: value
        for name, value in inspect.getmembers(package, inspect.isclass)
        if issubclass(value, base) and value is not base
    }
