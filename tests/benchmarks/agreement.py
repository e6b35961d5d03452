"""How far two tables of attributes agree, by groups of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

COMPOSITION_GROUPS = {
    "stoichiometry": slice(0, 6),
    "element properties": slice(6, 138),
    "valence": slice(138, 142),
    "ionic": slice(142, 145),
}
STRUCTURE_GROUPS = {
    "coordination": slice(0, 4),
    "heterogeneity": slice(4, 12),
    "ordering": slice(12, 15),
    "packing": slice(15, 16),
    "local differences": slice(16, 126),
}

ZERO = 1e-6
"""Values that are smaller on both sides are taken for zero: by symmetry or by definition they are,
and what is left of them is rounding noise."""
OUTLIER = 1e-4
"""Relative difference beyond which a value is reported."""


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Difference over the size of their value, (n, p); 0 where both are zero or both missing."""
    ours = ours.astype(np.float64)
    size = np.abs(theirs)
    relative = np.abs(ours - theirs) / np.maximum(size, ZERO)
    relative[np.maximum(size, np.abs(ours)) < ZERO] = 0.0
    relative[np.isnan(ours) != np.isnan(theirs)] = np.inf
    relative[np.isnan(ours) & np.isnan(theirs)] = 0.0
    return relative


def group_figures(
    ours: np.ndarray, theirs: np.ndarray, groups: dict[str, slice]
) -> dict[str, dict[str, float]]:
    """Of each group: the largest median of a column, and the largest difference of a value."""
    relative = relative_difference(ours, theirs)
    medians = np.median(relative, axis=0)
    absolute = np.abs(ours.astype(np.float64) - theirs)
    return {
        name: {
            "columns": group.stop - group.start,
            "largest_median": float(medians[group].max()),
            "largest": float(relative[:, group].max()),
            "largest_absolute": float(np.nanmax(absolute[:, group])),
        }
        for name, group in groups.items()
    }


def outliers(
    ours: np.ndarray, theirs: np.ndarray, rows: Sequence[str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Values that differ by more than :data:`OUTLIER`."""
    return [
        {
            "row": rows[row],
            "column": columns[column],
            "ours": float(ours[row, column]),
            "matminer": float(theirs[row, column]),
        }
        for row, column in np.argwhere(relative_difference(ours, theirs) > OUTLIER)
    ]
