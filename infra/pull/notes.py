"""Notes on rows: what of them could not be used, and why."""

from __future__ import annotations

import pyarrow as pa

from irnet_core.schema import NOTE


class Notes:
    """What of a row could not be used, and why: the column ``note`` of a table.

    Examples
    --------
    >>> notes = Notes()
    >>> notes.add(1, "band_gap: '?' is no number")
    >>> notes.add(1, "structure: none given")
    >>> notes.column(2).to_pylist()
    [None, "band_gap: '?' is no number; structure: none given"]
    """

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def add(self, row: int, text: str) -> None:
        """Note something about a row, counted from 0 in its table."""
        before = self._texts.get(row)
        self._texts[row] = text if before is None else f"{before}; {text}"

    def column(self, rows: int) -> pa.Array:
        """Notes of a table's rows, null where there are none."""
        return pa.array([self._texts.get(row) for row in range(rows)], NOTE.type)
