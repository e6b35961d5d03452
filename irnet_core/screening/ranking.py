"""The best K of a stream of predictions, in memory of K rows and one chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import ScreenError
from irnet_core.schema import CANDIDATE, PREDICTION, RANK


class TopK:
    """Keeps the K best candidates of all that are pushed.

    The order is total: by value, and by smaller candidate index among equal values. What is kept
    therefore depends on the rows alone, not on how they were cut into chunks or in which order
    the chunks came, as long as no index is pushed twice. NaN is never kept.

    Parameters
    ----------
    k : int
        Rows to keep, at least 1.
    descending : bool
        Whether large values are best; small ones are by default.

    Attributes
    ----------
    n_seen, n_nan : int
        Rows pushed so far, and those of them whose value was NaN.

    Raises
    ------
    ScreenError
        If `k` is below 1.

    Examples
    --------
    >>> best = TopK(2)
    >>> best.push(np.array([0.5, -1.0, 0.0]), np.array([0, 1, 2]))
    >>> best.push(np.array([np.nan, -1.0]), np.array([3, 4]))
    >>> best.table()["candidate"].tolist(), best.n_nan
    ([1, 4], 1)
    """

    def __init__(self, k: int, descending: bool = False) -> None:
        if k < 1:
            raise ScreenError(f"k is {k}; keep at least 1 candidate")
        self.k = k
        self.descending = descending
        self.n_seen = 0
        self.n_nan = 0
        # cost is the value, or its negative if large values are best: small cost is good
        self._threshold = np.float64(np.inf)  # of k rows, none kept costs more
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._n_rows = 0
        self._empty: dict[str, NDArray[Any]] | None = None  # names and types of the first chunk

    def push(self, values: ArrayLike, index: ArrayLike, **columns: ArrayLike) -> None:
        """Offer a chunk of candidates.

        A chunk in which nothing is good enough costs one comparison per row.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            Predictions.
        index : array_like of int, shape (n,)
            Candidate indices, each pushed once.
        **columns : array_like, shape (n, ...)
            Further columns to keep beside them, the same ones in each push.

        Raises
        ------
        ScreenError
            If lengths or column names do not agree.
        """
        value = np.asarray(values, np.float64)
        chunk = {CANDIDATE.name: np.asarray(index)}
        chunk |= {name: np.asarray(column) for name, column in columns.items()}
        self._check(value, chunk)
        chunk[CANDIDATE.name] = chunk[CANDIDATE.name].astype(np.int64, copy=False)
        self.n_seen += len(value)
        self.n_nan += int(np.isnan(value).sum())
        cost = -value if self.descending else value
        good = np.flatnonzero(cost <= self._threshold)  # never NaN
        if len(good) == 0:
            return
        self._parts.append({PREDICTION.name: cost[good]} | _rows(chunk, good))
        self._n_rows += len(good)
        if self._n_rows > 2 * self.k:
            self._compact()

    def merge(self, other: TopK) -> None:
        """Take in the rows of another ranking, as if its chunks had been pushed here.

        Raises
        ------
        ScreenError
            If the other ranking keeps other rows, or other columns.
        """
        if (self.k, self.descending) != (other.k, other.descending):
            raise ScreenError(
                f"rankings of {self.k} and {other.k} rows, descending {self.descending} and"
                f" {other.descending}, cannot be merged; make them alike"
            )
        n_seen, n_nan = self.n_seen + other.n_seen, self.n_nan + other.n_nan
        if other._empty is not None:
            rows = other.table()
            del rows[RANK.name]
            self.push(rows.pop(PREDICTION.name), rows.pop(CANDIDATE.name), **rows)
        self.n_seen, self.n_nan = n_seen, n_nan

    def table(self) -> dict[str, NDArray[Any]]:
        """The kept rows, best first.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns ``rank`` (from 1), ``candidate``, ``prediction`` and those pushed, each of
            at most K rows.
        """
        self._compact()
        empty = self._empty or {CANDIDATE.name: np.empty(0, np.int64)}
        kept = self._parts[0] if self._parts else {PREDICTION.name: np.empty(0), **empty}
        cost = kept[PREDICTION.name]
        order = np.lexsort((kept[CANDIDATE.name], cost))
        rows = _rows(kept, order)
        rank = np.arange(1, len(order) + 1, dtype=np.int64)
        value = rows.pop(PREDICTION.name)
        return {
            RANK.name: rank,
            CANDIDATE.name: rows.pop(CANDIDATE.name),
            PREDICTION.name: -value if self.descending else value,
            **rows,
        }

    def _check(self, value: NDArray[np.float64], chunk: dict[str, NDArray[Any]]) -> None:
        if value.ndim != 1 or not np.issubdtype(chunk[CANDIDATE.name].dtype, np.integer):
            raise ScreenError("values and index should be vectors, of floats and of integers")
        for name, column in chunk.items():
            if column.shape[:1] != value.shape:
                raise ScreenError(
                    f"column {name!r} of shape {column.shape} should have {len(value)} rows"
                )
        if reserved := {RANK.name, PREDICTION.name} & chunk.keys():
            raise ScreenError(f"columns {sorted(reserved)} are made here; rename them")
        if self._empty is None:
            self._empty = {name: column[:0].copy() for name, column in chunk.items()}
        elif self._empty.keys() != chunk.keys():
            raise ScreenError(
                f"columns {sorted(chunk)} differ from {sorted(self._empty)} of the first push"
            )

    def _compact(self) -> None:
        """Reduce the parts to one of at most k rows."""
        if not self._parts:
            return
        rows = {
            name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]
        }
        if self._n_rows > self.k:
            best = _best(rows[PREDICTION.name], rows[CANDIDATE.name], self.k)
            rows = _rows(rows, best)
        self._parts = [rows]
        self._n_rows = len(rows[PREDICTION.name])
        if self._n_rows == self.k:
            self._threshold = rows[PREDICTION.name].max()


def _best(cost: NDArray[np.float64], index: NDArray[np.integer], k: int) -> NDArray[np.intp]:
    """Rows of the k smallest costs, in no order; ties go to the smaller index."""
    last = np.partition(cost, k - 1)[k - 1]
    better = np.flatnonzero(cost < last)
    tied = np.flatnonzero(cost == last)
    places = k - len(better)
    tied = tied[np.argpartition(index[tied], places - 1)[:places]]
    return np.concatenate([better, tied])


def _rows(table: dict[str, NDArray[Any]], rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    return {name: column[rows] for name, column in table.items()}
