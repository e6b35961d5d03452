"""Compositions grouped by their number of elements, so that array code meets no padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from featurizers.arrays import Array
from featurizers.elements import LAST_WITH_MAGPIE_DATA
from featurizers.formula import MAX_ELEMENTS
from irnet_core.errors import FormulaError


def blocks_of_one_size(
    xp: Any, numbers: Array, amounts: Array, rejected: Array | None = None
) -> Iterator[tuple[Array, Array, Array]]:
    """Usable rows in blocks of at most ``xp.block_rows``, all with as many elements.

    Parameters
    ----------
    xp : object
        Operations on the arrays, from :func:`featurizers.arrays.backend`.
    numbers, amounts : ndarray or torch.Tensor, shape (n, k)
        As for :func:`featurizers.composition.featurize_arrays`.
    rejected : ndarray or torch.Tensor of bool, shape (119,), optional
        Elements whose rows are left out, beside those that Magpie knows nothing of.

    Yields
    ------
    rows : int64, shape (m,)
        Indices of the rows.
    z, a : int64 and float64, shape (c, m)
        Numbers and amounts of their c elements.

    Raises
    ------
    FormulaError
        A row has more than 32 elements.
    """
    z = xp.asarray(numbers)
    a = xp.asarray(amounts)
    present = (z > 0) & (a > 0)
    count = xp.full((len(z),), 0, xp.int64)
    for j in range(z.shape[1]):  # by column: reducing short rows is slow
        count += present[:, j]
    unusable = (z > LAST_WITH_MAGPIE_DATA) & present
    if rejected is not None:
        unusable |= rejected[xp.asarray(xp.clip(z, 0, len(rejected) - 1), xp.int64)] & present
    if unusable.any():
        count[unusable.any(1)] = 0
    for c in range(1, z.shape[1] + 1):
        rows = xp.nonzero(count == c)
        if len(rows) and c > MAX_ELEMENTS:
            raise FormulaError(
                f"Row {int(rows[0])} has {c} elements, more than {MAX_ELEMENTS}; remove it."
            )
        for start in range(0, len(rows), xp.block_rows):
            block = rows[start : start + xp.block_rows]
            slots = present[block]
            shape = (len(block), c)
            yield (
                block,
                xp.ascontiguous(xp.asarray(z[block][slots], xp.int64).reshape(shape).T),
                xp.ascontiguous(xp.asarray(a[block][slots], xp.float64).reshape(shape).T),
            )
