"""What a model says of formulas in memory: the way of ``irnet predict`` and of the regressor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from featurizers.blocks import encode, without_data
from featurizers.formula import ParsedFormulas, parse_formulas
from irnet_core.errors import DataError
from irnet_core.inference import Predictor
from irnet_core.schema import DOMAIN_PERCENTILE, LOWER_90, PREDICTION, PREDICTION_STD, UPPER_90

CHUNK = 65_536
#: Columns of a :class:`irnet_core.inference.Prediction`, in its order.
OUTPUTS = (PREDICTION, PREDICTION_STD, LOWER_90, UPPER_90, DOMAIN_PERCENTILE)


class Predicted(NamedTuple):
    """What a model says of n formulas.

    Attributes
    ----------
    values : dict of str to numpy.ndarray, float64, (n,)
        By the names of :data:`OUTPUTS`, without those that the model was not calibrated for; NaN in
        rows that cannot be used.
    reasons : dict of int to str
        Why a row cannot be used.
    """

    values: dict[str, np.ndarray]
    reasons: dict[int, str]


def usable(formulas: Sequence[str | None]) -> tuple[ParsedFormulas, dict[int, str]]:
    """Formulas as arrays, and why some rows of them have no features."""
    parsed = parse_formulas(formulas)
    return parsed, parsed.reasons | without_data(parsed.numbers)


def rows_left(rows: int, reasons: Collection[int]) -> np.ndarray:
    """Rows of a table that are not among those with a reason, ascending."""
    return np.setdiff1d(np.arange(rows), np.fromiter(reasons, np.int64, len(reasons)))


def refuse_unusable(rows: int, reasons: Mapping[int, str], source: str, column: str) -> None:
    """Refuse a table of which no row can be used.

    Parameters
    ----------
    rows : int
        How many it has.
    reasons : mapping of int to str
        Of :func:`usable`.
    source, column : str
        The table, and its column of formulas, for the message.

    Raises
    ------
    DataError
        If every row has a reason, naming that of the first.
    """
    if len(reasons) == rows:
        first = min(reasons)
        raise DataError(
            f"no formula can be used, the first because: {reasons[first]}; correct the formulas or "
            "name another column with --formula-column",
            source=source,
            column=column,
            row=first,
        )


def predict_formulas(
    predictor: Predictor,
    blocks: Sequence[str],
    formulas: pa.Array | pa.ChunkedArray,
    update: Callable[[int], None] = lambda done: None,
) -> Predicted:
    """Predict for formulas, some 65,000 at a time.

    Parameters
    ----------
    predictor : Predictor
    blocks : sequence of str
        Of features, see :func:`flows.models.input_blocks`.
    formulas : pyarrow.Array or ChunkedArray of strings, n
    update : callable, optional
        Called with the number of rows done.
    """
    values: dict[str, np.ndarray] = {}
    reasons: dict[int, str] = {}
    for start in range(0, len(formulas), CHUNK):
        some = formulas.slice(start, CHUNK).to_pylist()
        parsed, bad = usable(some)
        reasons |= {start + row: reason for row, reason in bad.items()}
        good = rows_left(len(some), bad)
        inputs = encode(parsed.numbers[good], parsed.amounts[good], blocks)
        for column, found in zip(OUTPUTS, predictor.predict(inputs), strict=True):
            if found is not None:
                whole = values.setdefault(column.name, np.full(len(formulas), np.nan))
                whole[start + good] = found.cpu().numpy()
        update(start + len(some))
    return Predicted(values, reasons)
