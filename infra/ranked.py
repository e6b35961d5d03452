"""The ranked table that users query, made of arrays a block of rows at a time.

Nothing is done row by row: systems, elements and products are few among many rows, so each is
spelled once and taken by its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formulas
from irnet_core.errors import ScreenError
from irnet_core.schema import (
    CANDIDATE,
    CHEMICAL_SYSTEM,
    DECOMPOSITION,
    DOMAIN_PERCENTILE,
    ELEMENTS,
    FORMULA,
    HULL_DISTANCE,
    IS_KNOWN,
    N_ATOMS,
    OUT_OF_DOMAIN,
    OXIDATION_STATES,
    P_STABLE,
    PARETO_FRONT,
    PRICE,
    RANK,
    RULE_BRANCH,
    RULE_BRANCHES,
    SCORE,
    SECOND_STATES,
    Column,
    arrow_schema,
    property_columns,
)
from irnet_core.screening.candidates import AMOUNTS, NUMBERS
from irnet_core.screening.phases import Phases

CANONICAL = Column(
    FORMULA.name,
    FORMULA.type,
    "",
    "canonical formula: smallest whole amounts, elements in alphabetical order",
)
_FIRST = (RANK, SCORE, CANDIDATE, CANONICAL, CHEMICAL_SYSTEM, ELEMENTS, N_ATOMS)
_LAST = (
    HULL_DISTANCE,
    P_STABLE,
    DECOMPOSITION,
    RULE_BRANCH,
    OXIDATION_STATES,
    SECOND_STATES,
    IS_KNOWN,
    DOMAIN_PERCENTILE,
    OUT_OF_DOMAIN,
    PARETO_FRONT,
    PRICE,
)
COLUMNS = (*_FIRST, *_LAST)
"""Columns that a ranked table may have beside predicted properties."""
_ABC = sorted(SYMBOLS[1:])
_PLACE = np.zeros(len(SYMBOLS), np.uint8)  # of each element in the alphabet, from 1; 0 for none
_PLACE[[SYMBOLS.index(symbol) for symbol in _ABC]] = np.arange(1, len(SYMBOLS))
_WIDTH = 8  # elements in a row at most: their places then fit an int64


def ranked_table(
    columns: Mapping[str, Any], properties: Mapping[str, str], first_rank: int = 1
) -> pa.Table:
    """A block of the ranked table, best first.

    Parameters
    ----------
    columns : mapping of str to array_like
        ``numbers`` (n, k) and ``amounts`` (n, k), atomic numbers and whole amounts padded with 0,
        and any of the columns of :mod:`irnet_core.schema` by name, (n,) each: ``score``,
        ``candidate``, ``energy_above_hull``, ``p_stable``, ``decomposition`` (texts, see
        :func:`decompositions`), ``rule_branch`` (codes of
        :data:`irnet_core.schema.RULE_BRANCHES`), ``oxidation_states`` and
        ``second_oxidation_states`` (n, k) in the slots of `numbers`, and so on. What was not
        computed is left out, and absent from the table.
    properties : mapping of str to str
        Predicted properties and their units. ``columns`` holds an array (n,) under each name, and
        may under the name with ``_std``, ``_lower_90`` and ``_upper_90``.
    first_rank : int
        Rank of the first row.

    Returns
    -------
    pyarrow.Table
        Columns with units and meanings, in one order whatever that of `columns`. NaN becomes null
        everywhere, and so do the oxidation states of rows that have none.

    Raises
    ------
    ScreenError
        If a column is unknown or missing, or lengths differ.

    Examples
    --------
    >>> table = ranked_table(
    ...     {"numbers": [[3, 8, 26]], "amounts": [[1, 2, 1]], "band_gap_ev": [2.5]},
    ...     {"band_gap_ev": "eV"},
    ... )
    >>> table.drop_columns("elements").to_pylist()
    [{'rank': 1, 'formula': 'FeLiO2', 'chemical_system': 'Fe-Li-O', 'n_atoms': 4,
    'band_gap_ev': 2.5}]
    """
    predicted = [c for name, unit in properties.items() for c in property_columns(name, unit)]
    known = {column.name: column for column in (*_FIRST, *predicted, *_LAST)}
    numbers, amounts = _compositions(columns)
    n = len(numbers)
    made = {RANK.name, FORMULA.name, CHEMICAL_SYSTEM.name, ELEMENTS.name, N_ATOMS.name}
    given = [name for name in columns if name not in (NUMBERS, AMOUNTS)]
    if unknown := [name for name in given if name not in known or name in made]:
        raise ScreenError(
            f"the ranked table cannot take a column {unknown[0]!r}: leave it out, or declare it as"
            " a property"
        )
    if missing := [name for name in properties if name not in columns]:
        raise ScreenError(f"property {missing[0]!r} has no column: give its predictions")
    for name in given:
        if len(columns[name]) != n:
            raise ScreenError(f"column {name!r} has {len(columns[name])} rows, not {n}")
    order, places = _alphabetical(numbers)
    arrays: dict[str, Any] = {
        RANK.name: pa.array(np.arange(first_rank, first_rank + n, dtype=np.int64)),
        FORMULA.name: pa.array(canonical_formulas(numbers, amounts)[0], FORMULA.type),
        N_ATOMS.name: pa.array(amounts.sum(1, dtype=np.int64).astype(np.int16)),
    }
    arrays[CHEMICAL_SYSTEM.name], arrays[ELEMENTS.name] = _systems(places)
    for name in given:
        if name in (OXIDATION_STATES.name, SECOND_STATES.name):
            arrays[name] = _states(np.asarray(columns[name], np.int8), order, places)
        elif name == RULE_BRANCH.name:
            arrays[name] = _branches(columns[name])
        else:
            arrays[name] = _plain(columns[name], known[name].type)
    wanted = [column for name, column in known.items() if name in arrays]
    return pa.table([arrays[c.name] for c in wanted], schema=arrow_schema(wanted))


def decompositions(phases: Phases, products: ArrayLike, fractions: ArrayLike) -> pa.Array:
    """What candidates decompose into, as texts such as ``0.667 Li2O + 0.333 Fe2O3``.

    Parameters
    ----------
    phases : Phases
        Those of the hull.
    products : array_like of int, shape (n, k)
        Positions in `phases`, the largest share first, -1 in empty slots at the end.
    fractions : array_like of float, shape (n, k)
        Share of the atoms that goes into each.

    Returns
    -------
    pyarrow.StringArray, (n,)
        Null where there is no product.
    """
    product = np.asarray(products)
    used = product >= 0
    distinct, which = np.unique(product[used], return_inverse=True)
    place = np.full(product.shape, -1, np.int64)
    place[used] = which
    spelled, _ = canonical_formulas(phases.numbers[distinct], phases.fractions[distinct])
    return product_texts(spelled.tolist(), place, fractions)


def product_texts(formulas: Sequence[str], products: ArrayLike, fractions: ArrayLike) -> pa.Array:
    """What candidates decompose into, as the texts of :func:`decompositions`, from formulas.

    Parameters
    ----------
    formulas : sequence of str
        Of the products.
    products : array_like of int, shape (n, k)
        Places in the formulas, the largest share first, -1 in empty slots.
    fractions : array_like of float, shape (n, k)
        Share of the atoms that goes into each.

    Returns
    -------
    pyarrow.StringArray, (n,)
        Null where there is no product.
    """
    place, share = np.asarray(products, np.int64), np.asarray(fractions, np.float64)
    used = place >= 0
    names = pa.array(formulas, pa.string())
    shares = pa.array([f"{max(t, 1) / 1000:g} " for t in range(1001)])
    thousandths = np.rint(np.where(used, share, 0.0) * 1000).astype(np.int64).clip(0, 1000)
    parts: list[Any] = []
    for slot in range(place.shape[1]):
        valid = used[:, slot]
        share_text = shares.take(_indices(thousandths[:, slot], valid))
        name = names.take(_indices(place[:, slot], valid))
        glue = pa.array(["", " + "]).take(pa.array(np.full(len(valid), min(slot, 1))))
        parts.append(pc.binary_join_element_wise(glue, share_text, name, ""))  # null if one is
    # not null_handling="skip", under which Arrow 26 loses rows that have nothing but nulls
    joined = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    return pc.if_else(pa.array(used.any(1)), joined, pa.scalar(None, pa.string()))


def _compositions(columns: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if missing := {NUMBERS, AMOUNTS} - columns.keys():
        raise ScreenError(f"the ranked table needs the arrays {sorted(missing)}")
    numbers = np.asarray(columns[NUMBERS], np.uint8)
    amounts = np.asarray(columns[AMOUNTS], np.int64)
    if numbers.ndim != 2 or numbers.shape != amounts.shape or numbers.shape[1] > _WIDTH:
        raise ScreenError(
            f"numbers {numbers.shape} and amounts {amounts.shape} should be tables of one shape,"
            f" with at most {_WIDTH} columns"
        )
    if ((numbers > 0) != (amounts > 0)).any() or (numbers >= len(SYMBOLS)).any():
        raise ScreenError("each atomic number needs an amount; pad both with 0")
    return numbers, amounts


def _alphabetical(numbers: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Slots (n, k) in the order of symbols, empty ones last, and the elements' places there."""
    place = _PLACE[numbers]
    order = np.argsort(place - np.uint8(1), axis=1, kind="stable")  # 0 - 1 wraps to 255
    return order, np.take_along_axis(place, order, axis=1)


def _systems(places: NDArray[np.uint8]) -> tuple[pa.Array, pa.Array]:
    """Systems and lists of elements: few are distinct, and only those are spelled."""
    keys = np.zeros(len(places), np.int64)
    for column in places.T:
        keys = keys << 8 | column
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    symbols = [[_ABC[p - 1] for p in row if p] for row in places[first].tolist()]
    index = pa.array(which)
    texts = pa.array(["-".join(row) for row in symbols], CHEMICAL_SYSTEM.type)
    return texts.take(index), pa.array(symbols, ELEMENTS.type).take(index)


def _states(
    states: NDArray[np.int8], order: NDArray[np.intp], places: NDArray[np.uint8]
) -> pa.Array:
    """Oxidation states in the formula's order; null where all are 0."""
    if states.shape != places.shape:
        raise ScreenError(f"oxidation states {states.shape} should be in slots {places.shape}")
    ordered = np.take_along_axis(states, order, axis=1)
    known = (ordered != 0).any(1)
    kept = (places > 0) & known[:, None]
    offsets = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32)
    mask = None if known.all() else pa.array(~known)
    return pa.ListArray.from_arrays(
        offsets, pa.array(ordered[kept]), type=OXIDATION_STATES.type, mask=mask
    )


def _branches(codes: ArrayLike) -> pa.Array:
    code = np.asarray(codes)
    if code.min(initial=0) < 0 or code.max(initial=0) >= len(RULE_BRANCHES):
        raise ScreenError(f"rule branches are codes from 0 to {len(RULE_BRANCHES) - 1}")
    texts: Sequence[str] = RULE_BRANCHES
    return pa.array(texts, RULE_BRANCH.type).take(_indices(code, code > 0))


def _plain(values: Any, type_: pa.DataType) -> pa.Array:
    """Numbers, NaN as null, or texts."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return array.cast(type_)
    array = np.asarray(values)
    if np.issubdtype(array.dtype, np.floating):
        return pa.array(array, type_, from_pandas=True)
    return pa.array(array).cast(type_)


def _indices(values: NDArray[Any], valid: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values.astype(np.int64), mask=~valid)
