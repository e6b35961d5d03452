"""Atomic fractions of the elements, for many compositions at once.

They are what ElemNet takes instead of attributes of the elements, and need no property of any.

References
----------
Jha et al., Sci. Rep. 8, 17593 (2018), doi 10.1038/s41598-018-35934-y.
"""

from __future__ import annotations

from featurizers.arrays import Array, backend
from featurizers.elements import LAST_WITH_MAGPIE_DATA, SYMBOLS, TABLE_SHA256
from featurizers.grouping import blocks_of_one_size
from irnet_core.feature_schema import FeatureSchema

FRACTION_NAMES: tuple[str, ...] = tuple(
    f"fraction {symbol}" for symbol in SYMBOLS[1 : LAST_WITH_MAGPIE_DATA + 1]
)
"""Names of the element fractions, H to Cn."""

FRACTION_SCHEMA = FeatureSchema("fractions", FRACTION_NAMES, 1, TABLE_SHA256, "matminer")


def element_fractions(numbers: Array, amounts: Array) -> Array:
    """Atomic fractions of the elements H to Cn.

    Parameters
    ----------
    numbers, amounts : ndarray or torch.Tensor, shape (n, k)
        As for :func:`featurizers.composition.featurize_arrays`.

    Returns
    -------
    ndarray or torch.Tensor, float32, shape (n, 112)
        Columns as in :data:`FRACTION_NAMES`, rows sum to 1. Rows without elements, or with an
        element beyond Cn, are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> x = element_fractions(np.array([[1, 8]]), np.array([[2.0, 1.0]]))
    >>> x[0, [0, 7]].tolist()
    [0.6666666865348816, 0.3333333432674408]
    """
    xp = backend(numbers)
    out = xp.full((len(numbers), len(FRACTION_NAMES)), float("nan"), xp.float32)
    for rows, z, a in blocks_of_one_size(xp, numbers, amounts):
        out[rows] = 0.0
        fractions = xp.asarray(a / a.sum(0), xp.float32)
        for j in range(len(z)):
            out[rows, z[j] - 1] = fractions[j]
    return out
