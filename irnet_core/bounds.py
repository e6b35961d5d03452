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
#: And so many times as many as have the next value: rounded values are shared too.
PILE = 5
#: Where there is no bound at one end.
OPEN = 1e30


def bounds_of(y: np.ndarray) -> Tensor | None:
    """Lower and upper bound, float64 (2,), of a target y (n,); None where neither end is one."""
    values, rows = np.unique(y, return_counts=True)
    if len(values) < 2:
        return None
    two = len(values) == 2  # such as yes and no
    enough = max(ROWS, SHARE * len(y))
    low = rows[0] >= enough and (two or rows[0] >= PILE * rows[1])
    high = rows[-1] >= enough and (two or rows[-1] >= PILE * rows[-2])
    if not (low or high):
        return None
    ends = (values[0] if low else -OPEN, values[-1] if high else OPEN)
    return torch.tensor(ends, dtype=torch.float64)
