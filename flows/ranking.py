"""From the merged ranking of all shards to the columns of the ranked table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurizers.elements import SYMBOLS
from featurizers.filled import MARK, binaries
from featurizers.formula import canonical_formulas
from featurizers.fractions import element_fractions
from flows.screen_plan import Plan
from infra.artifact import DATA
from infra.ranked import product_texts
from infra.store import Store
from irnet_core.schema import (
    COMPOSITION,
    DECOMPOSITION,
    DOMAIN_PERCENTILE,
    OUT_OF_DOMAIN,
    PARETO_FRONT,
    RANK,
)
from irnet_core.screening.candidates import AMOUNTS, NUMBERS, Family
from irnet_core.screening.diversity import pareto_fronts, spread
from irnet_core.screening.engine import COST
from irnet_core.screening.ranking import GROUP
from irnet_core.screening.stability import CANDIDATE_CODE, NOTHING, PRODUCTS, SHARES

FLAGGED_BEYOND = 99.0  # percentile of the training data
MOST_IN_FRONTS = 100_000  # fronts are found one candidate after the other

Rows = dict[str, NDArray[Any]]


def ranked_columns(rows: Rows, plan: Plan, store: Store, candidates: Family) -> dict[str, Any]:
    """Columns of the ranked table, best first, the arrays of compositions among them.

    Parameters
    ----------
    rows : dict of str to numpy.ndarray
        Of :meth:`irnet_core.screening.ranking.TopK.table`.
    plan : Plan
    store : Store
        With the snapshot of the known phases.
    candidates : Family
        What the ranking is of.
    """
    if plan.spread is not None:
        fractions = element_fractions(rows[NUMBERS], rows[AMOUNTS].astype(np.float64))
        chosen = spread(np.asarray(fractions), plan.spread, plan.top)
        rows = {name: column[chosen] for name, column in rows.items()}
        rows[RANK.name] = np.arange(1, len(chosen) + 1)
    columns: dict[str, Any] = {
        name: column
        for name, column in rows.items()
        if not name.startswith(COST) and name not in (GROUP, PRODUCTS, SHARES)
    }
    costs = [column for name, column in rows.items() if name.startswith(COST)]
    if len(costs) > 1 and len(costs[0]) <= MOST_IN_FRONTS:
        columns[PARETO_FRONT.name] = pareto_fronts(np.column_stack(costs))
    if DOMAIN_PERCENTILE.name in columns:
        columns[OUT_OF_DOMAIN.name] = columns[DOMAIN_PERCENTILE.name] > FLAGGED_BEYOND
    if PRODUCTS in rows and plan.hull is not None:
        snapshot = store.open(plan.hull.snapshot, "snapshots")
        known = snapshot.read_table(DATA, [COMPOSITION.name]).column(COMPOSITION.name)
        filled = binaries(plan.limits.elements, plan.limits.max_atoms) if plan.hull.filled else None
        columns[DECOMPOSITION.name] = _decompositions(
            rows[PRODUCTS], rows[SHARES], known, filled, candidates
        )
    return columns


def _decompositions(
    codes: NDArray[np.int64],
    shares: NDArray[np.float32],
    known: pa.ChunkedArray,
    filled: Family | None,
    candidates: Family,
) -> pa.Array:
    """Products as text, such as ``0.667 Li2O + 0.333 Fe2O3``; shares are of the atoms."""
    used = codes != NOTHING
    distinct, which = np.unique(codes[used], return_inverse=True)
    place = np.full(codes.shape, -1, np.int64)
    place[used] = which
    return product_texts(_names(distinct, known, filled, candidates), place, shares)


def _names(
    codes: NDArray[np.int64], known: pa.ChunkedArray, filled: Family | None, candidates: Family
) -> list[str]:
    """Formulas of the codes of :mod:`irnet_core.screening.stability`."""
    names = []
    for code in codes.tolist():
        if code < 0:
            names.append(SYMBOLS[-code])
        elif code < len(known):
            names.append(known[code].as_py())
        elif code < CANDIDATE_CODE and filled is not None:
            names.append(_formula(filled, code - len(known)) + MARK)
        else:
            names.append(_formula(candidates, code - CANDIDATE_CODE))
    return names


def _formula(family: Family, index: int) -> str:
    numbers, amounts = family.take(index, index + 1)
    return str(canonical_formulas(numbers, amounts.astype(np.float64))[0][0])
