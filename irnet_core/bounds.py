"""Bounds that the values of a target run into: no band gap is negative, and most are zero.

A network knows nothing of them: it says -0.003 eV where it means zero, and the lower end of an
interval lies where no value can be.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: The smallest value is a bound where so large a share of the rows have it, and so many rows; else
#: it is only the smallest so far. The largest likewise.
SHARE = 0.01
ROWS = 10
#: Where there is no bound at one end.
OPEN = 1e30


def bounds_of(y: np.ndarray) -> Tensor | None:
    """Lower and upper bound, float64 (2,), of a target y (n,); None where neither end is one."""
    enough = max(ROWS, SHARE * len(y))
    low, high = (float(end) if (y == end).sum() >= enough else None for end in (y.min(), y.max()))
    if low == high:  # none at all, or a constant, which is no bound
        return None
    ends = (-OPEN if low is None else low, OPEN if high is None else high)
    return torch.tensor(ends, dtype=torch.float64)
