"""Feature rows one by one, as the processes that isolate them need them: values or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers.elements import Missing
from featurizers.structure import featurize_structures


@dataclass(frozen=True)
class Failure:
    """Why a row has no features.

    Attributes
    ----------
    stage : str
        What it failed at, e.g. ``"tessellation"`` or ``"time limit"``.
    reason : str
        What was wrong.
    """

    stage: str
    reason: str


def structure_rows(
    structures: Sequence[tuple[Any, Any, Any]], missing: Missing = "matminer"
) -> list[NDArray[np.float32] | Failure]:
    """The 126 attributes (126,), or the failure, of each structure.

    Parameters
    ----------
    structures : sequence of (lattice, numbers, frac_coords)
        As for :func:`featurizers.structure.featurize_structure`.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties.

    Examples
    --------
    >>> cell = np.eye(3) * 3.0
    >>> good, bad = structure_rows([(cell, [29], [[0, 0, 0]]), (cell * 0, [29], [[0, 0, 0]])])
    >>> good.shape, bad
    ((126,), Failure(stage='structure', reason='the cell has no volume'))
    """
    lattices, numbers, coords = zip(*structures, strict=True) if structures else ((), (), ())
    found = featurize_structures(lattices, numbers, coords, missing)
    return [
        Failure(found.stages[row], found.reasons[row]) if row in found.reasons else values
        for row, values in enumerate(found.values)
    ]
