"""The ranked table that users query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formulas
from irnet_core.schema import (
    CANDIDATE,
    CHEMICAL_SYSTEM,
    FORMULA,
    N_ATOMS,
    OXIDATION_STATES,
    PREDICTION,
    RANK,
    arrow_schema,
)
from irnet_core.screening.ranking import TopK

COLUMNS = (RANK, CANDIDATE, FORMULA, CHEMICAL_SYSTEM, N_ATOMS, PREDICTION, OXIDATION_STATES)


def ranked_table(best: TopK, screened: bool) -> pa.Table:
    """The table that users query: best first, with formulas and, under rules, charges."""
    rows = best.table()
    numbers, amounts = rows["numbers"], rows["amounts"]
    formulas, _ = canonical_formulas(numbers, amounts.astype(np.float64))
    symbols = np.array(SYMBOLS, dtype=object)[numbers]  # (n, arity)
    # the formula's elements are in alphabetical order, the arrays' in order of atomic number
    order = np.argsort(symbols.astype(str), axis=1)
    symbols = np.take_along_axis(symbols, order, axis=1)
    states = np.take_along_axis(rows["oxidation_states"], order, axis=1)
    columns = {
        RANK.name: np.arange(1, len(formulas) + 1),
        CANDIDATE.name: rows[CANDIDATE.name],
        FORMULA.name: formulas,
        CHEMICAL_SYSTEM.name: ["-".join(row) for row in symbols],
        N_ATOMS.name: amounts.sum(axis=1),
        PREDICTION.name: rows[PREDICTION.name],
        OXIDATION_STATES.name: states.tolist() if screened else [None] * len(formulas),
    }
    return pa.table(
        [pa.array(columns[column.name], column.type) for column in COLUMNS],
        schema=arrow_schema(COLUMNS),
    )
