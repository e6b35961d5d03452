"""The ranked table of a screen by one model's prediction alone."""

from __future__ import annotations

import pyarrow as pa

from infra.ranked import ranked_table as table_of
from irnet_core.schema import OXIDATION_STATES, PREDICTION, RANK
from irnet_core.screening.ranking import TopK


def ranked_table(best: TopK, screened: bool) -> pa.Table:
    """The table that users query: best first, with formulas and, under rules, charges."""
    columns = best.table()
    del columns[RANK.name]
    if not screened:
        del columns[OXIDATION_STATES.name]
    return table_of(columns, {PREDICTION.name: PREDICTION.unit})
