"""The best K of a stream of scores, in memory of K rows and one chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irnet_core.errors import ScreenError
from irnet_core.schema import CANDIDATE, RANK, SCORE

GROUP = "group"  # column of the limit per group


class TopK:
    """Keeps the K best candidates of all that are pushed.

    The smallest scores are best. The order is total: by score, and by smaller candidate index among
    equal scores. What is kept therefore depends on the rows alone, not on how they were cut into
    chunks or in which order the chunks came, as long as no index is pushed twice. NaN is never
    kept.

    Parameters
    ----------
    k : int
        Rows to keep, at least 1.
    most_per_group : int, optional
        Rows of each group to keep at most, the best ones; groups are pushed as ``group``.

    Raises
    ------
    ScreenError
        If `k` or `most_per_group` is below 1.

    Examples
    --------
    >>> best = TopK(2)
    >>> best.push(np.array([0.5, -1.0, 0.0]), np.array([0, 1, 2]))
    >>> best.push(np.array([np.nan, -1.0]), np.array([3, 4]))
    >>> best.table()["candidate"].tolist()
    [1, 4]
    """

    def __init__(self, k: int, most_per_group: int | None = None) -> None:
        if k < 1:
            raise ScreenError(f"k is {k}; keep at least 1 candidate")
        if most_per_group is not None and most_per_group < 1:
            raise ScreenError(f"{most_per_group} per group keeps none; keep at least 1")
        self.k = k
        self.most_per_group = most_per_group
        self._threshold = np.float64(np.inf)  # of k rows, none kept has a larger score
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._n_rows = 0
        self._empty: dict[str, NDArray[Any]] | None = None  # names and types of the first chunk

    def hopeful(self, scores: ArrayLike) -> NDArray[np.intp]:
        """Rows of a chunk that are good enough to be kept, as things stand: push no others.

        Parameters
        ----------
        scores : array_like of float, shape (n,)
        """
        return np.flatnonzero(np.asarray(scores, np.float64) <= self._threshold)  # never NaN

    def push(self, values: ArrayLike, index: ArrayLike, **columns: ArrayLike) -> None:
        """Offer a chunk of candidates.

        A chunk in which nothing is good enough costs one comparison per row.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            Scores.
        index : array_like of int, shape (n,)
            Candidate indices, each pushed once.
        **columns : array_like, shape (n, ...)
            Further columns to keep beside them, the same ones in each push; ``group`` (integers)
            among them if there is a limit per group.

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
        good = self.hopeful(value)
        if len(good) == 0:
            return
        self._parts.append({SCORE.name: value[good]} | _rows(chunk, good))
        self._n_rows += len(good)
        if self._n_rows > 2 * self.k:
            self._compact()

    def table(self) -> dict[str, NDArray[Any]]:
        """The kept rows, best first.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns ``rank`` (from 1), ``candidate``, ``score`` and those pushed, each of at most K
            rows.
        """
        self._compact()
        empty = self._empty or {CANDIDATE.name: np.empty(0, np.int64)}
        kept = self._parts[0] if self._parts else {SCORE.name: np.empty(0), **empty}
        order = np.lexsort((kept[CANDIDATE.name], kept[SCORE.name]))
        rows = _rows(kept, order)
        return {
            RANK.name: np.arange(1, len(order) + 1, dtype=np.int64),
            CANDIDATE.name: rows.pop(CANDIDATE.name),
            SCORE.name: rows.pop(SCORE.name),
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
        if reserved := {RANK.name, SCORE.name} & chunk.keys():
            raise ScreenError(f"columns {sorted(reserved)} are made here; rename them")
        if self.most_per_group is not None and GROUP not in chunk:
            raise ScreenError(f"a limit per group needs the column {GROUP!r}")
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
        if self.most_per_group is not None:
            rows = _rows(rows, _best_of_groups(rows, self.most_per_group))
        if len(rows[SCORE.name]) > self.k:
            best = _best(rows[SCORE.name], rows[CANDIDATE.name], self.k)
            rows = _rows(rows, best)
        self._parts = [rows]
        self._n_rows = len(rows[SCORE.name])
        if self._n_rows == self.k:
            self._threshold = rows[SCORE.name].max()


def _best_of_groups(rows: dict[str, NDArray[Any]], most: int) -> NDArray[np.intp]:
    """Rows that are among the best of their group, in no order."""
    order = np.lexsort((rows[CANDIDATE.name], rows[SCORE.name], rows[GROUP]))
    group = rows[GROUP][order]
    begins = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    place = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    return order[place < most]


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
