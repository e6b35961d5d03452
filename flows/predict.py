"""Predict for a table of formulas: no flow, one pass over a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from flows.formulas import OUTPUTS, predict_formulas, refuse_unusable
from flows.models import input_blocks, open_model
from flows.output import output_path, user_file
from flows.progress import progress
from infra.settings import settings
from infra.sources.file import TableFile
from infra.store import Store
from infra.threads import use_threads
from irnet_core.device import pick_device
from irnet_core.errors import DataError
from irnet_core.inference import Predictor
from irnet_core.schema import DOMAIN_PERCENTILE, FORMULA, PREDICTION, REASON


def predict(model: str, source: str, output: str, formula_column: str) -> tuple[int, int]:
    """Add a model's prediction to a table.

    Parameters
    ----------
    model : str
        Name or id in the store, or a bundle's folder.
    source, output : str
        CSV or Parquet; the output is written whole or not at all.
    formula_column : str

    Returns
    -------
    predicted, rejected : int
        Rows with a prediction, and rows whose formula cannot be used: these are kept, with an
        empty prediction and a column that says why.

    Raises
    ------
    DataError
        If no formula can be used, or the table has a column ``prediction`` or another of
        :data:`flows.formulas.OUTPUTS` already.

    Notes
    -----
    Columns that the model was not calibrated for are left out.
    """
    path = output_path(output, ".csv", ".parquet")
    bundle, _ = open_model(model, Store(settings().store))
    blocks = input_blocks(bundle)
    # from CSV to CSV the user's own columns pass through letter by letter, 001 stays 001
    table = TableFile(source, formula_column, as_text=path.suffix == ".csv").read()
    for column in (*OUTPUTS, REASON):
        if column.name in (formula_column, *table.column_names):
            raise DataError(
                "the output has a column of this name, rename it", source=source, column=column.name
            )
    use_threads(settings())
    predictor = Predictor(bundle, pick_device(settings().device))
    with progress("predict", table.num_rows) as update:
        values, reasons = predict_formulas(
            predictor, blocks, table.column(FORMULA.name), lambda done: update(done, "")
        )
    refuse_unusable(table.num_rows, reasons, source, formula_column)
    mask = np.isin(np.arange(table.num_rows), list(reasons))
    for column in OUTPUTS:
        if column.name not in values:
            continue
        meaning = column.meaning
        if column is PREDICTION:
            meaning = f"{bundle.card.target} as {bundle.card.name} has it"
        unit = column.unit if column is DOMAIN_PERCENTILE else bundle.card.unit
        field = column.field().with_metadata({"unit": unit, "meaning": meaning})
        table = table.append_column(field, pa.array(values[column.name], mask=mask))
    if reasons:
        texts = [reasons.get(row) for row in range(table.num_rows)]
        table = table.append_column(REASON.field(), pa.array(texts, REASON.type))
    names = [formula_column if name == FORMULA.name else name for name in table.column_names]
    _write(table.rename_columns(names), path)
    return table.num_rows - len(reasons), len(reasons)


def _write(table: pa.Table, path: Path) -> None:
    try:
        with user_file(path) as file:
            if path.suffix == ".csv":
                pa_csv.write_csv(table, file)
            else:
                pq.write_table(table, file, compression="zstd")
    except pa.ArrowException as error:  # lists and other nested columns
        raise DataError(
            f"the table does not fit into CSV ({error}): let --output end in .parquet",
            source=str(path),
        ) from error
