"""Affine scaling of inputs and target, fitted on the training rows alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Attributes and fractions are of the order of a hundredth or more. One that hardly varies over the
#: training rows would throw the first new row that has it far out: measured band gaps with moments
#: up to 2e-5, and then an alloy of iron, put 3e6 into the network and 8,000 eV out of it.
LEAST_SCALE = 0.01
#: Deviations beyond so many times what 99 of 100 rows keep to are mistakes, not a long tail.
MISTAKE = 10.0


@dataclass(frozen=True)
class Scaler:
    """``scaled = (x - center) / scale``, column by column.

    Attributes
    ----------
    center, scale : torch.Tensor, float32, (n_columns,)
    """

    center: Tensor
    scale: Tensor

    @classmethod
    def identity(cls, n_columns: int) -> Scaler:
        """A scaler that changes nothing."""
        return cls(torch.zeros(n_columns), torch.ones(n_columns))

    @classmethod
    def standard(cls, x: np.ndarray) -> Scaler:
        """Mean 0 and standard deviation 1 for each column of x (n, n_columns).

        Columns that are constant over the training rows are centred and not scaled. Those that
        hardly vary are scaled by :data:`LEAST_SCALE`.
        """
        center = x.mean(0, dtype=np.float64)
        scale = x.std(0, dtype=np.float64)
        constant = scale < 1e-8 * np.maximum(np.abs(center), 1)
        scale = np.where(constant, 1.0, np.maximum(scale, LEAST_SCALE))
        return cls(_float32(center), _float32(scale))

    @classmethod
    def robust(cls, y: np.ndarray) -> Scaler:
        """Median 0 and mean absolute deviation 1 for a target y (n,).

        Deaf to a few mistakes, which no mean deviation is: those beyond :data:`MISTAKE` times the
        99 % quantile of the deviations are left out of it.
        """
        center = np.median(y)
        away = np.abs(y - center)
        usual = MISTAKE * np.quantile(away, 0.99, method="lower")
        scale = away[away <= (usual or math.inf)].mean() or 1.0
        return cls(_float32(np.array([center])), _float32(np.array([scale])))

    def to(self, to: torch.device | torch.dtype) -> Scaler:
        """The same on a device, or in another precision."""
        return Scaler(self.center.to(to), self.scale.to(to))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x (n, n_columns)."""
        return (x - self.center.to(x.device)) / self.scale.to(x.device)


def _float32(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.asarray(values, dtype=np.float32))
