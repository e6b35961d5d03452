"""Rows with a canonical composition, and rows that cannot be used, table by table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurizers.formula import canonical_formulas, parse_formulas
from infra import duck
from infra.pull.unit_rows import row_keys
from irnet_core.errors import DataError
from irnet_core.schema import (
    COMPOSITION,
    FORMULA,
    REASON,
    REJECTED,
    ROW,
    SCHEMA_VERSION,
    SOURCE_ID,
    arrow_schema,
)

_MOST_REASONS = 20
_MOST_COUNTED = 10_000  # different reasons
_MOST_FORMULA = 1_000  # characters of a rejected formula that are kept
_ADDED = (ROW, FORMULA, COMPOSITION)


class Splitter:
    """Divides the tables of a source, one after the other, into usable and rejected rows.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the tables; with a text column ``formula``.
    source : str
        Name of the source, for messages.
    database : bool
        Whether the tables have ``source_id``, by which rows that came before are left out, and
        ``reason``, by which rows are rejected already.

    Attributes
    ----------
    data, rejected : pyarrow.Schema
        Of what :meth:`split` gives.
    duplicates : int
        Rows left out.

    Raises
    ------
    DataError
        If a column bears a name that is added here.
    """

    def __init__(self, schema: pa.Schema, source: str, database: bool = False) -> None:
        own = (ROW.name, COMPOSITION.name, duck.NUMBER)
        if pair := duck.clash([*own, *schema.names]):
            known, column = pair
            raise DataError(
                "a snapshot has a column of its own with this name, rename the source's"
                if known in own
                else f"it differs from {known!r} by case alone, rename one of the two",
                source=source,
                column=column,
            )
        self.source, self.database = source, database
        used = {FORMULA.name, *([REASON.name] if database else [])}
        self._others = [name for name in schema.names if name not in used]
        self.data = pa.schema(
            [*(c.field() for c in _ADDED), *(schema.field(name) for name in self._others)],
            metadata={"schema_version": str(SCHEMA_VERSION)},
        )
        self.rejected = arrow_schema((ROW, SOURCE_ID, FORMULA, REASON) if database else REJECTED)
        self.duplicates = 0
        self._keys = pa.chunked_array([], pa.string())  # of all rows of a database so far
        self._rows = self._usable = 0
        self._first = "there are no rows"  # reason of the first rejected row
        self._reasons: Counter[str] = Counter()

    def split(self, table: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Usable rows and rejected rows of the next table."""
        reasons: dict[int, str] = {}
        if self.database:
            table = self._new(table)
            given = table[REASON.name].to_pylist()
            reasons = {row: reason for row, reason in enumerate(given) if reason is not None}
        formulas = table[FORMULA.name].to_pylist()
        parsed = parse_formulas(formulas)
        reasons = {**parsed.reasons, **reasons}
        bad = np.fromiter(sorted(reasons), np.int64, len(reasons))
        good = np.setdiff1d(np.arange(len(formulas)), bad)
        compositions, _ = canonical_formulas(parsed.numbers[good], parsed.amounts[good])
        kept, refused = table.take(pa.array(good)), table.take(pa.array(bad))
        data = pa.table(
            [
                pa.array(good + self._rows, ROW.type),
                kept[FORMULA.name],
                pa.array(compositions, COMPOSITION.type),
                *(kept[name] for name in self._others),
            ],
            schema=self.data,
        )
        texts = [reasons[row] for row in bad.tolist()]
        rejected = pa.table(
            [
                pa.array(bad + self._rows, ROW.type),
                *([refused[SOURCE_ID.name]] if self.database else []),
                pc.utf8_slice_codeunits(refused[FORMULA.name], 0, _MOST_FORMULA),
                pa.array(texts, REASON.type),
            ],
            schema=self.rejected,
        )
        if texts and not self._reasons:
            self._first = texts[0]
        self._reasons.update(texts)
        if len(self._reasons) > _MOST_COUNTED:
            self._reasons = Counter(dict(self._reasons.most_common(_MOST_COUNTED // 2)))
        self._rows += len(formulas)
        self._usable += len(good)
        return data, rejected

    def counts(self) -> dict[str, Any]:
        """Rows in, out and rejected, and the most frequent reasons.

        Raises
        ------
        DataError
            If no row can be used.
        """
        if not self._usable:
            remedy = "correct the formulas or name another column"
            if self.database:
                remedy = "check the filter"
            raise DataError(
                f"no row has a formula that can be read, the first because: {self._first}; "
                f"{remedy}",
                source=self.source,
                column=None if self.database else FORMULA.name,
                row=0 if self._rows and not self.database else None,
            )
        return {
            "rows_in": self._rows,
            "rows": self._usable,
            "rejected": self._rows - self._usable,
            "reasons": dict(self._reasons.most_common(_MOST_REASONS)),
        }

    def _new(self, table: pa.Table) -> pa.Table:
        """The rows that no table before had."""
        keys = row_keys(table)
        old = pc.and_(pc.is_in(keys, self._keys), pc.is_valid(keys))
        if found := pc.sum(old).as_py():
            self.duplicates += found
            table, keys = table.filter(pc.invert(old)), keys.filter(pc.invert(old))
        self._keys = pa.chunked_array([*self._keys.chunks, keys])
        return table
