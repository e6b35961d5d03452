"""Snapshots: the rows of a source at one time, with canonical compositions, never changed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from featurizers.formula import canonical_formulas, parse_formulas
from infra.artifact import REJECTED_ROWS
from infra.manifest import Manifest, request_digest, utc_now
from infra.sources.base import Source
from infra.store import Store
from irnet_core.errors import DataError
from irnet_core.schema import (
    COMPOSITION,
    FORMULA,
    REASON,
    REJECTED,
    ROW,
    SCHEMA_VERSION,
    arrow_schema,
)

DATA = "data.parquet"
_MOST_REASONS = 20
ROW_GROUP = 50_000  # rows that are featurized together: one Dask task


def build_snapshot(source: Source, store: Store, names: Iterable[str] = ()) -> Manifest:
    """Take a snapshot of a source, or return the one that was taken of the same data before.

    ``data.parquet`` has the row in the source, the formula, its canonical composition and the
    source's other columns; ``rejected.parquet`` has the rows whose formula cannot be read, with
    the reason.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    store : Store
        Where the snapshot goes.
    names : iterable of str
        Names for the snapshot besides that of the source.

    Returns
    -------
    Manifest
        Its ``counts`` are rows in, out and rejected, distinct compositions, and reasons.

    Raises
    ------
    SourceError
        If the source cannot be read.
    DataError
        If no row has a formula that can be read, or a column's name is taken.
    StoreError
        If the store cannot be written.
    """
    started = utc_now()
    names = (source.name, *names)
    parameters = source.fingerprint()
    request = request_digest("snapshots", {}, parameters)
    if found := store.find("snapshots", request):
        store.name(found, names)
        return found
    data, rejected, counts = split_rows(source.read(), _label(source))
    with store.staging("snapshots", request) as staging:
        staging.write_table(DATA, data, row_group_size=ROW_GROUP)
        staging.write_table(REJECTED_ROWS, rejected)
        return store.publish(
            staging,
            [DATA, REJECTED_ROWS],
            what=source.what,
            parameters={**parameters, "label": _label(source)},
            rows=data.num_rows,
            counts=counts,
            licence=source.licence,
            citation=source.citation,
            started=started,
            names=names,
        )


def split_rows(
    table: pa.Table, source: str
) -> tuple[pa.Table, pa.Table, dict[str, int | dict[str, int]]]:
    """Rows with a canonical composition, rows that cannot be used, and how many of each.

    Parameters
    ----------
    table : pyarrow.Table
        With a text column ``formula``.
    source : str
        Name of the source, for messages.

    Raises
    ------
    DataError
        If a column bears a name that is added here, or no row can be used.
    """
    for column in (ROW, COMPOSITION):
        if column.name in table.column_names:
            raise DataError(
                "a snapshot has a column of its own with this name, rename the source's",
                source=source,
                column=column.name,
            )
    formulas = table.column(FORMULA.name).to_pylist()
    parsed = parse_formulas(formulas)
    bad = np.fromiter(sorted(parsed.reasons), np.int64, len(parsed.reasons))
    if len(bad) == len(formulas):
        reason = parsed.reasons[0] if formulas else "there are no rows"
        raise DataError(
            f"no row has a formula that can be read, the first because: {reason}; correct the "
            "formulas or name another column",
            source=source,
            column=FORMULA.name,
            row=0 if formulas else None,
        )
    good = np.setdiff1d(np.arange(len(formulas)), bad)
    compositions, _ = canonical_formulas(parsed.numbers[good], parsed.amounts[good])
    others = [name for name in table.column_names if name != FORMULA.name]
    kept = table.take(pa.array(good))
    data = pa.table(
        [
            pa.array(good, ROW.type),
            kept.column(FORMULA.name),
            pa.array(compositions, COMPOSITION.type),
            *(kept.column(name) for name in others),
        ],
        schema=pa.schema(
            [
                *(column.field() for column in (ROW, FORMULA, COMPOSITION)),
                *(table.schema.field(name) for name in others),
            ],
            metadata={"schema_version": str(SCHEMA_VERSION)},
        ),
    )
    reasons = [parsed.reasons[row] for row in bad.tolist()]
    rejected = pa.table(
        [
            pa.array(bad, ROW.type),
            table.column(FORMULA.name).take(pa.array(bad)),
            pa.array(reasons, REASON.type),
        ],
        schema=arrow_schema(REJECTED),
    )
    counts: dict[str, int | dict[str, int]] = {
        "rows_in": len(formulas),
        "rows": data.num_rows,
        "rejected": rejected.num_rows,
        "distinct_compositions": len(set(compositions.tolist())),
        "reasons": dict(Counter(reasons).most_common(_MOST_REASONS)),
    }
    return data, rejected, counts


def _label(source: Source) -> str:
    """The file's path where the source is a file, else the source's name."""
    return str(getattr(source, "path", source.name))
