"""Statistics over the sites of each of many structures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SITE_STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev")


class Segments:
    """Values of sites that stand structure by structure, summed up for each structure.

    Parameters
    ----------
    offsets, sizes : ndarray, int64, shape (m,)
        First site of each structure, and how many it has.

    Examples
    --------
    >>> Segments(np.array([0, 2]), np.array([2, 1])).mean(np.array([1.0, 3.0, 5.0]))
    array([2., 5.])
    """

    def __init__(self, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self.offsets, self.sizes = offsets, sizes

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means of values (n, ...) over sites, (m, ...)."""
        sums = np.add.reduceat(values, self.offsets, axis=0)
        return sums / self.sizes.reshape(-1, *[1] * (values.ndim - 1))

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (m, ...) of structures for each of their sites, (n, ...)."""
        return np.repeat(values, self.sizes, axis=0)

    def deviation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean absolute deviations of values (n, ...) over sites, (m, ...)."""
        return self.mean(np.abs(values - self.spread(self.mean(values))))

    def statistics(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """:data:`SITE_STATISTICS` of values (n, p), (m, p, 5)."""
        low = np.minimum.reduceat(values, self.offsets, axis=0)
        high = np.maximum.reduceat(values, self.offsets, axis=0)
        parts = [low, high, high - low, self.mean(values), self.deviation(values)]
        return np.stack(parts, axis=2)
